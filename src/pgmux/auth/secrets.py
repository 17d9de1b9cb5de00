"""Stored secrets, as userlist.txt, `password=` and auth_query give them.

    md5HEX                                              HEX: 32 lower-case digits
    SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY   the last three in base64
    anything else                                       the password itself

Text that isn't UTF-8 is carried as surrogate escapes. An empty secret belongs to a known user
without a password, and never matches.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from enum import Enum

from pgmux.auth.scram import KEY_LEN, ScramSecret

_MD5 = re.compile(r"md5[0-9a-f]{32}")
_SCRAM = re.compile(r"SCRAM-SHA-256\$([0-9]{1,10}):([^$:]+)\$([^$:]+):([^$:]+)")
_INT32_MAX = 2**31 - 1


class SecretKind(Enum):
    """What a stored secret is."""

    PLAINTEXT = "plaintext"
    MD5 = "md5"
    SCRAM = "scram-sha-256"


@dataclass(frozen=True, slots=True)
class Secret:
    """A stored secret; `scram` is set for that kind alone. Its repr shows the kind only."""

    kind: SecretKind
    text: bytes = field(repr=False)
    scram: ScramSecret | None = field(default=None, repr=False)

    @property
    def is_empty(self) -> bool:
        """No password is stored: no login with one can succeed."""
        return not self.text


def parse_secret(text: str) -> Secret:
    """Tell what a stored secret is; never fails, since anything can be a password."""
    if _MD5.fullmatch(text):
        return Secret(SecretKind.MD5, encode_text(text))
    scram = _parse_scram(text)
    if scram is not None:
        return Secret(SecretKind.SCRAM, encode_text(text), scram)
    return Secret(SecretKind.PLAINTEXT, encode_text(text))


def plain_secret(password: str) -> Secret:
    """The password itself, also one that looks like something else."""
    return Secret(SecretKind.PLAINTEXT, encode_text(password))


def encode_text(text: str) -> bytes:
    """The very bytes that were read as `text`."""
    return text.encode("utf-8", "surrogateescape")


def _parse_scram(text: str) -> ScramSecret | None:
    match = _SCRAM.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= _INT32_MAX:
        return None
    try:
        salt, stored_key, server_key = (
            binascii.a2b_base64(match[group], strict_mode=True) for group in (2, 3, 4)
        )
    except ValueError:
        return None
    if len(stored_key) != KEY_LEN or len(server_key) != KEY_LEN:
        return None
    return ScramSecret(int(match[1]), salt, stored_key, server_key)
