/* How a process learns that it was started beside others: by what launchers leave in its
 * environment. */
#pragma once

/* Processes that were started together; 0 = this one was started alone, or nothing says how many
 * there are. 1 = a launcher is there, ask it. */
int hn_ranks_launched(void);
