/* A folder that one process at a time works in. */
#pragma once

#include "base/status.h"

/* HN_FAILED at once where another process holds `dir`, which must be there; `what` says in the
 * message what that one is ("hone run"). The lock dies with its process, and leaves nothing. Where
 * a file system knows no locks nobody is kept out. */
HN_MUST_CHECK hn_status hn_dir_lock(const char *dir, const char *what, int *lock, hn_error *err);
/* Harmless on a negative number. */
void hn_dir_unlock(int lock);
