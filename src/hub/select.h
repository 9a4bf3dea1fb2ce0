/* Names: which are sound, which files of a listing a model needs, what the cache holds. */
#pragma once

#include "hub/hub.h"

/* HN_USAGE for what can't be a model's name or a revision. */
HN_MUST_CHECK hn_status hn_hub_check_name(const char *id, const char *revision, hn_error *err);
/* A relative path without "..", empty parts, backslashes and control characters. */
bool hn_file_name_is_safe(const char *name);
/* From a hub's listing ({siblings: [{rfilename}]}) to [{name}]: options->include, or config,
 * tokenizer, template and safetensors, or else the only GGUF file. HN_BAD_INPUT when the model has
 * neither, or several GGUF files to choose from (it names them). */
HN_MUST_CHECK hn_status hn_hub_select(const json_t *listing, const char *id,
                                      const hn_hub_options *options, json_t **files, hn_error *err);
/* Percent-encoded, slashes kept; hn_free; NULL = no memory. */
char *hn_url_escape_path(const char *path);
/* The folder's GGUF file when it has exactly one and no config.json; hn_free, or NULL. */
char *hn_only_gguf(const char *dir);
