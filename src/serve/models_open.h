/* One row of the table of models: its names, its files, and what is open of it. Nothing here locks.
 */
#pragma once

#include "serve/models.h"

enum { HN_MIXES_MAX = 16 }; /* different combinations of adapters a model keeps */

typedef enum hn_entry_state {
    HN_ENTRY_CLOSED,
    HN_ENTRY_OPENING,
    HN_ENTRY_OPEN,
    HN_ENTRY_CLOSING,
} hn_entry_state;

typedef struct hn_entry_adapter {
    char *name, *path;
    float scale;
    hn_adapter *adapter; /* while open */
} hn_entry_adapter;

/* Several adapters as one. */
typedef struct hn_adapter_mix {
    hn_adapter_use *uses; /* (n) */
    size_t n;
    hn_adapter *adapter;
} hn_adapter_mix;

typedef struct hn_model_entry {
    hn_served served;
    char *name, *path;
    uint64_t n_bytes;           /* of its file or folder */
    hn_entry_adapter *adapters; /* (served.n_adapters) */
    hn_entry_state state;
    int n_users;
    int n_peeks; /* who only looks, for a moment */
    uint64_t last_used_ns;
    int64_t created;
    hn_model *draft;
    hn_adapter_mix mixes[HN_MIXES_MAX];
    size_t n_mixes;
} hn_model_entry;

HN_MUST_CHECK hn_status hn_model_entry_init(hn_model_entry *entry, const hn_model_place *place,
                                            hn_error *err);
void hn_model_entry_done(hn_model_entry *entry);
/* No name twice. */
HN_MUST_CHECK hn_status hn_model_entries_check(const hn_model_entry *entries, size_t n,
                                               hn_error *err);
HN_MUST_CHECK hn_status hn_model_entry_open(hn_model_entry *entry, const hn_models_options *options,
                                            const char *draft_path, hn_error *err);
void hn_model_entry_close(hn_model_entry *entry);
/* As hn_served_adapter. */
HN_MUST_CHECK hn_status hn_model_entry_mix(hn_model_entry *entry, const hn_adapter_use *uses,
                                           size_t n, const hn_adapter **out, hn_error *err);
