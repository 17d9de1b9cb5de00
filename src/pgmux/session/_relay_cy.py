"""HOT: forward a chunk from one side of a link to the other.

A client and the server linked to it are one object each, which their transport calls with the bytes
that it received. A chunk is scanned once, by message headers, and goes on in one write: the very
bytes where nothing is cut, the pieces joined where a prepared statement's name is rewritten, a
response is dropped (SKIP) or made up (FAKE). A message that is only passed on is never assembled.
What is rare is a call to `control` (session/control.py), plain Python.

Source: PostgreSQL protocol, "Message Flow" and "Message Formats"; "outstanding request" (forward,
skip, fake) is PgBouncer's word.
Errors: none leave `data_received`; what a peer did wrong goes to `control` after everything before
it has been forwarded, and what we did wrong goes to `control.on_bug`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Any

from pgmux.errors import LocalProtocolError, ProtocolViolation
from pgmux.pool import states

if TYPE_CHECKING:
    from pgmux import _cython as cython
else:
    try:
        import cython
    except ModuleNotFoundError:
        from pgmux import _cython as cython

# All constants are C variables: an untyped one costs ten times as much. An outstanding request is
# one byte in the server's queue: what is to be answered, and what becomes of the response.
REQ_SYNC = cython.declare(cython.int, 1)
REQ_QUERY = cython.declare(cython.int, 2)  # or a function call
REQ_EXECUTE = cython.declare(cython.int, 3)
REQ_PARSE = cython.declare(cython.int, 4)
REQ_BIND = cython.declare(cython.int, 5)
REQ_DESCRIBE = cython.declare(cython.int, 6)
REQ_CLOSE = cython.declare(cython.int, 7)
REQ_COPY_END = cython.declare(cython.int, 8)
KIND = cython.declare(cython.int, 0x0F)
SKIP = cython.declare(cython.int, 0x10)  # the client did not ask: drop the response
FAKE = cython.declare(cython.int, 0x20)  # the server was not asked: make the response up
DUPLICATE = cython.declare(cython.int, 0x40)  # a Parse that the server is to refuse
TRACKED = cython.declare(cython.int, 0x80)  # has its (statement, client's name) in `tracked`

# Messages that are no request, or answer none; in the tables below, where 0 is an unknown type.
TERMINATE = cython.declare(cython.int, 9)
PASSED = cython.declare(cython.int, 10)  # nobody answers it
SPECIAL = cython.declare(cython.int, 11)  # `_on_special` knows

MORE = cython.declare(cython.int, 1 | 1 << 2 | 1 << 8)  # of a chunk's bits: more than one batch


def _table(meanings: dict[str, int]) -> bytes:
    """256 meanings, by message type."""
    by_type = {ord(letter): meaning for key, meaning in meanings.items() for letter in key}
    return bytes([by_type.get(code, 0) for code in range(256)])


# What a client's message asks for.
REQUESTS = cython.declare(
    bytes,
    _table(
        {"S": 1, "QF": 2, "E": 3, "P": 4, "B": 5, "D": 6, "C": 7, "cf": 8, "X": 9, "dH": 10},
    ),
)
# What a server's message answers.
RESPONSES = cython.declare(
    bytes,
    _table({"CIs": 3, "1": 4, "2": 5, "Tn": 6, "3": 7, "DdNAtHcV": 10, "ESGWZ": 11}),
)

# The types that are looked at more closely (wire/codes.py has all, for everybody else).
QUERY = cython.declare(cython.int, 0x51)  # Q
PARSE = cython.declare(cython.int, 0x50)  # P
DESCRIBE = cython.declare(cython.int, 0x44)  # D
CLOSE = cython.declare(cython.int, 0x43)  # C
SYNC = cython.declare(cython.int, 0x53)  # S
FLUSH = cython.declare(cython.int, 0x48)  # H
STATEMENT_NAME = cython.declare(cython.int, 0x53)  # S: Describe, Close of a statement
DATA_ROW = cython.declare(cython.int, 0x44)  # D
COPY_DATA = cython.declare(cython.int, 0x64)  # d
COPY_BOTH = cython.declare(cython.int, 0x57)  # W
READY_FOR_QUERY = cython.declare(cython.int, 0x5A)  # Z
COMMAND_COMPLETE = cython.declare(cython.int, 0x43)  # C
ERROR_RESPONSE = cython.declare(cython.int, 0x45)  # E
NOTICE_RESPONSE = cython.declare(cython.int, 0x4E)  # N
NOTIFICATION = cython.declare(cython.int, 0x41)  # A
PARAMETER_STATUS = cython.declare(cython.int, 0x53)  # S
IDLE = cython.declare(cython.int, 0x49)  # ReadyForQuery status "I"
FAILED = cython.declare(cython.int, 0x45)  # ReadyForQuery status "E"

SV_IDLE = cython.declare(cython.int, states.SV_IDLE)
SV_ACTIVE = cython.declare(cython.int, states.SV_ACTIVE)

SESSION = cython.declare(cython.int, 0)  # PoolRelay.mode; 1 is transaction
STATEMENT = cython.declare(cython.int, 2)

INSPECT_MAX = cython.declare(cython.int, 65536)  # larger errors and tags stream through unread
PARAMETER_MAX = cython.declare(cython.int, 1 << 20)  # a ParameterStatus has to be read whole
NAMES_MAX = cython.declare(cython.int, 1 << 18)  # a portal's and a statement's name together
PENDING_MAX = cython.declare(cython.int, 65536)  # a held client is read no further than about this
TRACKED_MAX = cython.declare(cython.int, 65536)  # what a client can make us remember

FAKE_PARSE_COMPLETE = b"1\x00\x00\x00\x04"
FAKE_CLOSE_COMPLETE = b"3\x00\x00\x00\x04"
BROKEN = cython.declare(cython.longlong, -0x7FFFFFFFFFFFFFFF)  # no number of bytes would help

_header = Struct("!BI").pack  # type byte, Int32 length


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


@cython.cfunc
def _nul(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the string that starts at `pos` ends, or -1."""
    while pos < end:
        if data[pos] == 0:
            return pos
        pos += 1
    return -1


