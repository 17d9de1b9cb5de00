"""`key=value key='quoted ''value'''`: the value of an entry of [databases], [users] or [peers].

Source: PgBouncer's src/loader.c cstr_get_pair, odd corners included: only the space separates, an
unquoted value goes up to the next one, an empty value is an error, and one character after a
closing quote is dropped.
Errors: `parse_connstr` raises ValueError.
"""

from __future__ import annotations

import re

_PAIR = re.compile(r" *+([^= ]++) *+= *(?:'((?:[^']|'')*+)'|(?!')([^ ]*+)).?", re.DOTALL)


def parse_connstr(text: str) -> list[tuple[str, str]]:
    """The pairs in order, values unquoted. Raises: ValueError where the text isn't such pairs."""
    pairs = []
    text = text.rstrip(" ")
    pos = 0
    while pos < len(text):
        found = _PAIR.match(text, pos)
        if found is None:
            raise ValueError("key=value is expected")
        key, quoted, plain = found.groups()
        value = plain if quoted is None else quoted.replace("''", "'")
        if not value:
            raise ValueError(f"{key} has no value")
        pairs.append((key, value))
        pos = found.end()
    return pairs
