/* Small pieces of HTML for the report. Internal to pipeline/. */
#pragma once

#include "base/buf.h"

#include <jansson.h>

/* Text with &, <, >, " and ' escaped. */
void hn_html_text(hn_buf *out, const char *text);
/* Loss curve as inline SVG from the lines of metrics.jsonl; nothing when there are no steps. */
void hn_html_loss_curve(hn_buf *out, const json_t *metrics);
/* A bar of 0..1 with a whisker for its interval, as inline SVG. */
void hn_html_score_bar(hn_buf *out, double score, double low, double high);
