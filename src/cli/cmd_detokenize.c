/* hone detokenize: token ids to text. */
#include "cli/commands.h"
#include "cli/session.h"

#include "base/mem.h"

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_checkpoint ckpt;
    hn_ids ids = {0};
    hn_buf out = {0};
    char *text = NULL;
    size_t size = 0;
    hn_status status = HN_OK;
    HN_TRY(hn_checkpoint_open_vocab(&ckpt, hn_cli_arg(cli, 0), err));
    uint32_t n_vocab = hn_tokenizer_size(ckpt.tokenizer);
    for (int i = 1; i < cli->opts.n_args; i++)
        HN_GO(hn_ids_parse(hn_cli_arg(cli, i), n_vocab, &ids, err));
    if (cli->opts.n_args == 1) {
        HN_GO(hn_cli_read(hn_cli_text(cli, "file"), &text, &size, err));
        HN_GO(hn_ids_parse(text, n_vocab, &ids, err));
    }
    HN_GO(hn_decode(ckpt.tokenizer, ids.data, ids.size, hn_cli_flag(cli, "special"), &out, err));
    if (cli->json) {
        json_t *value = json_pack("{s:o}", "text", json_stringn(hn_buf_text(&out), out.size));
        status = hn_cli_print_json(value, err);
        json_decref(value);
    } else {
        fwrite(hn_buf_text(&out), 1, out.size, stdout);
    }
done:
    hn_ids_done(&ids);
    hn_buf_done(&out);
    hn_free(text);
    hn_checkpoint_close(&ckpt);
    return status;
}

static const hn_option OPTIONS[] = {
    {"file", 'f', HN_OPT_TEXT, "FILE", NULL, "Read the ids from here instead of standard input"},
    {"special", 0, HN_OPT_FLAG, NULL, NULL, "Print control tokens too"},
    {0},
};

const hn_command HN_CMD_DETOKENIZE = {
    .name = "detokenize",
    .args = "MODEL [ID...]",
    .min_args = 1,
    .max_args = 1 << 20,
    .summary = "token ids to text",
    .details =
        "Prints the text of token ids: the arguments, --file, or standard input, separated "
        "by blanks or commas. Nothing is added, not even a last newline. MODEL may also be a "
        "tokenizer.json.",
    .groups = {OPTIONS},
    .examples = "hone detokenize model.gguf 19556 665\n"
                "hone tokenize model.gguf --ids 'Hello' | hone detokenize model.gguf",
    .run = run,
};
