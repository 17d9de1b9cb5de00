"""The words of a line in an HBA or ident file, or in a file of names.

Words are parted by blanks; a comma is a word by itself, `#` begins a comment, quotes take every
meaning away and `""` in them is one. Source: PgBouncer's hba.c next_token.
Errors: `LineError`, which says what is wrong with the line and what to do.
"""

from __future__ import annotations

import re
from enum import Enum

from pgmux.config.problems import clip
from pgmux.config.values import SPACE

_BLANK = re.compile(rf"[{SPACE}]*+(?:#.*+)?+", re.DOTALL)
_TOKEN = re.compile(rf'(,)|"((?:[^"]|"")*+)"|([^{SPACE},#"]++)', re.DOTALL)


class LineError(Exception):
    """A line that can't be used; `hint` says what to write."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Kind(Enum):
    WORD = "word"
    QUOTED = "quoted"
    COMMA = "comma"
    END = "end"


class Tokens:
    """Reads a line word by word: `kind` and `text` are of the word that is next."""

    def __init__(self, line: str) -> None:
        """Raises: LineError, here and wherever a word is taken."""
        if "\0" in line:
            raise LineError("there is a NUL byte in it", "write the file anew, as text")
        self._line = line
        self._pos = 0
        self.kind = Kind.END
        self.text = ""
        self.take()

    @property
    def is_end(self) -> bool:
        return self.kind is Kind.END

    def take(self) -> str:
        """The next word's text; the word after it is next then."""
        taken = self.text
        blank = _BLANK.match(self._line, self._pos)
        start = blank.end() if blank else self._pos
        token = _TOKEN.match(self._line, start)
        if token is not None:
            comma, quoted, word = token.groups()
            self._pos = token.end()
            if comma:
                self.kind, self.text = Kind.COMMA, comma
            elif word is not None:
                self.kind, self.text = Kind.WORD, word
            else:
                self.kind, self.text = Kind.QUOTED, quoted.replace('""', '"')
        elif start == len(self._line):
            self.kind, self.text, self._pos = Kind.END, "", start
        else:
            raise LineError("a quote is never closed", 'write "name"; two quotes in it are one')
        return taken

    def take_word(self, word: str) -> bool:
        """Takes the next word if it is this one and not in quotes."""
        if self.kind is Kind.WORD and self.text == word:
            self.take()
            return True
        return False

    def take_comma(self) -> bool:
        """Takes the next word if it is a comma."""
        if self.kind is Kind.COMMA:
            self.take()
            return True
        return False

    def take_name(self, what: str) -> str:
        """A word, quoted or not."""
        if self.kind not in (Kind.WORD, Kind.QUOTED):
            raise LineError(f"there is no {what}{self.found}")
        return self.take()

    def take_rest(self) -> str:
        """All that follows the next word, as it stands; the line is at its end then."""
        rest = self._line[self._pos :]
        self.kind, self.text, self._pos = Kind.END, "", len(self._line)
        return rest

    @property
    def found(self) -> str:
        """What is next, to complete a message: `: "word"`."""
        return "" if self.is_end else f': "{clip(self.text)}"'
