"""What `pgmux auth-setup` tells of its outcome: statements with the verifier masked, no secret."""

from __future__ import annotations

from dataclasses import asdict, fields

from rich.console import Console
from rich.text import Text

from pgmux.ops.auth_setup.work import Outcome
from pgmux.ops.printing import printable, styled

_NEWER = "auth_dbname is of PgBouncer 1.19 and newer, and names an entry of [databases]"


def as_plain(outcome: Outcome) -> dict[str, object]:
    """What --json prints."""
    plain = {each.name: getattr(outcome, each.name) for each in fields(outcome)}
    trials = [{**asdict(each), "severity": str(each.severity)} for each in outcome.trials]
    return {**plain, "trials": trials}


def print_outcome(outcome: Outcome, out: Console, *, is_dry: bool, is_undo: bool) -> None:
    """The databases, auth_file, pgbouncer.ini, and how the function was tried."""
    for each in outcome.databases:
        if each.statements:
            out.print(Text(printable(f"-- database {each.database}"), "bold"), soft_wrap=True)
            for statement in each.statements:
                out.print(printable(statement, keep="\n"), soft_wrap=True)
        elif not is_undo:
            out.print(printable(f"-- database {each.database}: all is there already"))
    if not any(each.statements for each in outcome.databases) and is_undo:
        out.print("PostgreSQL has nothing that auth-setup has made.")
    if is_dry:
        out.print(styled("dry run: nothing of that is done, no file is changed", "note"))
    for trial in outcome.trials:
        style = "good" if str(trial.severity) == "note" else str(trial.severity)
        out.print(styled(f"database {trial.database}: {trial.text}", style), soft_wrap=True)
    _print_files(outcome, out, is_dry=is_dry, is_undo=is_undo)


def _print_files(outcome: Outcome, out: Console, *, is_dry: bool, is_undo: bool) -> None:
    if not is_dry:
        verb = "changed" if outcome.userlist_written else "as it was"
        out.print(printable(f"{outcome.userlist}: {verb}"), soft_wrap=True)
    if outcome.warning:
        out.print(styled(f"warning: {outcome.warning}", "warning"), soft_wrap=True)
    if outcome.ini_written:
        out.print(printable(f"{outcome.ini}: changed; RELOAD has the pooler read it"))
        return
    if not outcome.ini_lines:
        out.print(printable(f"{outcome.ini}: has auth_user and auth_query already"))
    elif is_undo:
        out.print(printable(f"; no longer in {outcome.ini or 'pgbouncer.ini'}, if they are there:"))
    else:
        out.print(printable(f"; {outcome.ini or 'pgbouncer.ini'} needs, before a RELOAD:"))
        out.print("[pgbouncer]")
    for key, value in outcome.ini_lines.items():
        out.print(printable(f"{key} = {value}"), soft_wrap=True)
    if "auth_dbname" in outcome.ini_lines:
        out.print(f"; {_NEWER}")
