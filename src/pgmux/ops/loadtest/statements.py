"""What a query of the load is: one statement, or several that are one transaction.

A file's text is split at `;` as psql does: not within '…', E'…', "…", $tag$…$tag$, comments,
parentheses, or the body of a function between BEGIN ATOMIC and END.
Source: PostgreSQL's "Lexical Structure", and src/fe_utils/psqlscan.l for BEGIN … END.
Errors: `StatementError`, with the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pgmux.errors import PgmuxError

MOST_CHARACTERS = 1_000_000

# 1,000 rows joined with 1,000 others, each with ten of them: 10,000 rows, some milliseconds, no
# table, and memory that doesn't grow.
COMPLEX = """
SELECT left_side.n % 10 AS bucket, count(*), sum(right_side.value), avg(right_side.value)
FROM generate_series(1, 1000) AS left_side (n)
JOIN (SELECT n, n * n % 97 AS value FROM generate_series(1, 1000) AS series (n)) AS right_side
  ON right_side.n % 100 = left_side.n % 100
GROUP BY 1 ORDER BY 1
""".strip()


class StatementError(PgmuxError):
    """A text that can't be a load's query."""


@dataclass(frozen=True, slots=True)
class Query:
    """What each worker asks; `name` is `simple`, `complex` or the file's."""

    name: str
    statements: tuple[str, ...]
    is_own: bool = False  # the user's: from a file


SIMPLE_QUERY = Query("simple", ("SELECT 1",))
COMPLEX_QUERY = Query("complex", (COMPLEX,))

_TOKEN = re.compile(
    r"""
      (?P<space>    \s+ | --[^\n]* )
    | (?P<comment>  /\* )
    | (?P<quoted>   [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
                  | \$(?P<tag>(?:[^\W\d]\w*)?)\$ .*? \$(?P=tag)\$ )
    | (?P<open>     [eE]?' | " | \$(?:[^\W\d]\w*)?\$ )
    | (?P<word>     [^\W\d][\w$]* )
    | (?P<other>    \d[\w$.]* | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_CONTROL = {"begin", "start", "commit", "end", "rollback", "abort"}


def read_query(name: str, text: str) -> Query:
    """The query of a file's text. Raises: StatementError."""
    if len(text) > MOST_CHARACTERS:
        raise StatementError(f"{name} has more than {MOST_CHARACTERS:,} characters")
    text = text.removeprefix("\ufeff")  # editors' mark of UTF-8, which psql skips as well
    if "\0" in text:
        raise StatementError(f"{name} has a zero byte: that is no SQL")
    try:
        found = split(text)
    except StatementError as error:
        raise StatementError(f"{name}, {error}") from None
    if not found:
        raise StatementError(f"{name} has no statement")
    for statement in found:
        if (word := _control(statement)) is not None:
            raise StatementError(
                f"{name} has {word}: several statements are one transaction already; leave out"
                " what begins and ends it"
            )
    return Query(name, tuple(found), is_own=True)


def split(text: str) -> list[str]:
    """The statements of a text, without `;` and what is around them. Raises: StatementError."""
    found = []
    current = _Statement()
    for kind, start, token in _tokens(text):
        if token == ";" and current.is_at_top():
            found += current.text(text, start)
            current = _Statement()
        else:
            current.take(kind, start, token)
    return found + current.text(text, len(text))


class _Statement:
    """The one that is being read: where it begins, and how deep in it we are."""

    def __init__(self) -> None:
        self._start: int | None = None
        self._words: list[str] = []  # the first four
        self._parentheses = 0
        self._blocks = 0  # BEGIN … END, CASE … END within them

    def is_at_top(self) -> bool:
        return self._parentheses == 0 and self._blocks == 0

    def text(self, whole: str, end: int) -> list[str]:
        """It, up to `end`, or nothing where there is nothing but blanks and comments."""
        return [] if self._start is None else [whole[self._start : end].strip()]

    def take(self, kind: str | None, start: int, token: str) -> None:
        if kind in ("space", "comment"):
            return
        if self._start is None:
            self._start = start
        if token in "()":
            self._parentheses = max(0, self._parentheses + (1 if token == "(" else -1))
        elif kind == "word" and self._parentheses == 0:
            self._take_word(token.lower())

    def _take_word(self, word: str) -> None:
        if len(self._words) < 4:
            self._words.append(word)
        if not self._makes_function():
            return
        if word == "begin" or (word == "case" and self._blocks):
            self._blocks += 1
        elif word == "end" and self._blocks:
            self._blocks -= 1

    def _makes_function(self) -> bool:
        first, *others = self._words
        makers = others[:1] if others[:1] != ["or"] else others[2:3]
        return first == "create" and bool({*makers} & {"function", "procedure"})


def _tokens(text: str) -> Iterator[tuple[str | None, int, str]]:
    place, length = 0, len(text)
    while place < length:
        match = _TOKEN.match(text, place)
        assert match is not None  # `.` takes whatever is there
        kind, end = match.lastgroup, match.end()
        kind = "quoted" if kind == "tag" else kind
        if kind == "open":
            raise StatementError(f"line {_line(text, place)}: {match[0]} is never closed")
        if kind == "comment":
            end = _comment_end(text, place)
        if match[0] == "\\":
            raise StatementError(
                f"line {_line(text, place)}: \\ begins a command of psql's, which is no SQL"
            )
        yield kind, place, text[place:end]
        place = end


def _comment_end(text: str, start: int) -> int:
    """Behind the comment, which may have others within."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    raise StatementError(f"line {_line(text, start)}: /* is never closed")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _control(statement: str) -> str | None:
    """The word by which a statement would begin or end a transaction."""
    words = (token for kind, _, token in _tokens(statement) if kind == "word")
    first, second = next(words, "").lower(), next(words, "").lower()
    if first == "rollback" and second == "to":
        return None
    if first == "prepare" and second == "transaction":
        return "PREPARE TRANSACTION"
    return first.upper() if first in _CONTROL else None
