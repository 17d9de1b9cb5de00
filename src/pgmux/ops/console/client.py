"""Lines and commands in, results on stdout; notices and errors on stderr.

The lines of the prompt and of a pipe mean the same: the console's commands, and a few of our own
(`\\q`, `\\x`, `\\?`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from pgmux.ops.console.connection import (
    ConnectError,
    ConnectionLost,
    ConsoleError,
    Interrupted,
)
from pgmux.ops.console.hints import find_hint
from pgmux.ops.console.output import Style, printable, render_rich, render_text
from pgmux.ops.console.place import Place
from pgmux.ops.console.result import Result
from pgmux.ops.console.session import AskPassword, Session
from pgmux.ops.console.statements import split_statements


class OutputError(Exception):
    """Results can't be written to stdout."""


FAILURES = (ConsoleError, ConnectError, ConnectionLost, Interrupted, OutputError)
_LEAVE = ("\\q", "exit", "quit")
_HELP = ("\\?", "help")


def tell(text: str) -> None:
    """A line for whoever sits there, on stderr."""
    print(printable(text, keep="\n\t"), file=sys.stderr, flush=True)


def drop_output() -> None:
    """What stdout still holds goes nowhere: Python's end would fail on it once more."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def describe(error: Exception, place: Place) -> str:
    """An error, with what has been tried and what to do where there is no connection."""
    if not isinstance(error, ConnectError):
        return str(error)
    user = place.parameters.get("user")
    what = f"no connection{f' as user {user}' if user else ''} (where: {place.source}):"
    return "\n".join(filter(None, (what, str(error), find_hint(str(error)))))


class Client:
    """Runs commands and shows what they answer, on stdout."""

    def __init__(self, place: Place, ask_password: AskPassword, style: Style) -> None:
        self.place = place
        self.session = Session(place, ask_password, tell)
        self.style = style
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._is_terminal = sys.stdout.isatty()

    def run(self, text: str) -> None:
        """The commands of a text, up to the first that fails. Raises: one of FAILURES."""
        for statement in split_statements(text):
            self._show(self.session.run(statement))

    def run_line(self, line: str) -> bool:
        """One line; whether there is to be another. Raises: one of FAILURES."""
        word = line.strip().rstrip(";").lower()
        if word in _LEAVE:
            return False
        if word == "\\x":
            self.style = replace(self.style, expanded=not self.style.expanded)
            tell(f"Expanded display is {'on' if self.style.expanded else 'used where needed'}.")
        elif word.startswith("\\") and word not in _HELP:
            tell(f"There is no {word}: only \\q, \\x and \\?; all else is the console's.")
        else:
            self.run("SHOW HELP" if word in _HELP else line)
        return True

    def run_prompt(self, lines: Iterable[str]) -> None:
        """Line by line to the end; errors are told."""
        for line in lines:
            try:
                if not self.run_line(line):
                    return
            except FAILURES as error:
                tell(describe(error, self.place))

    def watch(self, statement: str, seconds: float) -> None:
        """The command again and again until Ctrl-C; on a terminal in one place."""
        if not self._is_terminal or self._console.is_dumb_terminal:
            while True:
                self._show(self.session.run(statement))
                time.sleep(seconds)
        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                result = self.session.run(statement)
                title = f"{time.strftime('%H:%M:%S')}  {statement}  (every {seconds:g} s)"
                live.update(Group(Text(title, style="dim"), self._rendered(result)), refresh=True)
                time.sleep(seconds)

    def _show(self, result: Result) -> None:
        try:
            if self._is_terminal:
                self._console.print(self._rendered(result))
            elif text := render_text(result, self.style):
                print(text, flush=True)
        except BrokenPipeError:  # `… | head`: Click ends without a word
            raise
        except OSError as error:
            drop_output()
            raise OutputError(f"cannot write to stdout: {error.strerror}") from error

    def _rendered(self, result: Result) -> RenderableType:
        return render_rich(result, self.style, self._console)
