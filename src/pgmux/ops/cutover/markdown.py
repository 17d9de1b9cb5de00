"""Markdown with names that others chose: none of them breaks a table, or is markup or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pgmux.ops.printing import printable

_MARKUP = re.compile(r"[\\`*_{}\[\]#~|!$^]")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
_HTML_CHARACTERS = re.compile("[&<>@]")


def escape(text: str) -> str:
    """The text as itself, on one line."""
    safe = _MARKUP.sub(lambda found: "\\" + found[0], printable(text))
    return _HTML_CHARACTERS.sub(lambda found: _HTML[found[0]], safe).strip()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[str] = ()) -> str:
    """A table; headings and cells are escaped here."""
    numbers = set(right)
    rule = ["---:" if column in numbers else "---" for column in columns]
    lines = [[escape(column) for column in columns], rule]
    lines += [[escape(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
