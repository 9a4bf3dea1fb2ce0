/* hone tokenize: text to token ids, as the model sees it. */
#include "cli/commands.h"

#include "base/mem.h"
#include "model/checkpoint.h"

#include <string.h>

/* A token's bytes as JSON text; half characters become U+FFFD. */
static json_t *piece_json(const hn_tokenizer *tokenizer, int32_t id) {
    hn_buf buf = {0};
    hn_error ignored;
    json_t *value = NULL;
    if (hn_decode(tokenizer, &id, 1, true, &buf, &ignored) == HN_OK)
        value = json_stringn_nocheck(hn_buf_text(&buf), buf.size);
    const char *data;
    size_t size;
    hn_token_bytes(tokenizer, id, true, &data, &size);
    if (size && value && json_string_length(value) == 0) {
        json_decref(value);
        value = json_stringn(data, size);
    }
    hn_buf_done(&buf);
    return value;
}

static hn_status print_json(const hn_tokenizer *tokenizer, const hn_ids *ids, hn_error *err) {
    json_t *list = json_array(), *pieces = json_array();
    for (size_t i = 0; i < ids->size; i++) {
        json_array_append_new(list, json_integer(ids->data[i]));
        json_t *piece = piece_json(tokenizer, ids->data[i]);
        json_array_append_new(pieces, piece ? piece : json_string("\xef\xbf\xbd"));
    }
    json_t *value =
        json_pack("{s:I, s:o, s:o}", "n", (json_int_t)ids->size, "ids", list, "tokens", pieces);
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

/* Bytes as a person can read them: control characters and broken UTF-8 escaped. */
static void print_piece(const char *data, size_t size) {
    putchar('\'');
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c < ' ' || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    fputs("'\n", stdout);
}

static hn_status print_ids(const hn_cli *cli, const hn_tokenizer *tokenizer, const hn_ids *ids,
                           hn_error *err) {
    if (cli->json)
        return print_json(tokenizer, ids, err);
    for (size_t i = 0; i < ids->size; i++) {
        const char *data;
        size_t size;
        hn_token_bytes(tokenizer, ids->data[i], true, &data, &size);
        if (hn_cli_flag(cli, "ids")) {
            printf("%s%d", i ? " " : "", ids->data[i]);
        } else {
            printf("%7d  ", ids->data[i]);
            print_piece(data, size);
        }
    }
    if (hn_cli_flag(cli, "ids"))
        putchar('\n');
    return HN_OK;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_checkpoint ckpt;
    hn_ids ids = {0};
    char *text = NULL;
    size_t size = 0;
    const char *given = hn_cli_arg(cli, 1);
    hn_status status;
    HN_TRY(hn_checkpoint_open_vocab(&ckpt, hn_cli_arg(cli, 0), err));
    if (!given)
        HN_GO(hn_cli_read(hn_cli_text(cli, "file"), &text, &size, err));
    int flags = (hn_cli_flag(cli, "no-bos") ? 0 : HN_ENCODE_ADD_SPECIAL) |
                (hn_cli_flag(cli, "special") ? HN_ENCODE_PARSE_SPECIAL : 0);
    HN_GO(hn_encode(ckpt.tokenizer, given ? given : text, given ? strlen(given) : size, flags, &ids,
                    err));
    status = print_ids(cli, ckpt.tokenizer, &ids, err);
done:
    hn_ids_done(&ids);
    hn_free(text);
    hn_checkpoint_close(&ckpt);
    return status;
}

static const hn_option OPTIONS[] = {
    {"file", 'f', HN_OPT_TEXT, "FILE", NULL, "Read the text from here instead of standard input"},
    {"ids", 0, HN_OPT_FLAG, NULL, NULL, "Print the ids alone, on one line"},
    {"special", 0, HN_OPT_FLAG, NULL, NULL, "Control tokens in the text become their ids"},
    {"no-bos", 0, HN_OPT_FLAG, NULL, NULL, "Add no beginning or end token"},
    {0},
};

const hn_command HN_CMD_TOKENIZE = {
    .name = "tokenize",
    .args = "MODEL [TEXT]",
    .min_args = 1,
    .max_args = 2,
    .summary = "text to token ids",
    .details =
        "Prints the tokens that the model sees for a text: the argument, --file, or "
        "standard input. Special tokens in the text are text unless --special is given; "
        "the beginning token is added where the model's tokenizer adds it. MODEL may also be a "
        "tokenizer.json.",
    .groups = {OPTIONS},
    .examples = "hone tokenize model.gguf 'Hello there'\n"
                "hone tokenize model.gguf --ids --file notes.txt",
    .run = run,
};
