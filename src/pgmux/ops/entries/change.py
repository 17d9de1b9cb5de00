"""A change carried out: written, reloaded, verified by SHOW, tried; or everything as before.

From writing on, whatever fails, Ctrl-C too, puts the old files back and has the pooler RELOAD them,
unless the change is to be kept.
Errors: `FileError` where nothing could be written; those of the console before anything is. What
fails later is in the `Outcome`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pgmux.errors import PgmuxError
from pgmux.ops.console.connection import ConnectError, ConnectionLost, ConsoleError, Interrupted
from pgmux.ops.entries.deployment import Deployment
from pgmux.ops.entries.running import Expectation, Running
from pgmux.ops.files import change_file
from pgmux.ops.severity import Severity

CONSOLE_FAILURES = (ConnectError, ConsoleError, ConnectionLost, Interrupted)


class Refused(PgmuxError):
    """The change isn't made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A login that has to work once the change is in force; `password` None: none is needed."""

    dbname: str
    user: str
    password: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Outcome:
    """What has happened. `changed`: the files that are different now; `failure`: why not."""

    what: str
    changed: list[str] = field(default_factory=list)
    diff: str = ""
    is_reloaded: bool = False
    tried: str = ""
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failure: str = ""

    @property
    def severity(self) -> Severity:
        if self.failure:
            return Severity.ERROR
        return Severity.WARNING if self.warnings else Severity.NOTE


@dataclass(slots=True)
class Change:
    """What is to be done. One of the `trials` has to work; without any, `untried` says why.

    `interim`: a file and a text that the pooler has to have read before the change.
    """

    deployment: Deployment
    outcome: Outcome
    expected: list[Expectation] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    untried: str = ""
    interim: tuple[str, str] | None = field(default=None, repr=False)


def carry_out(change: Change, running: Running | None, *, keep: bool) -> Outcome:
    """Does it; without `running` the files are written and that is all. Raises: FileError."""
    outcome = change.outcome
    texts = change.deployment.texts
    outcome.changed = texts.changed
    if not outcome.changed:
        outcome.notes.append("the files say so already")
    if running is None:
        texts.write()
        return outcome
    try:
        if change.interim is not None:
            change_file(*change.interim)
            running.reload()
        texts.write()
        outcome.failure = _take_over(change, running)
    except BaseException:
        if not keep:
            _undo(change, running)
        raise
    if outcome.failure and not keep:
        outcome.failure += f" ({_undo(change, running)})"
        outcome.changed, outcome.is_reloaded, outcome.tried = [], False, ""
    elif outcome.failure:
        outcome.failure += " (the files are kept as asked)"
    return outcome


def _take_over(change: Change, running: Running) -> str:
    """RELOAD, and what follows; why it isn't good, "" if it is."""
    try:
        running.reload()
        unmet = running.find_unmet(change.expected)
    except CONSOLE_FAILURES as error:
        return f"RELOAD: {error}"
    if unmet:
        return f"{running.name} has not taken it over, its log says why: {unmet}"
    change.outcome.is_reloaded = True
    return _try(change, running)


def _try(change: Change, running: Running) -> str:
    failures = []
    for trial in change.trials:
        what = f"user {trial.user} at database {trial.dbname}"
        failure = running.try_login(trial.dbname, trial.user, trial.password)
        if not failure:
            change.outcome.tried = f"{what}: SELECT 1 was answered"
            return ""
        failures.append(f"{what}: {failure}")
    if not failures:
        change.outcome.notes.append(change.untried)
    return f"the trial failed: {'; '.join(failures)}" if failures else ""


def _undo(change: Change, running: Running) -> str:
    """Old files, old configuration; says how that went."""
    steps: list[tuple[str, Callable[[], None]]] = [
        ("the files could not be put back", change.deployment.texts.restore),
        ("the files are as before, and the pooler could not be told", running.reload),
    ]
    for failed, step in steps:
        try:
            step()
        except (PgmuxError, *CONSOLE_FAILURES) as error:
            return f"{failed}: {error}"
    return "nothing is changed: the files are as before, and reloaded"
