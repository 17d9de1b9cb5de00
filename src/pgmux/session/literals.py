"""A statement without its literals, as the log shows it: `SELECT * FROM t WHERE id = ?`.

Strings (plain, E'', U&'', B'', X'', dollar-quoted), numbers and what SET gives a parameter become
`?`; comments go, blanks are one blank; names, also in double quotes, keywords and $1 stay. Where it
isn't certain where a literal ends, everything behind its beginning is hidden: one that doesn't end
(what came was cut), a plain string with a backslash before a quote, which is its end or not by
standard_conforming_strings, and a backslash that may be a character's second byte (SJIS, GBK).

Source: PostgreSQL's scan.l. Errors: none.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "?"
REST_HIDDEN: Final = "? …"

# Whatever isn't ASCII can be part of a name, as with PostgreSQL: also bytes that are no UTF-8.
_START = r"A-Za-z_\x80-\U0010ffff"
_TOKEN: Final = re.compile(
    rf"""
      (?P<blank> [\s\0]++ | --[^\n\r]*+ )
    | (?P<comment> /\* )
    | (?P<escaped> [eE]'(?:[^'\\]|\\.|'')*+' )
    | (?P<string> (?:[uU]&|[bBxXnN])?'(?:[^']|'')*+' )
    | (?P<dollar> \$(?:[{_START}][{_START}0-9]*+)?\$ )
    | (?P<name> (?:[uU]&)?"(?:[^"]|"")*+" | [{_START}][{_START}0-9$]*+ )
    | (?P<parameter> \$[0-9]++ )
    | (?P<number> \.?[0-9](?:[eE][+-]?[0-9]|[{_START}0-9.])*+ )
    | (?P<open> ['"] )
    | (?P<other> . )
    """,
    re.DOTALL | re.VERBOSE | re.ASCII,
)
# The backslash may be half of a character, by client_encoding: then it escapes nothing.
_UNSURE: Final = re.compile(r"[^\x00-\x7f]\\['\\]")
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_SET: Final = re.compile(r"(?:set|alter)\b", re.IGNORECASE)
_GIVES: Final = re.compile(r"(?:=|\bto\b)\Z", re.IGNORECASE)


def hide_literals(sql: str, max_len: int) -> str:
    """The statement's shape, on one line; about `max_len` characters of it at most."""
    shape = _Shape()
    pos = 0
    while pos < len(sql) and shape.length <= max_len:
        pos = shape.add(sql, pos)
    text = shape.text()
    return text if len(text) <= max_len else text[:max_len] + "…"


class _Shape:
    """The pieces so far."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._is_set: bool | None = None  # by the statement's first word
        self._is_value = False  # of a SET, up to the statement's end
        self.length = 0

    def text(self) -> str:
        return "".join(self._pieces).strip()

    def add(self, sql: str, pos: int) -> int:
        """Take the token at `pos`; where the next one is."""
        found = _TOKEN.match(sql, pos)
        assert found is not None  # `other` is anything
        token, end = found[0], found.end()
        match found.lastgroup:
            case "blank":
                self._put(" ")
            case "comment":
                self._put(" ")
                end = _comment_end(sql, end)
            case "dollar":
                closing = sql.find(token, end)
                self._put(HIDDEN if closing >= 0 else REST_HIDDEN)
                end = len(sql) if closing < 0 else closing + len(token)
            case "open":
                self._put(REST_HIDDEN)
                end = len(sql)
            case "string" if "\\'" in token:
                self._put(REST_HIDDEN)
                end = len(sql)
            case "escaped" if _UNSURE.search(token):
                self._put(REST_HIDDEN)
                end = len(sql)
            case "escaped" | "string" | "number":
                self._put(HIDDEN)
            case _:
                self._put_word(token)
        return end

    def _put_word(self, token: str) -> None:
        """What is shown: a name, a keyword, an operator; unless it is what SET gives."""
        if token == ";":
            self._is_set, self._is_value = None, False
        elif self._is_value:
            token = HIDDEN
        elif self._is_set is None:
            self._is_set = _SET.fullmatch(token) is not None
        self._put(token)
        if self._is_set and _GIVES.search(token):
            self._is_value = True

    def _put(self, piece: str) -> None:
        last = self._pieces[-1] if self._pieces else " "
        if self._is_value and last == HIDDEN:
            return  # one for all of it
        if piece == " " and (last == " " or self._is_value):
            return
        if self._is_value and last != " ":
            self._pieces.append(" ")
        self._pieces.append(piece)
        self.length += len(piece)


def _comment_end(sql: str, pos: int) -> int:
    """Behind the comment that has begun before `pos`; they nest."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, pos):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)
