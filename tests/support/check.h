/* Calls that a test takes for granted. */
#pragma once

#include "base/status.h"

/* Fails the test with the message of the error that `expr` left in `errp`. */
#define ASSERT_OK(expr)                                                                            \
    do {                                                                                           \
        hn_error ok_err;                                                                           \
        hn_error *errp = &ok_err;                                                                  \
        if ((expr) != HN_OK)                                                                       \
            fail_msg("%s", ok_err.message);                                                        \
    } while (0)
