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
SPECIAL = cython.declare(cython.int, 11)  # more than an answer
ROW = cython.declare(cython.int, 12)  # DataRow, CopyData: never looked at


def _table(meanings: dict[str, int]) -> bytes:
    """256 meanings, by the letters that have one."""
    by_code = {ord(letter): meaning for key, meaning in meanings.items() for letter in key}
    return bytes([by_code.get(code, 0) for code in range(256)])


def _letters(place: int, words: tuple[str, ...], also: range = range(0)) -> bytes:
    """By letter, a bit for each of the words that has it at that place; the highest for `also`."""
    table = bytearray(256)
    for bit, word in enumerate(words):
        for letter in (word[place], word[place].lower()):
            table[ord(letter)] |= 1 << bit
    for code in also:
        table[code] |= 0x80
    return bytes(table)


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
    _table({"CIs": 3, "1": 4, "2": 5, "Tn": 6, "3": 7, "NAtHcV": 10, "ESGWZ": 11, "Dd": 12}),
)

# By first and third letter: what may be a statement that control is to see before the server does,
# or has a blank, a comment or a semicolon before it; and the command tags that it is told of. Of
# the common ones none has both letters.
_STATEMENTS = ("SET", "RESET", "DROP", "CREATE", "ALTER")
_TAGS = ("SET", "RESET", "DROP", "CREATE", "ALTER", "IMPORT", "DISCARD", "DEALLOCATE")
STATEMENT_1 = cython.declare(bytes, _letters(0, _STATEMENTS, also=range(ord("A"))))
STATEMENT_3 = cython.declare(bytes, _letters(2, _STATEMENTS, also=range(256)))
TAG_1 = cython.declare(bytes, _letters(0, _TAGS))
TAG_3 = cython.declare(bytes, _letters(2, _TAGS))

# The types that are looked at more closely (wire/codes.py has all, for everybody else).
QUERY = cython.declare(cython.int, 0x51)  # Q
PARSE = cython.declare(cython.int, 0x50)  # P
DESCRIBE = cython.declare(cython.int, 0x44)  # D
CLOSE = cython.declare(cython.int, 0x43)  # C
SYNC = cython.declare(cython.int, 0x53)  # S
FLUSH = cython.declare(cython.int, 0x48)  # H
STATEMENT_NAME = cython.declare(cython.int, 0x53)  # S: Describe, Close of a statement
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

# ServerRelay.phase
BUSY = cython.declare(cython.int, 0)  # has been asked, and has not answered yet
READY = cython.declare(cython.int, 1)  # nothing asked, no transaction
IDLE_TX = cython.declare(cython.int, 2)  # nothing asked, in a transaction
PRIVATE = cython.declare(cython.int, 3)  # answers the pooler itself

# ClientRelay.held: why what it sends is kept
FREE = cython.declare(cython.int, 0)
FOR_CONTROL = cython.declare(cython.int, 1)  # `hold`, until `proceed`
FOR_SERVER = cython.declare(cython.int, 2)  # waits in the queue
FOR_ANSWER = cython.declare(cython.int, 3)  # its server answers the pooler itself
FOR_NAMES = cython.declare(cython.int, 4)  # it isn't certain yet what its statements are

INSPECT_MAX = cython.declare(cython.int, 65536)  # larger errors and tags stream through unread
PARAMETER_MAX = cython.declare(cython.int, 1 << 20)  # a ParameterStatus has to be read whole
NAMES_MAX = cython.declare(cython.int, 1 << 18)  # a portal's and a statement's name together
PENDING_MAX = cython.declare(cython.int, 65536)  # a held client is read no further than about this
TRACKED_MAX = cython.declare(cython.int, 65536)  # what a client can make us remember
ANSWERED_MAX = cython.declare(cython.int, 256)  # answered requests that are still in the queue

FAKE_PARSE_COMPLETE = b"1\x00\x00\x00\x04"
FAKE_CLOSE_COMPLETE = b"3\x00\x00\x00\x04"
BROKEN = cython.declare(cython.longlong, -0x7FFFFFFFFFFFFFFF)  # no number of bytes would help
LAST_BUCKET = cython.declare(cython.int, 127)
USEC = cython.declare(cython.double, 1e6)

_pack_header = Struct("!BI").pack  # type byte, Int32 length
_unpack_header = Struct("!BI").unpack_from


@cython.cfunc
def _header(kind: cython.int, length: cython.longlong) -> bytes:
    """A message's first five bytes; `length` counts its own four."""
    if not cython.compiled:
        return _pack_header(kind, length)
    header = cython.declare(cython.uchar[5])
    header[0] = kind
    header[1] = length >> 24 & 0xFF
    header[2] = length >> 16 & 0xFF
    header[3] = length >> 8 & 0xFF
    header[4] = length & 0xFF
    made: bytes = header[:5]
    return made


@cython.cfunc
@cython.boundscheck(False)  # who calls it has made sure of five bytes
@cython.wraparound(False)
def _message_len(data: bytes, pos: cython.Py_ssize_t) -> cython.longlong:
    """Bytes of the message whose header starts at `pos`, type byte included.

    The one place where C reads a length: each byte is widened before its shift, because `data[i] <<
    24` is a C int when compiled. (Uncompiled, the two loops unpack a header without this call.)
    """
    b0: cython.longlong = data[pos + 1]
    b1: cython.longlong = data[pos + 2]
    b2: cython.longlong = data[pos + 3]
    b3: cython.longlong = data[pos + 4]
    return ((b0 << 24) | (b1 << 16) | (b2 << 8) | b3) + 1


