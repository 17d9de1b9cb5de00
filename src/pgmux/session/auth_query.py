"""One run of auth_query, sans-IO: the bytes that ask, and what the answer says.

Parse, Bind, Describe, Execute and Sync in one write; the user's name is a bound value, never text
of the query. The answer is a row (user, secret): the secret in any form of `auth.secrets`, NULL for
a user who has none, which nothing matches. Of several rows the last one counts. A row of NULLs is
none: that is what a function with two OUT parameters, as in PgBouncer's manual, finds nobody with.

Source: PgBouncer's client.c, start_auth_query and handle_auth_query_response.
Errors: `AuthQueryFailed`; its text is for the log and never holds a value of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgmux.auth.secrets import Secret, SecretKind, parse_secret
from pgmux.errors import PgmuxError, ProtocolViolation
from pgmux.wire import build, codes, parse
from pgmux.wire.messages import MessageReader

MAX_USER_LEN = 127  # PgBouncer's, in bytes
MAX_SECRET_LEN = 2047  # the same; PgBouncer cuts longer ones, and then they match nothing
MAX_MESSAGE_LEN = 65536
MAX_ROWS = 100

_NO_SECRET = Secret(SecretKind.PLAINTEXT, b"")  # matches nothing
_PASSED = (
    codes.PARSE_COMPLETE,
    codes.BIND_COMPLETE,
    codes.COMMAND_COMPLETE,
    codes.NOTICE_RESPONSE,
    codes.PARAMETER_STATUS,
    codes.NOTIFICATION_RESPONSE,
)


class AuthQueryFailed(PgmuxError):
    """The answer is none; it says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """The row that counts. `user` may be another one than was asked for: then that one logs in."""

    user: str
    secret: Secret


def build_auth_query(query: str, user: str) -> bytes:
    """What asks for `user`."""
    name = user.encode("utf-8", "surrogateescape")
    return (
        build.build_parse("", query)
        + build.build_bind("", "", [name])
        + build.build_describe(codes.KIND_PORTAL, "")
        + build.build_execute(max_rows=MAX_ROWS)
        + build.build_sync()
    )


class AuthQueryAnswer:
    """What a server answers. `is_complete` with its ReadyForQuery, `row_count` till then."""

    __slots__ = ("_failure", "_found", "_reader", "is_complete", "row_count")

    def __init__(self) -> None:
        self._reader = MessageReader(MAX_MESSAGE_LEN, "server")
        self._found: Found | None = None
        self._failure: AuthQueryFailed | None = None
        self.is_complete = False
        self.row_count = 0

    def feed(self, data: bytes) -> None:
        """Raises: AuthQueryFailed for an answer that isn't to be waited for any longer."""
        try:
            for message_type, body in self._reader.feed(data):
                self._on_message(message_type, body)
        except ProtocolViolation as error:
            raise AuthQueryFailed(
                f"the answer of auth_query can't be read: {error.message}"
            ) from error

    def result(self) -> Found | None:
        """The row, None where there is none. Raises: AuthQueryFailed."""
        if self._failure is not None:
            raise self._failure
        return self._found

    def _on_message(self, message_type: int, body: bytes) -> None:
        match message_type:
            case codes.ROW_DESCRIPTION:
                self._expect_two(len(parse.parse_row_description(body)))
            case codes.NO_DATA:
                self._expect_two(0)
            case codes.DATA_ROW:
                self._on_row(parse.parse_data_row(body))
            case codes.PORTAL_SUSPENDED:
                self._fail(f"auth_query returned {MAX_ROWS} rows or more")
            case codes.ERROR_RESPONSE:
                error = parse.parse_error_response(body)
                self._fail(f"S: error in auth_query: {error.severity}: {error.message}")
            case codes.READY_FOR_QUERY:
                self.is_complete = True
            case other if other not in _PASSED:
                raise AuthQueryFailed("unexpected response from auth_query")

    def _on_row(self, row: tuple[bytes | None, ...]) -> None:
        if not self._expect_two(len(row)) or row == (None, None):
            return
        self.row_count += 1
        user, secret = row
        if user is None:
            self._fail("auth_query response contained null user name")
        elif not 0 < len(user) <= MAX_USER_LEN or len(secret or b"") > MAX_SECRET_LEN:
            self._fail(
                f"auth_query returned a user name of {len(user)} bytes and a secret of "
                f"{len(secret or b'')}; at most {MAX_USER_LEN} and {MAX_SECRET_LEN} are accepted"
            )
        else:
            text = (secret or b"").decode("utf-8", "surrogateescape")
            name = user.decode("utf-8", "surrogateescape")
            self._found = Found(name, parse_secret(text) if text else _NO_SECRET)

    def _expect_two(self, columns: int) -> bool:
        if columns != 2:
            self._fail(f"expected 2 columns from auth_query, not {columns}")
        return columns == 2

    def _fail(self, why: str) -> None:
        """What goes wrong first counts; the answer is read to its end."""
        self._failure = self._failure or AuthQueryFailed(why)
