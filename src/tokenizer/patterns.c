/* The pre-tokenisers by name (tokenizer.ggml.pre, as llama.cpp spells them) and by pattern (as
 * tokenizer.json files hold them). A pattern that is known to the letter is scanned by hand. */
#include "tokenizer/tk.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LINES_AND_SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3                                                                                     \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"       \
                 "|" LINES_AND_SPACES
#define QWEN2                                                                                      \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"            \
                 "|" LINES_AND_SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(tail)                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER    \
    "*" tail

static const struct {
    const char *pattern;
    hn_tk_step_kind kind;
} KNOWN[] = {
    {GPT2, HN_TK_STEP_GPT2},
    {LLAMA3, HN_TK_STEP_LLAMA3},
    {QWEN2, HN_TK_STEP_QWEN2},
};
enum { N_KNOWN = sizeof KNOWN / sizeof *KNOWN };

/* The digits step stands for what llama.cpp writes as the pattern \p{N}. */
#define DIGITS "\\p{N}"

enum { MAX_PATTERNS = HN_PRE_MAX_PATTERNS, MAX_NAMES = 10 };

static const struct {
    const char *names[MAX_NAMES]; /* the first one is written to files */
    const char *patterns[MAX_PATTERNS];
    bool nfc, ignore_merges, add_bos;
} PRE[] = {
    {{"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "mellum"},
     {GPT2}},
    {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0"},
     {LLAMA3},
     .ignore_merges = true,
     .add_bos = true},
    {{"smaug-bpe", "dbrx", "glm4", "chatglm-bpe"}, {LLAMA3}},
    {{"qwen2", "deepseek-r1-qwen", "megrez"}, {QWEN2}, .nfc = true},
    {{"stablelm2", "hunyuan", "solar-open", "grok-2", "kormo"}, {QWEN2}},
    {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
     {DIGITS, GPT2}},
    {{"qwen35"},
     {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+"
                   "[\\r\\n]*|" LINES_AND_SPACES},
     .nfc = true},
    {{"deepseek-v3"},
     {"\\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}"
      "\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" LINES_AND_SPACES}},
    {{"tekken"},
     {CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" LINES_AND_SPACES},
     .ignore_merges = true,
     .add_bos = true},
    {{"gpt-4o", "llama4", "kanana2"},
     {CASED(CONTRACTIONS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" LINES_AND_SPACES}},
    {{"falcon"}, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {{"default"}, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+"}},
};
enum { N_PRE = sizeof PRE / sizeof *PRE };

hn_status hn_tk_step_pattern(hn_tokenizer *tk, const char *pattern, size_t size, const char *where,
                             hn_tk_step *step, hn_error *err) {
    for (int i = 0; i < N_KNOWN; i++)
        if (strlen(KNOWN[i].pattern) == size && memcmp(KNOWN[i].pattern, pattern, size) == 0) {
            step->kind = KNOWN[i].kind;
            return HN_OK;
        }
    step->kind = HN_TK_STEP_REGEX;
    return hn_tk_regex_new(tk, pattern, size, where, &step->regex, err);
}

static int find_pre(const char *pre) {
    for (int i = 0; i < N_PRE; i++)
        for (int k = 0; k < MAX_NAMES && PRE[i].names[k]; k++)
            if (strcmp(PRE[i].names[k], pre) == 0)
                return i;
    return -1;
}

bool hn_pre_tokenizer_find(const char *pre, hn_pre_tokenizer *out) {
    int found = find_pre(pre);
    if (found < 0)
        return false;
    *out = (hn_pre_tokenizer){.nfc = PRE[found].nfc, .ignore_merges = PRE[found].ignore_merges};
    for (int i = 0; i < MAX_PATTERNS; i++)
        out->patterns[i] = PRE[found].patterns[i];
    return true;
}

hn_status hn_tk_pre_steps(hn_tokenizer *tk, const char *pre, hn_error *err) {
    int found = find_pre(pre);
    if (found < 0)
        return hn_fail(err, HN_UNSUPPORTED,
                       "tokenizer.ggml.pre: the pre-tokenizer '%s' is not one that hone knows; use "
                       "the model's tokenizer.json instead",
                       pre);
    for (int i = 0; i < MAX_PATTERNS && PRE[found].patterns[i]; i++) {
        const char *pattern = PRE[found].patterns[i];
        hn_tk_step *step = &tk->steps[tk->n_steps];
        if (strcmp(pattern, DIGITS) == 0)
            *step = (hn_tk_step){.kind = HN_TK_STEP_DIGITS, .individual = true};
        else
            HN_TRY(hn_tk_step_pattern(tk, pattern, strlen(pattern), pre, step, err));
        tk->n_steps++;
    }
    if (PRE[found].nfc)
        tk->norms[tk->n_norms++] = (hn_tk_norm){.kind = HN_TK_NORM_NFC};
    tk->ignore_merges = PRE[found].ignore_merges;
    return HN_OK;
}

bool hn_vocab_default_add_bos(const char *model, const char *pre) {
    if (strcmp(model, "llama") == 0)
        return true;
    int found = pre ? find_pre(pre) : -1;
    return found >= 0 && PRE[found].add_bos;
}

const char *hn_tk_pre_name(const hn_tokenizer *tk) {
    const hn_tk_step *steps = tk->steps;
    int n = tk->n_steps;
    if (n == 1 && steps[0].kind == HN_TK_STEP_GPT2)
        return "gpt-2";
    if (n == 1 && steps[0].kind == HN_TK_STEP_LLAMA3)
        return tk->ignore_merges ? "llama-bpe" : "smaug-bpe";
    if (n == 1 && steps[0].kind == HN_TK_STEP_QWEN2)
        return tk->n_norms ? "qwen2" : "stablelm2";
    if (n == 2 && steps[0].kind == HN_TK_STEP_DIGITS && steps[0].individual &&
        steps[1].kind == HN_TK_STEP_GPT2)
        return "smollm";
    return "default";
}