@cython.cfunc
def _piece(data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    """data[start:end], without a slice object; both are in it."""
    if not cython.compiled:
        return data[start:end]
    first: cython.p_char = data
    piece: bytes = first[start:end]
    return piece


@cython.cfunc
def _size(length: cython.longlong) -> cython.Py_ssize_t:
    """A length that is known to fit."""
    return length


@cython.cfunc
def _nul(data: bytes, pos: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Where the string that starts at `pos` ends, or -1."""
    if not cython.compiled:
        return data.find(0, pos, end)
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
    at: cython.Py_ssize_t = pos + 5
    if total <= have and total >= 7:  # first what is common: no name
        first: cython.int = data[at]
        if first == 0 and (request == REQ_PARSE or (request == REQ_BIND and data[at + 1] == 0)):
            return 0
        if request > REQ_BIND and first != STATEMENT_NAME and total <= NAMES_MAX:
            return 0
    end: cython.Py_ssize_t = pos + (_size(total) if total < have else have)
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
    if end - start < 7 or not STATEMENT_1[data[start]] & STATEMENT_3[data[start + 2]]:
        return -1
    first: cython.int = data[start] | 0x20
    if first == 0x72:  # RESET
        return start
    if first == 0x73:  # SET
        return start if _last_letter(data, start, end) == 0x74 else -1
    if first == 0x64:  # DROP
        pos = start + 4
    elif first == 0x61:  # ALTER
        pos = start + 5
    else:  # CREATE
        pos = start + 6
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


@cython.final
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


@cython.final
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


@cython.final
@cython.cclass
class Histogram:
    """How often something took how long: 128 buckets, of 1 µs up to 8 µs, then four to an octave;
    what takes 2.4 hours or longer is in the last one. `session.buckets` has their bounds.
    """

    counts = cython.declare(cython.ulonglong[128])

    def __init__(self) -> None:
        if not cython.compiled:
            self.counts = [0] * 128

    @cython.ccall
    @cython.boundscheck(False)  # `at` is at most LAST_BUCKET, and not negative
    @cython.wraparound(False)
    def add(self, seconds: cython.double) -> None:
        """Count one that took so long."""
        at: cython.int = 0
        left: cython.longlong = 0
        if seconds < 0:
            seconds = 0
        if cython.compiled:
            left = cython.cast(cython.longlong, seconds * USEC)
            while left >= 8:
                left >>= 1
                at += 4
        else:
            left = int(seconds * USEC)
            if left >= 8:
                octaves = left.bit_length() - 3
                at = 4 * octaves
                left >>= octaves
        at += left
        self.counts[at if at < LAST_BUCKET else LAST_BUCKET] += 1

    def values(self) -> list[int]:
        """The buckets' counts; a copy."""
        return [self.counts[at] for at in range(128)]


@cython.final
@cython.cclass
class AppCounters:
    """What one application has done: the clients of one pool and login name that call themselves
    the same; the numbers of SHOW APPS. Times in seconds.
    """

    user = cython.declare(str, visibility="readonly")
    name = cython.declare(str, visibility="readonly")
    is_known = cython.declare(cython.bint, visibility="public")  # not forgotten for another
    entered_at = cython.declare(cython.double, visibility="public")  # the last client
    client_count = cython.declare(cython.longlong, visibility="public")  # that are here
    xact_count = cython.declare(cython.longlong, visibility="public")
    query_count = cython.declare(cython.longlong, visibility="public")
    client_bytes = cython.declare(cython.longlong, visibility="public")
    server_bytes = cython.declare(cython.longlong, visibility="public")
    wait_time = cython.declare(cython.double, visibility="public")
    server_time = cython.declare(cython.double, visibility="public")  # a server was linked
    idle_xact_time = cython.declare(cython.double, visibility="public")
    wait_caused_time = cython.declare(cython.double, visibility="public")  # its share of others'
    max_xact_time = cython.declare(cython.double, visibility="public")
    error_count = cython.declare(cython.longlong, visibility="public")

    def __init__(self, user: str, name: str) -> None:
        self.user = user
        self.name = name
        self.is_known = False
        self.entered_at = 0.0
        self.client_count = self.xact_count = self.query_count = self.error_count = 0
        self.client_bytes = self.server_bytes = 0
        self.wait_time = self.server_time = self.idle_xact_time = self.wait_caused_time = 0.0
        self.max_xact_time = 0.0

    def add(self, other: AppCounters) -> None:
        """Count what another has counted, too; its clients are no more."""
        self.xact_count += other.xact_count
        self.query_count += other.query_count
        self.client_bytes += other.client_bytes
        self.server_bytes += other.server_bytes
        self.wait_time += other.wait_time
        self.server_time += other.server_time
        self.idle_xact_time += other.idle_xact_time
        self.wait_caused_time += other.wait_caused_time
        self.max_xact_time = max(self.max_xact_time, other.max_xact_time)
        self.error_count += other.error_count


@cython.final
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
    # Of those who waited; of what is done, and of each query.
    waits = cython.declare(Histogram, visibility="public")
    xacts = cython.declare(Histogram, visibility="public")
    queries = cython.declare(Histogram, visibility="public")
    unnamed = cython.declare(AppCounters, visibility="readonly")  # of whoever has no other
    # What takes longer is shown to control; seconds.
    slow_xact = cython.declare(cython.double, visibility="public")
    long_wait = cython.declare(cython.double, visibility="public")
    keeps_requests = cython.declare(cython.bint, visibility="public")  # `ClientRelay.request`
    idle: list[Any]  # of `lists`, as is the next
    waiting: OrderedDict[Any, None]
    clock: Callable[[], float]

    def __init__(self, lists: Any, control: Any, statements: Any, clock: Any) -> None:
        self.lists = lists
        self.control = control
        self.statements = statements
        self.counters = Counters()
        self.waits, self.xacts, self.queries = Histogram(), Histogram(), Histogram()
        self.unnamed = AppCounters("", "")
        self.slow_xact = self.long_wait = float("inf")
        self.keeps_requests = False
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


@cython.final
@cython.cclass
class ClientRelay(Relay):
    """One logged-in client: its link, and what it calls its statements."""

    query_start = cython.declare(cython.double, visibility="public")
    xact_start = cython.declare(cython.double, visibility="public")
    wait_start = cython.declare(cython.double, visibility="public")
    link_start = cython.declare(cython.double, visibility="public")
    app = cython.declare(AppCounters, visibility="public")
    # The `vars` that `app` is known to go by.
    app_vars = cython.declare(object, visibility="public")
    # What it sent last, while it is linked, where the pool keeps that.
    request = cython.declare(bytes, visibility="public")
    link: ServerRelay | None
    prepared: dict[bytes, PreparedStatement] | None
    pending: bytes  # what it sent while it was held
    held: cython.int  # FREE, or why what it sends is kept
    replaying: cython.bint

    def __init__(self, pool: PoolRelay, transport: Any, owner: Any) -> None:
        super().__init__(pool, transport, owner)
        self.query_start = self.xact_start = self.wait_start = self.link_start = 0.0
        self.app = pool.unnamed
        self.app_vars = self.request = None
        self.link = None
        self.prepared = None
        self.pending = b""
        self.held = FREE
        self.replaying = False

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
        self.app.client_bytes += len(data)
        if self.held:
            self._keep(data)
        else:
            self._process_safely(data)

    # ---- for control

    def count_as(self, app: AppCounters) -> None:
        """Be one of that application's clients from now on, and of no other's."""
        self.app.client_count -= 1
        self.app = app
        self.app_vars = self.vars
        app.client_count += 1
        app.entered_at = self.connect_time

    def count_out(self) -> None:
        """Be none of its application's clients any more."""
        self.app.client_count -= 1

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

    def find_prepared(self, name: bytes) -> bytes | None:
        """The text and parameter types of what it calls `name`, as in Parse."""
        if self.prepared is None:
            return None
        statement: PreparedStatement | None = self.prepared.get(name)
        return None if statement is None else statement.query

    @property
    def mid_message(self) -> bool:
        """The rest of a message that its server has begun to get is still to come."""
        return self.skip > 0

    def hold(self) -> None:
        """Keep what the client sends from now on, unprocessed."""
        self.held = FOR_CONTROL

    def proceed(self) -> None:
        """Process what was kept while the client was held."""
        self.held = FREE
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
        self.held = FREE
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
            if self.gathered is not None:
                data = self._joined(data)
            if data:
                if self.pool.keeps_requests and self.skip == 0:  # it begins with a message
                    self.request = data
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
        server = self.pool.find_server()
        if server is None:
            self.held = FOR_SERVER
            self.wait_start = self.request_time
            is_undecided: cython.bint = self.pool.lists.wait(self)
            self._keep(data[pos:])
            if is_undecided:
                self.pool.control.on_client_waits(self)
            return None
        if server._link(self, self.request_time):
            return server
        self._keep(data[pos:])
        return None

    @cython.cfunc
    def _count(self) -> None:
        """What starts with nothing in flight is one query, as PgBouncer counts."""
        self.query_start = self.request_time
        self.pool.counters.query_count += 1
        self.app.query_count += 1
        if self.xact_start == 0:
            self.xact_start = self.request_time
            self.pool.counters.xact_count += 1
            self.app.xact_count += 1

    @cython.cfunc
    @cython.boundscheck(False)  # `n` bounds each index, and five bytes are there of a header
    @cython.wraparound(False)
    def _process(self, data: bytes) -> None:
        pool = self.pool
        server = self.link
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t = 0  # what is before it has been dealt with
        linked_at: cython.Py_ssize_t = 0
        at: cython.Py_ssize_t
        total: cython.longlong = 0
        name_end: cython.longlong = 0
        kind: cython.int
        request: cython.int = 0
        stopped: cython.bint = False
        counted: cython.bint = self.query_start != 0
        parts: list[bytes] | None = None
        rewrite: cython.bint = pool.mode != SESSION and pool.max_prepared_statements > 0
        if self.skip > 0:
            pos = self._skipped(n)
            if server is None or server.phase == READY:
                start = self._rest_sent(data, pos)
                server = self.link
        while n - pos >= 5:
            if cython.compiled:
                kind = data[pos]
                total = _message_len(data, pos)
            else:
                kind, total = _unpack_header(data, pos)
                total += 1
            request = REQUESTS[kind]
            stopped = total < 5 or total > pool.max_packet_size
            name_end = 0
            if request >= REQ_PARSE:
                if rewrite and request <= REQ_CLOSE and not stopped:
                    name_end = _name_end(request, data, pos, total)
                stopped |= request == TERMINATE or name_end < 0
            elif request == 0 or (kind == QUERY and pool.disable_pqexec):
                stopped = True
            if stopped:
                break
            if server is None and (request >= REQ_COPY_END or (request == REQ_CLOSE and name_end)):
                pos = start = self._alone(data, pos, total, name_end)
                continue
            if not counted and request < REQ_COPY_END:
                self._count()
                counted = True
            if server is None:
                server = self._acquire(data, pos)
                if server is None:
                    return
                linked_at = pos
            if kind in (QUERY, PARSE):
                at = pos + 5 if kind == QUERY else _nul(data, pos + 5, n) + 1
                if at > pos and at + 2 < n and STATEMENT_1[data[at]] & STATEMENT_3[data[at + 2]]:
                    self._look_at(data, at, min(n, pos + total))
            if name_end:
                if server.outstanding.unsettled:
                    self.held = FOR_NAMES
                    self._keep(data[pos:])
                    break
                parts = parts or []
                if start < pos:
                    parts.append(_piece(data, start, pos))
                start = self._rewrite(server, request, data, pos, total, _size(name_end), parts)
            elif request < REQ_COPY_END:
                server.outstanding.queue.append(request)
                if request == REQ_SYNC and server.outstanding.tracked:
                    server.outstanding.unsettled = True
            elif request == REQ_COPY_END:
                server.outstanding.push_copy_end()
            if total > n - pos:
                self.skip = total - (n - pos)
                pos = n
            else:
                pos += total
        if server is not None:
            self._send(server, data, start, pos, parts, linked_at)
        if stopped:
            self._stop(data, pos, total, request, name_end)
        elif pos < n and self.gathered is None and self.held == FREE:
            self._gather(data, pos, 5)

    @cython.cfunc
    def _rest_sent(self, data: bytes, pos: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Up to `pos` goes the rest of a message whose header has been seen; up to where it has
        been dealt with.
        """
        server = self.link
        if server is None:
            return pos  # the rest of a late CopyData
        if self.skip > 0 or self.pool.mode == SESSION:
            return 0
        # Its transaction is over; it only waited for the rest of this message.
        server.write(data[:pos])
        server._release()
        return pos

    @cython.cfunc
    def _stop(
        self,
        data: bytes,
        pos: cython.Py_ssize_t,
        total: cython.longlong,
        request: cython.int,
        name_end: cython.longlong,
    ) -> None:
        """The message at `pos` goes no further: it is the last one, not yet whole, or wrong."""
        if total < 5 or total > self.pool.max_packet_size:
            header = data[pos : pos + 8].hex()
            raise ProtocolViolation("client", f"bad packet header: '{header}'")
        if request == 0:
            raise ProtocolViolation("client", "unknown pkt")
        if request == REQ_QUERY:
            raise ProtocolViolation("client", "PQexec disallowed")
        if name_end == BROKEN:
            raise ProtocolViolation("client", "failed to parse packet")
        if request == TERMINATE:
            self.pool.control.on_client_terminate(self)
        else:
            self._gather(data, pos, -name_end)

    @cython.cfunc
    def _look_at(self, data: bytes, pos: cython.Py_ssize_t, end: cython.longlong) -> None:
        """Show control a statement that may be one that it is to see first."""
        at: cython.Py_ssize_t = _find_special(data, pos, _size(end))
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
        server: ServerRelay,
        data: bytes,
        start: cython.Py_ssize_t,
        pos: cython.Py_ssize_t,
        parts: list[bytes] | None,
        linked_at: cython.Py_ssize_t,
    ) -> None:
        """One write of `parts` and what is between `start` and `pos`."""
        out = server.outstanding
        if out.head > ANSWERED_MAX:  # now and then, not for every transaction
            del out.queue[: out.head]
            out.head = 0
        count: cython.Py_ssize_t = len(out.queue) - out.head
        if count > 0 and (count > out.fakes or server.phase == READY):
            if server.phase == IDLE_TX:
                self.app.idle_xact_time += self.request_time - server.request_time
            server.phase = BUSY
        if parts is None:
            server.fresh = False
            if start == 0 and pos == len(data):
                server.write(data)
            elif start < pos:
                server.write(_piece(data, start, pos))
            return
        # One batch and nothing else, outside a transaction, whose client reads the row description
        # anew, can be run again; without cached statements it need not.
        if server.fresh and not self.replaying and pos == len(data) and out.is_one_batch(data):
            server.replay = data if linked_at == 0 else data[linked_at:]
            if server.answered:
                server.answered.clear()
        server.fresh = False
        if start < pos:
            parts.append(_piece(data, start, pos))
        if parts:
            server.write(b"".join(parts))
        if out.fakes > 0 and out.asked() == 0 and server._is_fake_due():
            self.write(server._fakes())  # no answer is before them
        if len(out.tracked) > TRACKED_MAX:
            raise ProtocolViolation("client", "too many outstanding requests")

    # ---- prepared statements

    @cython.cfunc
    def _rewrite(
        self,
        server: ServerRelay,
        request: cython.int,
        data: bytes,
        pos: cython.Py_ssize_t,
        total: cython.longlong,
        name_end: cython.Py_ssize_t,
        parts: list[bytes],
    ) -> cython.Py_ssize_t:
        """Put what the server is to get of P, B, D or C into `parts`; returns from where on `data`
        goes on as it is.
        """
        name_at: cython.Py_ssize_t = pos + 6
        if request == REQ_PARSE:
            name_at = pos + 5
        elif request == REQ_BIND:
            name_at = _nul(data, pos + 5, name_end) + 1
        name: bytes = _piece(data, name_at, name_end)
        if request == REQ_PARSE:
            self._parse(server, name, data[name_end + 1 : pos + _size(total)], parts)
            return pos + _size(total)
        if request == REQ_CLOSE:
            # It stays on the server, for others.
            server.outstanding.push_tracked(REQ_CLOSE | FAKE, self._forget(name), name)
            return name_end + 1
        anew: cython.bint = True
        if request == REQ_BIND:
            self.pool.counters.bind_count += 1
            anew = total < len(data) - pos and data[pos + _size(total)] == DESCRIBE
        statement = self._statement(server, name, anew, parts)
        name_z: bytes = name + b"\0" if statement is None else statement.name_z
        server.outstanding.queue.append(request)
        parts.append(_header(data[pos], total - 2 - len(name) + len(name_z)))
        parts.append(_piece(data, pos + 5, name_at))  # the portal, or S
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
            server.outstanding.push_tracked(REQ_PARSE | DUPLICATE, statement, name)
            parts.append(_header(PARSE, 4 + len(taken.name_z) + len(query)) + taken.name_z + query)
            return
        self._name(name, statement)
        if server._has(statement):
            server.outstanding.push_tracked(REQ_PARSE | FAKE, statement, name)
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


@cython.final
@cython.cclass
class Outstanding:
    """What a server has been asked and has not answered yet, oldest first, a byte each."""

    queue: bytearray  # from `head` on
    head: cython.Py_ssize_t
    fakes: cython.Py_ssize_t  # those that the server is not to answer
    tracked: deque[tuple[PreparedStatement | None, bytes | None]]
    copying: cython.bint  # a COPY is open: what ends it isn't late
    failed: cython.bint  # an error has come, its ReadyForQuery has not
    # What an earlier, unanswered batch does to statements and names is not certain: it may yet
    # fail. The client is held when it comes to use a name.
    unsettled: cython.bint

    def __init__(self) -> None:
        self.queue = bytearray()
        self.head = self.fakes = 0
        self.tracked = deque()
        self.copying = self.failed = self.unsettled = False

    @cython.cfunc
    def push_tracked(
        self, request: cython.int, statement: PreparedStatement | None, name: bytes | None
    ) -> None:
        self.tracked.append((statement, name))
        if request & FAKE:
            self.fakes += 1
        self.queue.append(request | TRACKED)

    @cython.cfunc
    def push_copy_end(self) -> None:
        """A CopyDone or CopyFail. With nothing asked no COPY can be open: the server ignores it."""
        if self.asked() > 0:
            self.queue.append(REQ_COPY_END)

    @cython.cfunc
    def peek(self) -> cython.int:
        """The oldest request, or 0. What ended a COPY that was over already, or none, is no more:
        the server ignores it.
        """
        while self.head < len(self.queue):
            request: cython.int = self.queue[self.head]
            if request != REQ_COPY_END or self.copying:
                return request
            self.head += 1
        return 0

    @cython.cfunc
    def pop(self) -> cython.int:
        """The oldest request, which is there, and no longer outstanding."""
        request: cython.int = self.queue[self.head]
        self.head += 1
        if request & FAKE:
            self.fakes -= 1
        return request

    @cython.cfunc
    def asked(self) -> cython.Py_ssize_t:
        """How many the server is to answer."""
        self.peek()
        return len(self.queue) - self.head - self.fakes

    @cython.cfunc
    def has_sync(self) -> cython.bint:
        return self.queue.find(REQ_SYNC, self.head) >= 0

    @cython.cfunc
    def settle(self) -> None:
        """Without a Sync that is still to be answered, names are certain again."""
        if not self.tracked or not self.has_sync():
            self.unsettled = False

    @cython.cfunc
    def is_one_batch(self, data: bytes) -> cython.bint:
        """Whether all of it is one batch, which is `data` and has a Describe."""
        at: cython.Py_ssize_t
        described: cython.bint = False
        request: cython.int = 0
        for at in range(self.head, len(self.queue)):
            if request == REQ_SYNC:
                return False
            request = self.queue[at] & KIND
            if request in (REQ_QUERY, REQ_COPY_END):
                return False
            described |= request == REQ_DESCRIBE
        return described and (request == REQ_SYNC or data[len(data) - 5] == FLUSH)


@cython.final
@cython.cclass
class ServerRelay(Relay):
    """One logged-in server connection: its link, and the requests that it has not answered yet."""

    close_needed = cython.declare(cython.bint, visibility="public")  # to be closed at its release
    special = cython.declare(cython.bint, visibility="public")  # control decides at its release
    last_words = cython.declare(cython.bint, visibility="public")  # it has said why it ends
    link: ClientRelay | None
    phase: cython.int  # BUSY, READY, IDLE_TX or PRIVATE
    outstanding: Outstanding
    serving: cython.bint  # `serve` is below us on the stack
    # Prepared statements.
    prepared: OrderedDict[PreparedStatement, None]  # least recently used first
    last_used: PreparedStatement | None  # the newest of them, or None
    # What the answer to the client's batch does beyond it.
    ddl: cython.bint  # statements are outdated when it is committed
    reset = cython.declare(cython.bint, visibility="public")  # RESET, DISCARD ALL
    reset_name = cython.declare(object, visibility="public")  # what is about to be RESET, or None
    restore: cython.bint  # the client's own startup values are to be set again
    # The message at hand.
    drop: cython.bint  # what `skip` counts is not for the client
    instead: bytes | None  # what the client gets for it
    violation: str | None
    # The client's batch, should it have to be run once more.
    fresh: cython.bint  # linked, and nothing sent for the client yet
    replay: bytes | None  # the batch, until the first byte of its answer goes out
    answered: list[Any]  # of `replay`: requests, statements and names that are answered
    again: bytes | None  # the batch that is run once more when the server is ready

    def __init__(self, pool: PoolRelay, transport: Any, owner: Any) -> None:
        super().__init__(pool, transport, owner)
        self.close_needed = self.special = self.last_words = self.serving = False
        self.link = None
        self.phase = READY
        self.outstanding = Outstanding()
        self.prepared = OrderedDict()
        self.last_used = None
        self.ddl = self.reset = self.restore = False
        self.reset_name = None
        self.drop = self.fresh = False
        self.instead = self.violation = None
        self.replay = self.again = None
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
        client = self.link
        if client is not None:
            client.app.server_bytes += len(data)
            if self.phase == IDLE_TX:  # unasked: it has had enough of idling, perhaps
                client.app.idle_xact_time += now - self.request_time
        self.request_time = now
        try:
            if self.gathered is not None:
                data = self._joined(data)
                if not data:
                    return
            if self.phase == PRIVATE or client is None:
                self._process_private(data)
            else:
                self._process(data, client)
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
    def ready(self) -> bool:
        """Nothing is asked of it, and it is in no transaction."""
        return self.phase == READY

    @property
    def idle_tx(self) -> bool:
        """It is in a transaction, and nothing is asked of it."""
        return self.phase == IDLE_TX

    @property
    def private(self) -> bool:
        """It answers the pooler itself."""
        return self.phase == PRIVATE

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
        return self.outstanding.asked()

    def send_private(self, message: bytes) -> None:
        """Send what the pooler asks for itself: each answer goes to `control.on_private_message`,
        none to a client.
        """
        self.phase = PRIVATE
        self.write(message)

    def serve(self, client: ClientRelay) -> None:
        """Link a client that waited; its kept bytes are processed at once.

        It may be gone afterwards: the caller, who has the server then, goes on to the next.
        """
        now: cython.double = self.pool.clock()
        waited: cython.double = now - client.wait_start
        self.pool.counters.wait_time += waited
        self.pool.waits.add(waited)
        client.app.wait_time += waited
        client.wait_start = 0
        self.serving = True
        try:
            if waited >= self.pool.long_wait:
                self.pool.control.on_long_wait(client, waited)
            if self._link(client, now):
                client.proceed()
        finally:
            self.serving = False

    def unlink(self) -> None:
        """Part from the client, whatever is in flight."""
        self._unlink(self.pool.clock())

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
        at: cython.Py_ssize_t = self.outstanding.head
        for statement, name in self.outstanding.tracked:
            while not self.outstanding.queue[at] & TRACKED:
                at += 1
            request: cython.int = self.outstanding.queue[at]
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
    def _link(self, client: ClientRelay, now: cython.double) -> cython.bint:
        """Link; False where session parameters differ and are being set: the client is held until
        they are.
        """
        self.link = client
        client.link = self
        client.link_start = now
        self.fresh = True
        self.pool.counters.server_assignment_count += 1
        if client.write_paused:
            self._pause_reading()
        if self.write_paused:
            client._pause_reading()
        if client.vars is not self.vars:
            message: bytes = self.pool.control.vars_message(client, self)
            if message:
                client.held = FOR_ANSWER
                self.send_private(message)
                return False
        return True

    @cython.cfunc
    def _unlink(self, now: cython.double) -> None:
        client = self.link
        self.link = None
        self.replay = None
        self.drop = True  # the rest of a message that this client has begun to get
        if self.read_paused:
            self._resume_reading()
        if client is not None:
            client.link = None
            client.app.server_time += now - client.link_start
            client.link_start = 0
            if self.phase == IDLE_TX:
                client.app.idle_xact_time += now - self.request_time
            client.request = None
            if client.read_paused and client.held == FREE:
                client._resume_reading()

    @cython.cfunc
    def _release(self) -> None:
        """To the pool, or at once to the longest-waiting client, and the next one where that client
        fails at once.
        """
        if self.link is not None:
            self._unlink(self.pool.clock())
        if self.serving:
            return  # who serves, below us on the stack, goes on: no recursion per client
        while not self.closed and self.link is None and self.phase == READY:
            if self.special:
                self.pool.control.on_release(self)
                return
            waiting = self.pool.release_server(self)
            if waiting is None:
                return
            self.serve(waiting)

    # ---- inside: outstanding requests

    @cython.cfunc
    def _answered(self, kind: cython.int) -> cython.bint:
        """A response to `kind` has come; True where the client is not to see it."""
        request: cython.int = self.outstanding.peek()
        if request & KIND != kind:
            return False
        self.outstanding.pop()
        if request & TRACKED:
            self._pop_tracked(request)
        return request & SKIP != 0

    @cython.cfunc
    def _pop_tracked(self, request: cython.int) -> None:
        """It is answered; should its batch be run again, the client's names are put back."""
        statement, name = self.outstanding.tracked.popleft()
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
        while self.outstanding.peek():
            request = self.outstanding.pop()
            if request & TRACKED:
                statement, name = self.outstanding.tracked.popleft()
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
        self.outstanding.push_tracked(request, statement, name)
        parts.append(statement.parse_message())
        self.pool.counters.server_parse_count += 1
        self.prepared[statement] = None
        self.last_used = statement
        while len(self.prepared) > self.pool.max_prepared_statements:
            oldest: PreparedStatement = self.prepared.popitem(last=False)[0]
            self.outstanding.push_tracked(REQ_CLOSE | SKIP, oldest, None)
            parts.append(oldest.close_message())

    @cython.cfunc
    def _is_fake_due(self) -> cython.bint:
        """Whether the oldest request is one to make up an answer for, between two messages."""
        return (
            self.skip == 0 and not self.outstanding.failed and self.outstanding.peek() & FAKE != 0
        )

    @cython.cfunc
    def _fakes(self) -> bytes:
        """The made-up responses whose turn has come."""
        fakes: list[bytes] = []
        while self.outstanding.peek() & FAKE:
            request: cython.int = self.outstanding.pop()
            self._pop_tracked(request)
            fakes.append(
                FAKE_PARSE_COMPLETE if request & KIND == REQ_PARSE else FAKE_CLOSE_COMPLETE
            )
        return b"".join(fakes)

    # ---- inside: what the server sends

    @cython.cfunc
    @cython.boundscheck(False)  # `n` bounds each index, and five bytes are there of a header
    @cython.wraparound(False)
    def _process(self, data: bytes, client: ClientRelay) -> None:
        out = self.outstanding
        queue = out.queue
        n: cython.Py_ssize_t = len(data)
        pos: cython.Py_ssize_t = 0
        start: cython.Py_ssize_t = 0  # what is before it has been dealt with
        most: cython.longlong = self.pool.max_packet_size
        total: cython.longlong
        kind: cython.int
        answers: cython.int
        request: cython.int
        drop: cython.bint
        parts: list[bytes] | None = None
        if self.skip > 0:
            pos = self._skipped(n)
            if self.drop:
                start = pos
        while n - pos >= 5:
            if cython.compiled:
                kind = data[pos]
                total = _message_len(data, pos)
            else:
                kind, total = _unpack_header(data, pos)
                total += 1
            if total < 5 or total > most:
                self.violation = "bad pkt header"
                break
            answers = RESPONSES[kind]
            drop = False
            if answers != ROW:
                if total > n - pos and total <= _inspect_max(kind):
                    self._gather(data, pos, total)
                    break
                if kind == ERROR_RESPONSE and self._is_stale(data, pos, total):
                    self._retry(data[pos:], client)
                    return
                if out.fakes and self._is_fake_due():
                    parts = self._cut(parts, data, start, pos, self._fakes())
                    start = pos
                if 0 < answers < REQ_COPY_END:
                    if answers == REQ_EXECUTE:
                        self._on_executed(kind, data, pos, total, client)
                    request = queue[out.head] if out.head < len(queue) else 0
                    if request == answers:
                        out.head += 1
                    elif request != REQ_QUERY:
                        drop = self._answered(answers)
                elif kind == READY_FOR_QUERY:
                    self._on_ready(data[pos + 5] if total == 6 else 0, client)
                    if self.violation is not None:
                        break
                    if self.phase == READY:
                        if out.fakes > 0:
                            parts = self._cut(parts, data, start, pos + 6, self._fakes())
                            start = pos + 6
                        if self.pool.mode != SESSION and client.skip == 0 and client.held == FREE:
                            self._part(client, data, start, pos + 6, parts)
                            return
                else:
                    drop = self._on_message(kind, data, pos, total, client)
                    if self.violation is not None:
                        break
                if drop:
                    parts = self._cut(parts, data, start, pos, self.instead)
                    self.instead = None
            if total > n - pos:
                self.skip = total - (n - pos)
                self.drop = drop
                pos = n
            else:
                pos += total
            if drop:
                start = pos
        if out.fakes > 0 and pos == n and self._is_fake_due():
            parts = self._cut(parts, data, start, pos, self._fakes())
            start = pos
        self._to_client(client, data, start, pos, parts)
        if self.violation is not None or pos < n or client.held == FOR_NAMES:
            self._after_chunk(client, data, pos)

    @cython.cfunc
    def _after_chunk(self, client: ClientRelay, data: bytes, pos: cython.Py_ssize_t) -> None:
        """What comes before `pos` has been forwarded, and there is more to do."""
        if self.violation is not None:
            self.pool.control.on_server_violation(self, self.violation)
            return
        if pos < len(data) and self.gathered is None:
            self._gather(data, pos, 5)
        if client.held == FOR_NAMES and not self.outstanding.unsettled:
            client.proceed()

    @cython.cfunc
    def _cut(
        self,
        parts: list[bytes] | None,
        data: bytes,
        start: cython.Py_ssize_t,
        pos: cython.Py_ssize_t,
        instead: bytes | None,
    ) -> list[bytes] | None:
        """`parts` with what stands before `pos`, and `instead`; None while that is nothing."""
        if parts is None:
            parts = []
        if start < pos:
            parts.append(_piece(data, start, pos))
        if instead is not None:
            parts.append(instead)
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
        """One write of `parts` and what is between `start` and `pos`."""
        if parts is not None:
            if start < pos:
                parts.append(_piece(data, start, pos))
            data = b"".join(parts)
        elif start > 0 or pos < len(data):
            data = _piece(data, start, pos)
        if data:
            self.replay = None
            client.write(data)

    @cython.cfunc
    def _part(
        self,
        client: ClientRelay,
        data: bytes,
        start: cython.Py_ssize_t,
        pos: cython.Py_ssize_t,
        parts: list[bytes] | None,
    ) -> None:
        """The client's transaction ends at `pos`: the server is the next one's."""
        n: cython.Py_ssize_t = len(data)
        if parts is None and start == 0 and pos == n:
            client.write(data)
        else:
            self._to_client(client, data, start, pos, parts)
        self._unlink(self.request_time)
        if pos < n:
            self._process_private(data[pos:])
        self._release()

    @cython.cfunc
    def _on_ready(self, status: cython.int, client: ClientRelay) -> None:
        """ReadyForQuery; status 0 is one without a status."""
        if status == 0:
            self.violation = "bad pkt header"
            return
        if status != IDLE and self.pool.mode == STATEMENT:
            self.violation = "transaction blocks not allowed in statement pooling mode"
            return
        out = self.outstanding
        request: cython.int = out.peek()
        if request in (REQ_SYNC, REQ_QUERY):
            out.head += 1
        elif out.failed:
            self._drop_until(REQ_SYNC, client)
        out.failed = False
        if out.unsettled:
            out.settle()
        if self.ddl and status == IDLE:
            self.ddl = False
            self.pool.statements.outdate()
        if self.reset:
            self.reset = False
            self.restore = True
        if out.head < len(out.queue) and out.asked() > 0:
            return
        self.phase = READY if status == IDLE else IDLE_TX
        if client.query_start != 0:
            self.pool.counters.query_time += self.request_time - client.query_start
            self.pool.queries.add(self.request_time - client.query_start)
            client.query_start = 0
        if status == IDLE and client.xact_start != 0:
            self._end_xact(client, self.request_time - client.xact_start)
        if self.restore:
            self.restore = False
            self._restore(status, client)

    @cython.cfunc
    def _end_xact(self, client: ClientRelay, seconds: cython.double) -> None:
        pool = self.pool
        pool.counters.xact_time += seconds
        pool.xacts.add(seconds)
        if seconds > client.app.max_xact_time:
            client.app.max_xact_time = seconds
        if seconds >= pool.slow_xact:
            pool.control.on_slow_xact(client, seconds)
        client.xact_start = 0
        if client.vars is not client.app_vars:
            pool.control.on_vars_changed(client)

    @cython.cfunc
    def _restore(self, status: cython.int, client: ClientRelay) -> None:
        """RESET went back to the connection's startup values: set the client's own, where it keeps
        the server. Otherwise the next link does it.
        """
        if status == FAILED or (status == IDLE and self.pool.mode != SESSION):
            return
        message: bytes = self.pool.control.vars_message(client, self)
        if message:
            client.held = FOR_ANSWER
            self.send_private(message)

    @cython.cfunc
    def _on_executed(
        self,
        kind: cython.int,
        data: bytes,
        pos: cython.Py_ssize_t,
        total: cython.longlong,
        client: ClientRelay,
    ) -> None:
        """CommandComplete, EmptyQueryResponse or PortalSuspended."""
        self.replay = None  # it may have ended a transaction
        if kind != COMMAND_COMPLETE:
            return
        if self.outstanding.copying:
            self._end_copy(client, False)
        if total <= 8 or total > INSPECT_MAX or not TAG_1[data[pos + 5]] & TAG_3[data[pos + 7]]:
            return
        # SET is as common as the others, but where it returns a parameter to its default.
        if data[pos + 5] != 0x53 or self.reset_name is not None:
            tag: bytes = data[pos + 5 : pos + _size(total) - 1]
            self.ddl |= self.pool.control.on_command_tag(self, client, tag)

    @cython.cfunc
    def _on_message(
        self,
        kind: cython.int,
        data: bytes,
        pos: cython.Py_ssize_t,
        total: cython.longlong,
        client: ClientRelay,
    ) -> cython.bint:
        """Take note of a message that answers no request; True where the client sees `instead`."""
        if kind == ERROR_RESPONSE:
            self._on_error(data, pos, total, client)
        elif kind == PARAMETER_STATUS:
            self._on_parameter_status(data, pos, total, client)
        elif RESPONSES[kind] == SPECIAL:
            self.outstanding.copying = True  # CopyInResponse, CopyBothResponse
            if kind == COPY_BOTH:
                client.query_start = client.xact_start = 0  # a stream's days are no query's time
        elif RESPONSES[kind] == 0:
            self.violation = "unknown pkt"
        return self.instead is not None

    @cython.cfunc
    def _on_error(
        self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong, client: ClientRelay
    ) -> None:
        if self.outstanding.copying:
            self._end_copy(client, True)
        self.outstanding.failed = True
        self.reset_name = None
        client.app.error_count += 1
        body: bytes = data[pos + 5 : pos + _size(min(total, INSPECT_MAX))]
        self.pool.control.on_server_error(body)
        if total > INSPECT_MAX:
            return
        self.last_words = b"\0VFATAL\0" in body
        if self.last_words:
            self.pool.control.on_last_words(self, body)
        if self.outstanding.peek() & DUPLICATE:
            # Refused under the server's name for it; the client knows the statement by its own.
            self.instead = self.pool.control.duplicate_error(body, self.outstanding.tracked[0][1])

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
        out = self.outstanding
        request: cython.int = out.peek()
        syncs: cython.int = self._drop_until(REQ_COPY_END, client)
        out.copying = False
        if request == REQ_QUERY:  # it ends with its own ReadyForQuery
            out.head -= 1
            out.queue[out.head] = REQ_QUERY
        elif failed and syncs > 0:
            self.close_needed = self.special = True
        if out.unsettled:
            out.settle()  # no ReadyForQuery answers the Syncs that went into the COPY

    # ---- inside: stale statements

    @cython.cfunc
    def _is_stale(self, data: bytes, pos: cython.Py_ssize_t, total: cython.longlong) -> cython.bint:
        """Whether an error says that DDL made a cached statement stale, and the batch can be run
        again. All statements are prepared anew from now on.
        """
        out = self.outstanding
        at: cython.Py_ssize_t = out.head
        while at < len(out.queue) and out.queue[at] & FAKE:
            at += 1
        if not self.prepared or total > INSPECT_MAX or at == len(out.queue):
            return False
        if out.queue[at] & KIND == REQ_PARSE:
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
        if not self.outstanding.has_sync():
            self.write(_header(SYNC, 4))
        self._drop_until(REQ_SYNC, client)
        self.outstanding.unsettled = False
        while self.answered:
            request, statement, name = self.answered.pop()
            self._undo(request, statement, name, client)
        client.held = FOR_ANSWER
        self.phase = PRIVATE
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
                is_dirty = self.phase != PRIVATE
                if is_dirty and kind != NOTICE_RESPONSE and kind != NOTIFICATION:
                    raise ProtocolViolation("server", "idle server got dirty")
                pos = self._step(pos, total, n)
                continue
            if total > n - pos:
                self._gather(data, pos, total)
                break
            if kind == READY_FOR_QUERY and total == 6 and self.phase == PRIVATE:
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
        self.phase = READY if status == IDLE else IDLE_TX
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
