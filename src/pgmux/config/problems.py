"""How a configuration's problems are worded and counted: bounded, and with the nearest known name.

A file may be anything, so nothing that it holds is repeated at length, compared at length, or
reported without end.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from pgmux.errors import ConfigError, Problem

Read = Callable[[str], str]

MAX_PROBLEMS = 100
_LONGEST_TEXT = 200
_LONGEST_NAME = 64


class Problems:
    """Collects what is wrong; raises ConfigError at the end, or once there is too much of it."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._warnings: dict[str, Problem] = {}

    def add(self, message: str, file: str, line: int = 0, hint: str = "") -> None:
        """Notes one problem; the loading goes on."""
        self._found.append(Problem(message, file, line, hint))
        if len(self._found) >= MAX_PROBLEMS:
            self._found.append(Problem("too many problems, stopping loading", file, line))
            self.raise_any()

    def warn(self, message: str, file: str, line: int = 0, hint: str = "") -> None:
        """Notes what is accepted and yet to be said; the first place of a message counts."""
        self._warnings.setdefault(message, Problem(message, file, line, hint))

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(self._warnings.values())

    def raise_any(self) -> None:
        """Raises: ConfigError with every problem in the order of the files, if there is one."""
        if self._found:
            files = list(dict.fromkeys(problem.file for problem in self._found))
            self._found.sort(key=lambda problem: (files.index(problem.file), problem.line))
            raise ConfigError(tuple(self._found))


def clip(text: str) -> str:
    """The text, cut where no reader would go on."""
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the known name most like this one, or nothing."""
    if len(name) > _LONGEST_NAME:
        return ""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f'did you mean "{match[0]}"?' if match else ""


def read_file(path: str, read: Read) -> str | OSError:
    """The text of a file, or why there is none; undecodable bytes count as unreadable."""
    try:
        return read(path)
    except OSError as error:
        return error
    except ValueError as error:  # a NUL in the name, or bytes that are no text
        return OSError(0, str(error))
