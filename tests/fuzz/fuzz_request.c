/* Any bytes as the body of a request, to each endpoint: taken, or refused with 400 and a message.
 */
#include "serve/request.h"
#include "serve/translate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As another API's body, which means a chat. */
static void translate(hn_status (*how)(const json_t *, json_t **, hn_problem *),
                      const uint8_t *data, size_t size) {
    json_t *body, *chat = NULL;
    hn_problem problem = {0};
    hn_api_request request;
    if (hn_api_body_parse((const char *)data, size, &body, &problem) != HN_OK)
        return;
    if (how(body, &chat, &problem) == HN_OK) {
        if (hn_api_request_read(&request, HN_API_CHAT, chat, &problem) == HN_OK)
            hn_api_request_done(&request);
        else if (problem.http != 400)
            abort();
    } else if (problem.http != 400) {
        abort();
    }
    json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    translate(hn_translate_responses, data, size);
    translate(hn_translate_messages, data, size);
    static const hn_api_kind KINDS[] = {HN_API_CHAT, HN_API_COMPLETION, HN_API_EMBEDDING};
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        hn_api_request request;
        hn_problem problem = {0};
        if (hn_api_request_parse(&request, KINDS[i], (const char *)data, size, &problem) == HN_OK) {
            if (request.n < 1 || (KINDS[i] == HN_API_CHAT && !request.messages))
                abort();
            hn_api_request_done(&request);
        } else if (problem.http != 400 || !problem.message[0]) {
            abort();
        }
    }
    return 0;
}
