/* hone help: the overview, one command's help, or its man page. */
#include "cli/commands.h"

static hn_status run(hn_cli *cli, hn_error *err) {
    const hn_command *command = NULL;
    int n_words = 0;
    const bool plain = !hn_cli_flag(cli, "list") && !hn_cli_flag(cli, "man");
    if (plain && cli->opts.n_args == 1 && hn_help_family(stdout, cli->opts.args[0], cli->out.width))
        return HN_OK;
    if (cli->opts.n_args > 0) {
        HN_TRY(hn_command_find(&command, &n_words, cli->opts.args, cli->opts.n_args, err));
        if (n_words < cli->opts.n_args)
            return hn_fail(err, HN_USAGE, "'%s' is no part of a command's name",
                           cli->opts.args[n_words]);
    }
    if (hn_cli_flag(cli, "list")) {
        for (size_t i = 0; HN_COMMANDS[i]; i++)
            puts(HN_COMMANDS[i]->name);
    } else if (hn_cli_flag(cli, "man")) {
        hn_help_man(stdout, command);
    } else if (command) {
        hn_help_command(stdout, command, cli->out.width);
    } else {
        hn_help_overview(stdout, cli->out.width);
    }
    return HN_OK;
}

static const hn_option OPTIONS[] = {
    {"man", 0, HN_OPT_FLAG, NULL, NULL, "The man page as roff"},
    {"list", 0, HN_OPT_FLAG, NULL, NULL, "The names of all commands, one a line"},
    {0},
};

const hn_command HN_CMD_HELP = {
    .name = "help",
    .args = "[COMMAND]",
    .max_args = 2,
    .summary = "what the commands do and which options they take",
    .details = "Without an argument, lists the commands.",
    .groups = {OPTIONS},
    .examples = "hone help\nhone help help\nhone help data",
    .run = run,
};
