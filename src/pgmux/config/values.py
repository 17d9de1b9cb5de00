"""One value's text -> value, by C's rules as PgBouncer applies them, and back for SHOW CONFIG.

Source: for [pgbouncer] lib/usual/cfparser.c (strtol base 0, strtod, strcasecmp); for the keys of
[databases], [users] and [peers] src/loader.c (atoi); for the lists src/util.c strlist_contains and
lib/usual/string.c parse_word_list.
Errors: a refused text raises ValueError, whose message says what would be accepted.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from pgmux.config.ldap_options import parse_ldap_options
from pgmux.config.listen import parse_host_names, parse_listen
from pgmux.config.model import ADMIN_DATABASE
from pgmux.config.params import Kind, Param
from pgmux.config.problems import clip

SPACE = " \t\n\v\f\r"
USEC = 1_000_000

_INTEGER = re.compile(rf"[{SPACE}]*([+-]?)(?:0[xX]([0-9A-Fa-f]+)|(0[0-7]*)|([1-9][0-9]*))")
_ATOI = re.compile(rf"[{SPACE}]*([+-]?)([0-9]+)")
_NUMBER = re.compile(
    rf"[{SPACE}]*[+-]?(?:0[xX][0-9A-Fa-f]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
)
_NAME = re.compile(rf"[^,{SPACE}]+")
_LONGEST_FLOAT = 400  # characters: beyond that no float differs, and reading it costs
_LONGEST_INT = 22  # digits: 2**64 has fewer in every base from 8 up


def parse_value(param: Param, text: str) -> Any:
    """The value of `text`, in the type that `param.kind` stands for; None for a key's "not set".

    Raises: ValueError.
    """
    match param.kind:
        case Kind.BOOL:
            return parse_int(text) != 0
        case Kind.INT:
            return parse_int(text)
        case Kind.UINT:
            return parse_uint(text)
        case Kind.SECONDS:
            return parse_seconds(text)
        case Kind.CHOICE:
            return _parse_choice(param.choices, text)
        case Kind.NAMES:
            return tuple(_NAME.findall(text))
        case Kind.WORDS:
            return tuple(word for part in text.split(",") if (word := part.strip(SPACE)))
        case Kind.COUNT:
            return _unless_below(param.unset_below, atoi(text)[0])
        case Kind.WHOLE_SECONDS:
            number = _unless_below(param.unset_below, atoi(text)[0])
            return None if number is None else float(number)
        case Kind.PORT:
            return parse_port(text)
        case Kind.DATABASE:
            return _parse_database_name(text)
        case Kind.LDAP:
            return parse_ldap_options(text)
        case Kind.LISTEN:
            return parse_listen(text)
        case Kind.HOST_NAMES:
            return parse_host_names(text)
        case Kind.TEXT:
            return text


def default_value(param: Param) -> Any:
    """The value where the file is silent; a number without default is 0, as C leaves it."""
    if param.default is not None:
        return parse_value(param, param.default)
    return 0 if param.kind is Kind.INT else None


def format_value(param: Param, value: Any) -> str | None:
    """The value as SHOW CONFIG prints it; None is NULL."""
    if value is None:
        return None
    match param.kind:
        case Kind.BOOL:
            return str(int(value))
        case Kind.SECONDS | Kind.WHOLE_SECONDS:
            return f"{value:g}"
        case Kind.NAMES | Kind.WORDS | Kind.HOST_NAMES:
            return ",".join(value)
        case _:
            return str(value)


def quoted(param: Param, text: str) -> str:
    """The text as an error may repeat it: not what may hold a password."""
    return "" if param.kind is Kind.LDAP else f' "{clip(text)}"'


def shown_text(param: Param, value: Any, text: str) -> str:
    """`text` as SHOW CONFIG prints it once set: a list as written, a flag as the number given."""
    if param.kind is Kind.BOOL:
        return str(parse_int(text))
    if param.kind in (Kind.NAMES, Kind.WORDS):
        return text
    return format_value(param, value) or ""


def parse_int(text: str) -> int:
    """An `int` as strtol with base 0 reads it: 0x10, 0777; what is too large wraps to 32 bits."""
    number = max(-(2**63), min(_strtol(text), 2**63 - 1))
    return _wrap_to_int(number)


def parse_uint(text: str) -> int:
    """An `unsigned int` as strtoul with base 0 reads it: -1 is 4294967295."""
    number = _strtol(text)
    return 0xFFFFFFFF if abs(number) >= 2**64 else number % 2**32


def parse_seconds(text: str) -> float:
    """Seconds, not negative, cut to microseconds."""
    if len(text) <= _LONGEST_FLOAT and _NUMBER.fullmatch(text):
        is_hex = "x" in text.lower()
        seconds = float.fromhex(text.strip(SPACE)) if is_hex else float(text)
        if 0 <= seconds < 2**64 / USEC:
            return int(seconds * USEC) / USEC
    raise ValueError("seconds are expected, 0 or more")


def parse_port(text: str) -> int:
    """A TCP port, as atoi reads it. Raises: ValueError for what is outside 1..65535."""
    port, _ = atoi(text)
    if not 0 < port <= 0xFFFF:
        raise ValueError("a port from 1 to 65535 is expected")
    return port


def atoi(text: str) -> tuple[int, bool]:
    """C's atoi: the digits that the text begins with, 0 if none; and whether that is all of it."""
    match = _ATOI.match(text)
    if match is None:
        return 0, False
    number = _signed(match[1], match[2], 10)
    number = max(-(2**63), min(number, 2**63 - 1))
    return _wrap_to_int(number), match.end() == len(text)


def _strtol(text: str) -> int:
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise ValueError("an integer is expected")
    sign, hexadecimal, octal, decimal = match.groups()
    if hexadecimal:
        return _signed(sign, hexadecimal, 16)
    return _signed(sign, octal, 8) if octal else _signed(sign, decimal, 10)


def _signed(sign: str, digits: str, base: int) -> int:
    """The number; of one that no C type holds only that it is too large (int() is slow there)."""
    digits = digits.lstrip("0") or "0"
    number = int(digits, base) if len(digits) <= _LONGEST_INT else 2**64
    return -number if sign == "-" else number


def _wrap_to_int(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31


def _unless_below(bound: int, number: int) -> int | None:
    return number if number >= bound else None


def _parse_choice(choices: type[StrEnum] | None, text: str) -> StrEnum:
    """The member of that name, in whatever case."""
    assert choices is not None
    for choice in choices:
        if choice.value == text.lower():
            return choice
    raise ValueError("one of these is expected: " + ", ".join(choices))


def _parse_database_name(text: str) -> str:
    if text == ADMIN_DATABASE:
        raise ValueError(f'cannot use the reserved "{text}" database as an auth_dbname')
    return text
