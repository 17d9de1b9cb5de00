"""What is said while observing: a line, and on a terminal one below it that changes."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from pgmux.config.model import ADMIN_DATABASE
from pgmux.ops import figures
from pgmux.ops.printing import printable, styled
from pgmux.ops.sizing.observation import Observation


class Progress:
    """On stderr, so that what is printed at the end can go into a file."""

    def __init__(self, terminal: Console, place: str, period: float) -> None:
        self._terminal = terminal
        self._place = place
        self._period = period
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        ends = " (Ctrl-C ends it early)" if self._terminal.is_terminal else ""
        said = f"Observing {printable(self._place)} for {figures.time(self._period)}{ends}"
        self._terminal.print(styled(said, ""))
        if self._terminal.is_terminal:
            self._bar = Bar(
                BarColumn(bar_width=30),
                TextColumn("{task.fields[seen]}", markup=False),
                console=self._terminal,
                transient=True,
            )
            self._bar.add_task("", total=self._period, seen="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, observation: Observation, elapsed: float) -> None:
        """What there is after `elapsed` seconds."""
        if self._bar is None or observation.last is None:
            return
        ours = [row for row in observation.last.pools if row.database != ADMIN_DATABASE]
        busy, waiting = sum(row.sv_active for row in ours), sum(row.cl_waiting for row in ours)
        seen = f"{figures.time(elapsed)}: {busy} servers busy, {waiting} clients waiting"
        for task in self._bar.task_ids:
            self._bar.update(task, completed=min(elapsed, self._period), seen=seen)
