"""SASLprep of passwords (RFC 4013), as PostgreSQL does it.

PostgreSQL's order differs from the RFC's in one thing that is visible: prohibited, unassigned and
bidirectional characters are looked for before the normalisation, not after it. A password that
isn't UTF-8, or isn't allowed, is used as its raw bytes; so `saslprep()` never fails.
"""

from __future__ import annotations

import stringprep
from collections.abc import Callable
from unicodedata import normalize

# NFKC is quadratic in a run of combining characters (200 ms for 16,000 of them), and clients choose
# what they send. PostgreSQL 10 to 13 drew the same line.
MAX_NORMALIZED_LEN = 1024

_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,  # unassigned in Unicode 3.2
)


def saslprep(password: bytes) -> bytes:
    """The normalised password, or `password` itself where it can't be normalised."""
    if password.isascii() or len(password) > MAX_NORMALIZED_LEN:
        return password
    try:
        text = _map(password.decode())
    except UnicodeDecodeError:
        return password
    if not text or _is_prohibited(text) or not _is_bidi_valid(text):
        return password
    return normalize("NFKC", text).encode()


def _map(text: str) -> str:
    """Other spaces become a space (U+200B too, which is in both tables), table B.1 nothing."""
    return "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if stringprep.in_table_c12(char) or not stringprep.in_table_b1(char)
    )


def _is_prohibited(text: str) -> bool:
    return any(in_table(char) for char in text for in_table in _PROHIBITED)


def _is_bidi_valid(text: str) -> bool:
    """Right-to-left text has no left-to-right character, and begins and ends right-to-left."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    if any(map(stringprep.in_table_d2, text)):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
