/* Which adapted layers a key of PEFT's rank_pattern or alpha_pattern means. */
#include "base/buf.h"
#include "formats/adapter_parts.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

void hn_adapter_module_path(int layer, const char *module, char out[HN_ADAPTER_PATH_BYTES]) {
    for (int i = 0; i < HN_ADAPTER_MODULES; i++)
        if (!strcmp(hn_adapter_modules[i].name, module))
            snprintf(out, HN_ADAPTER_PATH_BYTES, "model.layers.%d.%s", layer,
                     hn_adapter_modules[i].path);
}

hn_status hn_adapter_pattern_fits(const char *key, const char *module_path, const char *where,
                                  bool *fits, hn_error *err) {
    int code = 0;
    size_t offset = 0;
    hn_buf pattern = {.max = 4096};
    hn_buf_printf(&pattern, "^(.*\\.)?(%s)$", key);
    pcre2_code *regex = pattern.failed ? NULL
                                       : pcre2_compile((PCRE2_SPTR)pattern.data, pattern.size, 0,
                                                       &code, &offset, NULL);
    hn_buf_done(&pattern);
    pcre2_match_data *match = regex ? pcre2_match_data_create_from_pattern(regex, NULL) : NULL;
    int found =
        match ? pcre2_match(regex, (PCRE2_SPTR)module_path, strlen(module_path), 0, 0, match, NULL)
              : PCRE2_ERROR_NOMEMORY;
    pcre2_match_data_free(match);
    pcre2_code_free(regex);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return hn_fail(err, HN_BAD_INPUT, "%s: pattern '%.200s' can't be used", where, key);
    *fits = found >= 0;
    return HN_OK;
}
