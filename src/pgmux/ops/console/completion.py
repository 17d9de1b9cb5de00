"""What Tab offers: learned from the console's own SHOW HELP, so it fits pgmux and every PgBouncer.

A line of the help is a command and what may follow it: `SHOW POOLS|CLIENTS`, `PAUSE [<db>]`,
`SET key = arg`. Names of databases and settings are asked for when they are first wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pgmux.config.model import ADMIN_DATABASE

OWN_COMMANDS = ("help", "quit", "exit", "\\q", "\\x", "\\?")
_LINE = re.compile(r"^\s*([A-Z_]+)(?: +\[?([^\s\]]+))?", re.MULTILINE)
_COMMAND_BEFORE = re.compile(r"\s*([A-Za-z_]+)\s+(.*)\Z", re.DOTALL)
_BARE_NAME = re.compile(r"[0-9A-Za-z_]+\Z")


class Kind(Enum):
    """Names that the console has to be asked for."""

    DATABASE = "<db>"
    SETTING = "key"


Names = Callable[[Kind], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Grammar:
    """The commands, each with its possible arguments and the kinds of names that it takes."""

    arguments: Mapping[str, Sequence[str]]
    kinds: Mapping[str, Kind]


def parse_help(text: str) -> Grammar:
    """The grammar that SHOW HELP's detail tells; what isn't a command there is left out."""
    arguments: dict[str, list[str]] = {}
    kinds: dict[str, Kind] = {}
    for command, argument in _LINE.findall(text):
        known = arguments.setdefault(command, [])
        if argument in (kind.value for kind in Kind):
            kinds[command] = Kind(argument)
        elif not argument.startswith("<"):
            known += [word for word in argument.split("|") if word]
    return Grammar(arguments, kinds)


def find_completions(text: str, grammar: Grammar, names: Names) -> tuple[int, list[str]]:
    """How many characters before the cursor are replaced, and by what, in order.

    `text` is the line up to the cursor. Commands are offered in the case in which one is typed.
    """
    found = _COMMAND_BEFORE.match(text)
    if found is None:
        prefix = text.lstrip()
        words = [_in_case(prefix, word) for word in grammar.arguments]
        return len(prefix), _matching(prefix, [*words, *(OWN_COMMANDS if prefix else ())])
    command, prefix = found[1].upper(), found[2]
    words = [_in_case(text.strip(), word) for word in grammar.arguments.get(command, ())]
    kind = grammar.kinds.get(command)
    if kind is not None:
        words += [quote_name(name) for name in names(kind) if name != ADMIN_DATABASE]
    return len(prefix), _matching(prefix, words)


def _in_case(typed: str, word: str) -> str:
    return word.lower() if typed[-1:].islower() else word


def _matching(prefix: str, words: Iterable[str]) -> list[str]:
    wanted = prefix.lower()
    return [word for word in words if word.lower().lstrip('"').startswith(wanted.lstrip('"'))]


def quote_name(name: str) -> str:
    """A database's or setting's name as the console's grammar takes it."""
    return name if _BARE_NAME.match(name) else '"' + name.replace('"', '""') + '"'
