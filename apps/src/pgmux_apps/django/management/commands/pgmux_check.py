"""`manage.py pgmux_check`: the system checks of tag pgmux, and what database and pooler answer.

Exit code: 0; 1 where a message has at least --fail-level; 2 for a wrong command line; 130 at ^C.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.management.color import no_style
from django.db import connections

from pgmux_apps.django.checks import messages_of
from pgmux_apps.django.live.ask import How, ask
from pgmux_apps.django.live.facts import Facts
from pgmux_apps.django.live.iterators import find_calls
from pgmux_apps.django.live.judge import (
    as_answered,
    messages_about,
    messages_about_direct,
    overruled_by,
)
from pgmux_apps.django.live.report import as_text, rows_of
from pgmux_apps.django.project import Project, project_of_settings
from pgmux_apps.django.rules import Rule

LEVELS = {name: getattr(checks, name) for name in ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")}
PASSWORD_VARIABLE = "PGMUX_CONSOLE_PASSWORD"
SHOWN_CALLS = 5


class Command(BaseCommand):
    help = (
        "Checks how this project uses a PostgreSQL pooler: the settings, and what the databases "
        "and the pooler's console answer."
    )
    requires_system_checks = ()  # it runs its own, and reports them with the rest

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database",
            action="append",
            metavar="ALIAS",
            dest="databases",
            help="Ask this alias only; may be given several times. Default: all of PostgreSQL.",
        )
        parser.add_argument("--json", action="store_true", help="Print JSON.")
        parser.add_argument(
            "--fail-level",
            default="ERROR",
            choices=tuple(LEVELS),
            help="Messages of this level and above make the exit code 1. Default: ERROR.",
        )
        parser.add_argument(
            "--console-user",
            metavar="NAME",
            help="Who reads the pooler's console: one of its stats_users or admin_users; the "
            f"password is in {PASSWORD_VARIABLE} or ~/.pgpass. Default: the alias's own user.",
        )
        parser.add_argument(
            "--timeout",
            type=_seconds,
            default=10.0,
            metavar="SECONDS",
            help="For the answers of one database or console. Default: 10.",
        )
        for name, what in (("processes", "of this project, on all machines"), ("threads", "each")):
            parser.add_argument(
                f"--{name}",
                type=_count,
                metavar="N",
                help=f"How many {name} {what}; compared with max_client_conn. Default: PGMUX's.",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        if os.environ.get("NO_COLOR") and not options["force_color"]:
            self.style = no_style()
        try:
            failed = self._check(options)
            self.stdout.flush()
        except KeyboardInterrupt:
            sys.exit(130)  # as a shell has it for SIGINT
        except BrokenPipeError:  # `manage.py pgmux_check | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed at exit
            sys.exit(1)
        if failed:
            sys.exit(1)

    def _check(self, options: Mapping[str, Any]) -> bool:
        """Prints all that is found; whether some of it reaches the fail level."""
        project, problems = project_of_settings()
        project = replace(
            project,
            processes=options["processes"] or project.processes,
            threads=options["threads"] or project.threads,
        )
        names = _wanted(options["databases"]) or list(project.aliases)
        if trouble := _trouble_with_databases():
            problems.append(trouble)
        found = {
            name: self._ask(project, name, options)
            for name in names
            if name in project.aliases and not trouble
        }
        messages = [*problems, *_messages(found, project, names)]
        shown = [each for each in messages if not each.is_silenced()]
        failed = any(each.level >= LEVELS[options["fail_level"]] for each in shown)
        if options["json"]:
            self._print_json(found, project, shown, failed)
        else:
            self._print(found, project, shown, len(messages) - len(shown), names)
        return failed

    def _ask(self, project: Project, name: str, options: Mapping[str, Any]) -> Facts:
        def say(text: str) -> None:
            if options["verbosity"] > 0:
                self.stderr.write(f"{text} …", self.style.HTTP_INFO)

        how = How(
            console_user=options["console_user"],
            console_password=os.environ.get(PASSWORD_VARIABLE),
            timeout=options["timeout"],
            say=say,
        )
        return ask(project.aliases[name], connections.settings[name], how)

    def _print(
        self,
        found: Mapping[str, Facts],
        project: Project,
        messages: list[CheckMessage],
        silenced: int,
        names: list[str],
    ) -> None:
        color = self.stdout.isatty() and not os.environ.get("NO_COLOR")
        for name, facts in found.items():
            title = f"{name}: {facts.alias.dbname} at {facts.address}"
            self.stdout.write(as_text(title, rows_of(facts, project), color=color))
        for name in names:
            if name not in found:
                self.stdout.write(f"{name}: not a PostgreSQL alias, so not asked.\n\n")
        for message in sorted(messages, key=lambda each: -each.level):
            style = self.style.ERROR if message.is_serious() else self.style.WARNING
            self.stdout.write(f"{style(str(message))}\n\n")
        self.stdout.write(f"Messages: {len(messages)} ({silenced} silenced).")

    def _print_json(
        self,
        found: Mapping[str, Facts],
        project: Project,
        messages: list[CheckMessage],
        failed: bool,
    ) -> None:
        said = {
            "aliases": {
                name: {
                    "address": facts.address,
                    "is_pooled": facts.is_pooled,
                    "pooler": facts.pooler and facts.pooler.kind,
                    "pooler_version": facts.pooler and facts.pooler.version,
                    "pool_mode": facts.pooler and facts.pooler.pool_mode,
                    "login_seconds": facts.login,
                    "query_seconds": facts.query,
                    "facts": dict(rows_of(facts, project)),
                    "unknown": facts.unknown,
                }
                for name, facts in found.items()
            },
            "messages": [
                {
                    "id": each.id,
                    "level": _level_name(each.level),
                    "place": each.obj,
                    "message": each.msg,
                    "hint": each.hint,
                }
                for each in messages
            ],
            "failed": failed,
        }
        self.stdout.write(json.dumps(said, indent=2, ensure_ascii=False))


def _wanted(databases: list[str] | None) -> list[str]:
    """The aliases that --database names. Raises: CommandError."""
    known = list(settings.DATABASES) if isinstance(settings.DATABASES, dict) else []
    for name in databases or ():
        if name not in known:
            text = f"--database {name}: the aliases are {', '.join(known) or 'none'}"
            raise CommandError(text, returncode=2)
    return databases or []


def _trouble_with_databases() -> CheckMessage | None:
    """What keeps Django from using any alias; with models among the applications it ends sooner."""
    try:
        list(connections)
    except (ImproperlyConfigured, AttributeError, TypeError) as error:
        text = str(error).partition("\n")[0].rstrip(".")
        hint = "Django's documentation of settings has what DATABASES may be."
        return Rule.DATABASES_SETTING.found("DATABASES", f"Django can't use it: {text}.", hint)
    return None


def _messages(
    found: Mapping[str, Facts], project: Project, names: list[str]
) -> Iterator[CheckMessage]:
    overruled = {(f.alias.place, rule.id) for f in found.values() for rule in overruled_by(f)}
    for message in messages_of(as_answered(project, found), names):
        if (message.obj, message.id) not in overruled:
            yield message
    yield from _live_messages(found, project)


def _live_messages(found: Mapping[str, Facts], project: Project) -> Iterator[CheckMessage]:
    for facts in found.values():
        yield from messages_about(facts, project)
        direct = found.get(facts.alias.direct or "")
        if facts.alias.pooler is not None and direct is not None:
            yield from messages_about_direct(facts, direct)
    cursors = any(
        facts.is_pooled
        and facts.alias.server_side_cursors
        and Rule.SERVER_SIDE_CURSORS not in overruled_by(facts)
        for facts in found.values()
    )
    if cursors and (calls := find_calls()):
        more = f" and {len(calls) - SHOWN_CALLS} more" if len(calls) > SHOWN_CALLS else ""
        yield Rule.ITERATOR_CALLS.found(
            "INSTALLED_APPS",
            f"Calls of .iterator() outside `with atomic()`: {', '.join(calls[:SHOWN_CALLS])}{more}."
            " Whether they are a query's isn't known from source.",
            f"See {Rule.SERVER_SIDE_CURSORS.id}.",
        )


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise ArgumentTypeError(f"{text!r} isn't an integer from 1 to 100000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ArgumentTypeError(f"{text!r} isn't a number of seconds up to 3600")
    return seconds


def _level_name(level: int) -> str:
    return next(name for name, value in LEVELS.items() if value == level)
