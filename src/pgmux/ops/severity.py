"""How bad a finding is, and the exit code that a command ends with because of it.

0: nothing above a note; 1: warnings; 3: errors. 2 is left to wrong usage and to what can't be read
at all, as everywhere in pgmux; 130 to Ctrl-C, as in every shell.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

UNUSABLE = 2  # exit code: wrong usage, no connection, nothing that could be judged
INTERRUPTED = 130  # exit code: Ctrl-C


class Severity(IntEnum):
    NOTE = 0
    WARNING = 1
    ERROR = 2

    def __str__(self) -> str:
        return self.name.lower()


_EXIT_CODES = {Severity.NOTE: 0, Severity.WARNING: 1, Severity.ERROR: 3}


def exit_code(severities: Iterable[Severity]) -> int:
    """That of the worst; 0 of none."""
    return _EXIT_CODES[max(severities, default=Severity.NOTE)]
