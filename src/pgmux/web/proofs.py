"""The Authorization header -> who that is, and what carries out a command by their rights.

Errors: NotProved, which says nothing more, from here and from the work.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgmux.monitor.console import Console, ConsoleGone, ConsoleRefused, open_console
from pgmux.web.options import Options

# A login without a password, by trust or peer, would be this process's and not the browser's.
REQUIRE_AUTH = "password,md5,scram-sha-256"
INVALID_PASSWORD = "28P01"

Work = Callable[[str], Awaitable[None]]  # raises NotProved, ConsoleRefused, ConsoleGone


class NotProved(Exception):
    """Whoever asks isn't known to be allowed to; the text, if any, is for the log alone."""


class Proofs:
    """`token` is that of --token-file."""

    def __init__(self, console: Console, options: Options, token: bytes | None) -> None:
        self._console = console
        self._options = options
        self._token = token

    async def check(self, header: str) -> tuple[str, Work]:
        """Who it is, for the log, and the work for this one command. Raises: NotProved."""
        scheme, _, text = header.partition(" ")
        if scheme.lower() == "bearer":
            return "the token", self._by_token(text.strip())
        if scheme.lower() == "basic" and self._options.admin_console is not None:
            user, password = read_basic(text)
            console = open_console(as_user(self._options.admin_console, user, password))
            return f"user {user!a}", await _logged_in(console)
        raise NotProved

    def _by_token(self, text: str) -> Work:
        try:
            given = text.encode()
        except UnicodeEncodeError as error:
            raise NotProved from error
        if self._options.token_from_pooler:
            return lambda sql: self._ask_pooler(sql, text)
        if self._token is None or not hmac.compare_digest(given, self._token):
            raise NotProved
        if self._options.admin_console is not None:
            return lambda sql: _execute_once(open_console(self._options.admin_console or ""), sql)
        return self._console.execute

    async def _ask_pooler(self, sql: str, token: str) -> None:
        """The pooler compares the token."""
        try:
            await self._console.execute(sql, token=token)
        except ConsoleRefused as error:
            if error.sqlstate == INVALID_PASSWORD:
                raise NotProved(str(error)) from error
            raise


def read_basic(text: str) -> tuple[str, str]:
    """User and password. Raises: NotProved."""
    try:
        decoded = base64.b64decode(text.strip(), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise NotProved from error
    user, _, password = decoded.partition(":")
    if not user or not password or "\0" in decoded:  # else libpq would look for others itself
        raise NotProved
    return user, password


def as_user(conninfo: str, user: str, password: str) -> str:
    """That console, to be logged in to by this password and nothing else."""
    own = {"user": user, "password": password, "require_auth": REQUIRE_AUTH}
    return make_conninfo("", **{**conninfo_to_dict(conninfo), **own})


async def _logged_in(console: Console) -> Work:
    """The work at a console that takes the password. Raises: NotProved."""
    try:
        await console.query("SHOW VERSION")
    except (ConsoleGone, ConsoleRefused) as error:
        await console.close()
        raise NotProved(str(error)) from error
    return lambda sql: _execute_once(console, sql)


async def _execute_once(console: Console, sql: str) -> None:
    try:
        await console.execute(sql)
    finally:
        await console.close()
