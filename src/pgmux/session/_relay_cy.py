"""HOT: forward a chunk from one side of a link to the other.

A client and the server linked to it are one object each, which their transport calls with the bytes
that it received. A chunk is scanned once, by message headers, and goes on in one write: the very
bytes where nothing is cut, the pieces joined where a prepared statement's name is rewritten, a
response is dropped (SKIP) or made up (FAKE). A message that is only passed on is never assembled.
What is rare is a call to `control` (session/control.py), plain Python.

Source: PostgreSQL protocol, "Message Flow" and "Message Formats"; "outstanding request" (forward,
skip, fake) is PgBouncer's word.
Errors: none leave `data_received`; what a peer did wrong goes to `control`, and what we did wrong
goes to `control.on_bug`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Any

from pgmux.errors import ProtocolViolation

if TYPE_CHECKING:
    from pgmux import _cython as cython
else:
    try:
        import cython
    except ModuleNotFoundError:
        from pgmux import _cython as cython

# Message types. C constants: an untyped module constant costs ten times as much (wire/codes.py has
# them for everybody else).
QUERY = cython.declare(cython.int, 0x51)  # Q
FUNCTION_CALL = cython.declare(cython.int, 0x46)  # F
SYNC = cython.declare(cython.int, 0x53)  # S
PARSE = cython.declare(cython.int, 0x50)  # P
BIND = cython.declare(cython.int, 0x42)  # B
DESCRIBE = cython.declare(cython.int, 0x44)  # D
EXECUTE = cython.declare(cython.int, 0x45)  # E
CLOSE = cython.declare(cython.int, 0x43)  # C
FLUSH = cython.declare(cython.int, 0x48)  # H
COPY_DATA = cython.declare(cython.int, 0x64)  # d
COPY_DONE = cython.declare(cython.int, 0x63)  # c
COPY_FAIL = cython.declare(cython.int, 0x66)  # f
TERMINATE = cython.declare(cython.int, 0x58)  # X
DATA_ROW = cython.declare(cython.int, 0x44)  # D
READY_FOR_QUERY = cython.declare(cython.int, 0x5A)  # Z
COMMAND_COMPLETE = cython.declare(cython.int, 0x43)  # C
ROW_DESCRIPTION = cython.declare(cython.int, 0x54)  # T
PARSE_COMPLETE = cython.declare(cython.int, 0x31)  # 1
BIND_COMPLETE = cython.declare(cython.int, 0x32)  # 2
CLOSE_COMPLETE = cython.declare(cython.int, 0x33)  # 3
NO_DATA = cython.declare(cython.int, 0x6E)  # n
PARAMETER_DESCRIPTION = cython.declare(cython.int, 0x74)  # t
EMPTY_QUERY = cython.declare(cython.int, 0x49)  # I
PORTAL_SUSPENDED = cython.declare(cython.int, 0x73)  # s
ERROR_RESPONSE = cython.declare(cython.int, 0x45)  # E
NOTICE_RESPONSE = cython.declare(cython.int, 0x4E)  # N
NOTIFICATION = cython.declare(cython.int, 0x41)  # A
PARAMETER_STATUS = cython.declare(cython.int, 0x53)  # S
COPY_IN = cython.declare(cython.int, 0x47)  # G
COPY_OUT = cython.declare(cython.int, 0x48)  # H
COPY_BOTH = cython.declare(cython.int, 0x57)  # W
FUNCTION_RESULT = cython.declare(cython.int, 0x56)  # V

# An outstanding request is one byte in the server's queue: the client's message type in the low
# seven bits is not needed, so it is
# a small number, with what becomes of the response.
REQ_QUERY = cython.declare(cython.int, 1)
REQ_SYNC = cython.declare(cython.int, 2)
REQ_PARSE = cython.declare(cython.int, 3)
REQ_BIND = cython.declare(cython.int, 4)
REQ_DESCRIBE = cython.declare(cython.int, 5)
REQ_EXECUTE = cython.declare(cython.int, 6)
REQ_CLOSE = cython.declare(cython.int, 7)
REQ_COPY_END = cython.declare(cython.int, 8)
KIND = cython.declare(cython.int, 0x0F)
SKIP = cython.declare(cython.int, 0x10)  # the client did not ask: drop the response
FAKE = cython.declare(cython.int, 0x20)  # the server was not asked: make the response up
DUPLICATE = cython.declare(cython.int, 0x40)  # a Parse that the server is to refuse
TRACKED = cython.declare(cython.int, 0x80)  # has its (statement, client's name) in `tracked`

# larger ErrorResponses and tags stream through unread
INSPECT_MAX = cython.declare(cython.int, 65536)
# no ParameterStatus can be left unread, so a server that claims a larger one is closed
PARAMETER_MAX = cython.declare(cython.int, 1048576)
# a waiting client is read no further than about this
PENDING_MAX = cython.declare(cython.int, 65536)

SESSION = cython.declare(cython.int, 0)
TRANSACTION = cython.declare(cython.int, 1)
STATEMENT = cython.declare(cython.int, 2)

FAKE_PARSE_COMPLETE = b"1\x00\x00\x00\x04"
FAKE_CLOSE_COMPLETE = b"3\x00\x00\x00\x04"
IDLE = cython.declare(cython.int, 0x49)  # ReadyForQuery status "I"
FAILED = cython.declare(cython.int, 0x45)  # ReadyForQuery status "E"


@cython.cfunc
def _message_len(data: bytes, pos: cython.Py_ssize_t) -> cython.longlong:
    """Bytes of the message whose header starts at `pos`, type byte included.

    The one place that reads a length: each byte is widened before its shift, because `data[i] <<
    24` is a C int when compiled.
    """
    b0: cython.longlong = data[pos + 1]
    b1: cython.longlong = data[pos + 2]
    b2: cython.longlong = data[pos + 3]
    b3: cython.longlong = data[pos + 4]
    return ((b0 << 24) | (b1 << 16) | (b2 << 8) | b3) + 1


@cython.cfunc
def _size(length: cython.longlong) -> cython.Py_ssize_t:
    """A length that is known to fit."""
    return length


_header = Struct("!BI").pack  # type byte, Int32 length


@cython.cclass
class PreparedStatement:
    """A statement's text and parameter types, under the one name that it has on every server.

    `query` is the body of its Parse behind the name: String query, Int16 count, Int32 oids.
    """

    name_z: bytes  # as a String: with its NUL
    query: bytes
    stale: cython.bint  # an error said so: whoever reads its description anew gets it prepared anew
    __weakref__ = cython.declare(object)

    def __init__(self, name: bytes, query: bytes) -> None:
        self.name_z = name + b"\0"
        self.query = query
        self.stale = False

    @cython.cfunc
    def parse_message(self) -> bytes:
        header: bytes = _header(PARSE, 4 + len(self.name_z) + len(self.query))
        return header + self.name_z + self.query

    @cython.cfunc
    def close_message(self) -> bytes:
        header: bytes = _header(CLOSE, 5 + len(self.name_z))
        return header + b"S" + self.name_z


@cython.cclass
class Counters:
    """What passed through one pool; the numbers of SHOW STATS. Only the relay adds to them; times
    in seconds.
    """

    server_assignment_count = cython.declare(cython.longlong, visibility="public")
    xact_count = cython.declare(cython.longlong, visibility="public")
    query_count = cython.declare(cython.longlong, visibility="public")
    client_bytes = cython.declare(cython.longlong, visibility="public")
    server_bytes = cython.declare(cython.longlong, visibility="public")
    xact_time = cython.declare(cython.double, visibility="public")
    query_time = cython.declare(cython.double, visibility="public")
    wait_time = cython.declare(cython.double, visibility="public")
    client_parse_count = cython.declare(cython.longlong, visibility="public")
    server_parse_count = cython.declare(cython.longlong, visibility="public")
    bind_count = cython.declare(cython.longlong, visibility="public")
    client_login_count = cython.declare(cython.longlong, visibility="public")

    def __init__(self) -> None:
        self.server_assignment_count = self.xact_count = self.query_count = 0
        self.client_bytes = self.server_bytes = 0
        self.xact_time = self.query_time = self.wait_time = 0.0
        self.client_parse_count = self.server_parse_count = self.bind_count = 0
        self.client_login_count = 0


@cython.cclass
class PoolRelay:
    """What all relays of one pool share: its lists, its counters, its mode, and `control` for what
    is rare.
    """

    lists = cython.declare(object, visibility="public")
    control = cython.declare(object, visibility="public")
    statements = cython.declare(object, visibility="public")
    mode = cython.declare(cython.int, visibility="public")
    max_prepared_statements = cython.declare(cython.int, visibility="public")
    max_packet_size = cython.declare(cython.longlong, visibility="public")
    disable_pqexec = cython.declare(cython.bint, visibility="public")
    stats: Counters
    find_server: Callable[[], Any]
    release_server: Callable[[Any], Any]
    clock: Callable[[], float]

    def __init__(self, lists: Any, control: Any, statements: Any, clock: Any) -> None:
        self.lists = lists
        self.control = control
        self.statements = statements
        self.stats = Counters()
        self.find_server = lists.find_server
        self.release_server = lists.release_server
        self.clock = clock
        self.mode = SESSION
        self.max_prepared_statements = 0
        self.max_packet_size = 0x7FFFFFFF
        self.disable_pqexec = False

    @property
    def counters(self) -> Counters:
        return self.stats


@cython.cfunc
def _nul(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the string that starts at `pos` ends, or -1."""
    while pos < end:
        if data[pos] == 0:
            return pos
        pos += 1
    return -1


