"""`pgmux auth-setup`: the role, the function and the files that auth_query needs.

Exit codes: 0; 1 it is done and could not be tried from here; 2 nothing was changed; 3 it is done,
and the trial failed; 130 Ctrl-C.
"""

from __future__ import annotations

import sys

import click

from pgmux.cli.failures import carried_out
from pgmux.cli.passwords import read_password_file, type_password
from pgmux.cli.where import json_option, open_server, postgres_options
from pgmux.ops.auth_setup.report import as_plain, print_outcome
from pgmux.ops.auth_setup.setup import ROLE, SCHEMA, Setup
from pgmux.ops.auth_setup.work import Wish, set_up, undo
from pgmux.ops.files import exclusively
from pgmux.ops.printing import terminal, to_json
from pgmux.ops.severity import exit_code
from pgmux.ops.userlist.place import find_userlist


@click.command("auth-setup")
@click.argument("config_file", required=False)
@click.option(
    "--database",
    "databases",
    multiple=True,
    metavar="NAME",
    help="Ask in this one; may be repeated.",
)
@click.option("--all-databases", is_flag=True, help="Ask in each database that there is.")
@click.option(
    "--auth-dbname", metavar="NAME", help="Ask in this one for all (PgBouncer 1.19 and newer)."
)
@click.option("--role", metavar="NAME", default=ROLE, show_default=True, help="auth_user.")
@click.option(
    "--schema", metavar="NAME", default=SCHEMA, show_default=True, help="Where the function is."
)
@click.option("--connection-limit", type=click.IntRange(-1), help="Of the role; -1 is none.")
@click.option("--superusers", is_flag=True, help="Let the function find superusers.")
@click.option("--replication", is_flag=True, help="Let the function find replication roles.")
@click.option("--password-file", metavar="FILE", help="Read the role's password there; - is stdin.")
@click.option("--prompt", is_flag=True, help="Type the role's password; else a random one.")
@click.option("--rotate", is_flag=True, help="Give the role a new password.")
@click.option("--replace", is_flag=True, help="Take the place of a function made by others.")
@click.option("-o", "--output", metavar="FILE", help="The userlist. Else auth_file of the ini.")
@click.option("--edit", is_flag=True, help="Change auth_user, auth_query … in the ini file.")
@click.option("--undo", "is_undo", is_flag=True, help="Take out what this command has made.")
@postgres_options
@click.option("--dry-run", is_flag=True, help="Print the SQL, and change nothing.")
@json_option
def command(
    config_file: str | None,
    databases: tuple[str, ...],
    all_databases: bool,
    auth_dbname: str | None,
    role: str,
    schema: str,
    connection_limit: int | None,
    superusers: bool,
    replication: bool,
    password_file: str | None,
    prompt: bool,
    rotate: bool,
    replace: bool,
    output: str | None,
    edit: bool,
    is_undo: bool,
    dry_run: bool,
    postgres: str | None,
    no_password: bool,
    as_json: bool,
) -> None:
    """Make what auth_query needs: a role, a function that tells it verifiers, auth_file.

    \b
    pgmux auth-setup --postgres 'host=db1 user=postgres dbname=app' --dry-run
    pgmux auth-setup --postgres 'host=db1 user=postgres' --all-databases --edit pgbouncer.ini

    Without a database named it is that of the connection. A second run changes nothing. The role's
    password is never shown: it stands in the userlist, in clear, since no pooler can log in to
    PostgreSQL with a verifier alone.
    """
    if sum(map(bool, (databases, all_databases, auth_dbname))) > 1:
        raise click.UsageError("say one of --database, --all-databases and --auth-dbname")
    if password_file and prompt:
        raise click.UsageError("--password-file and --prompt exclude each other")

    def work() -> int:
        setup = Setup(
            role=role,
            schema=schema,
            superusers=superusers,
            replication=replication,
            connection_limit=connection_limit,
        )
        place = find_userlist(output, config_file)
        with open_server(postgres, may_ask=not no_password) as server:
            given = _given(role, password_file, prompt=prompt)
            wish = Wish(
                setup,
                databases,
                all_databases,
                auth_dbname,
                given,
                rotate=rotate,
                replace=replace,
                edit=edit,
                is_dry=dry_run,
            )
            edited = [place.config] if edit and place.config else []
            with exclusively(place.file, *edited):
                outcome = undo(server, wish, place) if is_undo else set_up(server, wish, place)
        if as_json:
            click.echo(to_json(as_plain(outcome)))
        else:
            print_outcome(outcome, terminal(), is_dry=dry_run, is_undo=is_undo)
        return exit_code(trial.severity for trial in outcome.trials)

    sys.exit(carried_out(work, "interrupted: say it again, what is done already stays"))


def _given(role: str, password_file: str | None, *, prompt: bool) -> str | None:
    """The password that somebody wants the role to have, None for a random one."""
    if prompt:
        return type_password(role, "say --password-file FILE")
    return None if password_file is None else read_password_file(password_file)
