"""The console's grammar: a word and at most one argument, or SET with a name and a value.

    WORD [WORD] [;]          WORD: letters, digits, _; or "…", in which "" is a quote
    SET WORD (= | TO) (WORD | '…') [;]

Source: PgBouncer's src/admin.c (1.25.2), with its limits: 15 bytes for the word, 63 for the
argument, 255 for the value, quotes included.
Errors: PoolerError, fatal=False, in PgBouncer's words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pgmux.errors import PoolerError
from pgmux.wire.parse import decode_text

MAX_WORD_LEN = 15
MAX_ARGUMENT_LEN = 63
MAX_VALUE_LEN = 255
MAX_ERROR_LEN = 1023


def _compile(pattern: str) -> re.Pattern[bytes]:
    """`pattern` as a whole query; in it `_` is white space, `W` a word and `S` a '…' string.

    Repetitions are possessive, so a query of any length is matched, or not, in one pass.
    """
    words = {
        "_": r"[ \t\n\r]",
        "W": r'("(?:[^"]|"")*+"|[0-9a-z_]++)',
        "S": r"('(?:[^']|'')*+')",
    }
    whole = "_*+" + pattern + r"_*+(?:;_*+)?\Z"
    text = re.sub("[_WS]", lambda match: words[match[0]], whole)
    return re.compile(text.encode(), re.IGNORECASE)


_COMMAND = _compile("W(?:_++W)?")
_SET = _compile("set_++W_*+(?:=|to)_*+(?:S|W)")


@dataclass(frozen=True, slots=True)
class Command:
    """A query taken apart; `word` is in lower case. SET alone has a `value`."""

    word: str
    argument: str = ""  # of SET: the setting's name
    value: str | None = None


def parse_command(query: bytes) -> Command:
    """The command that `query` is; whether there is such a command, the caller knows.

    Raises: PoolerError for what isn't of the grammar, or too long for it.
    """
    if match := _COMMAND.match(query):
        word = unquote(match[1], MAX_WORD_LEN).lower()
        return Command(word, unquote(match[2] or b"", MAX_ARGUMENT_LEN))
    if match := _SET.match(query):
        return _set_command(match[1], match[2] or match[3])
    raise invalid_command(query)


def _set_command(name: bytes, value: bytes) -> Command:
    command = Command("set", unquote(name, MAX_ARGUMENT_LEN), unquote(value, MAX_VALUE_LEN))
    if not command.argument:
        raise _bad_arguments()
    return command


def unquote(raw: bytes, max_len: int) -> str:
    """A word or a string as text. Raises: PoolerError if it is longer than `max_len`."""
    if len(raw) > max_len:
        raise _bad_arguments()
    quote = raw[:1]
    if quote in (b'"', b"'"):
        raw = raw[1:-1].replace(quote * 2, quote)
    return decode_text(raw)


def _bad_arguments() -> PoolerError:
    return PoolerError("bad arguments", fatal=False)


def invalid_command(query: bytes) -> PoolerError:
    """PgBouncer's answer to what it doesn't know; of a long query only the beginning."""
    text = decode_text(query[:MAX_ERROR_LEN])
    return PoolerError(f"invalid command '{text}', use SHOW HELP;", fatal=False)
