"""The Python that a child of ours is run by.

It may lie where the user that we become can't get at it: in root's home, as with pyenv. What was
opened before is still good then, and a child can go by the descriptors (Linux: /proc/self/fd).
Errors: none; a child that can't be started says so itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Interpreter:
    """`environment` is for the child, besides what else it gets; `fds` are to be passed on."""

    path: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    fds: tuple[int, ...] = ()


class KeptInterpreter:
    """Where Python lies, held open; to be made before the user changes."""

    def __init__(self) -> None:
        self._path = os.path.realpath(sys.executable)
        self._fds: dict[str, int] = {}
        for directory in _directories():
            with suppress(OSError, AttributeError):  # O_PATH is Linux's
                self._fds[directory] = os.open(directory, os.O_PATH | os.O_DIRECTORY)

    def release(self) -> Interpreter:
        """How to run it as the user that this process is now; held is only what that needs."""
        if os.access(self._path, os.X_OK) and all(map(_is_reachable, self._fds)):
            for fd in self._fds.values():
                os.close(fd)
            return Interpreter()
        home = self._by_descriptor(sys.base_prefix)
        environment = {
            "PYTHONHOME": home,
            "PYTHONPATH": os.pathsep.join(self._by_descriptor(path) for path in sys.path if path),
            "LD_LIBRARY_PATH": f"{home}/lib",  # of a libpython of its own
        }
        path = self._by_descriptor(self._path)
        return Interpreter(path, environment, tuple(self._fds.values()))

    def _by_descriptor(self, path: str) -> str:
        for directory, fd in self._fds.items():
            if _is_below(path, directory):
                return f"/proc/self/fd/{fd}{path[len(directory) :]}"
        return path


def _directories() -> list[str]:
    """The highest of those that Python and its modules are in."""
    found = [sys.base_prefix, *(path for path in sys.path if os.path.isdir(path))]
    return [
        directory
        for directory in dict.fromkeys(map(os.path.abspath, found))
        if not any(_is_below(directory, other) and directory != other for other in found)
    ]


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _is_reachable(directory: str) -> bool:
    return os.access(directory, os.R_OK | os.X_OK)