@cython.cfunc
def _name_end(
    request: cython.int, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong
) -> cython.longlong:
    """Where the statement's name ends in the P, B, D or C at `pos`; 0 where it names none.

    Less than 0: so many bytes of it (negated) must be there first, or BROKEN.
    """
    have: cython.Py_ssize_t = len(data) - pos
    end: cython.Py_ssize_t = pos + (_size(total) if total < have else have)
    at: cython.Py_ssize_t = pos + 5
    name_end: cython.Py_ssize_t
    if request == REQ_BIND:
        at = _nul(data, at, end) + 1  # behind the portal
    elif request != REQ_PARSE:
        if total > NAMES_MAX:
            return BROKEN
        if at < end and data[at] != STATEMENT_NAME:
            return 0  # a portal
        at += 1
    name_end = -1 if at == 0 else _nul(data, at, end)
    if name_end < 0:
        if total <= have or have > NAMES_MAX:
            return BROKEN
        return -min(total, 2 * have + 64)
    if name_end == at:
        return 0
    if request == REQ_PARSE and total > have:
        return -total
    if request > REQ_BIND and name_end + 1 != pos + total:
        return BROKEN
    return name_end


@cython.cfunc
def _skip_blanks(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where a statement's next word begins, behind blanks, comments and empty statements."""
    depth: cython.int = 0
    while pos < end:
        char: cython.int = data[pos]
        pair: cython.int = data[pos + 1] if pos + 1 < end else 0
        if char == 0x2F and pair == 0x2A:  # /*
            depth += 1
            pos += 1
        elif depth > 0:
            if char == 0x2A and pair == 0x2F:
                depth -= 1
                pos += 1
        elif char == 0x2D and pair == 0x2D:  # --
            while pos < end and data[pos] != 0x0A:
                pos += 1
            continue
        elif char > 0x20 and char != 0x3B:
            break
        pos += 1
    return pos


@cython.cfunc
def _find_special(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where a statement begins that control is to see before the server does, or -1 where it is
    another: CREATE, ALTER and DROP DATABASE, RESET, SET … DEFAULT. Seldom more than a look at two
    letters; applications that SET LOCAL in each transaction pay for a look at the last one.
    """
    start: cython.Py_ssize_t = _skip_blanks(data, pos, end)
    if end - start < 7:
        return -1
    first: cython.int = data[start] | 0x20
    second: cython.int = data[start + 1] | 0x20
    if second == 0x65 and (first == 0x73 or first == 0x72):  # SET, RESET; not SELECT, RELEASE
        third: cython.int = data[start + 2] | 0x20
        if first == 0x72:
            return start if third == 0x73 else -1
        return start if third == 0x74 and _last_letter(data, start, end) == 0x74 else -1
    if first == 0x64 and second == 0x72:  # DR
        pos = start + 4
    elif first == 0x63 and second == 0x72:  # CR
        pos = start + 6
    elif first == 0x61 and second == 0x6C:  # AL
        pos = start + 5
    else:
        return -1
    pos = _skip_blanks(data, pos, end)
    return start if data[pos : pos + 8].lower() == b"database" else -1


@cython.cfunc
def _last_letter(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
    """What a statement ends with, but for blanks, semicolons and a Parse's missing types; as a
    small letter.
    """
    while end > pos and (data[end - 1] <= 0x20 or data[end - 1] == 0x3B):
        end -= 1
    return data[end - 1] | 0x20


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
    """What passed through one pool; the numbers of SHOW STATS. The relay adds to them, logins but
    for the pooler; times in seconds.
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

    def add(self, other: Counters) -> None:
        """Count what another has counted, too."""
        self.server_assignment_count += other.server_assignment_count
        self.xact_count += other.xact_count
        self.query_count += other.query_count
        self.client_bytes += other.client_bytes
        self.server_bytes += other.server_bytes
        self.xact_time += other.xact_time
        self.query_time += other.query_time
        self.wait_time += other.wait_time
        self.client_parse_count += other.client_parse_count
        self.server_parse_count += other.server_parse_count
        self.bind_count += other.bind_count
        self.client_login_count += other.client_login_count


@cython.cclass
class PoolRelay:
    """What all relays of one pool share: its lists, its counters, its mode, and `control` for what
    is rare. Gives servers to clients: two calls a transaction, `find_server` and `release_server`.
    """

    lists = cython.declare(object, visibility="public")
    control = cython.declare(object, visibility="public")
    statements = cython.declare(object, visibility="public")
    mode = cython.declare(cython.int, visibility="public")
    max_prepared_statements = cython.declare(cython.int, visibility="public")
    max_packet_size = cython.declare(cython.longlong, visibility="public")
    disable_pqexec = cython.declare(cython.bint, visibility="public")
    round_robin = cython.declare(cython.bint, visibility="public")
    held = cython.declare(cython.bint, visibility="public")  # nobody is given a server
    counters = cython.declare(Counters, visibility="public")
    idle: list[Any]  # of `lists`, as is the next
    waiting: OrderedDict[Any, None]
    clock: Callable[[], float]

    def __init__(self, lists: Any, control: Any, statements: Any, clock: Any) -> None:
        self.lists = lists
        self.control = control
        self.statements = statements
        self.counters = Counters()
        self.idle = lists.idle
        self.waiting = lists.waiting
        self.clock = clock
        self.held = self.round_robin = False
        self.mode = SESSION
        self.max_prepared_statements = 0
        self.max_packet_size = 0x7FFFFFFF
        self.disable_pqexec = False

    @cython.ccall
    def find_server(self) -> ServerRelay | None:
        """An idle server, now active, or None: last in, first out, unless server_round_robin."""
        if self.held or not self.idle:
            return None
        server: ServerRelay = self.idle.pop(0) if self.round_robin else self.idle.pop()
        server.state = SV_ACTIVE
        return server

    @cython.ccall
    def release_server(self, server: ServerRelay) -> ClientRelay | None:
        """An active server becomes idle, unless somebody waits: then that client is returned, out
        of the queue, and the server stays active: the caller links them.
        """
        if server.state != SV_ACTIVE:
            raise LocalProtocolError(f"server released while {states.SERVER_STATES[server.state]}")
        if self.waiting and not self.held:
            client: ClientRelay = self.lists.next_waiting()
            return client
        server.state = SV_IDLE
        self.idle.append(server)
        return None


@cython.cclass
class Relay:
    """One side of a link: its transport, and what is still to come of a message."""

    state = cython.declare(cython.int, visibility="public")  # its list in PoolLists
    owner = cython.declare(object, visibility="public")  # who it is, for logs and SHOW
    transport = cython.declare(object, visibility="public")
    vars = cython.declare(object, visibility="public")
    request_time = cython.declare(cython.double, visibility="public")
    connect_time = cython.declare(cython.double, visibility="public")
    closed = cython.declare(cython.bint, visibility="public")
    write: Callable[[bytes], None]
    pool: PoolRelay
    gathered: bytearray | None  # the beginning of a message that is to be seen whole
    wanted: cython.longlong  # how much of it
    skip: cython.longlong  # bytes to come of a message whose header has been seen
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
        self.gathered = None
        self.wanted = self.skip = 0
        self.closed = self.read_paused = self.write_paused = False

    @property
    def pool_relay(self) -> PoolRelay:
        return self.pool

    @property
    def kept_len(self) -> int:
        """Bytes received and not yet processed; for SHOW SOCKETS, as is the next."""
        return 0 if self.gathered is None else len(self.gathered)

    @property
    def skip_len(self) -> int:
        """Bytes to come of a message whose beginning has been passed on."""
        return self.skip

    def connection_made(self, transport: Any) -> None:
        """Never called: a relay takes over a transport that has logged in."""

    def eof_received(self) -> None:
        """The transport closes itself."""

    @cython.cfunc
    def _gather(self, data: bytes, pos: cython.Py_ssize_t, wanted: cython.longlong) -> None:
        """Collect from `pos` on until `wanted` bytes are there."""
        self.gathered = bytearray(data[pos:])
        self.wanted = wanted

    @cython.cfunc
    def _joined(self, data: bytes) -> bytes:
        """`data` behind what was collected; empty where that is not enough."""
        gathered = self.gathered
        if gathered is None:
            return data
        gathered += data
        if len(gathered) < self.wanted:
            return b""
        self.gathered = None
        return bytes(gathered)

    @cython.cfunc
    def _skipped(self, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """How many of the next `n` bytes belong to the message whose header has been seen."""
        pos: cython.Py_ssize_t = n if self.skip > n else _size(self.skip)
        self.skip -= pos
        return pos

    @cython.cfunc
    def _step(
        self, pos: cython.Py_ssize_t, total: cython.longlong, n: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Step over a message, also where it ends beyond this chunk."""
        if total > n - pos:
            self.skip = total - (n - pos)
            return n
        return pos + _size(total)

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


@cython.cclass
class ClientRelay(Relay):
    """One logged-in client: its link, and what it calls its statements."""

    query_start = cython.declare(cython.double, visibility="public")
    xact_start = cython.declare(cython.double, visibility="public")
    wait_start = cython.declare(cython.double, visibility="public")
    link: ServerRelay | None
    prepared: dict[bytes, PreparedStatement] | None
    pending: bytes  # what it sent while it was held
    held: cython.bint
    replaying: cython.bint

    def __init__(self, pool: PoolRelay, transport: Any, owner: Any) -> None:
        super().__init__(pool, transport, owner)
        self.query_start = self.xact_start = self.wait_start = 0.0
        self.link = None
        self.prepared = None
        self.pending = b""
        self.held = self.replaying = False

    # ---- asyncio's protocol

    def connection_lost(self, error: BaseException | None) -> None:
        self.pool.control.on_client_lost(self, error)

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
        self.pool.counters.client_bytes += len(data)
        if self.held:
            self._keep(data)
        else:
            self._process_safely(data)

    # ---- for control

    @property
    def linked_server(self) -> ServerRelay | None:
        """The server that it is linked to."""
        return self.link

    @property
    def kept_len(self) -> int:
        gathered = 0 if self.gathered is None else len(self.gathered)
        return gathered + len(self.pending)

    @property
    def prepared_count(self) -> int:
        return 0 if self.prepared is None else len(self.prepared)

    @property
    def mid_message(self) -> bool:
        """The rest of a message that its server has begun to get is still to come."""
        return self.skip > 0

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
        ends: cython.bint = False
        while n - pos >= 5 and not ends:
            ends = REQUESTS[data[pos]] in (REQ_SYNC, REQ_QUERY)
            total = _message_len(data, pos)
            if total < 5 or total > n - pos:
                return False
            pos += _size(total)
        if pos < n or not ends:
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
    def _resume_reading(self) -> None:
        """Unless its answers or its server's requests already pile up."""
        if not self.read_paused or self.closed or self.write_paused:
            return
        if self.link is None or not self.link.write_paused:
            self.read_paused = False
            self.transport.resume_reading()

    @cython.cfunc
    def _process_safely(self, data: bytes) -> None:
        self.request_time = self.pool.clock()
        if self.link is not None:
            self.link.replay = None  # there is more than one batch now
        try:
            data = self._joined(data)
            if data:
                self._process(data)
        except ProtocolViolation as error:
            self.pool.control.on_client_violation(self, error.message)
        except Exception as error:
            self.pool.control.on_bug(self, error)

    @cython.cfunc
    def _acquire(self, data: bytes, pos: cython.Py_ssize_t) -> ServerRelay | None:
        """A server for the message at `pos`; None where the client has to wait for one, or for its
        session parameters: then the data is kept.
        """
        self._count()
        server = self.pool.find_server()
        if server is None:
            self.held = True
            self.wait_start = self.request_time
            is_undecided: cython.bint = self.pool.lists.wait(self)
            self._keep(data[pos:])
            if is_undecided:
                self.pool.control.on_client_waits(self)
            return None
        if server._link(self):
            return server
        self._keep(data[pos:])
        return None

    @cython.cfunc
    def _count(self) -> None:
        """What starts with nothing in flight is one query, as PgBouncer counts."""
        if self.query_start == 0:
            self.query_start = self.request_time
            self.pool.counters.query_count += 1
        if self.xact_start == 0:
            self.xact_start = self.request_time
            self.pool.counters.xact_count += 1

    @cython.cfunc
    def _process(self, data: bytes) -> None:
        server = self.link
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t = 0  # what is before it has been dealt with
        linked_at: cython.Py_ssize_t = 0
        if self.skip > 0:
            pos = self._skipped(n)
            if server is None:
                start = pos  # the rest of a late CopyData
            elif self.skip == 0 and server.ready and self.pool.mode != SESSION:
                # Its transaction is over; it only waited for the rest of this message.
                server.write(data[:pos])
                start = pos
                server._release()
                server = None
        total: cython.longlong
        name_end: cython.longlong
        kind: cython.int
        request: cython.int = 0
        batch: cython.int = 0  # a bit for each kind of request, and bit 0: more behind a Sync
        parts: list[bytes] | None = None
        rewrite: cython.bint = self.pool.mode != SESSION and self.pool.max_prepared_statements > 0
        refusal: str | None = None
        while n - pos >= 5:
            kind = data[pos]
            total = _message_len(data, pos)
            request = REQUESTS[kind]
            if total < 5 or total > self.pool.max_packet_size:
                refusal = f"bad packet header: '{data[pos : pos + 8].hex()}'"
                break
            if request == 0 or (kind == QUERY and self.pool.disable_pqexec):
                refusal = "PQexec disallowed" if request else "unknown pkt"
                break
            name_end = 0
            if rewrite and request >= REQ_PARSE and request <= REQ_CLOSE:
                name_end = _name_end(request, data, pos, total)
                if name_end < 0:
                    if name_end == BROKEN:
                        refusal = "failed to parse packet"
                    else:
                        self._gather(data, pos, -name_end)
                    break
            if request == TERMINATE:
                break
            if server is None:
                if request >= REQ_COPY_END or (request == REQ_CLOSE and name_end > 0):
                    pos = start = self._alone(data, pos, total, name_end)
                    continue
                server = self._acquire(data, pos)
                if server is None:
                    return
                linked_at = pos
            elif self.query_start == 0 and request < REQ_COPY_END:
                self._count()
            if kind in (QUERY, PARSE):
                self._look_at(data, pos, total)
            if name_end > 0:
                if server.unsettled:
                    self.held = True
                    self._keep(data[pos:])
                    break
                parts = parts or []
                if start < pos:
                    parts.append(data[start:pos])
                start = self._rewrite(server, kind, data, pos, total, _size(name_end), parts)
            elif request < REQ_COPY_END:
                server._push(request)
            elif request == REQ_COPY_END:
                server._push_copy_end()
            batch |= 1 << request | batch >> REQ_SYNC & 1
            pos = self._step(pos, total, n)
        self._send(server, data, start, pos, parts, linked_at, batch)
        if refusal is not None:
            raise ProtocolViolation("client", refusal)
        if request == TERMINATE:
            self.pool.control.on_client_terminate(self)
        elif pos < n and self.gathered is None and not self.held:
            self._gather(data, pos, 5)

    @cython.cfunc
    def _look_at(self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong) -> None:
        """Show control a Query or Parse whose statement is not one of the common ones."""
        have: cython.Py_ssize_t = len(data) - pos
        end: cython.Py_ssize_t = pos + (_size(total) if total < have else have)
        at: cython.Py_ssize_t = pos + 5
        if data[pos] == PARSE:
            at = _nul(data, at, end) + 1
        at = _find_special(data, at, end) if at > pos else -1
        if at >= 0:
            self.pool.control.on_statement(self, data[at:end])

    @cython.cfunc
    def _alone(
        self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong, name_end: cython.longlong
    ) -> cython.Py_ssize_t:
        """Deal with a message that needs no server; returns where the next one is."""
        if name_end > 0:
            self._forget(data[pos + 6 : _size(name_end)])
            self.write(FAKE_CLOSE_COMPLETE)
        # Else the rest of a failed COPY, or a Flush of nothing: nobody wants it.
        return self._step(pos, total, len(data))

    @cython.cfunc
    def _send(
        self,
        server: ServerRelay | None,
        data: bytes,
        start: cython.Py_ssize_t,
        pos: cython.Py_ssize_t,
        parts: list[bytes] | None,
        linked_at: cython.Py_ssize_t,
        batch: cython.int,
    ) -> None:
        """One write of `parts` and what is between `start` and `pos`."""
        if server is None:
            return
        if parts is None:
            if start == 0 and pos == len(data):
                server.write(data)
            elif start < pos:
                server.write(data[start:pos])
        else:
            # One batch and nothing else, outside a transaction, whose client reads the row
            # description anew, can be run again; without cached statements it need not.
            if (
                server.fresh
                and not self.replaying
                and pos == len(data)
                and batch & (MORE | 1 << REQ_DESCRIBE) == 1 << REQ_DESCRIBE
                and (batch & 1 << REQ_SYNC or data[pos - 5] == FLUSH)
            ):
                server.replay = data if linked_at == 0 else data[linked_at:]
                server.answered.clear()
            if start < pos:
                parts.append(data[start:pos])
            if parts:
                server.write(b"".join(parts))
        server.fresh = False
        server._after_client(self)

    # ---- prepared statements

    @cython.cfunc
    def _rewrite(
        self,
        server: ServerRelay,
        kind: cython.int,
        data: bytes,
        pos: cython.Py_ssize_t,
        total: cython.longlong,
        name_end: cython.Py_ssize_t,
        parts: list[bytes],
    ) -> cython.Py_ssize_t:
        """Put what the server is to get of P, B, D or C into `parts`; returns from where on `data`
        goes on as it is.
        """
        request: cython.int = REQUESTS[kind]
        name_at: cython.Py_ssize_t = pos + 6
        if request == REQ_PARSE:
            name_at = pos + 5
        elif request == REQ_BIND:
            name_at = _nul(data, pos + 5, name_end) + 1
        name: bytes = data[name_at:name_end]
        if request == REQ_PARSE:
            self._parse(server, name, data[name_end + 1 : pos + _size(total)], parts)
            return pos + _size(total)
        if request == REQ_CLOSE:
            # It stays on the server, for others.
            server._push_tracked(REQ_CLOSE | FAKE, self._forget(name), name)
            return name_end + 1
        anew: cython.bint = True
        if request == REQ_BIND:
            self.pool.counters.bind_count += 1
            anew = total < len(data) - pos and data[pos + _size(total)] == DESCRIBE
        statement = self._statement(server, name, anew, parts)
        name_z: bytes = name + b"\0" if statement is None else statement.name_z
        server._push(request)
        parts.append(_header(kind, total - 2 - len(name) + len(name_z)))
        parts.append(data[pos + 5 : name_at])  # the portal, or S
        parts.append(name_z)
        return name_end + 1

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
        if not server._has(statement):
            server._prepare(statement, REQ_PARSE | SKIP, None, parts)
        return statement

    @cython.cfunc
    def _parse(self, server: ServerRelay, name: bytes, query: bytes, parts: list[bytes]) -> None:
        self.pool.counters.client_parse_count += 1
        statement: PreparedStatement = self.pool.statements.find(query)
        taken = self._statement(server, name, False, parts)
        if taken is not None:
            # Under the name that is taken, so that the server refuses it for that, or for its text.
            server._push_tracked(REQ_PARSE | DUPLICATE, statement, name)
            parts.append(_header(PARSE, 4 + len(taken.name_z) + len(query)) + taken.name_z + query)
            return
        self._name(name, statement)
        if server._has(statement):
            server._push_tracked(REQ_PARSE | FAKE, statement, name)
        else:
            server._prepare(statement, REQ_PARSE, name, parts)

    @cython.cfunc
    def _name(self, name: bytes, statement: PreparedStatement) -> None:
        """From now on the client calls it `name`."""
        if self.prepared is None:
            self.prepared = {}
        self.prepared[name] = statement

    @cython.cfunc
    def _forget(self, name: bytes) -> PreparedStatement | None:
        """What the client called `name`, which is free again."""
        return None if self.prepared is None else self.prepared.pop(name, None)


@cython.cclass
class ServerRelay(Relay):
    """One logged-in server connection: its link, and the requests that it has not answered yet."""

    close_needed = cython.declare(cython.bint, visibility="public")  # to be closed at its release
    special = cython.declare(cython.bint, visibility="public")  # control decides at its release
    ready = cython.declare(cython.bint, visibility="public")  # idle: nothing asked, no transaction
    idle_tx = cython.declare(cython.bint, visibility="public")  # in a transaction, nothing asked
    private = cython.declare(cython.bint, visibility="public")  # answers the pooler itself
    last_words = cython.declare(cython.bint, visibility="public")  # it has said why it ends
    reset = cython.declare(cython.bint, visibility="public")  # RESET, DISCARD ALL in this answer
    reset_name = cython.declare(object, visibility="public")  # what is about to be RESET, or None
    link: ClientRelay | None
    prepared: OrderedDict[PreparedStatement, None]  # least recently used first
    last_used: PreparedStatement | None  # the newest of them, or None
    queue: bytearray  # outstanding requests, from `head` on
    head: cython.Py_ssize_t
    asked: cython.Py_ssize_t  # those that the server is to answer
    fakes: cython.Py_ssize_t  # the others
    copy_ends: cython.Py_ssize_t
    tracked: deque[tuple[PreparedStatement | None, bytes | None]]
    drop: cython.bint  # what `skip` counts is not for the client
    copy_mode: cython.bint
    failed: cython.bint  # an error has come, its ReadyForQuery has not
    # What an earlier, unanswered batch does to statements and names is not certain: it may yet
    # fail. The client is held when it comes to use a name.
    unsettled: cython.bint
    serving: cython.bint
    ddl: cython.bint
    restore: cython.bint  # the client's own startup values are to be set again
    fresh: cython.bint  # linked, and nothing sent for the client yet
    replay: bytes | None  # the client's batch, until the first byte of its answer goes out
    answered: list[Any]  # of `replay`: requests, statements and names that are answered
    again: bytes | None  # the batch that is run once more when the server is ready
    instead: bytes | None  # what the client gets for the message at hand
    violation: str | None

    def __init__(self, pool: PoolRelay, transport: Any, owner: Any) -> None:
        super().__init__(pool, transport, owner)
        self.link = None
        self.prepared = OrderedDict()
        self.last_used = None
        self.queue = bytearray()
        self.head = self.asked = self.fakes = self.copy_ends = 0
        self.tracked = deque()
        self.close_needed = self.special = self.idle_tx = self.private = self.drop = False
        self.copy_mode = self.failed = self.serving = self.ddl = False
        self.reset = self.restore = self.fresh = self.unsettled = self.last_words = False
        self.ready = True
        self.replay = self.again = self.instead = self.violation = self.reset_name = None
        self.answered = []

    # ---- asyncio's protocol

    def connection_lost(self, error: BaseException | None) -> None:
        self.pool.control.on_server_lost(self, error)

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
        self.pool.counters.server_bytes += len(data)
        now: cython.double = self.pool.clock()
        self.request_time = now
        try:
            if self.gathered is not None:
                data = self._joined(data)
                if not data:
                    return
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
    def mid_message(self) -> bool:
        """The rest of a message that its client has begun to get is still to come."""
        return self.skip > 0 and not self.drop

    @property
    def outstanding_count(self) -> int:
        """Requests that the server has not answered."""
        return self.asked

    def send_private(self, message: bytes) -> None:
        """Send what the pooler asks for itself: each answer goes to `control.on_private_message`,
        none to a client.
        """
        self.private = True
        self.ready = False
        self.write(message)

    def serve(self, client: ClientRelay) -> None:
        """Link a client that waited; its kept bytes are processed at once.

        It may be gone afterwards: the caller, who has the server then, goes on to the next.
        """
        self.pool.counters.wait_time += self.pool.clock() - client.wait_start
        client.wait_start = 0
        self.serving = True
        try:
            if self._link(client):
                client.proceed()
        finally:
            self.serving = False

    def unlink(self) -> None:
        """Part from the client, whatever is in flight."""
        self._unlink()

    def release(self) -> None:
        """Give a ready server back to its pool."""
        self._release()

    def forget_prepared(self) -> None:
        """DEALLOCATE ALL, DISCARD ALL: neither the server nor its client has any statement now,
        but those whose Parse is behind it in the pipeline.
        """
        client = self.link
        names: dict[bytes, PreparedStatement] = {}
        self.prepared.clear()
        self.last_used = None
        at: cython.Py_ssize_t = self.head
        for statement, name in self.tracked:
            while not self.queue[at] & TRACKED:
                at += 1
            request: cython.int = self.queue[at]
            at += 1
            if statement is None or request & DUPLICATE:
                continue
            if request & KIND == REQ_CLOSE:
                if name is None:
                    self.prepared.pop(statement, None)
                else:
                    names.pop(name, None)
                continue
            if not request & FAKE:
                self.prepared[statement] = None
            if name is not None:
                names[name] = statement
        if client is not None:
            client.prepared = names or None

    # ---- inside: the link

    @cython.cfunc
    def _link(self, client: ClientRelay) -> cython.bint:
        """Link; False where session parameters differ and are being set: the client is held until
        they are.
        """
        self.link = client
        client.link = self
        self.fresh = True
        self.pool.counters.server_assignment_count += 1
        if client.write_paused:
            self._pause_reading()
        if self.write_paused:
            client._pause_reading()
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
        self.drop = True  # the rest of a message that this client has begun to get
        self._resume_reading()
        if client is not None:
            client.link = None
            if not client.held:
                client._resume_reading()

    @cython.cfunc
    def _release(self) -> None:
        """To the pool, or at once to the longest-waiting client, and the next one where that client
        fails at once.
        """
        if self.link is not None:
            self._unlink()
        if self.serving:
            return  # who serves, below us on the stack, goes on: no recursion per client
        while not self.closed and self.link is None and self.ready:
            if self.special:
                self.pool.control.on_release(self)
                return
            waiting = self.pool.release_server(self)
            if waiting is None:
                return
            self.serve(waiting)

    # ---- inside: outstanding requests

    @cython.cfunc
    def _push(self, request: cython.int) -> None:
        self.ready = self.idle_tx = False
        self.queue.append(request)
        self.asked += 1
        if request == REQ_SYNC and self.tracked:
            self.unsettled = True

    @cython.cfunc
    def _push_tracked(
        self, request: cython.int, statement: PreparedStatement | None, name: bytes | None
    ) -> None:
        self.tracked.append((statement, name))
        if request & FAKE:
            self.ready = False
            self.fakes += 1
            self.queue.append(request | TRACKED)
        else:
            self._push(request | TRACKED)

    @cython.cfunc
    def _push_copy_end(self) -> None:
        """A CopyDone or CopyFail. With nothing asked no COPY can be open: the server ignores it."""
        if self.asked > 0:
            self.copy_ends += 1
            self._push(REQ_COPY_END)

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
        if request & FAKE:
            self.fakes -= 1
        else:
            self.asked -= 1
        if self.copy_ends > 0:
            if request == REQ_COPY_END:
                self.copy_ends -= 1
            self._pop_late_copy_ends()
        if self.head > 1024:  # now and then, not for every transaction
            del self.queue[: self.head]
            self.head = 0
        return request

    @cython.cfunc
    def _pop_late_copy_ends(self) -> None:
        """What ended a COPY that was over already, or none: the server ignores it."""
        while not self.copy_mode and self._peek() == REQ_COPY_END:
            self.head += 1
            self.asked -= 1
            self.copy_ends -= 1

    @cython.cfunc
    def _answered(self, kind: cython.int) -> cython.bint:
        """A response to `kind` has come; True where the client is not to see it."""
        request: cython.int = self._peek()
        if request & KIND != kind:
            return False
        self._pop()
        if request & TRACKED:
            self._pop_tracked(request)
        if kind == REQ_EXECUTE:
            self.replay = None  # it may have ended a transaction
        return request & SKIP != 0

    @cython.cfunc
    def _pop_tracked(self, request: cython.int) -> None:
        """It is answered; should its batch be run again, the client's names are put back."""
        statement, name = self.tracked.popleft()
        if request & DUPLICATE:
            # A DEALLOCATE ALL was sent before it: now the server has its text under a name that
            # stands for another.
            self.close_needed = self.special = True
            if self.link is not None and statement is not None and name is not None:
                self.link._name(name, statement)
        elif self.replay is not None and statement is not None and name is not None:
            self.answered.append((request | FAKE, statement, name))

    @cython.cfunc
    def _drop_until(self, kind: cython.int, client: ClientRelay) -> cython.int:
        """Take requests that the server skipped off the queue, up to and with the first of `kind`;
        undo what they stood for, the last one first. Returns how many Syncs were among them.
        """
        request: cython.int
        syncs: cython.int = 0
        undone: list[tuple[int, PreparedStatement | None, bytes | None]] = []
        while self.head < len(self.queue):
            request = self._pop()
            if request & TRACKED:
                statement, name = self.tracked.popleft()
                undone.append((request, statement, name))
            syncs += request == REQ_SYNC
            if request & KIND == kind:
                break
        while undone:
            request, statement, name = undone.pop()
            if statement is not None and not request & DUPLICATE:
                self._undo(request, statement, name, client)
        return syncs

    @cython.cfunc
    def _undo(
        self,
        request: cython.int,
        statement: PreparedStatement,
        name: bytes | None,
        client: ClientRelay,
    ) -> None:
        if client.prepared is None:
            client.prepared = {}
        if request & KIND == REQ_PARSE:
            if not request & FAKE:
                self.prepared.pop(statement, None)
                self.last_used = None
            if name is not None and client.prepared.get(name) is statement:
                del client.prepared[name]
        elif name is not None:  # the client's Close
            client.prepared.setdefault(name, statement)
        else:  # an eviction's Close
            self.prepared[statement] = None
            self.last_used = None

    @cython.cfunc
    def _has(self, statement: PreparedStatement) -> cython.bint:
        """Whether the server has (or soon has) the statement, which is about to be used."""
        if statement is not self.last_used:
            if statement not in self.prepared:
                return False
            self.prepared.move_to_end(statement)
            self.last_used = statement
        return True

    @cython.cfunc
    def _prepare(
        self,
        statement: PreparedStatement,
        request: cython.int,
        name: bytes | None,
        parts: list[bytes],
    ) -> None:
        """Prepare a statement that the server doesn't have; close the least recently used ones
        beyond the limit.
        """
        self._push_tracked(request, statement, name)
        parts.append(statement.parse_message())
        self.pool.counters.server_parse_count += 1
        self.prepared[statement] = None
        self.last_used = statement
        while len(self.prepared) > self.pool.max_prepared_statements:
            oldest: PreparedStatement = self.prepared.popitem(last=False)[0]
            self._push_tracked(REQ_CLOSE | SKIP, oldest, None)
            parts.append(oldest.close_message())

    @cython.cfunc
    def _after_client(self, client: ClientRelay) -> None:
        """The client's chunk has gone out. Made-up responses that no answer is before go now."""
        if self.fakes > 0 and self.asked == 0 and self._is_fake_due():
            client.write(self._fakes())
        if len(self.tracked) > TRACKED_MAX:
            raise ProtocolViolation("client", "too many outstanding requests")

    @cython.cfunc
    def _is_fake_due(self) -> cython.bint:
        """Whether the oldest request is one to make up an answer for, between two messages."""
        return self.skip == 0 and not self.failed and self._peek() & FAKE != 0

    @cython.cfunc
    def _fakes(self) -> bytes:
        """The made-up responses whose turn has come."""
        fakes: list[bytes] = []
        while self._peek() & FAKE:
            request: cython.int = self._pop()
            self._pop_tracked(request)
            fakes.append(
                FAKE_PARSE_COMPLETE if request & KIND == REQ_PARSE else FAKE_CLOSE_COMPLETE
            )
        return b"".join(fakes)

    # ---- inside: what the server sends

    @cython.cfunc
    def _process(self, data: bytes, client: ClientRelay, now: cython.double) -> None:
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t = 0  # what is before it has been dealt with
        total: cython.longlong
        kind: cython.int
        parts: list[bytes] | None = None
        drop: cython.bint
        if self.skip > 0:
            pos = self._skipped(n)
            if self.drop:
                start = pos
        while n - pos >= 5:
            kind = data[pos]
            total = _message_len(data, pos)
            drop = False
            if total < 5 or total > self.pool.max_packet_size:
                self.violation = "bad pkt header"
                break
            if kind != DATA_ROW and kind != COPY_DATA:
                if total > n - pos and total <= _inspect_max(kind):
                    self._gather(data, pos, total)
                    break
                if kind == ERROR_RESPONSE and self._is_stale(data, pos, total):
                    self._retry(data[pos:], client)
                    return
                if self.fakes > 0 and self._is_fake_due():
                    self.instead = self._fakes()
                    parts = self._cut(parts, data, start, pos)
                    start = pos
                if kind == READY_FOR_QUERY:
                    self._on_ready(data[pos + 5] if total == 6 else 0, client, now)
                    if self.violation is not None:
                        break
                    pos += 6
                    if self.ready:
                        if self.fakes > 0:
                            self.instead = self._fakes()
                            parts = self._cut(parts, data, start, pos)
                            start = pos
                        if self.pool.mode != SESSION and client.skip == 0 and not client.held:
                            self._to_client(client, data, start, pos, parts)
                            self._unlink()
                            if pos < n:
                                self._process_private(data[pos:])
                            self._release()
                            return
                    continue
                drop = self._on_message(kind, data, pos, total, client)
                if self.violation is not None:
                    break
            if drop:
                parts = self._cut(parts, data, start, pos)
            pos = self._step(pos, total, n)
            self.drop = drop
            if drop:
                start = pos
        if self.fakes > 0 and pos == n and self._is_fake_due():
            self.instead = self._fakes()
            parts = self._cut(parts, data, start, pos)
            start = pos
        self._to_client(client, data, start, pos, parts)
        if self.violation is not None:
            self.pool.control.on_server_violation(self, self.violation)
            return
        if pos < n and self.gathered is None:
            self._gather(data, pos, 5)
        if client.held and not self.unsettled and not self.private:
            client.proceed()

    @cython.cfunc
    def _cut(
        self,
        parts: list[bytes] | None,
        data: bytes,
        start: cython.Py_ssize_t,
        pos: cython.Py_ssize_t,
    ) -> list[bytes] | None:
        """`parts` with what stands before `pos`, and `instead`; None while that is nothing."""
        if start < pos or self.instead is not None:
            if parts is None:
                parts = []
            if start < pos:
                parts.append(data[start:pos])
            if self.instead is not None:
                parts.append(self.instead)
                self.instead = None
        return parts

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
        elif start > 0 or pos < len(data):
            data = data[start:pos]
        if data:
            self.replay = None
            client.write(data)

    @cython.cfunc
    def _on_ready(self, status: cython.int, client: ClientRelay, now: cython.double) -> None:
        """ReadyForQuery; status 0 is one without a status."""
        if status == 0:
            self.violation = "bad pkt header"
            return
        if status != IDLE and self.pool.mode == STATEMENT:
            self.violation = "transaction blocks not allowed in statement pooling mode"
            return
        request: cython.int = self._peek()
        if request in (REQ_SYNC, REQ_QUERY):
            self._pop()
        elif self.failed:
            self._drop_until(REQ_SYNC, client)
        self.failed = False
        self._settle()
        if self.ddl and status == IDLE:
            self.ddl = False
            self.pool.statements.outdate()
        self.restore |= self.reset
        self.reset = False
        if self.asked > 0:
            return
        self.ready = status == IDLE
        self.idle_tx = not self.ready
        if client.query_start != 0:
            self.pool.counters.query_time += now - client.query_start
            client.query_start = 0
        if self.ready and client.xact_start != 0:
            self.pool.counters.xact_time += now - client.xact_start
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
        """Take note of a message; True where the client is not to see it, or sees `instead`."""
        answers: cython.int = RESPONSES[kind]
        if kind == COMMAND_COMPLETE:
            if self.copy_mode:
                self._end_copy(client, False)
            is_notable: cython.bint = total > 8 and total <= INSPECT_MAX and _is_notable(data, pos)
            # SET is as common as the others, but where it returns a parameter to its default
            if is_notable and (data[pos + 5] != 0x53 or self.reset_name is not None):
                tag: bytes = data[pos + 5 : pos + _size(total) - 1]
                self.ddl |= self.pool.control.on_command_tag(self, client, tag)
        if answers == 0:
            self.violation = "unknown pkt"
        elif answers < REQ_COPY_END:
            return self._answered(answers)
        elif kind == ERROR_RESPONSE:
            self._on_error(data, pos, total, client)
        elif kind == PARAMETER_STATUS:
            self._on_parameter_status(data, pos, total, client)
        elif answers == SPECIAL:
            self.copy_mode = True  # CopyInResponse, CopyBothResponse
            if kind == COPY_BOTH:
                client.query_start = client.xact_start = 0  # a stream's days are no query's time
        return self.instead is not None

    @cython.cfunc
    def _on_error(
        self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong, client: ClientRelay
    ) -> None:
        if self.copy_mode:
            self._end_copy(client, True)
        self.failed = True
        self.reset_name = None
        if total > INSPECT_MAX:
            return
        body: bytes = data[pos + 5 : pos + _size(total)]
        self.last_words = b"\0VFATAL\0" in body
        if self._peek() & DUPLICATE:
            # Refused under the server's name for it; the client knows the statement by its own.
            self.instead = self.pool.control.duplicate_error(body, self.tracked[0][1])

    @cython.cfunc
    def _on_parameter_status(
        self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong, client: ClientRelay
    ) -> None:
        if total > PARAMETER_MAX:
            self.violation = "failed to store ParameterStatus"
            return
        try:
            body: bytes = data[pos + 5 : pos + _size(total)]
            self.instead = self.pool.control.on_parameter_status(self, client, body)
        except ProtocolViolation as error:
            self.violation = error.message

    @cython.cfunc
    def _end_copy(self, client: ClientRelay, failed: cython.bint) -> None:
        """What the client sent up to its CopyDone or CopyFail went into the COPY, Syncs too.

        After a failure nobody can tell which Syncs did, and which one was answered: then the server
        must not serve another client, who would get that ReadyForQuery.
        """
        request: cython.int = self._peek()
        syncs: cython.int = self._drop_until(REQ_COPY_END, client)
        self.copy_mode = False
        if request == REQ_QUERY:  # it ends with its own ReadyForQuery
            self.queue.insert(self.head, REQ_QUERY)
            self.asked += 1
        elif failed and syncs > 0:
            self.close_needed = self.special = True
        self._pop_late_copy_ends()
        self._settle()  # no ReadyForQuery answers the Syncs that went into the COPY

    @cython.cfunc
    def _settle(self) -> None:
        """Without a Sync that is still to be answered, names are certain again."""
        if self.unsettled and (not self.tracked or self.queue.find(REQ_SYNC, self.head) < 0):
            self.unsettled = False

    # ---- inside: stale statements

    @cython.cfunc
    def _is_stale(self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong) -> cython.bint:
        """Whether an error says that DDL made a cached statement stale, and the batch can be run
        again. All statements are prepared anew from now on.
        """
        at: cython.Py_ssize_t = self.head
        while at < len(self.queue) and self.queue[at] & FAKE:
            at += 1
        if not self.prepared or total > INSPECT_MAX or at == len(self.queue):
            return False
        if self.queue[at] & KIND == REQ_PARSE:
            return False  # what is being prepared now can't be stale
        if not self.pool.control.is_stale_error(data[pos + 5 : pos + _size(total)]):
            return False
        self.pool.statements.outdate()
        statement: PreparedStatement
        for statement in self.prepared:
            statement.stale = True
        return self.replay is not None

    @cython.cfunc
    def _retry(self, data: bytes, client: ClientRelay) -> None:
        """Run the client's batch once more, with its statements prepared anew. `data` begins with
        the error.
        """
        self.again = self.replay
        self.replay = None
        if self.queue.find(REQ_SYNC, self.head) < 0:
            self.write(_header(SYNC, 4))
        self._drop_until(REQ_SYNC, client)
        self.unsettled = False
        while self.answered:
            request, statement, name = self.answered.pop()
            self._undo(request, statement, name, client)
        client.held = True
        self.private = True
        self._process_private(data)

    # ---- inside: what the server sends to the pooler itself

    @cython.cfunc
    def _process_private(self, data: bytes) -> None:
        """Answers to `send_private`, and what comes while nobody is linked."""
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        total: cython.longlong
        kind: cython.int
        status: cython.int = 0
        if self.skip > 0:
            pos = self._skipped(n)
        self.drop = True
        while n - pos >= 5 and not self.closed:
            kind = data[pos]
            total = _message_len(data, pos)
            if total < 5 or total > self.pool.max_packet_size:
                raise ProtocolViolation("server", "bad pkt header")
            if kind == PARAMETER_STATUS and total > PARAMETER_MAX:
                raise ProtocolViolation("server", "failed to store ParameterStatus")
            if total > INSPECT_MAX and kind != PARAMETER_STATUS:
                if not self.private and kind != NOTICE_RESPONSE and kind != NOTIFICATION:
                    raise ProtocolViolation("server", "idle server got dirty")
                pos = self._step(pos, total, n)
                continue
            if total > n - pos:
                self._gather(data, pos, total)
                break
            if kind == READY_FOR_QUERY and total == 6 and self.private:
                status = data[pos + 5]
            elif self.again is None or kind == PARAMETER_STATUS:
                self.pool.control.on_private_message(self, kind, data[pos + 5 : pos + _size(total)])
            pos += _size(total)
        if pos < n and self.gathered is None:
            self._gather(data, pos, 5)
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
            client.pending = self.again + client.pending
            self.again = None
            client.replaying = True
        else:
            self.pool.control.on_vars_set(self, client)
            if self.closed or self.link is None:
                return
        self.idle_tx = not self.ready
        try:
            client.proceed()
        finally:
            client.replaying = False


@cython.cfunc
def _inspect_max(kind: cython.int) -> cython.longlong:
    """Up to which size a message is read whole; larger ones stream through."""
    if kind == READY_FOR_QUERY:
        return 6
    if kind == PARAMETER_STATUS:
        return PARAMETER_MAX
    return INSPECT_MAX if kind in (COMMAND_COMPLETE, ERROR_RESPONSE) else 0


@cython.cfunc
def _is_notable(data: bytes, pos: cython.Py_ssize_t) -> cython.bint:
    """A first look at a command tag: False for all that is common (SELECT, INSERT, UPDATE, DELETE,
    COPY, BEGIN, COMMIT).
    """
    first: cython.int = data[pos + 5]
    second: cython.int = data[pos + 6]
    if first == 0x43 or first == 0x52:  # C, R
        return second != 0x4F  # COMMIT, COPY, COMMENT; ROLLBACK
    if first == 0x44:
        return second != 0x45 or data[pos + 7] == 0x41  # DELETE; DEALLOCATE
    if first == 0x53:
        return data[pos + 7] == 0x54  # SELECT; SET
    return first == 0x41 or (first == 0x49 and second == 0x4D)  # ALTER; IMPORT FOREIGN SCHEMA