@cython.cclass
class ClientRelay:
    """One logged-in client: its link, and what it still owes of a message."""

    state = cython.declare(cython.int, visibility="public")  # its list in PoolLists
    owner = cython.declare(object, visibility="public")  # who it is, for logs and SHOW
    transport = cython.declare(object, visibility="public")
    vars = cython.declare(object, visibility="public")
    request_time = cython.declare(cython.double, visibility="public")
    query_start = cython.declare(cython.double, visibility="public")
    xact_start = cython.declare(cython.double, visibility="public")
    wait_start = cython.declare(cython.double, visibility="public")
    connect_time = cython.declare(cython.double, visibility="public")
    closed = cython.declare(cython.bint, visibility="public")
    write: Callable[[bytes], None]
    pool: PoolRelay
    link: ServerRelay | None
    prepared: dict[bytes, PreparedStatement] | None
    pending: bytes
    gather: bytearray | None
    gather_len: cython.longlong
    skip: cython.longlong
    held: cython.bint
    replaying: cython.bint
    read_paused: cython.bint
    write_paused: cython.bint

    def __init__(self, pool: PoolRelay, transport: Any, owner: Any) -> None:
        self.pool = pool
        self.owner = owner
        self.transport = transport
        self.write = transport.write
        self.state = 0
        self.vars = None
        self.request_time = self.connect_time = pool.clock()
        self.query_start = self.xact_start = self.wait_start = 0.0
        self.link = None
        self.prepared = None
        self.pending = b""
        self.gather = None
        self.gather_len = self.skip = 0
        self.closed = self.held = self.replaying = self.read_paused = self.write_paused = False

    # ---- asyncio's protocol

    def connection_made(self, transport: Any) -> None:
        """Never called: the relay takes over a transport whose client has logged in."""

    def connection_lost(self, error: BaseException | None) -> None:
        self.pool.control.on_client_lost(self, error)

    def eof_received(self) -> None:
        """The transport closes itself."""

    def pause_writing(self) -> None:
        """The client is slow: read no more of what the server sends it, nor of what it asks for
        itself, as some answers are made up here.
        """
        self.write_paused = True
        self._pause_reading()
        if self.link is not None:
            self.link._pause_reading()

    def resume_writing(self) -> None:
        self.write_paused = False
        if len(self.pending) <= PENDING_MAX:
            self._resume_reading()
        if self.link is not None:
            self.link._resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self.pool.stats.client_bytes += len(data)
        if self.held:
            self._keep(data)
            return
        self._process_safely(data)

    # ---- for control

    @property
    def linked_server(self) -> ServerRelay | None:
        """The server that it is linked to."""
        return self.link

    @property
    def prepared_count(self) -> int:
        return 0 if self.prepared is None else len(self.prepared)

    @property
    def pool_relay(self) -> PoolRelay:
        return self.pool

    def forget_prepared(self) -> None:
        """DEALLOCATE ALL, DISCARD ALL."""
        self.prepared = None

    def hold(self) -> None:
        """Keep what the client sends from now on, unprocessed."""
        self.held = True

    def proceed(self) -> None:
        """Process what was kept while the client was held."""
        self.held = False
        self._resume_reading()
        data = self.pending
        if data:
            self.pending = b""
            self._process_safely(data)

    def drop_pending(self) -> bool:
        """Forget what was kept, where it is whole requests whose last is answered with one
        ReadyForQuery; else False.
        """
        data: bytes = self.pending
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        total: cython.longlong
        while n - pos >= 5:
            kind: cython.int = data[pos]
            total = _message_len(data, pos)
            if total < 5 or total > n - pos:
                return False
            pos += _size(total)
            if (kind in (QUERY, SYNC, FUNCTION_CALL)) != (pos == n):
                return False
        if pos < n or n == 0:
            return False
        self.pending = b""
        self.held = False
        self.query_start = self.xact_start = self.wait_start = 0
        self._resume_reading()
        return True

    # ---- inside

    @cython.cfunc
    def _keep(self, data: bytes) -> None:
        self.pending = self.pending + data if self.pending else data
        if len(self.pending) > PENDING_MAX:
            self._pause_reading()

    @cython.cfunc
    def _pause_reading(self) -> None:
        if not self.read_paused and not self.closed:
            self.read_paused = True
            self.transport.pause_reading()

    @cython.cfunc
    def _resume_reading(self) -> None:
        if not self.read_paused or self.closed or self.write_paused:
            return
        if self.link is None or not self.link.write_paused:
            self.read_paused = False
            self.transport.resume_reading()

    @cython.cfunc
    def _process_safely(self, data: bytes) -> None:
        try:
            self._process(data)
        except ProtocolViolation as error:
            self.pool.control.on_client_violation(self, error.message)
        except Exception as error:
            self.pool.control.on_bug(self, error)

    @cython.cfunc
    def _want(self, data: bytes, pos: cython.Py_ssize_t, need: cython.longlong) -> None:
        """Collect from `pos` on until `need` bytes are there."""
        self.gather = bytearray(data[pos:])
        self.gather_len = need

    @cython.cfunc
    def _acquire(self, now: cython.double) -> ServerRelay | None:
        """A server to send to, or None: then the client waits and is held."""
        found = self.pool.find_server()
        if found is None:
            self.held = True
            self.wait_start = now
            self.pool.lists.wait(self)
            return None
        server: ServerRelay = found
        server._link(self)
        return server

    @cython.cfunc
    def _process(self, data: bytes) -> None:
        now: cython.double = self.pool.clock()
        self.request_time = now
        if self.gather is not None:
            self.gather += data
            if len(self.gather) < self.gather_len:
                return
            data = bytes(self.gather)
            self.gather = None
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t = 0
        at: cython.Py_ssize_t
        total: cython.longlong
        kind: cython.int
        server = self.link
        parts: list[bytes] | None = None
        rewrite: cython.bint = self.pool.mode != SESSION and self.pool.max_prepared_statements > 0
        whole: cython.bint = True
        described: cython.bint = False
        syncs: cython.int = 0
        kind = 0
        if self.skip > 0:
            pos = n if self.skip > n else _size(self.skip)
            self.skip -= pos
            if server is None:
                start = pos  # the rest of a late CopyData
        while n - pos >= 5:
            kind = data[pos]
            total = _message_len(data, pos)
            if total < 5 or total > self.pool.max_packet_size:
                head: str = data[pos : pos + 8].hex()
                raise ProtocolViolation("client", f"bad packet header: '{head}'")
            if server is None:
                if kind in (COPY_DATA, COPY_DONE, COPY_FAIL, FLUSH):
                    # What a failed COPY leaves behind after its server has gone; nobody wants it.
                    pos = self._pass(pos, total, n)
                    start = pos
                    continue
                if kind == TERMINATE:
                    self.pool.control.on_client_terminate(self)
                    return
                if kind == CLOSE and rewrite:
                    at = self._close_unlinked(data, pos, total)
                    if at < 0:
                        self._want(data, pos, -at)
                        break
                    if at > 0:
                        pos = start = at
                        whole = False  # answered already: this chunk can't be run again
                        continue
                self._count(now)
                server = self._acquire(now)
                if server is None or self.held:
                    self._keep(data if pos == 0 else data[pos:])
                    if server is None:
                        self.pool.control.on_client_waits(self)
                    return
            elif self.query_start == 0 and _starts_query(kind):
                self._count(now)
            if kind == QUERY:
                if self.pool.disable_pqexec:
                    raise ProtocolViolation("client", "PQexec disallowed")
                syncs += 1
                server._push(REQ_QUERY)
            elif kind == SYNC:
                syncs += 1
                server._push(REQ_SYNC)
            elif kind == EXECUTE:
                server._push(REQ_EXECUTE)
            elif kind in (BIND, DESCRIBE, PARSE, CLOSE):
                described |= kind == DESCRIBE
                if rewrite:
                    if parts is None:
                        parts = []
                    at = self._rewrite(server, kind, data, pos, total, start, parts)
                    if at < 0:
                        self._want(data, pos, -at)
                        break
                    if at > 0:
                        start = at
                elif kind == BIND:
                    server._push(REQ_BIND)
                elif kind == DESCRIBE:
                    server._push(REQ_DESCRIBE)
                elif kind == PARSE:
                    server._push(REQ_PARSE)
                else:
                    server._push(REQ_CLOSE)
            elif kind in (COPY_DONE, COPY_FAIL):
                if server.asked > 0:  # else the COPY has failed and been answered, or never was
                    server._push(REQ_COPY_END)
            elif kind == FUNCTION_CALL:
                syncs += 1
                server._push(REQ_QUERY)
            elif kind == TERMINATE:
                self._forward(server, data, start, pos, parts)
                self.pool.control.on_client_terminate(self)
                return
            elif kind != COPY_DATA and kind != FLUSH:
                raise ProtocolViolation("client", "unknown pkt")
            pos = self._pass(pos, total, n)
        if pos < n and self.gather is None:
            self._want(data, pos, 5)
        if server is not None:
            # One batch outside a transaction, sent whole, whose client reads the row description
            # anew, can be run again, unless more is sent before it is answered.
            whole = (
                whole
                and pos == n
                and ((syncs == 1 and kind == SYNC) or (syncs == 0 and kind == FLUSH))
            )
            again: cython.bint = server.fresh and described and not self.replaying
            server.replay = data if whole and again else None
            server.answered.clear()
            server.fresh = False
            self._forward(server, data, start, pos, parts)
            server._after_client(self)

    @cython.cfunc
    def _pass(
        self, pos: cython.Py_ssize_t, total: cython.longlong, n: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Step over a message that goes on as it is, also where it ends beyond this chunk."""
        if total > n - pos:
            self.skip = total - (n - pos)
            return n
        return pos + _size(total)

    @cython.cfunc
    def _count(self, now: cython.double) -> None:
        """A burst of messages that starts with nothing in flight is one query, as for PgBouncer."""
        if self.query_start == 0:
            self.query_start = now
            self.pool.stats.query_count += 1
        if self.xact_start == 0:
            self.xact_start = now
            self.pool.stats.xact_count += 1

    @cython.cfunc
    def _forward(
        self,
        server: ServerRelay,
        data: bytes,
        start: cython.Py_ssize_t,
        pos: cython.Py_ssize_t,
        parts: list[bytes] | None,
    ) -> None:
        if parts is None or not parts:
            if start == 0 and pos == len(data):
                server.write(data)
            elif start < pos:
                server.write(data[start:pos])
            return
        if start < pos:
            parts.append(data[start:pos])
        server.write(b"".join(parts))

    # ---- prepared statements

    @cython.cfunc
    def _more(self, have: cython.longlong, total: cython.longlong) -> cython.longlong:
        """How many bytes to collect (negated) until a name that is cut off is whole."""
        if have >= total:
            raise ProtocolViolation("client", "failed to parse packet")
        return -min(total, 2 * have + 64)

    @cython.cfunc
    def _rewrite(
        self,
        server: ServerRelay,
        kind: cython.int,
        data: bytes,
        pos: cython.Py_ssize_t,
        total: cython.longlong,
        start: cython.Py_ssize_t,
        parts: list[bytes],
    ) -> cython.longlong:
        """Handle P, B, D or C at `pos`, whose statement may be named.

        Returns 0: it goes on untouched. > 0: `parts` now ends with its new form, what follows is
        forwarded from that offset on. < 0: so many of its bytes (negated) must be there first.
        """
        n: cython.Py_ssize_t = len(data)
        whole: cython.bint = total <= n - pos
        end: cython.Py_ssize_t = pos + _size(total) if whole else n
        name_at: cython.Py_ssize_t = pos + 5
        if kind == BIND:
            name_at = _nul(data, pos + 5, end) + 1
            if name_at == 0:
                return self._more(n - pos, total)
        elif kind != PARSE:
            if total < 7 or total > INSPECT_MAX:
                raise ProtocolViolation("client", "failed to parse packet")
            if not whole:
                return -total
            name_at = pos + 6
        name_end: cython.Py_ssize_t = _nul(data, name_at, end)
        if name_end < 0:
            return self._more(n - pos, total)
        if name_end == name_at or (kind != BIND and kind != PARSE and data[pos + 5] != 0x53):
            server._push(_request_of(kind))  # an unnamed statement, or a portal
            return 0
        if kind == PARSE and not whole:
            return -total
        name: bytes = data[name_at:name_end]
        if start < pos:
            parts.append(data[start:pos])
        if kind == BIND:
            anew: cython.bint = whole and end < n and data[end] == DESCRIBE
            self._bind(server, name, data, pos, total, name_at, anew, parts)
            return name_end + 1
        if kind == PARSE:
            self._parse(server, name, data[name_end + 1 : end], parts)
        elif kind == DESCRIBE:
            self._describe(server, name, parts)
        else:
            self._close(server, name)
        return end

    @cython.cfunc
    def _bind(
        self,
        server: ServerRelay,
        name: bytes,
        data: bytes,
        pos: cython.Py_ssize_t,
        total: cython.longlong,
        name_at: cython.Py_ssize_t,
        anew: cython.bint,
        parts: list[bytes],
    ) -> None:
        self.pool.stats.bind_count += 1
        statement = self._statement(server, name, anew, parts)
        name_z: bytes = name + b"\0" if statement is None else statement.name_z
        server._push(REQ_BIND)
        parts.append(_header(BIND, total - 2 - len(name) + len(name_z)))
        parts.append(data[pos + 5 : name_at])  # the portal
        parts.append(name_z)

    @cython.cfunc
    def _describe(self, server: ServerRelay, name: bytes, parts: list[bytes]) -> None:
        statement = self._statement(server, name, True, parts)
        name_z: bytes = name + b"\0" if statement is None else statement.name_z
        server._push(REQ_DESCRIBE)
        parts.append(_header(DESCRIBE, 5 + len(name_z)))
        parts.append(b"S" + name_z)

    @cython.cfunc
    def _statement(
        self, server: ServerRelay, name: bytes, anew: cython.bint, parts: list[bytes]
    ) -> PreparedStatement | None:
        """What the client calls `name`, made ready on the server, `anew` if it is known to be
        stale; None where the client never prepared that.

        Then its own message goes on with its own name, for the server to refuse: the error, the
        aborted transaction and the skipping up to Sync are PostgreSQL's own.
        """
        if self.prepared is None:
            return None
        statement: PreparedStatement | None = self.prepared.get(name)
        if statement is None:
            return None
        if self.replaying or (anew and statement.stale):
            statement = self.pool.statements.find(statement.query)
            self.prepared[name] = statement
        if statement is server.last_used:
            return statement
        if statement in server.prepared:
            server.prepared.move_to_end(statement)
            server.last_used = statement
            return statement
        server._push_tracked(REQ_PARSE | SKIP, statement, None)
        parts.append(statement.parse_message())
        server._register(statement, parts)
        return statement

    @cython.cfunc
    def _parse(self, server: ServerRelay, name: bytes, query: bytes, parts: list[bytes]) -> None:
        self.pool.stats.client_parse_count += 1
        taken = self._statement(server, name, False, parts)
        if taken is not None:
            server._push_tracked(REQ_PARSE | DUPLICATE, None, name)
            parts.append(taken.parse_message())
            return
        statement: PreparedStatement = self.pool.statements.find(query)
        if self.prepared is None:
            self.prepared = {}
        self.prepared[name] = statement
        if statement in server.prepared:
            server.prepared.move_to_end(statement)
            server.last_used = statement
            server._push_tracked(REQ_PARSE | FAKE, statement, name)
            return
        server._push_tracked(REQ_PARSE, statement, name)
        parts.append(statement.parse_message())
        server._register(statement, parts)

    @cython.cfunc
    def _close(self, server: ServerRelay, name: bytes) -> None:
        """The statement stays on the server for others; the answer is made up in its turn."""
        statement = None if self.prepared is None else self.prepared.pop(name, None)
        server._push_tracked(REQ_CLOSE | FAKE, statement, name)

    @cython.cfunc
    def _close_unlinked(
        self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong
    ) -> cython.longlong:
        """Answer the Close of a named statement without a server; returns as `_rewrite` does."""
        n: cython.Py_ssize_t = len(data)
        if total > INSPECT_MAX:
            raise ProtocolViolation("client", "failed to parse packet")
        if total > n - pos:
            return -total
        end: cython.Py_ssize_t = pos + _size(total)
        if total < 8 or data[pos + 5] != 0x53:
            return 0
        if data[end - 1] != 0:
            raise ProtocolViolation("client", "failed to parse packet")
        if self.prepared is not None:
            self.prepared.pop(data[pos + 6 : end - 1], None)
        self.write(FAKE_CLOSE_COMPLETE)
        return end


@cython.cfunc
def _starts_query(kind: cython.int) -> cython.bint:
    return kind not in (COPY_DATA, COPY_DONE, COPY_FAIL, TERMINATE)


@cython.cfunc
def _request_of(kind: cython.int) -> cython.int:
    if kind == BIND:
        return REQ_BIND
    if kind == DESCRIBE:
        return REQ_DESCRIBE
    if kind == PARSE:
        return REQ_PARSE
    return REQ_CLOSE


@cython.cclass
class ServerRelay:
    """One logged-in server connection: its link, and the requests that it has not answered yet."""

    state = cython.declare(cython.int, visibility="public")  # its list in PoolLists
    owner = cython.declare(object, visibility="public")
    transport = cython.declare(object, visibility="public")
    vars = cython.declare(object, visibility="public")
    request_time = cython.declare(cython.double, visibility="public")
    closed = cython.declare(cython.bint, visibility="public")
    connect_time = cython.declare(cython.double, visibility="public")
    close_needed = cython.declare(cython.bint, visibility="public")  # to be closed at its release
    special = cython.declare(cython.bint, visibility="public")  # control decides at its release
    # outside a transaction, nothing asked since
    ready = cython.declare(cython.bint, visibility="public")
    # in a transaction, nothing asked since
    idle_tx = cython.declare(cython.bint, visibility="public")
    # RESET or DISCARD ALL in the answer at hand
    reset = cython.declare(cython.bint, visibility="public")
    write: Callable[[bytes], None]
    pool: PoolRelay
    link: ClientRelay | None
    prepared: OrderedDict[PreparedStatement, None]
    queue: bytearray
    head: cython.Py_ssize_t
    asked: cython.Py_ssize_t
    tracked: deque[tuple[PreparedStatement | None, bytes | None]]
    gather: bytearray | None
    gather_len: cython.longlong
    skip: cython.longlong
    drop: cython.bint
    restore: cython.bint  # the client's own startup values are to be set again
    copy_mode: cython.bint
    failed: cython.bint
    private: cython.bint
    releasing: cython.bint
    read_paused: cython.bint
    write_paused: cython.bint
    ddl: cython.bint
    fresh: cython.bint  # linked, and nothing sent for the client yet
    last_used: PreparedStatement | None  # the newest of `prepared`, or None
    replay: bytes | None  # the client's batch, until the first byte of its answer goes out
    answered: list[Any]  # of `replay`: requests, statements and names that are answered
    again: bytes | None  # the batch that is run once more when the server is ready
    instead: bytes | None  # what the client gets for the message at hand

    def __init__(self, pool: PoolRelay, transport: Any, owner: Any) -> None:
        self.pool = pool
        self.owner = owner
        self.transport = transport
        self.write = transport.write
        self.state = 0
        self.vars = None
        self.request_time = self.connect_time = pool.clock()
        self.link = None
        self.prepared = OrderedDict()
        self.queue = bytearray()
        self.head = self.asked = 0
        self.tracked = deque()
        self.gather = None
        self.gather_len = self.skip = 0
        self.close_needed = self.closed = self.special = self.drop = self.copy_mode = (
            self.failed
        ) = False
        self.private = self.releasing = self.read_paused = self.idle_tx = False
        self.write_paused = False
        self.reset = self.restore = False
        self.ready = True
        self.ddl = self.fresh = False
        self.last_used = None
        self.replay = self.again = self.instead = None
        self.answered = []

    # ---- asyncio's protocol

    def connection_made(self, transport: Any) -> None:
        """Never called: the relay takes over a transport that has logged in."""

    def connection_lost(self, error: BaseException | None) -> None:
        self.pool.control.on_server_lost(self, error)

    def eof_received(self) -> None:
        """The transport closes itself."""

    def pause_writing(self) -> None:
        """The server is slow: read no more of what the client sends it."""
        self.write_paused = True
        if self.link is not None:
            self.link._pause_reading()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.link is not None:
            self.link._resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self.pool.stats.server_bytes += len(data)
        now: cython.double = self.pool.clock()
        self.request_time = now
        try:
            if self.gather is not None:
                self.gather += data
                if len(self.gather) < self.gather_len:
                    return
                data = bytes(self.gather)
                self.gather = None
            if self.private or self.link is None:
                self._process_private(data)
            else:
                self._process(data, self.link, now)
        except ProtocolViolation as error:
            self.pool.control.on_server_violation(self, error.message)
        except Exception as error:
            self.pool.control.on_bug(self, error)

    # ---- for control

    @property
    def linked_client(self) -> ClientRelay | None:
        """The client that it is linked to."""
        return self.link

    @property
    def prepared_count(self) -> int:
        return len(self.prepared)

    @property
    def outstanding_count(self) -> int:
        """Requests that the server has not answered."""
        return self.asked

    @property
    def pool_relay(self) -> PoolRelay:
        return self.pool

    def send_private(self, message: bytes) -> None:
        """Send what the pooler asks for itself: each answer goes to `control.on_private_message`,
        none to a client.
        """
        self.private = True
        self.ready = False
        self.write(message)

    def serve(self, client: ClientRelay) -> None:
        """Link a client that waited; its kept bytes are processed at once."""
        client.pool.stats.wait_time += self.pool.clock() - client.wait_start
        client.wait_start = 0
        if self._link(client):
            client.proceed()

    def unlink(self) -> None:
        """Part from the client, whatever is in flight."""
        self._unlink()

    def release(self) -> None:
        """Give a ready server back to its pool."""
        self._release()

    def forget_prepared(self) -> None:
        """DEALLOCATE ALL, DISCARD ALL: the server has none of them any more."""
        self.prepared.clear()
        self.last_used = None

    # ---- inside: the link

    @cython.cfunc
    def _link(self, client: ClientRelay) -> cython.bint:
        """Link; False where session parameters differ and are being set: the client is held until
        they are.
        """
        self.link = client
        client.link = self
        self.fresh = True
        self.ready = False
        self.pool.stats.server_assignment_count += 1
        if client.write_paused:
            self._pause_reading()
        if client.vars is not self.vars:
            message: bytes = self.pool.control.vars_message(client, self)
            if message:
                client.held = True
                self.send_private(message)
                return False
        return True

    @cython.cfunc
    def _unlink(self) -> None:
        client = self.link
        self.link = None
        self.replay = None
        self._resume_reading()
        if client is not None:
            client.link = None
            if not client.held:
                client._resume_reading()

    @cython.cfunc
    def _pause_reading(self) -> None:
        if not self.read_paused and not self.closed:
            self.read_paused = True
            self.transport.pause_reading()

    @cython.cfunc
    def _resume_reading(self) -> None:
        if self.read_paused and not self.closed:
            self.read_paused = False
            self.transport.resume_reading()

    @cython.cfunc
    def _release(self) -> None:
        """To the pool, or at once to the longest-waiting client, and the next one where that client
        fails at once.
        """
        if self.link is not None:
            self._unlink()
        if self.special:
            self.pool.control.on_release(self)
            return
        if self.releasing:
            return  # below us on the stack; the loop there goes on
        self.releasing = True
        try:
            while not self.closed and not self.special:
                waiting = self.pool.release_server(self)
                if waiting is None:
                    break
                self.serve(waiting)
                if self.link is not None or not self.ready:
                    break
        finally:
            self.releasing = False

    # ---- inside: outstanding requests

    @cython.cfunc
    def _push(self, request: cython.int) -> None:
        self.ready = self.idle_tx = False
        self.queue.append(request)
        self.asked += 1

    @cython.cfunc
    def _push_tracked(
        self, request: cython.int, statement: PreparedStatement | None, name: bytes | None
    ) -> None:
        self.ready = self.idle_tx = False
        self.queue.append(request | TRACKED)
        self.tracked.append((statement, name))
        if not request & FAKE:
            self.asked += 1

    @cython.cfunc
    def _peek(self) -> cython.int:
        """The oldest outstanding request, or 0."""
        if self.head < len(self.queue):
            return self.queue[self.head]
        return 0

    @cython.cfunc
    def _pop(self) -> cython.int:
        request: cython.int = self.queue[self.head]
        self.head += 1
        if not request & FAKE:
            self.asked -= 1
        if self.head > 1024:  # now and then, not for every transaction
            del self.queue[: self.head]
            self.head = 0
        return request

    @cython.cfunc
    def _answered(self, kind: cython.int) -> cython.bint:
        """A response to `kind` has come; True where the client is not to see it."""
        request: cython.int = self._peek()
        if request & KIND != kind:
            return False
        self._pop()
        if request & TRACKED:
            self._forget_tracked(request)
        if kind == REQ_EXECUTE:
            self.replay = None  # it may have ended a transaction
        return request & SKIP != 0

    @cython.cfunc
    def _forget_tracked(self, request: cython.int) -> None:
        """The request is answered; where its batch is run again, client's names are put back."""
        statement, name = self.tracked.popleft()
        if self.replay is not None and name is not None:
            self.answered.append((request | FAKE, statement, name))

    @cython.cfunc
    def _drop_until(self, kind: cython.int, client: ClientRelay | None) -> None:
        """Take requests that the server skipped off the queue, up to and with the first of `kind`;
        undo what they stood for.
        """
        while self.head < len(self.queue):
            request: cython.int = self._pop()
            if request & TRACKED:
                statement, name = self.tracked.popleft()
                self._undo(request, statement, name, client)
            if request & KIND == kind:
                return

    @cython.cfunc
    def _undo(
        self,
        request: cython.int,
        statement: PreparedStatement | None,
        name: bytes | None,
        client: ClientRelay | None,
    ) -> None:
        if statement is None:
            return
        if request & KIND == REQ_PARSE:
            if not request & FAKE:
                self.prepared.pop(statement, None)
                self.last_used = None
            if name is not None and client is not None and client.prepared is not None:
                if client.prepared.get(name) is statement:
                    del client.prepared[name]
        elif request & FAKE:  # the client's Close was skipped: its statement is still there
            if client is not None and name is not None:
                if client.prepared is None:
                    client.prepared = {}
                client.prepared.setdefault(name, statement)
        else:  # an eviction's Close was skipped
            self.prepared[statement] = None
            self.last_used = None

    @cython.cfunc
    def _register(self, statement: PreparedStatement, parts: list[bytes]) -> None:
        """Remember that the server has (or soon has) the statement; close the least recently used
        ones beyond the limit.
        """
        self.pool.stats.server_parse_count += 1
        self.prepared[statement] = None
        self.last_used = None
        while len(self.prepared) > self.pool.max_prepared_statements:
            oldest: PreparedStatement = self.prepared.popitem(last=False)[0]
            self._push_tracked(REQ_CLOSE | SKIP, oldest, None)
            parts.append(oldest.close_message())

    @cython.cfunc
    def _after_client(self, client: ClientRelay) -> None:
        """The client's chunk has gone out."""
        if self.asked == 0 and self.head < len(self.queue):
            # Nothing is on its way from the server, so made-up responses have no answer to travel
            # with.
            client.write(b"".join(self._fakes(None, b"", 0, 0)))
        if self.ready and self.link is client:
            self._maybe_release(client)

    @cython.cfunc
    def _maybe_release(self, client: ClientRelay) -> None:
        """Release after a transaction, unless the client still owes the server the rest of a
        message.
        """
        if self.pool.mode != SESSION and self.asked == 0 and client.skip == 0:
            self._release()

    # ---- inside: what the server sends

    @cython.cfunc
    def _want(self, data: bytes, pos: cython.Py_ssize_t, need: cython.longlong) -> None:
        self.gather = bytearray(data[pos:])
        self.gather_len = need

    @cython.cfunc
    def _total(self, data: bytes, pos: cython.Py_ssize_t) -> cython.longlong:
        total: cython.longlong = _message_len(data, pos)
        if total < 5 or total > self.pool.max_packet_size:
            raise ProtocolViolation("server", "bad pkt header")
        return total

    @cython.cfunc
    def _process(self, data: bytes, client: ClientRelay, now: cython.double) -> None:
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t = 0
        total: cython.longlong
        kind: cython.int
        drop: cython.bint
        parts: list[bytes] | None = None
        if self.skip > 0:
            pos = n if self.skip > n else _size(self.skip)
            self.skip -= pos
            if self.drop:
                start = pos
        while n - pos >= 5:
            kind = data[pos]
            total = self._total(data, pos)
            drop = False
            if kind != DATA_ROW and kind != COPY_DATA:
                if total > n - pos and _is_inspected(kind, total):
                    self._want(data, pos, total)
                    break
                if kind == ERROR_RESPONSE and self._retry(data, pos, client):
                    return
                if self._peek() & FAKE:
                    parts = self._fakes(parts, data, start, pos)
                    start = pos
                if kind == READY_FOR_QUERY:
                    if total != 6:
                        raise ProtocolViolation("server", "bad pkt header")
                    self._on_ready(data[pos + 5], client, now)
                    pos += 6
                    if self._peek() & FAKE:
                        parts = self._fakes(parts, data, start, pos)
                        start = pos
                    if (
                        self.ready
                        and self.pool.mode != SESSION
                        and self.asked == 0
                        and client.skip == 0
                    ):
                        self._to_client(client, data, start, pos, parts)
                        self._unlink()
                        if pos < n:
                            self._process_private(data[pos:])
                        if not self.closed:
                            self._release()
                        return
                    if self.pool.mode == STATEMENT and data[pos - 1] != IDLE:
                        self.pool.control.on_transaction_in_statement_mode(self)
                        return
                    continue
                drop = self._on_message(kind, data, pos, total, client)
                if self.instead is not None:
                    if parts is None:
                        parts = []
                    parts.append(data[start:pos] + self.instead)
                    self.instead = None
                    pos += _size(total)
                    start = pos
                    continue
            if drop and start < pos:
                if parts is None:
                    parts = []
                parts.append(data[start:pos])
            if total > n - pos:
                self.skip = total - (n - pos)
                self.drop = drop
                pos = n
            else:
                pos += _size(total)
            if drop:
                start = pos
        if pos < n and self.gather is None:
            self._want(data, pos, 5)
        self._to_client(client, data, start, pos, parts)

    @cython.cfunc
    def _to_client(
        self,
        client: ClientRelay,
        data: bytes,
        start: cython.Py_ssize_t,
        pos: cython.Py_ssize_t,
        parts: list[bytes] | None,
    ) -> None:
        if parts is not None:
            if start < pos:
                parts.append(data[start:pos])
            data = b"".join(parts)
            start = 0
            pos = len(data)
        elif start > 0 or pos < len(data):
            data = data[start:pos]
        if data:
            self.replay = None
            client.write(data)

    @cython.cfunc
    def _fakes(
        self,
        parts: list[bytes] | None,
        data: bytes,
        start: cython.Py_ssize_t,
        pos: cython.Py_ssize_t,
    ) -> list[bytes]:
        """`parts` with what stands before `pos` and the made-up responses whose turn has come."""
        if parts is None:
            parts = []
        if start < pos:
            parts.append(data[start:pos])
        while self._peek() & FAKE:
            request: cython.int = self._pop()
            self._forget_tracked(request)
            parts.append(
                FAKE_PARSE_COMPLETE if request & KIND == REQ_PARSE else FAKE_CLOSE_COMPLETE
            )
        return parts

    @cython.cfunc
    def _on_ready(self, status: cython.int, client: ClientRelay, now: cython.double) -> None:
        kind: cython.int = self._peek() & KIND
        if kind in (REQ_SYNC, REQ_QUERY):
            self._pop()
        elif self.failed:
            self._drop_until(REQ_SYNC, client)
        while self._peek() & KIND == REQ_COPY_END:
            self._pop()  # of a COPY that failed before it read that, or never began
        self.failed = False
        if self.ddl and status == IDLE:
            self.ddl = False
            self.pool.statements.outdate()
        if self.reset:
            self.reset = False
            self.restore = True
        if self.asked > 0:
            return
        self.ready = status == IDLE
        self.idle_tx = not self.ready
        if client.query_start != 0:
            self.pool.stats.query_time += now - client.query_start
            client.query_start = 0
        if self.ready and client.xact_start != 0:
            self.pool.stats.xact_time += now - client.xact_start
            client.xact_start = 0
        if self.restore:
            self.restore = False
            self._restore(status, client)

    @cython.cfunc
    def _restore(self, status: cython.int, client: ClientRelay) -> None:
        """RESET went back to the connection's startup values: set the client's own, where it keeps
        the server. Otherwise the next link does it.
        """
        if status == FAILED or (status == IDLE and self.pool.mode != SESSION):
            return
        message: bytes = self.pool.control.vars_message(client, self)
        if message:
            client.held = True
            self.send_private(message)

    @cython.cfunc
    def _on_message(
        self,
        kind: cython.int,
        data: bytes,
        pos: cython.Py_ssize_t,
        total: cython.longlong,
        client: ClientRelay,
    ) -> cython.bint:
        """Take note of a message; True where the client is not to see it."""
        if kind == COMMAND_COMPLETE:
            if self.copy_mode:
                self._end_copy(client)
            if total <= len(data) - pos and _is_notable(data, pos):
                self.ddl |= self.pool.control.on_command_tag(
                    self, client, data[pos + 5 : pos + _size(total) - 1]
                )
            return self._answered(REQ_EXECUTE)
        if kind == BIND_COMPLETE:
            return self._answered(REQ_BIND)
        if kind in (ROW_DESCRIPTION, NO_DATA):
            return self._answered(REQ_DESCRIBE)
        if kind == PARSE_COMPLETE:
            return self._answered(REQ_PARSE)
        if kind == CLOSE_COMPLETE:
            return self._answered(REQ_CLOSE)
        if kind in (EMPTY_QUERY, PORTAL_SUSPENDED):
            return self._answered(REQ_EXECUTE)
        if kind == ERROR_RESPONSE:
            self._on_error(data, pos, total, client)
        elif kind == PARAMETER_STATUS:
            self.instead = self.pool.control.on_parameter_status(
                self, client, data[pos + 5 : pos + _size(total)]
            )
        elif kind in (COPY_IN, COPY_BOTH):
            self.copy_mode = True
        elif not _is_passed_on(kind):
            raise ProtocolViolation("server", "unknown pkt")
        return False

    @cython.cfunc
    def _end_copy(self, client: ClientRelay) -> cython.bint:
        """The server has left COPY mode; True where a Sync went off the queue with it, which a
        server in COPY mode reads and ignores.
        """
        self.copy_mode = False
        if self._peek() & KIND != REQ_QUERY:
            sync: cython.Py_ssize_t = self.queue.find(REQ_SYNC, self.head)
            end: cython.Py_ssize_t = self.queue.find(REQ_COPY_END, self.head)
            self._drop_until(REQ_COPY_END, client)
            return sync >= 0 and (end < 0 or sync < end)
        if self.head + 1 < len(self.queue) and self.queue[self.head + 1] & KIND == REQ_COPY_END:
            del self.queue[self.head + 1]
            self.asked -= 1
        return False

    @cython.cfunc
    def _on_error(
        self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong, client: ClientRelay
    ) -> None:
        if self.copy_mode and self._end_copy(client):
            # Whether COPY has read that Sync, or it is still to be answered, we can't know.
            self.close_needed = self.special = True
        self.failed = True
        if self._peek() & DUPLICATE and total <= len(data) - pos:
            # Refused under the server's name for it; the client knows the statement by its own.
            body: bytes = data[pos + 5 : pos + _size(total)]
            self.instead = self.pool.control.duplicate_error(body, self.tracked[0][1])

    @cython.cfunc
    def _retry(self, data: bytes, pos: cython.Py_ssize_t, client: ClientRelay) -> cython.bint:
        """Where an error says that DDL made a cached statement stale, nothing went out yet and the
        client reads the row description anew: run its batch once more, with the statements prepared
        anew. True where that was begun.
        """
        at: cython.Py_ssize_t = self.head
        while at < len(self.queue) and self.queue[at] & FAKE:
            at += 1
        if not self.prepared or at == len(self.queue) or self.queue[at] & KIND == REQ_PARSE:
            return False  # what is being prepared now can't be stale
        if not self.pool.control.is_stale_error(data, pos):
            return False
        self.pool.statements.outdate()
        stale: PreparedStatement
        for stale in self.prepared:
            stale.stale = True
        if self.replay is None:
            return False
        self.again = self.replay
        self.replay = None
        if self.queue.find(REQ_SYNC, self.head) < 0:
            self.write(_header(SYNC, 4))
        self._drop_until(REQ_SYNC, client)
        while self.answered:
            request, statement, name = self.answered.pop()
            self._undo(request, statement, name, client)
        client.held = True
        self.private = True
        self._process_private(data)
        return True

    @cython.cfunc
    def _process_private(self, data: bytes) -> None:
        """What the server sends to the pooler itself: answers to `send_private`, and what comes
        while it is idle.
        """
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        total: cython.longlong
        kind: cython.int
        status: cython.int = 0
        if self.skip > 0:
            pos = n if self.skip > n else _size(self.skip)
            self.skip -= pos
        while n - pos >= 5 and not self.closed:
            kind = data[pos]
            total = self._total(data, pos)
            if kind == DATA_ROW or (total > INSPECT_MAX and kind != PARAMETER_STATUS):
                if total > n - pos:
                    self.skip = total - (n - pos)
                    self.drop = True
                    pos = n
                else:
                    pos += _size(total)
                continue
            if total > n - pos:
                if kind == PARAMETER_STATUS and total > PARAMETER_MAX:
                    raise ProtocolViolation("server", "failed to store ParameterStatus")
                self._want(data, pos, total)
                break
            if kind == READY_FOR_QUERY and total == 6 and self.private:
                status = data[pos + 5]
            elif self.again is None:
                self.pool.control.on_private_message(self, kind, data[pos + 5 : pos + _size(total)])
            pos += _size(total)
        if pos < n and self.gather is None:
            self._want(data, pos, 5)
        if status != 0 and not self.closed:
            self._private_done(status)

    @cython.cfunc
    def _private_done(self, status: cython.int) -> None:
        client = self.link
        self.private = False
        self.ready = status == IDLE
        if client is None:
            self.pool.control.on_private_ready(self)
            return
        if self.again is not None:
            data: bytes = self.again
            self.again = None
            client.pending = data + client.pending
            client.replaying = True
        else:
            self.pool.control.on_vars_set(self, client)
            if self.closed or self.link is None:
                return
        self.idle_tx = not self.ready
        if client.pending:
            self.ready = self.idle_tx = False
        try:
            client.proceed()
        finally:
            client.replaying = False


@cython.cfunc
def _is_inspected(kind: cython.int, total: cython.longlong) -> cython.bint:
    """Messages that are read whole, unless they are too large to be worth it."""
    if kind == READY_FOR_QUERY:
        return total == 6  # else it is refused, and what it claims to have is not waited for
    if kind == PARAMETER_STATUS:
        if total > PARAMETER_MAX:
            raise ProtocolViolation("server", "failed to store ParameterStatus")
        return True
    return total <= INSPECT_MAX and (kind in (COMMAND_COMPLETE, ERROR_RESPONSE))


@cython.cfunc
def _is_passed_on(kind: cython.int) -> cython.bint:
    return kind in (
        NOTICE_RESPONSE,
        NOTIFICATION,
        PARAMETER_DESCRIPTION,
        COPY_OUT,
        COPY_DONE,
        FUNCTION_RESULT,
    )


@cython.cfunc
def _is_notable(data: bytes, pos: cython.Py_ssize_t) -> cython.bint:
    """A first look at a command tag: False for all that is common (SELECT, INSERT, UPDATE, DELETE,
    COPY, BEGIN, COMMIT).
    """
    first: cython.int = data[pos + 5]
    second: cython.int = data[pos + 6] if first != 0 else 0
    if first == 0x43 or first == 0x44 or first == 0x52:  # C, D, R
        if first == 0x43 or first == 0x52:
            return second != 0x4F  # COMMIT, COPY, COMMENT; ROLLBACK
        return second != 0x45 or data[pos + 7] == 0x41  # DELETE; DEALLOCATE
    return first == 0x41 or (first == 0x49 and second == 0x4D)  # ALTER; IMPORT FOREIGN SCHEMA
