/* One run of the program: signals, parsing, the command, its exit code. */
#include "cli/cli.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/version.h"
#include "cli/progress_view.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_bool cancel_requested;

static void on_signal(int number) {
    (void)number;
    if (atomic_exchange(&cancel_requested, true))
        _exit(HN_EXIT_CANCELLED); /* asked twice: don't wait for the next safe place */
}

static void signals_init(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is seen as a failed write */
    signal(SIGXFSZ, SIG_IGN); /* so is a file beyond ulimit -f */
    /* A standard stream that was closed must not become the next file that is opened. */
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

bool hn_cli_flag(const hn_cli *cli, const char *name) {
    return hn_parsed_get(&cli->opts, name)->given;
}

bool hn_cli_given(const hn_cli *cli, const char *name) {
    return hn_parsed_get(&cli->opts, name)->given;
}

int hn_cli_int(const hn_cli *cli, const char *name) {
    return (int)hn_parsed_get(&cli->opts, name)->integer;
}

double hn_cli_real(const hn_cli *cli, const char *name) {
    return hn_parsed_get(&cli->opts, name)->real;
}

const char *hn_cli_text(const hn_cli *cli, const char *name) {
    return hn_parsed_get(&cli->opts, name)->text;
}

const char *hn_cli_arg(const hn_cli *cli, int i) {
    return i < cli->opts.n_args ? cli->opts.args[i] : NULL;
}

hn_status hn_cli_print_json(const json_t *value, hn_error *err) {
    HN_TRY(HN_JSON_CHECK(value, err));
    if (json_dumpf(value, stdout, JSON_INDENT(1) | JSON_ENCODE_ANY) != 0)
        return hn_fail_errno(err, "standard output");
    putchar('\n');
    return HN_OK;
}

void hn_cli_note(hn_cli *cli, const char *fmt, ...) {
    char text[HN_ERROR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (cli->progress.note)
        cli->progress.note(cli->progress.context, text);
}

static hn_status read_stream(FILE *stream, const char *name, char **text, size_t *size,
                             hn_error *err) {
    enum { CHUNK = 1 << 16 };
    hn_buf buf = {0};
    char chunk[CHUNK];
    hn_status status = HN_OK;
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, stream)) > 0;)
        hn_buf_append(&buf, chunk, n);
    if (ferror(stream))
        status = hn_fail_errno(err, "%s", name);
    if (status == HN_OK)
        status = hn_buf_check(&buf, err);
    if (status == HN_OK) {
        *size = buf.size;
        *text = buf.size ? hn_buf_take(&buf) : hn_strdup("");
        status = *text ? HN_OK : hn_fail_no_memory(err, 1);
    }
    hn_buf_done(&buf);
    return status;
}

/* Whatever can be read once, a pipe that the shell names <(...) too. */
hn_status hn_cli_read(const char *path, char **text, size_t *size, hn_error *err) {
    if (!path || strcmp(path, "-") == 0)
        return read_stream(stdin, "standard input", text, size, err);
    FILE *stream = fopen(path, "re");
    if (!stream)
        return hn_fail_errno(err, "%s", path);
    hn_status status = read_stream(stream, path, text, size, err);
    fclose(stream);
    return status;
}

hn_status hn_cli_check_output(const char *output, const char *input, hn_error *err) {
    if (output && !output[0])
        return hn_fail(err, HN_USAGE, "--output is empty: name a place");
    if (output && input && hn_path_same(output, input))
        return hn_fail(err, HN_USAGE,
                       "--output %s is what is read, which would be lost: name another place",
                       output);
    return HN_OK;
}

