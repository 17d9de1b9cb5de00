"""What `pgmux userlist` tells of an update, for people and as JSON: names, never secrets."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from pgmux.ops.printing import printable, styled, table
from pgmux.ops.userlist.roles import LeftOut
from pgmux.ops.userlist.update import Status, Update

_STYLES = {Status.NEW: "good", Status.CHANGED: "warning", Status.SAME: "dim"}


def as_plain(update: Update, left: Iterable[LeftOut], *, is_written: bool) -> dict[str, object]:
    """What --json prints."""
    return {
        "file": update.file,
        "written": is_written,
        "users": update.lines,
        "left_out": list(left),
        "other_users": len(update.others),
        "warning": update.warning,
    }


def print_update(
    update: Update, left: Iterable[LeftOut], out: Console, *, is_written: bool, is_dry: bool
) -> None:
    """A table of the users, who was left out and why, and what has been written."""
    if update.lines:
        rows = [
            (line.user, line.kind, styled(str(line.status), _STYLES[line.status]))
            for line in update.lines
        ]
        out.print(table(("user", "secret", "in the file"), rows))
    for each in left:
        style = "warning" if each.by_name else "note"
        out.print(styled(f"{style}: {each.user}: {each.why}", style))
    out.print(printable(_result(update, is_written=is_written, is_dry=is_dry)))
    if update.warning:
        out.print(styled(f"warning: {update.warning}", "warning"), soft_wrap=True)


def _result(update: Update, *, is_written: bool, is_dry: bool) -> str:
    others = f"; {len(update.others)} other users in it stay" if update.others else ""
    if is_dry:
        return f"{update.file}: would be {_verb(update)}{others}; nothing is written"
    if not is_written:
        return f"{update.file}: as it was, nothing is written{others}"
    return f"{update.file}: {_verb(update)}, mode {update.mode:04o}{others}"


def _verb(update: Update) -> str:
    if not update.needs_writing:
        return "left as it is"
    return "made" if update.is_new else "changed"
