/* Answers with tool calls in them: free text as long as it is text, held to a tool's name and the
 * schema of its arguments from the tag on that begins a call. One description, as JSON text, so
 * that it can be a key (model/constraint_pool.h):
 *
 * {
 *   "may": "text" | "schema" | "calls",   what an answer is besides calls; "calls": nothing else,
 *                                         and the tag stands before the answer already
 *   "schema": {...},                      of "may": "schema": the answer where it is no call
 *   "thought": "may" | "open" | "never",  <think>...</think> at the beginning holds no calls
 *   "tag": "<tool_call>",                 begins a call; below 32 bytes
 *   "head", "between", "foot": "...",     round the calls of one tag
 *   "most": 16,                           calls of one tag
 *   "goes_on": true,                      text and further tags may follow
 *   "calls": [{"name": "f", "begin": "...", "schema": {...}, "end": "...", "loose": true,
 *              "bare": ["{\"name\": \"f\"", ...]}]   texts that begin this call without a tag, at
 * }                                        the answer's beginning
 *
 * A blank in head, between, foot, begin and end may be left out. Tags may be control tokens or
 * plain text (HN_GRAMMAR_CONTROL). "loose": arguments whose schema can't be honoured are any
 * object; otherwise that is HN_UNSUPPORTED. */
#pragma once

#include "grammar/grammar.h"

/* `where` opens messages; what is wrong about a tool's schema names the tool, too. */
HN_MUST_CHECK hn_status hn_grammar_from_calls_text(hn_grammar **out, const char *text,
                                                   size_t n_bytes, const char *where,
                                                   hn_error *err);
