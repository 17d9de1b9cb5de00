"""What clients ask and servers answer, in steady state: the rows of the table in
docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.forms import messages as m

CHUNK_LEN = 65536  # of one read


@dataclass(frozen=True)
class Shape:
    """`exchanges` are what is done again and again: what the client sends in one chunk, then what
    the server answers in one; either may be missing. `begin` are the same, done once before.
    """

    name: str
    exchanges: tuple[tuple[bytes, bytes], ...]
    begin: tuple[tuple[bytes, bytes], ...] = ()
    is_rewritten: bool = False  # what the client sends goes on with another statement's name
    size: int = 1  # of the exchange, in what `name` counts


def _copy_data() -> bytes:
    """The middle of a message whose beginning is in `_BIG`."""
    return b"x" * CHUNK_LEN


def _small_rows() -> bytes:
    row = m.row(b"x" * 89)
    assert len(row) == 100
    return row * (CHUNK_LEN // 100)


_BIG = (1 << 30).to_bytes(4, "big")  # bytes, of a message that is still to come
_NAMED = (m.P("s") + m.D("s") + m.S, m.one + m.parameters + m.columns + m.IDLE)
_BOUND = m.two + m.columns + m.row() + m.done()

SHAPES = (
    Shape("simple query", ((m.Q(), m.rows + m.IDLE),)),
    Shape(
        "extended query",
        ((m.P() + m.B() + m.D(kind=m.PORTAL) + m.E + m.S, m.one + _BOUND + m.IDLE),),
    ),
    Shape(
        "prepared statement",
        ((m.B("s") + m.D(kind=m.PORTAL) + m.E + m.S, _BOUND + m.IDLE),),
        begin=(_NAMED,),
        is_rewritten=True,
    ),
    Shape(
        "transaction of 3 queries",
        (
            (m.Q("BEGIN"), m.done("BEGIN") + m.BLOCK),
            (m.Q(), m.rows + m.BLOCK),
            (m.Q("COMMIT"), m.done("COMMIT") + m.IDLE),
        ),
    ),
    Shape(
        "pipeline of 10 prepared statements",
        (((m.B("s") + m.D(kind=m.PORTAL) + m.E) * 10 + m.S, _BOUND * 10 + m.IDLE),),
        begin=(_NAMED,),
        is_rewritten=True,
    ),
    Shape("64 KiB of 100-byte rows", ((b"", _small_rows()),), begin=((m.Q(), m.columns),)),
    Shape(
        "64 KiB within one row",
        ((b"", _copy_data()),),
        begin=((m.Q(), m.columns + b"D" + _BIG),),
    ),
    Shape(
        "64 KiB of COPY in",
        ((_copy_data(), b""),),
        begin=((m.Q("COPY"), m.copy_in), (b"d" + _BIG, b"")),
    ),
)

BY_NAME = {shape.name: shape for shape in SHAPES}
