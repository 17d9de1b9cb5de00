"""`${NAME}`, `${NAME:-default}` and their like in compose and .env files.

Source: compose-spec, "Interpolation". Errors: none; what isn't set, and what can't be understood,
becomes the text for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:\$|(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*))")
_MOST_DEPTH = 10
_MOST_TEXT = 65536  # characters of one value; references to long values could multiply


def interpolate(text: str, variables: Mapping[str, str], unset: str, depth: int = 0) -> str:
    """The text with its references replaced; `unset` stands for what no variable says."""
    parts: list[str] = []
    position = length = 0
    text = text[:_MOST_TEXT]
    while (found := _REFERENCE.search(text, position)) is not None:
        parts.append(text[position : found.start()])
        length += len(parts[-1])
        if length > _MOST_TEXT:
            break
        position = found.end()
        if found["braced"]:
            rest, position = _braced_rest(text, position)
            parts.append(_value(found["braced"], rest, variables, unset, depth))
        else:
            parts.append(variables.get(found["name"], unset) if found["name"] else "$")
        length += len(parts[-1])
    return ("".join(parts) + text[position:])[:_MOST_TEXT]


def _braced_rest(text: str, position: int) -> tuple[str, int]:
    """What stands between the name and its `}`, and where it goes on."""
    depth = 1
    for end in range(position, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[position:end], end + 1
    return "", len(text)


def _value(name: str, rest: str, variables: Mapping[str, str], unset: str, depth: int) -> str:
    value = variables.get(name)
    counts_empty = rest.startswith(":")
    operator, word = rest.removeprefix(":")[:1], rest.removeprefix(":")[1:]
    is_set = value is not None and not (counts_empty and not value)
    if operator == "+":
        return _word(word, variables, unset, depth) if is_set else ""
    if is_set and value is not None:
        return value
    return _word(word, variables, unset, depth) if operator == "-" else unset


def _word(word: str, variables: Mapping[str, str], unset: str, depth: int) -> str:
    return interpolate(word, variables, unset, depth + 1) if depth < _MOST_DEPTH else unset
