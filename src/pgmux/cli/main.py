"""The Click group `pgmux`. A sub-command's module is imported when it is called, not before.

`run` is listed here for `pgmux --help` alone: `pgmux.__main__` has handed it to the daemon already.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from pgmux import __version__, _pure
from pgmux.ops.severity import INTERRUPTED

COMMANDS = {
    "auth-setup": "Make the role and the function that auth_query needs, in PostgreSQL.",
    "check": "Look for what is wrong with a deployment, of pgmux or PgBouncer.",
    "container": "Make pgbouncer.ini of the environment and run a command: an image's entry point.",
    "console": "Run commands of the admin console, of pgmux or PgBouncer.",
    "cutover": "Move applications from PostgreSQL's port to the pooler's, and see what came of it.",
    "database": "Add databases to a running pooler, or remove them, and try it.",
    "demo": "Show the problem and the cure: 300 clients at a real PostgreSQL.",
    "loadtest": "Put a load on PostgreSQL, straight, through a pooler, or both; judge it.",
    "init": "Write the files of a pooler for a PostgreSQL: ini files, userlist, compose, systemd.",
    "run": "Run the pooler: pgmux run [OPTION]... CONFIG_FILE [PGMUX_INI]",
    "size": "Advise on sizes of pools, by what was observed at a pooler, pgmux or PgBouncer.",
    "top": "Watch pools, applications and waiting clients, of pgmux or PgBouncer.",
    "shim": "Write an executable named pgbouncer into a directory.",
    "user": "Add users to a running pooler, or remove them, and try it.",
    "userlist": "Make lines of userlist.txt, from PostgreSQL's verifiers or typed passwords.",
    "web": "Serve a dashboard and metrics of a pooler, pgmux or PgBouncer, by HTTP.",
}


class LazyGroup(click.Group):
    """Command NAME is the object `command` of the module `pgmux.cli.NAME`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"pgmux.cli.{cmd_name.replace('-', '_')}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Ctrl-C ends every command alike, those apart that have something to say then."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            sys.exit(INTERRUPTED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message=f"pgmux %(version)s ({_pure.form()})")
def commands() -> None:
    """A PostgreSQL connection pooler that takes over a PgBouncer deployment as it stands."""
