/* Any bytes as the body of a request, to each endpoint: taken, or refused with 400 and a message.
 */
#include "serve/request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
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
