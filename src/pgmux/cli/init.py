"""`pgmux init`: the files of a new deployment. Exit codes: 0 written; 1 written, with warnings;
2 nothing written; 130 after Ctrl-C.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import resource
import shutil
import sys
from dataclasses import replace

import click

from pgmux.cli.failures import say_error
from pgmux.cli.where import json_option, open_server, postgres_options, server_parameters
from pgmux.daemon.web_command import missing_libraries
from pgmux.errors import PgmuxError
from pgmux.ops.account import unprivileged_account
from pgmux.ops.files import write_files
from pgmux.ops.init.facts import Facts, read_facts
from pgmux.ops.init.plan import Plan, let_in, make_plan
from pgmux.ops.init.values import Asked
from pgmux.ops.printing import printable, to_json
from pgmux.ops.server_connection import ServerError
from pgmux.ops.severity import UNUSABLE, Severity, exit_code

HTTP_LISTEN = "127.0.0.1:9127"


@click.command("init")
@click.argument("directory", default=".", type=click.Path(file_okay=False))
@click.option("--listen", metavar="ADDRESS", help="listen_addr; 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65535), help="listen_port; 6432.")
@click.option(
    "--database",
    "databases",
    multiple=True,
    metavar="NAME",
    help="Served; may be repeated. Else those that PostgreSQL has.",
)
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="NAME",
    help="Let in; may be repeated. Else its login roles that are no superusers.",
)
@click.option("--admin", metavar="NAME", help="Made for the console; pgmux_admin.")
@click.option(
    "--http-listen",
    metavar="ADDRESS:PORT",
    help=f"Dashboard and metrics; {HTTP_LISTEN}; '' for none.",
)
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: take every default.")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@postgres_options
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@json_option
def command(
    directory: str,
    postgres: str | None,
    no_password: bool,
    listen: str | None,
    port: int | None,
    databases: tuple[str, ...],
    users: tuple[str, ...],
    admin: str | None,
    http_listen: str | None,
    yes: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the files of a pooler for a PostgreSQL into DIRECTORY.

    Sized by what PostgreSQL says, and closed by default: pgbouncer.ini, pgmux.ini, userlist.txt,
    compose.yaml, a systemd unit. On a terminal it asks, with the defaults shown.

    \b
    pgmux init /etc/pgmux --postgres 'host=db.internal user=postgres dbname=shop'
    """
    is_asking = not (yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty()
    try:
        if is_asking and postgres is None and not os.environ.get("PGHOST"):
            postgres = click.prompt("PostgreSQL", default="host=127.0.0.1 port=5432 user=postgres")
        facts, sslmode, ca_file = _facts(postgres, may_ask=not (no_password or yes))
        asked = Asked(
            os.path.abspath(directory),
            listen or "127.0.0.1",
            port or 6432,
            _http_listen(http_listen),
            databases or _named(postgres),
            users or None,
            admin or "pgmux_admin",
            sslmode=sslmode,
            ca_file=ca_file,
            program=_program(),
        )
        asked = _with_owner(_prompt(asked, facts) if is_asking else asked)
        plan = make_plan(asked, facts, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if not dry_run:
            _make_directory(asked.directory)
            write_files(plan.files, overwrite=force)
    except (PgmuxError, OSError) as error:
        say_error(str(error))
        sys.exit(UNUSABLE)
    _print(plan, is_dry=dry_run, as_json=as_json)
    sys.exit(exit_code([Severity.WARNING if plan.warnings else Severity.NOTE]))


def _make_directory(path: str) -> None:
    """The pooler's account has to get in, and nobody else may write there, whatever the umask."""
    before = os.umask(0o022)
    try:
        os.makedirs(path, exist_ok=True)
    finally:
        os.umask(before)


def _facts(postgres: str | None, *, may_ask: bool) -> tuple[Facts, str, str]:
    """What PostgreSQL says, or what is assumed; and the TLS that was asked for.

    Raises: ServerError where there is a PostgreSQL, and it doesn't let us in.
    """
    said = server_parameters(postgres)
    host = said.get("host") or os.environ.get("PGHOST") or "127.0.0.1"
    port = _port(said.get("port") or os.environ.get("PGPORT") or "5432")
    tls = (said.get("sslmode", ""), said.get("sslrootcert", ""))
    try:
        with open_server(postgres, may_ask=may_ask, host=host) as server:
            return (read_facts(server, host, port), *tls)
    except ServerError as error:
        if error.needs_password or error.sqlstate or "FATAL:" in str(error):
            raise
        default = Facts(host, port)
        remark = (
            f"{error}: assumed are max_connections = {default.max_connections},"
            f" {default.reserved} of them reserved, nobody connected"
        )
        return (replace(default, remarks=(remark,)), *tls)


def _port(text: str) -> int:
    """One for all hosts, as an entry of [databases] has it. Raises: click.UsageError."""
    if not re.fullmatch("[0-9]{1,5}", text):
        raise click.UsageError(f"--postgres: one number is expected as its port, not {text}")
    return int(text)


def _program() -> str:
    """Where this command is, for systemd."""
    beside = os.path.join(os.path.dirname(sys.executable), "pgmux")
    return os.path.abspath(shutil.which("pgmux") or beside)


def _named(postgres: str | None) -> tuple[str, ...]:
    """The database that the conninfo names."""
    name = server_parameters(postgres).get("dbname")
    return (name,) if name else ()


def _http_listen(asked: str | None) -> str:
    if asked is not None:
        return asked
    return "" if missing_libraries() else HTTP_LISTEN


def _prompt(asked: Asked, facts: Facts) -> Asked:
    """What isn't said on the command line is asked; the defaults are what it would be."""
    databases = click.prompt("Databases", default=",".join(asked.databases or facts.databases))
    known = ",".join(let_in(asked, facts))
    users = click.prompt("Users", default=known, show_default=bool(known))
    return replace(
        asked,
        listen=click.prompt("Listen on", default=asked.listen),
        port=click.prompt("Port", default=asked.port, type=click.IntRange(1, 65535)),
        databases=_split(databases),
        users=asked.users if users == known else _split(users) or None,
        admin=click.prompt("Admin of the console", default=asked.admin),
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _with_owner(asked: Asked) -> Asked:
    """Whose the pooler will be: ours, or as root an account that it can run as."""
    account = unprivileged_account()
    if account is not None:
        return replace(asked, owner=(account.pw_uid, account.pw_gid), account=account.pw_name)
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = getpass.getuser() if os.environ.get("USER") else str(os.geteuid())
    return replace(asked, owner=(os.geteuid(), os.getegid()), account=name)


def _print(plan: Plan, *, is_dry: bool, as_json: bool) -> None:
    values = plan.values
    paths = [file.path for file in plan.files]
    if as_json:
        said = {
            "files": paths,
            "written": not is_dry,
            "users": plan.users,
            "databases": values.databases,
            "sizes": values.sizes,
            "most_servers": plan.most_servers,
            "max_connections": values.facts.max_connections,
            "is_postgresql_known": values.facts.is_known,
            "warnings": plan.warnings,
        }
        click.echo(to_json(said))
        return
    for warning in plan.warnings:
        click.echo(f"WARNING {printable(warning)}", err=True)
    for path in paths:
        click.echo(printable(f"{'would write' if is_dry else 'wrote'} {path}"))
    sizes = values.sizes
    click.echo(
        f"{sizes.max_client_conn} clients, at most {plan.most_servers} connections of"
        f" {values.facts.max_connections} at PostgreSQL; users: {len(plan.users)}"
    )
    ini = f"{values.asked.directory}/pgbouncer.ini"
    click.echo(printable(f"next: pgmux run --check {ini} && pgmux run {ini}"))
    pgpass = f"PGPASSFILE={values.asked.directory}/admin.pgpass"
    click.echo(printable(f"console: {pgpass} pgmux console --config {ini} -U {values.asked.admin}"))
