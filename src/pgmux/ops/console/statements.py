"""What is typed, piped or given as an argument -> the console's commands, one at a time.

The console takes one command a query, of one line; `;` ends it, and so does the line's end. Within
'…' and "…" neither counts for anything.
"""

from __future__ import annotations

import re

_STATEMENT = re.compile(r"""(?:[^;'"\n]|'[^'\n]*(?:'|$)|"[^"\n]*(?:"|$))+""", re.MULTILINE)
_SECRET = re.compile("passw|secret|ldap", re.IGNORECASE)
_BEFORE_VALUE = re.compile(r"\w+\s+[\w\"]+\s*(?:=|to\b)?\s*", re.IGNORECASE)
_ENOUGH = 16  # characters that tell a value; the console may repeat its beginning alone
_SHUTDOWN = re.compile(r'\s*"?shutdown"?\s*\Z', re.IGNORECASE)


def split_statements(text: str) -> list[str]:
    """The commands of a text, without `;` and blanks around them."""
    found = (match[0].strip() for match in _STATEMENT.finditer(text))
    return [statement for statement in found if statement]


def may_hold_secret(statement: str) -> bool:
    """Whether it had better be neither kept nor shown again: `SET auth_ldap_options = …`."""
    return _SECRET.search(statement) is not None


def hide_secret(statement: str, text: str) -> str:
    """What the console says of a command, cut where it repeats a secret of it."""
    if not may_hold_secret(statement):
        return text
    value = _BEFORE_VALUE.sub("", statement, count=1)
    for form in (value, value.strip("'").replace("''", "'")):
        before, found, _ = text.partition(form[:_ENOUGH]) if form else (text, "", "")
        text = f"{before}…" if found else text
    return text


def is_last(statement: str) -> bool:
    """Whether its answer is the end of the connection: SHUTDOWN in its plain form."""
    return _SHUTDOWN.match(statement) is not None
