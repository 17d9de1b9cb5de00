"""Names, values and entries as the text of pgbouncer.ini: the inverse of `config.ini` and
`config.connstr`.

Errors: ValueError for what the syntax can't say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgmux.config.values import SPACE

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.*-]+")
_PLAIN_VALUE = re.compile(r"[^\s']+")


def entry_name(name: str) -> str:
    """The name of a database or user, quoted where it has to be."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    if not name or re.search(r"['\n\0]", name):
        raise ValueError(
            "a name is empty, or holds a single quote or a newline, which the file can't say"
        )
    return f"'{name}'"


def entry_value(pairs: Mapping[str, object]) -> str:
    """`key=value key='a value'`, as an entry of [databases] or [users] has it."""
    return checked_value(" ".join(f"{key}={_pair_value(key, str(v))}" for key, v in pairs.items()))


def checked_value(value: str) -> str:
    """The value itself, which a line can hold as it is."""
    if "\n" in value or "\0" in value:
        raise ValueError("a value has a newline or NUL in it: the file is read by lines")
    if value != value.strip(SPACE):
        raise ValueError("a value begins or ends with a blank, which the file can't say")
    return value


def _pair_value(key: str, value: str) -> str:
    if not value:
        raise ValueError(f"{key} has no value")
    if _PLAIN_VALUE.fullmatch(value):
        return value
    return "'" + value.replace("'", "''") + "'"
