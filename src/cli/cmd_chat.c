/* hone chat: talk to a model, on a terminal, with one prompt, or from standard input. */
#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/line_edit.h"

#include "base/mem.h"

#include <string.h>
#include <unistd.h>

hn_status hn_chat_add(hn_chat *chat, const char *role, const char *content, hn_error *err) {
    json_t *message = json_pack("{s:s, s:s}", "role", role, "content", content);
    if (!message || json_array_append_new(chat->messages, message) != 0)
        return hn_fail(err, HN_BAD_INPUT, "the %s text is no valid UTF-8", role);
    return HN_OK;
}

typedef struct stream {
    const hn_chat *chat;
    bool print;
    bool closed; /* nobody reads stdout any more */
} stream;

static bool on_text(void *context, const char *text, size_t n) {
    stream *s = context;
    if (s->print) {
        fwrite(text, 1, n, stdout);
        s->closed = fflush(stdout) != 0;
    }
    return !s->closed && !atomic_load(s->chat->cli->cancel);
}

/* The oldest question and answer go until the rest leaves room for an answer. */
static hn_status encode(hn_chat *chat, hn_ids *ids, hn_error *err) {
    enum { ROOM = 256 };
    int room = chat->n_ctx / 4 < ROOM ? chat->n_ctx / 4 : ROOM;
    for (int dropped = 0;; dropped++) {
        ids->size = 0;
        HN_TRY(hn_chat_encode(chat->session.model, chat->messages, NULL, true, ids, err));
        size_t first = 0, n = json_array_size(chat->messages);
        const json_t *head = json_array_get(chat->messages, 0);
        const char *role = json_string_value(json_object_get(head, "role"));
        if (role && strcmp(role, "system") == 0)
            first = 1;
        if ((int)ids->size + room <= chat->n_ctx || n < first + 3) {
            if (dropped)
                hn_cli_note(chat->cli, "the context is full: the oldest %d turns were left out",
                            dropped);
            return HN_OK;
        }
        json_array_remove(chat->messages, first);
        json_array_remove(chat->messages, first);
    }
}

hn_status hn_chat_answer(hn_chat *chat, const char *prompt, bool print, hn_generation *generation,
                         hn_error *err) {
    hn_ids ids = {0};
    stream s = {.chat = chat, .print = print};
    hn_status status;
    chat->options.on_text = on_text;
    chat->options.context = &s;
    chat->options.cancel = chat->cli->cancel;
    if (chat->raw)
        HN_GO(hn_encode(chat->session.model->ckpt.tokenizer, prompt, strlen(prompt),
                        HN_ENCODE_ADD_SPECIAL |
                            (hn_cli_flag(chat->cli, "special") ? HN_ENCODE_PARSE_SPECIAL : 0),
                        &ids, err));
    else
        HN_GO(encode(chat, &ids, err));
    HN_GO(hn_generate(chat->session.model, chat->session.kv, 0, ids.data, (int)ids.size,
                      &chat->options, generation, err));
    hn_chat_count(&chat->stats, generation);
    if (!chat->raw)
        status = hn_chat_add(chat, "assistant", generation->text, err);
done:
    hn_ids_done(&ids);
    return status;
}

