"""`pgmux check`: what is wrong with a deployment of pgmux or PgBouncer, and what to do about it.

Exit codes: 0 good; 1 warnings; 3 errors; 2 nothing could be judged; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from pgmux.cli.place import ask_password
from pgmux.cli.where import console_option, find_console, json_option, open_server, postgres_options
from pgmux.config.model import Config
from pgmux.ops.check import outside
from pgmux.ops.check.collected import Collected
from pgmux.ops.check.evidence import Evidence, Unread
from pgmux.ops.check.facts import ConsoleFacts
from pgmux.ops.check.facts.outside import SPEAKS, Answers
from pgmux.ops.check.gather import console, local, server, targets
from pgmux.ops.check.judge import Report, judge
from pgmux.ops.check.report import json_of, print_outside, print_report
from pgmux.ops.check.rules import OUTSIDE_RULES, RULES
from pgmux.ops.printing import terminal
from pgmux.ops.server_connection import ServerConnection, ServerError
from pgmux.ops.severity import UNUSABLE, exit_code


@click.command("check")
@click.argument("config_file", default="/etc/pgbouncer/pgbouncer.ini")
@click.option(
    "--env-file",
    "env_files",
    multiple=True,
    metavar="FILE",
    help="Variables of an application, or airflow.cfg; besides those beside the configuration.",
)
@click.option(
    "--compose",
    "compose_files",
    multiple=True,
    metavar="FILE",
    help="A compose file, instead of those beside the configuration.",
)
@click.option("--from", "place", metavar="HOST:PORT", help="Only look what answers there.")
@click.option(
    "-U", "--user", metavar="NAME", default="postgres", help="With --from: whose login to begin."
)
@postgres_options
@console_option
@json_option
def command(
    config_file: str,
    postgres: str | None,
    no_password: bool,
    console: str | None,
    env_files: tuple[str, ...],
    compose_files: tuple[str, ...],
    place: str | None,
    user: str,
    as_json: bool,
) -> None:
    """Look for what is wrong with a deployment, of pgmux or PgBouncer.

    Reads the configuration and the files that it names, compose files, .env and airflow.cfg beside
    it, this machine's firewall and limits; asks the pooler's console, and PostgreSQL by --postgres,
    else by libpq's variables, else as the pooler itself logs in.

    \b
    pgmux check /etc/pgbouncer/pgbouncer.ini
    pgmux check pgbouncer.ini --postgres 'host=db user=postgres' --console 'host=pooler port=6432'
    pgmux check --from db.example.com:6432       what answers there, without a login
    """
    if place is not None:
        look_from_outside(place, user, as_json=as_json)
    collected = Collected(config_file)
    config = look(collected, config_file, env_files, compose_files)
    evidence = ask(collected, config, postgres, console, may_ask=not no_password)
    is_known = any((evidence.config, evidence.console, evidence.servers))
    finish(judge(evidence, RULES), is_known=is_known, as_json=as_json)


def look(
    collected: Collected, config_file: str, env_files: Sequence[str], compose_files: Sequence[str]
) -> Config | None:
    """What files, variables and this machine show; the configuration, if it can be used."""
    config: Config | None = None
    for part, found, besides in local.gather(config_file, env_files, compose_files):
        kept = collected.keep(part, found, besides)
        config = kept if isinstance(kept, Config) else config
    return config


def ask(
    collected: Collected,
    config: Config | None,
    postgres: str | None,
    place: str | None,
    *,
    may_ask: bool,
) -> Evidence:
    """What the console and PostgreSQL tell, in the order in which one says where another is."""
    found = _ask_console(place, collected.config_file, config, may_ask=may_ask)
    told = collected.keep("console", found)
    _ask_servers(collected, server.Wanted(config, told), postgres, may_ask=may_ask)
    return collected.evidence()


def finish(report: Report, *, is_known: bool, as_json: bool) -> NoReturn:
    """Prints the report and ends with the exit code of the worst of it; nothing found of a
    deployment that isn't known (neither configuration nor pooler nor PostgreSQL) is no good news.
    """
    if as_json:
        click.echo(json_of(report))
    else:
        print_report(report, terminal())
    code = exit_code(finding.severity for finding in report.findings)
    sys.exit(code if code or is_known else UNUSABLE)


def look_from_outside(place: str, user: str, *, as_json: bool) -> NoReturn:
    """Who answers at an address, and what is wrong with that; reads nothing else."""
    try:
        facts = outside.look(place, user)
    except outside.OutsideError as error:
        raise click.UsageError(f"--from: {error}") from error
    report = judge(Evidence("", outside=facts), OUTSIDE_RULES)
    if as_json:
        click.echo(json_of(report, facts))
    else:
        print_outside(facts, terminal())
        if facts.answers in SPEAKS:
            print_report(report, terminal())
    if facts.answers is Answers.UNREACHABLE:
        sys.exit(UNUSABLE)
    sys.exit(exit_code(finding.severity for finding in report.findings))


def _ask_console(
    place: str | None, config_file: str, config: Config | None, *, may_ask: bool
) -> ConsoleFacts | Unread:
    """By --console, where a password may be asked for; else where the configuration says."""
    if place is not None:
        where = find_console(place, config_file)
        told = console.gather(where, config)
        if may_ask and isinstance(told, Unread) and console.wants_password(told):
            password = ask_password(where)
            return told if password is None else console.gather(where.with_password(password))
        return told
    advice = "--console 'host=… port=… user=…'"
    if config is None or not os.path.exists(config_file):
        return Unread("console", "nothing says where it is", advice)
    try:
        return console.gather(find_console(None, config_file), config)
    except click.UsageError as error:
        return Unread("console", error.message, advice)


def _ask_servers(
    collected: Collected, wanted: server.Wanted, postgres: str | None, *, may_ask: bool
) -> None:
    """The one that the user names, and those of [databases]."""
    named: ServerConnection | None = None
    refused: list[Unread] = []
    if postgres or targets.has_libpq_variables():
        try:
            named = _unless_pooler(open_server(postgres, may_ask=may_ask), wanted.in_force)
        except ServerError as error:
            refused = [Unread("servers", str(error))]
    try:
        found, unread = server.gather(wanted, named)
    finally:
        if named is not None:
            named.close()
    unread = refused + unread
    nobody = Unread("servers", "no PostgreSQL was asked", "--postgres 'host=… port=… user=…'")
    collected.keep("servers", found or (unread.pop() if unread else nobody), unread)


def _unless_pooler(named: ServerConnection, config: Config) -> ServerConnection:
    """The same. Raises: ServerError where it is the pooler, as PGPORT of an application has it."""
    host, _, port = named.place.rpartition(":")
    if targets.is_pooler((host, int(port)), config):
        named.close()
        raise ServerError(f"{named.place} is the pooler: name PostgreSQL's own host and port")
    return named
