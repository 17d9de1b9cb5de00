"""One console connection after its login, sans-IO: bytes in, `Reply` out.

    reply = console.feed(data)
    reply.data      send it
    reply.more      call feed(b"") once that is sent, and read nothing from the client before
    reply.waiting   call complete() when it is done, cancel() at a CancelRequest; go on reading
    reply.reason    then close; it is the log's "closing because"

Answers come in the order of the queries, and an answer that is long (CHUNK_LEN) or takes long to
make (MAX_STEPS) in pieces. Where there is an `elevate`, a PasswordMessage is a token in front of a
Query, which then may do what `elevate` allows it, or is refused.
Source: PgBouncer's src/admin.c (1.25.2); the extended protocol, and that a cancelled PAUSE is
answered, are ours.
Errors: none but our bugs: whatever a client sends is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pgmux.admin.commands import find_statement, find_statements
from pgmux.admin.extended import ExtendedQuery, Portal
from pgmux.admin.outcome import Outcome, Waiting
from pgmux.admin.pooler import AdminPooler
from pgmux.admin.table import Table
from pgmux.errors import (
    SQLSTATE_QUERY_CANCELED,
    SQLSTATE_SUCCESSFUL_COMPLETION,
    ConfigError,
    LocalProtocolError,
    PoolerError,
    ProtocolViolation,
)
from pgmux.wire import build, codes
from pgmux.wire.messages import HEADER_LEN, MessageReader
from pgmux.wire.parse import parse_execute

MAX_MESSAGE_LEN = 16 * 1024
MAX_HELD_LEN = 64 * 1024  # of what a client sends while it has to wait
CHUNK_LEN = 64 * 1024
MAX_STEPS = 32  # for one piece: rows of SHOW at 20 to 40 µs each, while everybody else waits
MAX_DETAIL_LEN = 4000
_INT_MAX = 0x7FFFFFFF

_WELCOME = (
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "GMT"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
)
_UNSUPPORTED = (codes.FUNCTION_CALL, codes.COPY_DATA, codes.COPY_DONE, codes.COPY_FAIL)


Errors = tuple[tuple[str, str], ...]  # SQLSTATE and message of each


@dataclass(frozen=True, slots=True)
class Reply:
    """What to do now; `errors` are the ErrorResponses in `data`, for the log and SHOW ERRORS."""

    data: bytes = b""
    more: bool = False
    waiting: Waiting | None = None
    reason: str | None = None
    errors: Errors = ()


# Who a token's query acts as. Raises: PoolerError, fatal=False, for a wrong token.
Elevate = Callable[[bytes], AdminPooler]


class Console:
    """The conversation with one client; `is_admin`: may do more than SHOW.

    `on_query` is called for each query, before it is run.
    """

    __slots__ = (
        "_answer",
        "_elevate",
        "_errors",
        "_extended",
        "_find_statements",
        "_held_len",
        "_is_simple",
        "_is_skipping",
        "_more",
        "_on_query",
        "_pooler",
        "_reader",
        "_reason",
        "_status",
        "_token",
        "_waiting",
    )

    def __init__(
        self,
        pooler: AdminPooler,
        is_admin: bool,
        on_query: Callable[[], None] = lambda: None,
        elevate: Elevate | None = None,
    ) -> None:
        self._pooler = pooler
        self._on_query = on_query
        self._elevate = elevate
        self._token: bytes | None = None  # of the message before, which was a PasswordMessage
        self._reader = MessageReader(MAX_MESSAGE_LEN, "client")
        # No method of ours: a console is not to be part of a reference cycle.
        self._find_statements = partial(find_statements, pooler=pooler, is_admin=is_admin)
        self._extended = ExtendedQuery(partial(find_statement, pooler=pooler, is_admin=is_admin))
        self._answer: Iterator[bytes] = iter(())
        self._errors: list[tuple[str, str]] = []
        self._held_len = 0
        self._is_simple = True
        self._is_skipping = False  # until Sync, after an error in an extended query
        self._more = False
        self._reason: str | None = None
        self._status = codes.TRANSACTION_IDLE
        self._waiting: Waiting | None = None

    def welcome(self, application_name: str | None) -> bytes:
        """The ParameterStatus messages of a login; None where the client gave no such name."""
        parameters = [("server_version", self._pooler.server_version), *_WELCOME]
        if application_name is not None:
            parameters.append(("application_name", application_name))
        return b"".join(build.build_parameter_status(*parameter) for parameter in parameters)

    @property
    def kept_len(self) -> int:
        """Bytes received and not yet processed."""
        return self._reader.kept_len

    def feed(self, data: bytes) -> Reply:
        """Takes what the client sent, cut anywhere."""
        if self._reason is not None:
            return Reply(reason=self._reason)
        self._reader.feed(data)
        self._held_len += len(data)
        if data and (self._more or self._waiting) and self._held_len > MAX_HELD_LEN:
            self._waiting = None
            return self._pump(self._fail(PoolerError("bad packet")))
        return self._pump()

    def complete(self) -> Reply:
        """What `Reply.waiting` named is done: its answer, and those to the queries behind it."""
        if self._waiting is None:
            raise LocalProtocolError("the console doesn't wait for anything")
        self._waiting = None
        return self._pump()

    def cancel(self) -> Reply:
        """A CancelRequest: a PAUSE that waits is undone; SHUTDOWN can't be."""
        waiting = self._waiting
        if waiting is None or waiting.command == "SHUTDOWN":
            return Reply(waiting=waiting)
        if waiting.command == "PAUSE" and not self._pooler.is_shutting_down:
            self._pooler.log("PAUSE was cancelled, resuming")
            self._pooler.resume(waiting.database)
        return self.give_up("canceling statement due to user request")

    def give_up(self, reason: str) -> Reply:
        """What `Reply.waiting` named won't come: the client is told why, and it goes on."""
        self._waiting = None
        self._answer = iter(())
        error = PoolerError(reason, sqlstate=SQLSTATE_QUERY_CANCELED, fatal=False)
        return self._pump(self._fail(error))

    # ---- the flow

    def _pump(self, data: bytes = b"") -> Reply:
        """Answers messages until none is left, or one must wait, or it is enough for one reply."""
        out = bytearray(data)
        steps = 0
        while self._waiting is None and self._reason is None:
            self._more = len(out) >= CHUNK_LEN or steps == MAX_STEPS
            if self._more:
                break
            steps += 1
            try:
                piece = self._next_piece()
            except ProtocolViolation as error:
                piece = self._fail(PoolerError(error.message))
            except PoolerError as error:
                piece = self._fail(error)
            if piece is None:
                break
            out += piece
        else:
            self._more = False
        errors, self._errors = tuple(self._errors), []
        return Reply(bytes(out), self._more, self._waiting, self._reason, errors)

    def _next_piece(self) -> bytes | None:
        """The next part of the answers, maybe empty; None when there is nothing to answer."""
        for piece in self._answer:
            return piece
        try:
            message = next(self._reader, None)
        except ProtocolViolation as error:
            raise self._unreadable(error) from None
        if message is None:
            self._held_len = 0
            return None
        self._answer = self._dispatch(*message)
        return b""

    def _unreadable(self, error: ProtocolViolation) -> PoolerError:
        """In PgBouncer's words: the message is too long for a buffer, or can't be one at all."""
        head = self._reader.rest()[:HEADER_LEN]
        message_len = 1 + int.from_bytes(head[1:], "big")
        is_too_long = head[0] > 0 and MAX_MESSAGE_LEN < message_len <= _INT_MAX
        return PoolerError("incomplete pkt" if is_too_long else error.message)

    def _fail(self, error: PoolerError) -> bytes:
        """The ErrorResponse, and what follows from it: the end, ReadyForQuery, or skipping."""
        cause = str(error.__cause__) if isinstance(error.__cause__, ConfigError) else ""
        response = build.build_error_response(
            "FATAL" if error.fatal else "ERROR",
            error.sqlstate,
            error.message.replace("\0", ""),
            detail=cause[:MAX_DETAIL_LEN].replace("\0", ""),
        )
        self._errors.append((error.sqlstate, error.message))
        if error.fatal:
            self._reason = error.message
        elif self._is_simple:
            response += self._ready()
        else:
            self._is_skipping = True
        return response

    def _ready(self) -> bytes:
        if self._status == codes.TRANSACTION_IDLE:
            self._extended.end_transaction()
        return build.build_ready_for_query(self._status)

    # ---- messages

    def _dispatch(self, message_type: int, body: bytes) -> Iterator[bytes]:
        """The answer to one message. Raises, when it is read: PoolerError, ProtocolViolation."""
        self._is_simple = message_type == codes.QUERY
        token, self._token = self._token, None
        if message_type == codes.PASSWORD_MESSAGE and self._elevate is not None:
            self._token = body.rstrip(b"\0")
        elif message_type == codes.TERMINATE:
            self._reason = "client close request"
        elif message_type in _UNSUPPORTED:
            yield self._unsupported(message_type)
        elif message_type == codes.SYNC:
            self._is_skipping = False
            yield self._ready()
        elif self._is_skipping:
            return
        elif message_type == codes.QUERY:
            yield from self._query(body, token)
        elif message_type == codes.EXECUTE:
            message = parse_execute(body)
            self._on_query()
            yield from self._execute(self._extended.find_portal(message.portal), message.max_rows)
        elif message_type in _EXTENDED:
            yield _EXTENDED[message_type](self._extended, body)
        elif message_type != codes.FLUSH:
            raise PoolerError("unknown pkt")

    def _unsupported(self, message_type: int) -> bytes:
        self._is_simple = True
        text = f"unsupported packet type for admin console: {message_type}"
        return self._fail(PoolerError(text, fatal=False)) + self._fail(PoolerError("bad packet"))

    def _query(self, body: bytes, token: bytes | None) -> Iterator[bytes]:
        query, nul, _ = body.partition(b"\0")
        if not nul:
            raise PoolerError("incomplete query")
        self._on_query()
        self._extended.forget_unnamed_statement()
        find = self._find_statements
        if token is not None and self._elevate is not None:
            find = partial(find_statements, pooler=self._elevate(token), is_admin=True)
        for statement in find(query):
            portal = Portal.of(statement)
            if isinstance(statement, Table):
                yield portal.description()
            yield from self._execute(portal, 0)
        yield self._ready()

    def _execute(self, portal: Portal, max_rows: int) -> Iterator[bytes]:
        """Rows up to `max_rows` (0: all), or the action; then what says how it ended."""
        if not isinstance(portal.statement, Table):
            yield from self._act(portal.statement())
            return
        if portal.rows is None:
            portal.rows = portal.statement.data_rows(self._pooler, portal.formats)
        count = 0
        for row in portal.rows:
            yield row
            count += bool(row)
            if 0 < max_rows == count:
                break
        is_suspended = 0 < max_rows == count
        yield (
            build.build_portal_suspended() if is_suspended else build.build_command_complete("SHOW")
        )

    def _act(self, outcome: Outcome) -> Iterator[bytes]:
        if outcome.notice is not None:
            yield _notice(*outcome.notice)
        if outcome.status is not None:
            self._status = outcome.status
        if outcome.deallocate is not None:
            self._extended.deallocate(outcome.deallocate)
        if outcome.waiting is not None:
            self._waiting = outcome.waiting
            yield b""  # here complete() goes on
        if outcome.tag is None:
            yield build.build_empty_query_response()
        else:
            yield build.build_command_complete(outcome.tag)


_EXTENDED = {
    codes.PARSE: ExtendedQuery.parse,
    codes.BIND: ExtendedQuery.bind,
    codes.DESCRIBE: ExtendedQuery.describe,
    codes.CLOSE: ExtendedQuery.close,
}


def _notice(message: str, detail: str) -> bytes:
    """A NoticeResponse, which is laid out as an ErrorResponse is."""
    response = build.build_error_response(
        "NOTICE", SQLSTATE_SUCCESSFUL_COMPLETION, message, detail=detail
    )
    return bytes((codes.NOTICE_RESPONSE,)) + response[1:]
