/* A model's folder whose files appear together: they are made in a folder inside it and moved into
 * place at the end, so that a full disk or Ctrl-C leaves what was there. Private to release/. */
#pragma once

#include "base/status.h"

#include <stdbool.h>

typedef struct hn_folder {
    char *dir;      /* where the files belong */
    char *work;     /* where they are made: dir/.tmp-<pid> */
    bool was_there; /* dir existed before */
} hn_folder;

HN_MUST_CHECK hn_status hn_folder_open(hn_folder *folder, const char *dir, hn_error *err);
/* Moves everything into place, config.json last and the old one away first: while files are being
 * moved the folder doesn't open as a model. Weights of an earlier model that the new one doesn't
 * replace are removed; other files stay. */
HN_MUST_CHECK hn_status hn_folder_commit(hn_folder *folder, hn_error *err);
/* Removes what was made, and the folder itself when it is new. Harmless after commit. */
void hn_folder_abort(hn_folder *folder);
