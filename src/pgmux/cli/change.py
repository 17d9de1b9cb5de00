"""What `pgmux user` and `pgmux database` share: options, the order of things, what is printed.

Exit codes: 0 done; 1 done, with warnings; 3 RELOAD or the trial failed; 2 nothing was done, as it
can't be; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar

import click

from pgmux.cli.failures import say_error
from pgmux.cli.options import no_password_option, together
from pgmux.cli.place import ask_password
from pgmux.cli.where import console_option, find_console, json_option
from pgmux.config.params import Param
from pgmux.errors import PgmuxError
from pgmux.ops.console.client import describe, tell
from pgmux.ops.console.place import CONFIG_FILES, Place
from pgmux.ops.entries.change import CONSOLE_FAILURES, Change, Outcome, carry_out
from pgmux.ops.entries.deployment import Deployment
from pgmux.ops.entries.running import Running
from pgmux.ops.entries.user import plain_passwords
from pgmux.ops.files import exclusively
from pgmux.ops.printing import printable, to_json
from pgmux.ops.severity import UNUSABLE, exit_code

Command = TypeVar("Command", bound=Callable[..., Any])
Make = Callable[[Deployment, Running | None], Change]

# Gives a command the parameters of `Options`; they come in as keyword arguments.
change_options = together(
    click.option(
        "--config",
        metavar="FILE",
        help="pgbouncer.ini; else that of this directory or of /etc/pgbouncer.",
    ),
    console_option,
    no_password_option,
    click.option("--no-reload", is_flag=True, help="Write the files, and leave the pooler alone."),
    click.option("--keep", is_flag=True, help="Keep the files even if RELOAD or the trial fails."),
    click.option("--dry-run", is_flag=True, help="Show what would change; secrets are hidden."),
    json_option,
)


@dataclass(frozen=True, slots=True)
class Options:
    """The values of `change_options`."""

    config: str | None
    console: str | None
    as_json: bool
    no_password: bool
    dry_run: bool
    no_reload: bool
    keep: bool

    @property
    def path(self) -> str:
        """The ini file. Raises: click.UsageError."""
        path = self.config or next(filter(os.path.exists, CONFIG_FILES), None)
        if path is None:
            raise click.UsageError(f"no {' and no '.join(CONFIG_FILES)}: name one by --config")
        return path


def key_options(
    table: Mapping[str, Param], *, but: tuple[str, ...] = ()
) -> Callable[[Command], Command]:
    """An option for each key of an entry: --pool-size of pool_size; None where it isn't said."""
    return together(
        *(
            click.option(f"--{key.replace('_', '-')}", key, metavar="VALUE", help=param.help)
            for key, param in table.items()
            if key not in but
        )
    )


def split(values: dict[str, Any]) -> tuple[Options, dict[str, str | None]]:
    """The options that every change has, and the rest, keys of the entry."""
    common = {name: values.pop(name) for name in Options.__slots__}
    return Options(**common), values


def given(keys: Mapping[str, str | None]) -> dict[str, str]:
    """The keys that the command line says."""
    return {key: value for key, value in keys.items() if value is not None}


def perform(options: Options, make: Make) -> NoReturn:
    """Carries out what `make` edits, prints it, and exits."""
    try:
        outcome = _perform(options, make)
    except (PgmuxError, ValueError) as error:
        fail(options, str(error))
    _print(options, outcome)
    sys.exit(exit_code([outcome.severity]))


def fail(options: Options, message: str) -> NoReturn:
    """Nothing has been done: says why, and exits."""
    if options.as_json:
        click.echo(to_json(Outcome("nothing", failure=message)))
    say_error(message)
    sys.exit(UNUSABLE)


def _perform(options: Options, make: Make) -> Outcome:
    with ExitStack() as stack:
        stack.enter_context(exclusively(*Deployment(options.path).files))
        deployment = Deployment(options.path)
        running = None
        if not (options.dry_run or options.no_reload):
            running = _open_running(options, deployment)
            stack.callback(running.close)
        change = make(deployment, running)
        if options.dry_run:
            change.outcome.diff = deployment.texts.diff()
            change.outcome.changed = deployment.texts.changed
            return change.outcome
        return carry_out(change, running, keep=options.keep)


def _open_running(options: Options, deployment: Deployment) -> Running:
    place = _with_known_password(find_console(options.console, options.path), deployment)

    def ask() -> str | None:
        return None if options.no_password else ask_password(place)

    running = Running(place, ask, tell)
    try:
        running.session.open()
    except CONSOLE_FAILURES as error:
        text = f"{describe(error, place)}\nnothing is changed; --no-reload writes the files alone"
        fail(options, text)
    return running


def _with_known_password(place: Place, deployment: Deployment) -> Place:
    """With that of auth_file, where it stands there as it is and nobody has said another."""
    user = place.parameters.get("user", "")
    known = plain_passwords(deployment.config).get(user)
    if known is None or "password" in place.parameters or os.environ.get("PGPASSWORD"):
        return place
    return replace(place, parameters={**place.parameters, "password": known})


def _print(options: Options, outcome: Outcome) -> None:
    if options.as_json:
        click.echo(to_json({"severity": str(outcome.severity), **_plain(outcome)}))
        return
    if options.dry_run:
        click.echo(printable(outcome.diff, keep="\n\t"))
        click.echo("dry run: nothing is changed", err=True)
    for warning in outcome.warnings:
        click.echo(f"WARNING {printable(warning)}", err=True)
    for note in outcome.notes:
        click.echo(printable(note))
    if outcome.failure:
        say_error(outcome.failure)
    elif not options.dry_run:
        how = "reloaded, and SHOW has it" if outcome.is_reloaded else "not reloaded (--no-reload)"
        if outcome.tried:
            how += f"; tried as {outcome.tried}"
        click.echo(printable(f"{outcome.what}: {', '.join(outcome.changed)}; {how}"))


def _plain(outcome: Outcome) -> dict[str, object]:
    names = ("what", "changed", "diff", "is_reloaded", "tried", "notes", "warnings", "failure")
    return {name: getattr(outcome, name) for name in names}
