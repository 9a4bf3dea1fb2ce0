/* hone help: the overview, one command's help, or its man page. */
#include "cli/commands.h"

hn_status hn_cmd_help(hn_cli *cli, hn_error *err) {
    const hn_command *command = NULL;
    int n_words = 0;
    if (cli->opts.n_args > 0) {
        HN_TRY(hn_command_find(&command, &n_words, cli->opts.args, cli->opts.n_args, err));
        if (n_words < cli->opts.n_args)
            return hn_fail(err, HN_USAGE, "'%s' is no part of a command's name",
                           cli->opts.args[n_words]);
    }
    if (hn_cli_flag(cli, "list")) {
        for (const hn_command *c = HN_COMMANDS; c->name; c++)
            puts(c->name);
    } else if (hn_cli_flag(cli, "man")) {
        hn_help_man(stdout, command);
    } else if (command) {
        hn_help_command(stdout, command, cli->out.width);
    } else {
        hn_help_overview(stdout, cli->out.width);
    }
    return HN_OK;
}
