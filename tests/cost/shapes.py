"""What clients ask and servers answer, in steady state: the rows of the table in
docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.forms import messages as m

CHUNK_LEN = 65536  # of one read


CLIENT, OTHER_CLIENT, SERVER = range(3)
Step = tuple[int, bytes]  # who sends what, in one chunk


@dataclass(frozen=True)
class Shape:
    """`steps` are done again and again, `begin` once before them."""

    name: str
    steps: tuple[Step, ...]
    begin: tuple[Step, ...] = ()
    rewritten: int = 0  # chunks that go on with another statement's name
    waits: int = 0  # clients that have waited for the server


def _ask(asked: bytes, answer: bytes) -> tuple[Step, Step]:
    return (CLIENT, asked), (SERVER, answer)


def _middle() -> bytes:
    """The middle of a message whose beginning is in `_BIG`."""
    return b"x" * CHUNK_LEN


def _small_rows() -> bytes:
    row = m.row(b"x" * 89)
    assert len(row) == 100
    return row * (CHUNK_LEN // 100)


_BIG = (1 << 30).to_bytes(4, "big")  # bytes, of a message that is still to come
_NAMED = _ask(m.P("s") + m.D("s") + m.S, m.one + m.parameters + m.columns + m.IDLE)
_PORTAL = m.D(kind=m.PORTAL)
_BOUND = m.two + m.columns + m.row() + m.done()

SHAPES = (
    Shape("simple query", _ask(m.Q(), m.rows + m.IDLE)),
    Shape(
        "extended query",
        _ask(m.P() + m.B() + _PORTAL + m.E + m.S, m.one + _BOUND + m.IDLE),
    ),
    Shape(
        "prepared statement",
        _ask(m.B("s") + _PORTAL + m.E + m.S, _BOUND + m.IDLE),
        begin=_NAMED,
        rewritten=1,
    ),
    Shape(
        "transaction of 3 queries",
        _ask(m.Q("BEGIN"), m.done("BEGIN") + m.BLOCK)
        + _ask(m.Q(), m.rows + m.BLOCK)
        + _ask(m.Q("COMMIT"), m.done("COMMIT") + m.IDLE),
    ),
    Shape(
        "two clients, one of which waits",
        (
            (CLIENT, m.Q()),
            (OTHER_CLIENT, m.Q()),
            (SERVER, m.rows + m.IDLE),
            (SERVER, m.rows + m.IDLE),
        ),
        waits=1,
    ),
    Shape(
        "pipeline of 10 prepared statements",
        _ask((m.B("s") + _PORTAL + m.E) * 10 + m.S, _BOUND * 10 + m.IDLE),
        begin=_NAMED,
        rewritten=1,
    ),
    Shape(
        "64 KiB of 100-byte rows",
        ((SERVER, _small_rows()),),
        begin=_ask(m.Q(), m.columns),
    ),
    Shape(
        "64 KiB within one row",
        ((SERVER, _middle()),),
        begin=_ask(m.Q(), m.columns + b"D" + _BIG),
    ),
    Shape(
        "64 KiB of COPY in",
        ((CLIENT, _middle()),),
        begin=(*_ask(m.Q("COPY"), m.copy_in), (CLIENT, b"d" + _BIG)),
    ),
)

BY_NAME = {shape.name: shape for shape in SHAPES}
