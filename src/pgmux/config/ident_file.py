"""The text of an ident file (user name maps) -> its maps, and what is wrong with its lines.

A line is `map-name system-user database-user`, the last a name or `all`. A line that can't be used
is skipped with a warning, which lets in fewer, never more.
Source: PgBouncer's hba.c parse_ident_line. Errors: `Problem`s, never an exception.
"""

from __future__ import annotations

from pgmux.config.hba import IdentMap, Mapping
from pgmux.config.hba_tokens import Kind, LineError, Tokens
from pgmux.config.problems import clip
from pgmux.errors import Problem

MAX_REPORTED_LINES = 100
_FORM = "write: map-name system-user database-user"


def parse_ident(text: str, file: str) -> tuple[dict[str, IdentMap], tuple[Problem, ...]]:
    """The maps by name, and what is wrong with the lines that are skipped."""
    found: dict[str, list[Mapping]] = {}
    problems: list[Problem] = []
    skipped = 0
    for number, line in enumerate(text.split("\n"), 1):
        try:
            tokens = Tokens(line)
            if not tokens.is_end:
                name, mapping = _read_line(tokens)
                found.setdefault(name, []).append(mapping)
        except LineError as error:
            skipped += 1
            if skipped <= MAX_REPORTED_LINES:
                message = f"could not parse ident config line {number}, it is skipped: {error}"
                problems.append(Problem(message, file, number, error.hint or _FORM))
    if skipped > MAX_REPORTED_LINES:
        more = skipped - MAX_REPORTED_LINES
        problems.append(Problem(f"could not parse {more} more lines, they are skipped too", file))
    maps = {name: IdentMap(name, tuple(mappings)) for name, mappings in found.items()}
    return maps, tuple(problems)


def _read_line(tokens: Tokens) -> tuple[str, Mapping]:
    if tokens.kind is not Kind.WORD:
        raise LineError(f"there is no map name{tokens.found}")
    name = tokens.take()
    system_user = _take_name(tokens, "system user")
    user = None if tokens.take_word("all") else _take_name(tokens, "database user")
    if not tokens.is_end:
        raise LineError(f"unsupported parameters{tokens.found}", _FORM)
    return name, Mapping(system_user, user)


def _take_name(tokens: Tokens, what: str) -> str:
    """A name; what PostgreSQL takes for a pattern or a group can't be meant as one."""
    is_plain = tokens.kind is Kind.WORD
    name = tokens.take_name(what)
    if is_plain and name[0] in "/+":
        raise LineError(f'"{clip(name)}" is not supported', "patterns and groups aren't known here")
    return name