hn_status hn_cli_cache_dir(char **dir, hn_error *err) {
    const char *own = getenv("HONE_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (own && own[0])
        *dir = hn_strdup(own);
    else if (xdg && xdg[0])
        *dir = hn_path_join(xdg, "hone");
    else if (home && home[0])
        *dir = hn_path_join(home, ".cache/hone");
    else
        return hn_fail(err, HN_IO, "no folder for the cache: set HONE_CACHE to one");
    return *dir ? HN_OK : hn_fail_no_memory(err, 1);
}

static int exit_code_of(hn_status status) {
    switch (status) {
    case HN_OK:
        return HN_EXIT_OK;
    case HN_USAGE:
        return HN_EXIT_USAGE;
    case HN_BAD_INPUT:
    case HN_IO:
    case HN_UNSUPPORTED:
        return HN_EXIT_BAD_INPUT;
    case HN_CANCELLED:
        return HN_EXIT_CANCELLED;
    case HN_FAILED:
    case HN_NO_MEMORY:
    case HN_BUSY:
        break;
    }
    return HN_EXIT_FAILED;
}

/* Prints the error (nothing, when the reader of a pipe went away) and returns the exit code. */
static int finish(const hn_term *term, hn_status status, const hn_error *err, int code) {
    int saved = 0;
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        saved = errno ? errno : EIO;
        if (status == HN_OK && saved != EPIPE)
            fprintf(stderr, "hone: standard output: %s\n", strerror(saved));
    }
    if (status != HN_OK && saved != EPIPE)
        fprintf(stderr, "%shone: %s%s\n", term->color ? "\x1b[31m" : "", err->message,
                term->color ? "\x1b[0m" : "");
    if (status != HN_OK)
        return exit_code_of(status);
    return saved ? HN_EXIT_FAILED : code;
}

static bool is_help_word(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* A failure that all ranks have agreed on rank 0 tells; the others leave in silence. Of any other
 * they know nothing, and would wait for this rank for ever. */
static int finish_rank(hn_cli *cli, hn_status status, hn_error *err) {
    bool agreed = status == HN_OK || hn_ranks_agreed_to_fail(cli->ranks);
    int rank = hn_ranks_rank(cli->ranks), code = cli->exit_code;
    if (!agreed && cli->ranks)
        hn_error_prefix(err, "rank %d of %d", rank, hn_ranks_size(cli->ranks));
    if (rank > 0 && agreed)
        code = status == HN_OK ? cli->exit_code : exit_code_of(status);
    else
        code = finish(&cli->err, status, err, cli->exit_code);
    if (!agreed)
        hn_ranks_abort(cli->ranks, code);
    hn_ranks_close(cli->ranks);
    return code;
}

static int run_command(hn_cli *cli, const hn_command *command, int argc, char **argv) {
    hn_error err = {0};
    hn_progress_view view;
    hn_status status = hn_parsed_read(&cli->opts, command, argc, argv, &err);
    if (status != HN_OK)
        return finish(&cli->err, status, &err, 0);
    if (hn_cli_flag(cli, "help")) {
        hn_help_command(stdout, command, cli->out.width);
        hn_parsed_done(&cli->opts);
        return finish(&cli->err, HN_OK, &err, HN_EXIT_OK);
    }
    cli->json = hn_cli_flag(cli, "json");
    cli->quiet = hn_cli_flag(cli, "quiet");
    if (command->on_ranks)
        status = hn_ranks_open(&cli->ranks, &err);
    hn_progress_view_init(&view, &cli->err, cli->quiet, &cli->progress);
    if (!hn_ranks_is_first(cli->ranks)) /* rank 0 tells what all do */
        cli->progress.update = NULL, cli->progress.note = NULL;
    cli->view = &view;
    if (status == HN_OK)
        status = command->run(cli, &err);
    hn_progress_view_finish(&view);
    int code = finish_rank(cli, status, &err);
    hn_parsed_done(&cli->opts);
    return code;
}

int hn_cli_main(int argc, char **argv) {
    hn_error err = {0};
    signals_init();
    hn_cli cli = {.out = hn_term_of(stdout),
                  .err = hn_term_of(stderr),
                  .cancel = &cancel_requested,
                  .progress = {.cancel = &cancel_requested}};
    if (argc < 2) {
        hn_help_overview(stderr, cli.err.width);
        return HN_EXIT_USAGE;
    }
    if (is_help_word(argv[1]) || strcmp(argv[1], "--version") == 0) {
        if (is_help_word(argv[1]))
            hn_help_overview(stdout, cli.out.width);
        else
            puts("hone " HN_VERSION);
        return finish(&cli.err, HN_OK, &err, HN_EXIT_OK);
    }
    if (argc == 3 && is_help_word(argv[2]) && hn_help_family(stdout, argv[1], cli.out.width))
        return finish(&cli.err, HN_OK, &err, HN_EXIT_OK);
    const hn_command *command;
    int n_words = 0;
    hn_status status = hn_command_find(&command, &n_words, argv + 1, argc - 1, &err);
    if (status != HN_OK)
        return finish(&cli.err, status, &err, 0);
    return run_command(&cli, command, argc - n_words, argv + n_words);
}