static hn_status print_json(const hn_generation *g, hn_error *err) {
    double decode_s = (double)(g->total_ns - g->first_token_ns) * 1e-9;
    json_t *value =
        json_pack("{s:s, s:s, s:i, s:i, s:I, s:i, s:i, s:f, s:f, s:f}", "text", g->text, "finish",
                  hn_finish_name(g->finish), "n_prompt", g->n_prompt, "n_reused", g->n_reused,
                  "n_generated", (json_int_t)g->ids.size, "n_drafted", g->n_drafted, "n_accepted",
                  g->n_accepted, "first_token_ms", (double)g->first_token_ns * 1e-6, "total_ms",
                  (double)g->total_ns * 1e-6, "tokens_per_second",
                  g->ids.size > 1 && decode_s > 0 ? (double)(g->ids.size - 1) / decode_s : 0.0);
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

/* An answer cut short shouldn't look like a whole one. */
static void note_cut(const hn_chat *chat, const hn_generation *generation) {
    if (generation->finish != HN_FINISH_LENGTH)
        return;
    const int n = (int)generation->ids.size, max = chat->options.max_tokens;
    if (max > 0 && n >= max)
        hn_cli_note(chat->cli, "cut after %d tokens (--max-tokens; 0 = until the context is full)",
                    n);
    else
        hn_cli_note(chat->cli, "cut after %d tokens: the context is full (--ctx)", n);
}

static hn_status one_shot(hn_chat *chat, const char *prompt, hn_error *err) {
    hn_generation generation = {0};
    if (!chat->raw)
        HN_TRY(hn_chat_add(chat, "user", prompt, err));
    HN_TRY(hn_chat_answer(chat, prompt, !chat->cli->json, &generation, err));
    hn_status status = HN_OK;
    if (chat->cli->json)
        status = print_json(&generation, err);
    else
        putchar('\n');
    if (!chat->cli->json)
        note_cut(chat, &generation);
    if (status == HN_OK && generation.finish == HN_FINISH_CANCELLED &&
        atomic_load(chat->cli->cancel))
        status = hn_fail(err, HN_CANCELLED, "cancelled");
    hn_generation_done(&generation);
    return status;
}

static hn_status answer_and_forgive(hn_chat *chat, hn_error *err) {
    hn_generation generation = {0};
    hn_status status = hn_chat_answer(chat, NULL, true, &generation, err);
    if (status == HN_OK) {
        bool stopped = generation.finish == HN_FINISH_CANCELLED;
        fputs(stopped ? " [stopped]\n" : "\n", stdout);
        fflush(stdout);
        note_cut(chat, &generation);
        hn_generation_done(&generation);
    } else if (status == HN_BAD_INPUT || status == HN_UNSUPPORTED) {
        hn_cli_note(chat->cli, "%s", err->message); /* the conversation goes on without it */
        json_array_remove(chat->messages, json_array_size(chat->messages) - 1);
        status = HN_OK;
    }
    atomic_store(chat->cli->cancel, false); /* Ctrl-C stops an answer, not the program */
    return ferror(stdout) ? hn_fail(err, HN_IO, "standard output can't be written") : status;
}

static hn_status converse(hn_chat *chat, hn_error *err) {
    hn_line_edit edit = {0};
    bool quit = false;
    hn_status status = HN_OK;
    const char *prompt = "> ";
    hn_cli_note(chat->cli, "/help lists the commands; Ctrl-D leaves");
    while (status == HN_OK && !quit) {
        char *line = NULL;
        bool answer = false;
        status =
            hn_line_read(&edit, prompt, hn_term_of(stderr).width, chat->cli->cancel, &line, err);
        if (status == HN_CANCELLED && !atomic_load(chat->cli->cancel)) {
            status = HN_OK; /* Ctrl-C while typing: a new line */
            continue;
        }
        if (status != HN_OK || !line)
            break;
        if (line[0] == '/') {
            status = hn_chat_command(chat, line, &quit, &answer, err);
        } else if (line[strspn(line, " \t\n")]) {
            status = hn_chat_add(chat, "user", line, err);
            answer = true;
        }
        if (status == HN_OK && answer)
            status = answer_and_forgive(chat, err);
        hn_free(line);
    }
    hn_line_edit_done(&edit);
    return status;
}

static hn_status talk(hn_chat *chat, hn_error *err) {
    const char *prompt = hn_cli_text(chat->cli, "prompt");
    bool from_stdin = prompt ? strcmp(prompt, "-") == 0 : !isatty(STDIN_FILENO);
    if (!prompt && !from_stdin && !chat->cli->json && !chat->raw)
        return converse(chat, err);
    if (!from_stdin && prompt)
        return one_shot(chat, prompt, err);
    char *text = NULL;
    size_t size = 0;
    HN_TRY(hn_cli_read("-", &text, &size, err));
    while (!chat->raw && size > 0 && text[size - 1] == '\n')
        text[--size] = '\0';
    hn_status status =
        size ? one_shot(chat, text, err) : hn_fail(err, HN_BAD_INPUT, "the prompt is empty");
    hn_free(text);
    return status;
}

/* More context than that is somebody's right who tries it, but nobody's guess why it goes wrong. */
static void warn_of_context(const hn_chat *chat) {
    const int trained = chat->session.model->arch.n_ctx_train;
    if (trained > 0 && chat->n_ctx > trained)
        hn_cli_note(chat->cli,
                    "--ctx %d: the model was trained for %d tokens and writes nonsense beyond them",
                    chat->n_ctx, trained);
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_chat chat = {.cli = cli, .raw = hn_cli_flag(cli, "raw"), .n_ctx = hn_cli_int(cli, "ctx")};
    const char *system = hn_cli_text(cli, "system");
    hn_status status;
    if (system && chat.raw)
        return hn_fail(err, HN_USAGE, "--system has no place in --raw: put it into the prompt");
    bool f32 = strcmp(hn_cli_text(cli, "numerics"), "f32") == 0;
    HN_GO(hn_session_open_cached(&chat.session, cli, hn_cli_arg(cli, 0),
                                 f32 ? HN_NUMERICS_F32 : HN_NUMERICS_INT8, !chat.raw, err));
    HN_GO(hn_session_kv_type(&chat.session, cli, err));
    HN_GO(hn_session_adapter(&chat.session, hn_cli_text(cli, "adapter"), err));
    HN_GO(hn_session_pin(&chat.session, cli, err));
    HN_GO(hn_session_sampling(&chat.session, cli, &chat.options, err));
    HN_GO(hn_session_constraint(&chat.session, cli, &chat.options, err));
    HN_GO(hn_session_kv(&chat.session, &chat.n_ctx, err));
    warn_of_context(&chat);
    HN_GO(hn_session_speculator(&chat.session, cli, chat.n_ctx, &chat.options, err));
    chat.messages = json_array();
    HN_GO(HN_JSON_CHECK(chat.messages, err));
    if (system)
        HN_GO(hn_chat_add(&chat, "system", system, err));
    status = talk(&chat, err);
done:
    json_decref(chat.messages);
    hn_session_done(&chat.session);
    return status;
}

static const hn_option OPTIONS[] = {
    {"prompt", 'p', HN_OPT_TEXT, "TEXT", NULL, "Answer this and leave; - reads standard input"},
    {"system", 's', HN_OPT_TEXT, "TEXT", NULL, "System text"},
    {"raw", 0, HN_OPT_FLAG, NULL, NULL, "Continue the prompt as it stands, without the template"},
    {"special", 0, HN_OPT_FLAG, NULL, NULL, "With --raw: control tokens in the prompt are tokens"},
    {"grammar", 0, HN_OPT_TEXT, "FILE", NULL, "Answers are texts of this GBNF grammar"},
    {"json-schema", 0, HN_OPT_TEXT, "FILE", NULL,
     "Answers are JSON that this schema accepts; what can't be honoured is refused"},
    {"speculate", 0, HN_OPT_TEXT, "HOW", "ngram",
     "Tokens guessed ahead, the answer unchanged: ngram (from the text so far), none, or a smaller "
     "model with the same tokenizer"},
    {"numerics", 0, HN_OPT_CHOICE, "NAME", "int8", "How products are computed", "f32|int8", 0, 0},
    {"ctx", 'c', HN_OPT_INT, "N", "0",
     "Context in tokens; 0 = what the model was trained for, at most 4096", NULL, 0, 1 << 24},
    {"kv-type", 0, HN_OPT_CHOICE, "NAME", "f16", "How the cache holds keys and values",
     HN_CLI_KV_TYPES, 0, 0},
    {"weights-cache", 0, HN_OPT_CHOICE, "WHEN", "auto",
     "Keep the weights as they are laid out in memory in a file, which the next start maps; auto = "
     "from 64 MiB on, where disk and memory have plenty of room",
     "auto|on|off", 0, 0},
    {"pin", 0, HN_OPT_FLAG, NULL, NULL, "Bind each thread to a processor, physical cores first"},
    {0},
};

const hn_command HN_CMD_CHAT = {
    .name = "chat",
    .args = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "talk to a model",
    .details =
        "On a terminal: a conversation with line editing, history and /commands (/help lists "
        "them). Ctrl-C stops an answer, Ctrl-D leaves. With --prompt, or with text on standard "
        "input: one answer on standard output.\n\n"
        "--json prints the answer with its token counts, times and why it ended (stop, length, "
        "cancelled); n_drafted tokens were guessed ahead, of which n_accepted came true.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER, HN_OPTIONS_SAMPLING, HN_OPTIONS_COMPUTE},
    .examples = "hone chat model.gguf\n"
                "hone chat model.gguf --adapter run/adapter -p 'Turn on the lamp'\n"
                "hone chat model.gguf -p 'Who wrote Faust?' --json-schema person.json",
    .run = run,
};
