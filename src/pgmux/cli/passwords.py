"""Passwords that a command stores: typed twice and unseen, or from a file or stdin. Those that it
logs in with are `place`'s and `where`'s. None is an argument: every user sees those.

Errors: `PasswordError`.
"""

from __future__ import annotations

import sys

from pgmux.cli.place import type_secret
from pgmux.errors import PgmuxError
from pgmux.ops.files import read_text
from pgmux.ops.printing import printable


class PasswordError(PgmuxError):
    """No password, or two."""


def type_password(user: str, instead: str, *, may_ask: bool = True) -> str:
    """Typed at the terminal; `instead` says what to do where there is none."""
    shown = printable(user)
    first = type_secret(f"Password for user {shown}: ") if may_ask else None
    if first is None:
        raise PasswordError(f"nobody types a password for {shown} here: {instead}")
    if not first:
        raise PasswordError(f"no password has been typed for {shown}: nothing is written")
    if type_secret("And again: ") != first:
        raise PasswordError(f"those were two passwords for {shown}: nothing is written")
    return first


def next_of_stdin(user: str) -> str:
    """The next line of stdin."""
    line = sys.stdin.buffer.readline().decode("utf-8", "surrogateescape")
    password = line.rstrip("\r\n")
    if not password:
        raise PasswordError(f"stdin has no line with a password for {printable(user)}")
    return password


def read_password_file(path: str) -> str:
    """The first line of a file, - is stdin."""
    try:
        text = sys.stdin.read() if path == "-" else read_text(path)
    except OSError as error:
        raise PasswordError(f"cannot read {path}: {error.strerror}") from error
    password = text.partition("\n")[0].rstrip("\r")
    if not password:
        raise PasswordError(f"{path}: the first line, which is to be the password, is empty")
    return password
