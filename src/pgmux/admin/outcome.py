"""What a query on the console comes to: rows of a table, or an action and what that has done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgmux.admin.table import Table


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command that isn't done yet; `database` is None for all of them."""

    command: str
    database: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command without rows has done.

    `tag` is its CommandComplete's, to be sent when `waiting` is over; None is that of an empty
    query. `notice` is a message and its detail; `status` is what ReadyForQuery says from now on,
    None for no change; `deallocate` is the prepared statement to forget, "all" for all of them.
    """

    tag: str | None
    waiting: Waiting | None = None
    notice: tuple[str, str] | None = None
    status: int | None = None
    deallocate: str | None = None


Action = Callable[[], Outcome]
Statement = Table | Action
