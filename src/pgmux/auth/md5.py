"""PostgreSQL's MD5 passwords.

Source: PostgreSQL, "Password Authentication". Stored and sent are
    "md5" hex(md5(password user))
    "md5" hex(md5(hex(md5(password user)) salt))     salt: Byte4
"""

from __future__ import annotations

import hashlib

PREFIX = b"md5"
SALT_LEN = 4


def md5_secret(password: bytes, user: bytes) -> bytes:
    """What PostgreSQL stores for this password: 35 bytes."""
    return PREFIX + _md5_hex(password + user)


def md5_response(stored: bytes, salt: bytes) -> bytes:
    """What a client sends when asked with `salt`; `stored` as `md5_secret()` makes it."""
    return PREFIX + _md5_hex(stored.removeprefix(PREFIX) + salt)


def _md5_hex(data: bytes) -> bytes:
    # Not for security: a FIPS build refuses MD5 otherwise, and the protocol leaves no choice.
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
