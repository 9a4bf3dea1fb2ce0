/* Any bytes as a teacher's answer: read as an endpoint's JSON, and as the text that it holds; split
 * into thought and response, judged, brought to its normal form for votes. */
#include "base/mem.h"
#include "teacher/teacher.h"
#include "teacher/verdict.h"
#include "teacher/vote.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void normal(const char *text) {
    for (int number = 0; number < 2; number++) {
        char *once = hn_vote_normal(text, number);
        if (!once || strlen(once) > strlen(text))
            abort(); /* nothing is added */
        hn_free(once);
    }
}

static void judge(const hn_teacher_reply *reply) {
    char *thought, *response;
    const char *reason;
    hn_verdict_options options = {.max_field_tokens = 20, .wants_thought = true};
    if (hn_teacher_reply_split(reply, &thought, &response, NULL) != HN_OK ||
        hn_verdict(reply, thought, response, &options, &reason, NULL) != HN_OK)
        abort();
    normal(thought);
    normal(response);
    hn_free(thought);
    hn_free(response);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hn_teacher_reply reply = {0};
    hn_error err;
    if (hn_teacher_reply_parse((const char *)data, size, &reply, &err) == HN_OK)
        judge(&reply);
    hn_teacher_reply_done(&reply);
    char *text = hn_strndup((const char *)data, size);
    judge(&(hn_teacher_reply){.content = text});
    hn_free(text);
    return 0;
}
