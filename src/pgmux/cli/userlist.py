"""`pgmux userlist`: lines of userlist.txt from PostgreSQL's verifiers, or from typed passwords.

Exit codes: 0; 1 somebody who was named isn't in the file; 2 nothing could be done; 130 Ctrl-C.
"""

from __future__ import annotations

import sys

import click

from pgmux.auth.secrets import SecretKind
from pgmux.cli.failures import carried_out
from pgmux.cli.passwords import next_of_stdin, type_password
from pgmux.cli.where import json_option, open_server, postgres_options
from pgmux.ops.files import exclusively
from pgmux.ops.printing import printable, terminal, to_json
from pgmux.ops.severity import Severity, exit_code
from pgmux.ops.userlist.edit import UserlistError, edit_userlist
from pgmux.ops.userlist.place import find_userlist
from pgmux.ops.userlist.report import as_plain, print_update
from pgmux.ops.userlist.roles import LeftOut, Wanted, choose, read_roles, unknown_to_postgres
from pgmux.ops.userlist.secrets import make_secret
from pgmux.ops.userlist.update import update_of

STDOUT = "-"
_ABOUT = {
    SecretKind.SCRAM: "clients log in with it, and the pooler itself to a server that doesn't ask"
    " for SCRAM. Where the server does, the very verifier that PostgreSQL stores has to stand here"
    " (pgmux userlist NAME takes it), or the password in clear (--plain)",
    SecretKind.MD5: "an md5 secret is as good as the password for whoever reads it, and clients"
    " can't log in with it by SCRAM",
    SecretKind.PLAINTEXT: "the password stands in the file in clear. It has to, for a user whom the"
    " pooler itself logs in to a server that asks for SCRAM: auth_user, and user= of an entry"
    " without password=. For clients a SCRAM secret is enough",
}


@click.command("userlist")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All login roles of PostgreSQL.")
@click.option(
    "--pattern", "patterns", multiple=True, metavar="GLOB", help="Login roles like app_*."
)
@click.option(
    "--superusers",
    is_flag=True,
    help="With --all, --pattern: superusers and replication roles too.",
)
@click.option(
    "--prompt", "typed", multiple=True, metavar="NAME", help="A user whose password is typed here."
)
@click.option("--stdin", is_flag=True, help="Read --prompt's passwords from stdin, a line each.")
@click.option(
    "--verifiers",
    is_flag=True,
    help="With NAME: also where the file has the right password in clear.",
)
@click.option("--md5", is_flag=True, help="With --prompt: store an md5 secret, not SCRAM's.")
@click.option("--plain", is_flag=True, help="With --prompt: store the password in clear.")
@click.option(
    "-o", "--output", metavar="FILE", help="The userlist; - is stdout. Else auth_file of the ini."
)
@click.option("--config", metavar="FILE", help="A pgbouncer.ini whose auth_file it is.")
@postgres_options
@click.option("--dry-run", is_flag=True, help="Tell who would change, and write nothing.")
@json_option
def command(
    names: tuple[str, ...],
    everybody: bool,
    patterns: tuple[str, ...],
    superusers: bool,
    typed: tuple[str, ...],
    stdin: bool,
    verifiers: bool,
    md5: bool,
    plain: bool,
    output: str | None,
    config: str | None,
    dry_run: bool,
    postgres: str | None,
    no_password: bool,
    as_json: bool,
) -> None:
    """Put users into userlist.txt, with PostgreSQL's verifiers or of typed passwords.

    \b
    pgmux userlist --postgres 'host=db1 user=postgres' --all
    pgmux userlist --postgres 'host=db1 user=postgres' ada bob
    pgmux userlist --prompt ada

    Other users, comments and the order of lines in the file stay. Nothing is sent to PostgreSQL
    but the question for its verifiers, and no secret is printed unless --output is -.
    """
    wanted = Wanted(names, patterns, everybody, superusers)
    is_asked = bool(names or patterns or everybody)
    _check_usage(is_asked, typed, stdin=stdin, md5=md5, plain=plain)
    if verifiers and (not names or patterns or everybody or typed):
        raise click.UsageError(
            "--verifiers is for users by NAME alone: auth_user, and whom user= of an entry names,"
            " need their password in clear"
        )
    kind = SecretKind.MD5 if md5 else SecretKind.PLAINTEXT if plain else SecretKind.SCRAM
    if output == STDOUT and (as_json or dry_run):
        raise click.UsageError("--output - prints the secrets: neither --json nor --dry-run")

    def work() -> int:
        secrets: dict[str, str] = {}
        left: list[LeftOut] = []
        roles = None
        if is_asked:
            with open_server(postgres, may_ask=not no_password) as server:
                roles = read_roles(server)
            secrets, left = choose(roles, wanted)
        passwords = {user: _password(user, stdin=stdin) for user in typed}
        secrets |= {user: _secret(user, word, kind) for user, word in passwords.items()}
        if typed:
            level = "NOTE" if kind is SecretKind.SCRAM else "WARNING"
            click.echo(f"{level} {_ABOUT[kind]}", err=True)
        if output == STDOUT:
            return _print_lines(secrets, left)
        place = find_userlist(output, config)
        with exclusively(place.file):
            update = update_of(place.file, secrets, passwords, keep_plain=not verifiers)
            if roles and everybody:
                left += unknown_to_postgres(update.others, roles)
            is_written = not dry_run and bool(secrets) and update.write(place.config)
        if as_json:
            click.echo(to_json(as_plain(update, left, is_written=is_written)))
        else:
            print_update(update, left, terminal(), is_written=is_written, is_dry=dry_run)
        return _exit_code(left)

    sys.exit(carried_out(work, "interrupted: nothing is written"))


def _password(user: str, *, stdin: bool) -> str:
    return next_of_stdin(user) if stdin else type_password(user, "say --stdin, a line each")


def _check_usage(
    is_asked: bool, typed: tuple[str, ...], *, stdin: bool, md5: bool, plain: bool
) -> None:
    if not is_asked and not typed:
        raise click.UsageError("whom? Say NAME..., --all, --pattern GLOB or --prompt NAME")
    if md5 and plain:
        raise click.UsageError("--md5 and --plain exclude each other")
    if (md5 or plain or stdin) and not typed:
        raise click.UsageError(
            "--md5, --plain and --stdin are for --prompt: PostgreSQL's verifiers are as they are"
        )


def _secret(user: str, password: str, kind: SecretKind) -> str:
    try:
        return make_secret(user, password, kind)
    except ValueError as error:
        raise UserlistError(f"{printable(user)}: {error}") from error


def _print_lines(secrets: dict[str, str], left: list[LeftOut]) -> int:
    click.echo(edit_userlist("", "stdout", secrets), nl=False)
    for each in left:
        click.echo(f"WARNING {printable(each.user)}: {each.why}", err=True)
    return _exit_code(left)


def _exit_code(left: list[LeftOut]) -> int:
    return exit_code(Severity.WARNING if each.by_name else Severity.NOTE for each in left)
