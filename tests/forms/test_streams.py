"""What passes between a client and a server does not depend on where the streams are cut."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.forms import messages as m
from tests.forms.messages import B, C, D, E, F, H, P, Q, S, X
from tests.forms.rig import SESSION, STATEMENT, TRANSACTION, Form, Rig, cuts

Steps = list[tuple[str, bytes]]

ONE = "PGBOUNCER_1"
TWO = "PGBOUNCER_2"
LONG = "n" * 65536


@dataclass(frozen=True)
class Case:
    """Who sends what, and what each side gets; `idle`: the server is back in its pool."""

    steps: Steps
    to_server: bytes
    to_client: bytes
    idle: bool = True
    events: list[str] = field(default_factory=list)
    mode: int = TRANSACTION
    max_prepared_statements: int = 200
    cut: str = "cs"  # whose streams may be cut anywhere


def answered(asked: bytes, answer: bytes, **more: object) -> Case:
    """All of it goes through as it is."""
    return Case([("c", asked), ("s", answer)], asked, answer, **more)  # type: ignore[arg-type]


PREPARED: Steps = [("c", P("a") + S), ("s", m.one + m.IDLE)]
PREPARED_SERVER = P(ONE) + S
PREPARED_CLIENT = m.one + m.IDLE


def prepared(steps: Steps, to_server: bytes, to_client: bytes, **more: object) -> Case:
    """The same, after `a` has been prepared."""
    return Case(
        PREPARED + steps,
        PREPARED_SERVER + to_server,
        PREPARED_CLIENT + to_client,
        **more,  # type: ignore[arg-type]
    )


PLAIN = {
    "a query": answered(Q(), m.rows + m.IDLE),
    "an empty query": answered(Q(""), m.empty_query + m.IDLE),
    "a query of several statements": answered(Q("SELECT 1; SELECT 2"), m.rows * 2 + m.IDLE),
    "a query that fails": answered(Q(), m.error() + m.IDLE),
    "a failure after rows": answered(Q(), m.columns + m.row() + m.error() + m.IDLE),
    "queries in one go": answered(Q() * 3, (m.rows + m.IDLE) * 3),
    "queries of which one fails": answered(
        Q() * 3, m.rows + m.IDLE + m.error() + m.IDLE + m.rows + m.IDLE
    ),
    "a transaction": Case(
        [("c", Q("BEGIN")), ("s", m.done("BEGIN") + m.BLOCK), ("c", Q()), ("s", m.rows + m.BLOCK)],
        Q("BEGIN") + Q(),
        m.done("BEGIN") + m.BLOCK + m.rows + m.BLOCK,
        idle=False,
    ),
    "a transaction to its end": answered(
        Q("BEGIN") + Q() + Q("COMMIT"),
        m.done("BEGIN") + m.BLOCK + m.rows + m.BLOCK + m.done("COMMIT") + m.IDLE,
    ),
    "a failed transaction": answered(
        Q("BEGIN") + Q() + Q("ROLLBACK"),
        m.done("BEGIN") + m.BLOCK + m.error() + m.FAILED + m.done("ROLLBACK") + m.IDLE,
    ),
    "a function call": answered(F, m.result + m.IDLE),
    "a function call that fails": answered(F + Q(), m.error() + m.IDLE + m.rows + m.IDLE),
    "unnamed": answered(P() + B() + D("", m.PORTAL) + E + S, m.one + m.two + m.rows + m.IDLE),
    "unnamed, described": answered(P() + D() + S, m.one + m.parameters + m.columns + m.IDLE),
    "portals": answered(
        P() + B(portal="p") + D("p", m.PORTAL) + E + C("p", m.PORTAL) + S,
        m.one + m.two + m.columns + m.row() + m.suspended + m.three + m.IDLE,
    ),
    "an unnamed statement closed": answered(P() + C() + S, m.one + m.three + m.IDLE),
    "no rows": answered(B() + D("", m.PORTAL) + E + S, m.two + m.no_data + m.done("SET") + m.IDLE),
    "an empty query executed": answered(P() + B() + E + S, m.one + m.two + m.empty_query + m.IDLE),
    "several Syncs": answered((P() + B() + E + S) * 3, (m.one + m.two + m.done() + m.IDLE) * 3),
    "only Syncs": answered(S * 3, m.IDLE * 3),
    "a Flush": Case(
        [
            ("c", P() + D() + H),
            ("s", m.one + m.parameters + m.columns),
            ("c", B() + E + S),
            ("s", m.two + m.done() + m.IDLE),
        ],
        P() + D() + H + B() + E + S,
        m.one + m.parameters + m.columns + m.two + m.done() + m.IDLE,
    ),
    "a Flush of nothing": Case([("c", H + H)], b"", b""),
    "a query in a batch": answered(P() + Q() + S, m.one + m.rows + m.IDLE * 2),
    "notices and notifications": answered(
        Q(), m.notice + m.columns + m.notification + m.row() + m.notice + m.done() + m.IDLE
    ),
    "a parameter's status": answered(Q(), m.status() + m.done("SET") + m.IDLE),
    "a parameter that the client has otherwise": Case(
        [("c", Q()), ("s", m.status("own") + m.done() + m.IDLE)],
        Q(),
        m.status("client's own") + m.done() + m.IDLE,
    ),
    "what comes after the end": Case(
        [("c", Q()), ("s", m.rows + m.IDLE + m.notice + m.status() + m.notification)],
        Q(),
        m.rows + m.IDLE,
        events=["private N", "private S", "private A"],
    ),
    "asynchronous messages in a transaction": Case(
        [
            ("c", Q()),
            ("s", m.done("BEGIN") + m.BLOCK),
            ("s", m.notice + m.notification + m.status()),
        ],
        Q(),
        m.done("BEGIN") + m.BLOCK + m.notice + m.notification + m.status(),
        idle=False,
    ),
    "a tag that matters": answered(Q(), m.done("ALTER TABLE") + m.IDLE, events=["ALTER TABLE"]),
    "a goodbye": Case([("c", X)], b"", b"", events=["terminate"]),
    "a goodbye behind a query": Case(
        [("c", Q() + X)], Q(), b"", idle=False, events=["terminate", "unclean"]
    ),
    "a goodbye after one": Case(
        [("c", Q()), ("s", m.rows + m.IDLE), ("c", X + Q())],
        Q(),
        m.rows + m.IDLE,
        events=["terminate"],
    ),
}

FAILURES = (
    {
        f"a batch whose message {at} fails": answered(
            P() + B() + E + B() + E + S + Q(),
            b"".join([m.one, m.two, m.done(), m.two, m.done(), b""][:at])
            + m.error()
            + m.IDLE
            + m.rows
            + m.IDLE,
        )
        for at in range(6)
    }
    | {
        f"a pipeline whose batch {at} fails": answered(
            (P() + B() + E + S) * 3,
            b"".join(
                m.one + (m.error() if i == at else m.two + m.done()) + m.IDLE for i in range(3)
            ),
        )
        for at in range(3)
    }
    | {
        "a batch with a query behind what fails": answered(
            B() + E + Q() + S + Q(), m.error() + m.IDLE + m.rows + m.IDLE
        ),
    }
)

COPY = {
    "in": answered(Q("COPY"), m.copy_in, idle=False),
    "in, to its end": Case(
        [
            ("c", Q("COPY")),
            ("s", m.copy_in),
            ("c", m.d() * 2 + m.c),
            ("s", m.done("COPY 2") + m.IDLE),
        ],
        Q("COPY") + m.d() * 2 + m.c,
        m.copy_in + m.done("COPY 2") + m.IDLE,
    ),
    "in, in one go with what follows": answered(
        Q("COPY") + m.d() + m.c + Q(), m.copy_in + m.done("COPY 1") + m.IDLE + m.rows + m.IDLE
    ),
    "in, first answered": Case(
        [("c", Q("COPY") + m.d() + m.c + Q()), ("s", m.copy_in + m.done("COPY 1") + m.IDLE)],
        Q("COPY") + m.d() + m.c + Q(),
        m.copy_in + m.done("COPY 1") + m.IDLE,
        idle=False,
    ),
    "in, failing, with what follows": Case(
        [("c", Q("COPY") + m.d() + m.c + Q()), ("s", m.copy_in + m.error() + m.IDLE)],
        Q("COPY") + m.d() + m.c + Q(),
        m.copy_in + m.error() + m.IDLE,
        idle=False,
    ),
    "in, twice in one query": answered(
        Q("COPY; COPY") + m.d() + m.c + m.d() + m.c,
        m.copy_in + m.done("COPY 1") + m.copy_in + m.done("COPY 1") + m.IDLE,
    ),
    "in, given up": answered(Q("COPY") + m.d() + m.f, m.copy_in + m.error() + m.IDLE),
    "in, refused": answered(Q("COPY") + m.d() + m.c + Q(), m.error() + m.IDLE + m.rows + m.IDLE),
    "in, failing before its end is sent": Case(
        [
            ("c", Q("COPY")),
            ("s", m.copy_in),
            ("c", m.d()),
            ("s", m.error()),
            ("c", m.d() + m.c),
            ("s", m.IDLE),
            ("c", Q()),
            ("s", m.rows + m.IDLE),
        ],
        Q("COPY") + m.d() + m.d() + m.c + Q(),
        m.copy_in + m.error() + m.IDLE + m.rows + m.IDLE,
    ),
    "in, its rest after the failure": Case(
        [
            ("c", Q("COPY")),
            ("s", m.copy_in),
            ("c", m.d()),
            ("s", m.error() + m.IDLE),
            ("c", m.d() + m.c + m.f + Q()),
            ("s", m.rows + m.IDLE),
        ],
        Q("COPY") + m.d() + Q(),
        m.copy_in + m.error() + m.IDLE + m.rows + m.IDLE,
    ),
    "in, failing within a message": Case(
        [
            ("c", Q("COPY")),
            ("s", m.copy_in),
            ("c", m.d(b"x" * 40)[:20]),
            ("s", m.error() + m.IDLE),
            ("c", m.d(b"x" * 40)[20:] + m.c + Q()),
            ("s", m.rows + m.IDLE),
        ],
        Q("COPY") + m.d(b"x" * 40) + Q(),
        m.copy_in + m.error() + m.IDLE + m.rows + m.IDLE,
    ),
    "in, its rest in a transaction": Case(
        [
            ("c", Q("BEGIN") + Q("COPY")),
            ("s", m.done("BEGIN") + m.BLOCK + m.copy_in),
            ("s", m.error() + m.FAILED),
            ("c", m.d() + m.c + Q("ROLLBACK")),
            ("s", m.done("ROLLBACK") + m.IDLE),
        ],
        Q("BEGIN") + Q("COPY") + m.d() + m.c + Q("ROLLBACK"),
        m.done("BEGIN") + m.BLOCK + m.copy_in + m.error() + m.FAILED + m.done("ROLLBACK") + m.IDLE,
    ),
    "in, extended": answered(
        P() + B() + E + S + m.d() + m.c + S, m.one + m.two + m.copy_in + m.done("COPY 1") + m.IDLE
    ),
    "in, extended, without the Sync before": answered(
        P() + B() + E + m.d() + m.c + S + Q(),
        m.one + m.two + m.copy_in + m.done("COPY 1") + m.IDLE + m.rows + m.IDLE,
    ),
    "in, extended, failing": answered(
        P() + B() + E + m.d() + m.c + S + Q(),
        m.one + m.two + m.copy_in + m.error() + m.IDLE + m.rows + m.IDLE,
    ),
    "in, extended, refused": answered(
        B() + E + S + m.d() + m.c + S + Q(), m.error() + m.IDLE + m.IDLE + m.rows + m.IDLE
    ),
    # Nobody knows whether the first Sync is to be answered: no other client gets that server.
    "in, extended, failing with a Sync before": answered(
        B() + E + S + m.d() + m.c + S,
        m.two + m.copy_in + m.error() + m.IDLE,
        idle=False,
        events=["close_needed"],
    ),
    "an end without a beginning": Case(
        [
            ("c", Q("BEGIN")),
            ("s", m.done("BEGIN") + m.BLOCK),
            ("c", m.c + m.c + Q()),
            ("s", m.rows + m.IDLE),
        ],
        Q("BEGIN") + m.c + m.c + Q(),
        m.done("BEGIN") + m.BLOCK + m.rows + m.IDLE,
    ),
    "an end in a batch that copies nothing": answered(
        B() + E + m.c + B() + E + S, (m.two + m.done()) * 2 + m.IDLE
    ),
    "out": answered(Q("COPY"), m.copy_out + m.d() * 3 + m.c + m.done("COPY 3") + m.IDLE),
    "out, failing": answered(Q("COPY"), m.copy_out + m.d() + m.error() + m.IDLE),
    "out, extended": answered(
        P() + B() + E + S, m.one + m.two + m.copy_out + m.d() + m.c + m.done("COPY 1") + m.IDLE
    ),
}

# Replication connections are in session mode: what comes late is the server's to ignore.
STREAMS = {
    "ended by the client, and what follows": Case(
        [
            ("c", Q("START_REPLICATION")),
            ("s", m.copy_both + m.d() * 2),
            ("c", m.d() + m.c),
            ("s", m.d() + m.c + m.done("COPY 0") + m.done("START_STREAMING") + m.IDLE),
            ("c", Q()),
            ("s", m.rows + m.IDLE),
        ],
        Q("START_REPLICATION") + m.d() + m.c + Q(),
        m.copy_both
        + m.d() * 3
        + m.c
        + m.done("COPY 0")
        + m.done("START_STREAMING")
        + m.IDLE
        + m.rows
        + m.IDLE,
        mode=SESSION,
        idle=False,
    ),
    "ended by the server, with the next timeline": Case(
        [
            ("c", Q("START_REPLICATION")),
            ("s", m.copy_both + m.d() + m.c),
            ("c", m.d() + m.c),
            ("s", m.rows + m.done("START_STREAMING") + m.IDLE),
            ("c", Q("TIMELINE_HISTORY 2")),
            ("s", m.rows + m.IDLE),
        ],
        Q("START_REPLICATION") + m.d() + m.c + Q("TIMELINE_HISTORY 2"),
        m.copy_both + m.d() + m.c + m.rows + m.done("START_STREAMING") + m.IDLE + m.rows + m.IDLE,
        mode=SESSION,
        idle=False,
    ),
    "failing, while the client confirms": Case(
        [
            ("c", Q("START_REPLICATION")),
            ("s", m.copy_both + m.d()),
            ("c", m.d()),
            ("s", m.error() + m.IDLE),
            ("c", m.d() + m.c + Q()),
            ("s", m.rows + m.IDLE),
        ],
        Q("START_REPLICATION") + m.d() * 2 + m.c + Q(),
        m.copy_both + m.d() + m.error() + m.IDLE + m.rows + m.IDLE,
        mode=SESSION,
        idle=False,
    ),
    "a base backup": answered(
        Q("BASE_BACKUP"),
        (m.rows * 2 + m.copy_out + m.d() * 3 + m.c + m.rows + m.done("SELECT") + m.IDLE),
        mode=SESSION,
        idle=False,
    ),
}

STATEMENTS = {
    "prepared and used": prepared(
        [("c", B("a") + E + S), ("s", m.two + m.done() + m.IDLE)],
        B(ONE) + E + S,
        m.two + m.done() + m.IDLE,
    ),
    "prepared and used in one go": Case(
        [
            ("c", P("a") + D("a") + B("a", "p") + D("p", m.PORTAL) + E + S + Q()),
            ("s", m.one + m.parameters + m.columns + m.two + m.rows + m.IDLE + m.rows + m.IDLE),
        ],
        P(ONE) + D(ONE) + B(ONE, "p") + D("p", m.PORTAL) + E + S + Q(),
        m.one + m.parameters + m.columns + m.two + m.rows + m.IDLE + m.rows + m.IDLE,
    ),
    "the same text under another name": prepared(
        [("c", P("b") + B("b") + E + S), ("s", m.two + m.done() + m.IDLE)],
        B(ONE) + E + S,
        m.one + m.two + m.done() + m.IDLE,
    ),
    "the same text, and nothing else": prepared(
        [("c", P("b") + S), ("s", m.IDLE)], S, m.one + m.IDLE
    ),
    "two texts": prepared(
        [
            ("c", P("b", "SELECT 2") + B("b") + E + B("a") + E + S),
            ("s", m.one + (m.two + m.done()) * 2 + m.IDLE),
        ],
        P(TWO, "SELECT 2") + B(TWO) + E + B(ONE) + E + S,
        m.one + (m.two + m.done()) * 2 + m.IDLE,
    ),
    "many batches": prepared(
        [("c", (B("a") + E + S) * 3), ("s", (m.two + m.done() + m.IDLE) * 3)],
        (B(ONE) + E + S) * 3,
        (m.two + m.done() + m.IDLE) * 3,
    ),
    "long names": Case(
        [
            ("c", P("n" * 300) + B("n" * 300, "p" * 300) + E + S),
            ("s", m.one + m.two + m.done() + m.IDLE),
        ],
        P(ONE) + B(ONE, "p" * 300) + E + S,
        m.one + m.two + m.done() + m.IDLE,
    ),
    "a Parse that fails": Case(
        [
            ("c", P("a") + S),
            ("s", m.error("42601") + m.IDLE),
            ("c", P("a") + S),
            ("s", m.one + m.IDLE),
        ],
        (P(ONE) + S) * 2,
        m.error("42601") + m.IDLE + m.one + m.IDLE,
    ),
    "a Parse that is skipped": Case(
        [
            ("c", P() + P("a") + S),
            ("s", m.error() + m.IDLE),
            ("c", P("a") + S),
            ("s", m.one + m.IDLE),
        ],
        P() + (P(ONE) + S) * 2,
        m.error() + m.IDLE + m.one + m.IDLE,
    ),
    "a known text whose Parse is skipped": prepared(
        [
            ("c", P() + P("b") + S),
            ("s", m.error() + m.IDLE),
            ("c", B("b") + S),
            ("s", m.error("26000") + m.IDLE),
        ],
        P() + S + B("b") + S,
        m.error() + m.IDLE + m.error("26000") + m.IDLE,
    ),
    "a name that is taken": prepared(
        [
            ("c", P("a") + B("a") + S),
            ("s", m.error("42P05", f'"{ONE}"') + m.IDLE),
            ("c", B("a") + E + S),
            ("s", m.two + m.done() + m.IDLE),
        ],
        P(ONE) + B(ONE) + S + B(ONE) + E + S,
        m.error("42P05", "taken: a") + m.IDLE + m.two + m.done() + m.IDLE,
    ),
    "a name that is taken, in a failed transaction": prepared(
        [("c", P("a") + S), ("s", m.error("25P02") + m.FAILED)],
        P(ONE) + S,
        m.error("25P02") + m.FAILED,
        idle=False,
    ),
    "a name that nobody prepared": Case(
        [("c", B("x") + D("x") + E + S + Q()), ("s", m.error("26000") + m.IDLE + m.rows + m.IDLE)],
        B("x") + D("x") + E + S + Q(),
        m.error("26000") + m.IDLE + m.rows + m.IDLE,
    ),
    "closed": prepared(
        [("c", C("a") + P("a", "SELECT 2") + B("a") + S), ("s", m.one + m.two + m.IDLE)],
        P(TWO, "SELECT 2") + B(TWO) + S,
        m.three + m.one + m.two + m.IDLE,
    ),
    "closed, with nothing else": prepared([("c", C("a") + C("x"))], b"", m.three * 2),
    "closed, and a Sync": prepared([("c", C("a") + S), ("s", m.IDLE)], S, m.three + m.IDLE),
    "closed within a batch": prepared(
        [("c", B("a") + C("a") + E + C("") + S), ("s", m.two + m.done() + m.three + m.IDLE)],
        B(ONE) + E + C("") + S,
        m.two + m.three + m.done() + m.three + m.IDLE,
    ),
    "closed and flushed": prepared(
        [("c", B("a") + C("a") + H), ("s", m.two), ("c", S), ("s", m.IDLE)],
        B(ONE) + H + S,
        m.two + m.three + m.IDLE,
    ),
    "closed behind the last Sync": prepared(
        [("c", B("a") + S + C("a")), ("s", m.two + m.IDLE)], B(ONE) + S, m.two + m.IDLE + m.three
    ),
    "closed in a transaction": prepared(
        [
            ("c", Q("BEGIN")),
            ("s", m.done("BEGIN") + m.BLOCK),
            ("c", C("a")),
            ("c", P("b")),
            ("c", S),
            ("s", m.BLOCK),
        ],
        Q("BEGIN") + S,
        m.done("BEGIN") + m.BLOCK + m.three + m.one + m.BLOCK,
        idle=False,
    ),
    "a Close that is skipped": prepared(
        [
            ("c", B("a") + C("a") + S),
            ("s", m.error() + m.IDLE),
            ("c", B("a") + S),
            ("s", m.two + m.IDLE),
        ],
        (B(ONE) + S) * 2,
        m.error() + m.IDLE + m.two + m.IDLE,
    ),
    "a replacement that is skipped": prepared(
        [
            ("c", P() + C("a") + P("a", "SELECT 2") + S),
            ("s", m.error() + m.IDLE),
            ("c", B("a") + S),
            ("s", m.two + m.IDLE),
        ],
        P() + P(TWO, "SELECT 2") + S + B(ONE) + S,
        m.error() + m.IDLE + m.two + m.IDLE,
    ),
    "evicted": prepared(
        [
            ("c", P("b", "SELECT 2") + S),
            ("s", m.one + m.three + m.IDLE),
            ("c", B("a") + S),
            ("s", m.one + m.three + m.two + m.IDLE),
        ],
        P(TWO, "SELECT 2") + C(ONE) + S + P(ONE) + C(TWO) + B(ONE) + S,
        m.one + m.IDLE + m.two + m.IDLE,
        max_prepared_statements=1,
    ),
    "evicted in a batch that fails": prepared(
        [
            ("c", P("b", "SELECT 2") + S),
            ("s", m.error() + m.IDLE),
            ("c", B("a") + S),
            ("s", m.two + m.IDLE),
        ],
        P(TWO, "SELECT 2") + C(ONE) + S + B(ONE) + S,
        m.error() + m.IDLE + m.two + m.IDLE,
        max_prepared_statements=1,
    ),
    "an injected Parse that fails": prepared(
        [
            ("c", P("b", "SELECT 2") + S),
            ("s", m.one + m.three + m.IDLE),
            ("c", B("a") + E + S),
            ("s", m.error() + m.IDLE),
            ("c", B("a") + E + S),
            ("s", m.one + m.three + m.two + m.done() + m.IDLE),
        ],
        P(TWO, "SELECT 2") + C(ONE) + S + (P(ONE) + C(TWO) + B(ONE) + E + S) * 2,
        m.one + m.IDLE + m.error() + m.IDLE + m.two + m.done() + m.IDLE,
        max_prepared_statements=1,
    ),
    "DEALLOCATE ALL": prepared(
        [
            ("c", Q("DEALLOCATE ALL")),
            ("s", m.done("DEALLOCATE ALL") + m.IDLE),
            ("c", B("a") + S),
            ("s", m.error("26000") + m.IDLE),
            ("c", P("a") + S),
            ("s", m.one + m.IDLE),
        ],
        Q("DEALLOCATE ALL") + B("a") + S + P(ONE) + S,
        m.done("DEALLOCATE ALL") + m.IDLE + m.error("26000") + m.IDLE + m.one + m.IDLE,
        events=["DEALLOCATE ALL"],
    ),
    "DISCARD ALL in front of a Parse": prepared(
        [
            ("c", Q("DISCARD ALL") + P("b", "SELECT 2") + S),
            ("s", m.done("DISCARD ALL") + m.IDLE + m.one + m.IDLE),
            ("c", B("b") + P("c", "SELECT 2") + S),
            ("s", m.two + m.IDLE),
        ],
        Q("DISCARD ALL") + P(TWO, "SELECT 2") + S + B(TWO) + S,
        m.done("DISCARD ALL") + m.IDLE + m.one + m.IDLE + m.two + m.one + m.IDLE,
        events=["DISCARD ALL"],
    ),
}

# The batch that is run again is one chunk.
STALE = {
    "a stale plan, described": prepared(
        [
            ("c", B("a") + D("", m.PORTAL) + E + S),
            ("s", m.error("0A000") + m.IDLE),
            ("s", m.one + m.two + m.rows + m.IDLE),
        ],
        B(ONE) + D("", m.PORTAL) + E + S + P(TWO) + B(TWO) + D("", m.PORTAL) + E + S,
        m.two + m.rows + m.IDLE,
        cut="s",
    ),
    "a stale plan, described by name, prepared by another name": prepared(
        [
            ("c", P("b") + D("b") + S),
            ("s", m.error("0A000") + m.IDLE),
            ("s", m.one + m.parameters + m.columns + m.IDLE),
        ],
        D(ONE) + S + P(TWO) + D(TWO) + S,
        m.one + m.parameters + m.columns + m.IDLE,
        cut="s",
    ),
    "a stale plan twice": prepared(
        [
            ("c", B("a") + D("", m.PORTAL) + E + S),
            ("s", m.error("0A000") + m.IDLE),
            ("s", m.one + m.error("0A000") + m.IDLE),
        ],
        B(ONE) + D("", m.PORTAL) + E + S + P(TWO) + B(TWO) + D("", m.PORTAL) + E + S,
        m.error("0A000") + m.IDLE,
        cut="s",
    ),
    "a stale plan in a transaction": prepared(
        [
            ("c", Q("BEGIN")),
            ("s", m.done("BEGIN") + m.BLOCK),
            ("c", B("a") + D("", m.PORTAL) + E + S),
            ("s", m.error("0A000") + m.FAILED),
        ],
        Q("BEGIN") + B(ONE) + D("", m.PORTAL) + E + S,
        m.done("BEGIN") + m.BLOCK + m.error("0A000") + m.FAILED,
        idle=False,
        cut="s",
    ),
    "a stale plan, not described": prepared(
        [("c", B("a") + E + S), ("s", m.error("0A000") + m.IDLE)],
        B(ONE) + E + S,
        m.error("0A000") + m.IDLE,
        cut="s",
    ),
    "a stale plan, with a second batch behind": prepared(
        [("c", (B("a") + D("", m.PORTAL) + E + S) * 2), ("s", (m.error("0A000") + m.IDLE) * 2)],
        (B(ONE) + D("", m.PORTAL) + E + S) * 2,
        (m.error("0A000") + m.IDLE) * 2,
        cut="s",
    ),
    "a stale plan, behind a query": prepared(
        [
            ("c", Q() + B("a") + D("", m.PORTAL) + E + S),
            ("s", m.rows + m.IDLE + m.error("0A000") + m.IDLE),
        ],
        Q() + B(ONE) + D("", m.PORTAL) + E + S,
        m.rows + m.IDLE + m.error("0A000") + m.IDLE,
        cut="s",
    ),
}

MODES = {
    "session": Case(
        [
            ("c", P("a") + B("a") + E + C("a") + S),
            ("s", m.one + m.two + m.done() + m.three + m.IDLE),
        ],
        P("a") + B("a") + E + C("a") + S,
        m.one + m.two + m.done() + m.three + m.IDLE,
        idle=False,
        mode=SESSION,
    ),
    "session, unlinked": Case(
        [("c", m.d() + m.c + H + X)], b"", b"", mode=SESSION, events=["terminate"]
    ),
    "no prepared statements": answered(
        P("a") + B("a") + E + C("a") + S,
        m.one + m.two + m.done() + m.three + m.IDLE,
        max_prepared_statements=0,
    ),
    "statement": Case(
        [("c", Q() * 2 + P("a") + S), ("s", (m.rows + m.IDLE) * 2 + m.one + m.IDLE)],
        Q() * 2 + P(ONE) + S,
        (m.rows + m.IDLE) * 2 + m.one + m.IDLE,
        mode=STATEMENT,
    ),
    "statement, with a transaction": Case(
        [("c", Q("BEGIN")), ("s", m.done("BEGIN") + m.BLOCK)],
        Q("BEGIN"),
        m.done("BEGIN")
        + m.fatal("server: transaction blocks not allowed in statement pooling mode"),
        idle=False,
        mode=STATEMENT,
        events=["server: transaction blocks not allowed in statement pooling mode", "server gone"],
    ),
}


def header(kind: bytes, length: int) -> bytes:
    return kind + length.to_bytes(4, "big")


def refused(data: bytes, why: str, good: bytes = b"") -> Case:
    """The client is told why; what was good has gone on."""
    events = [f"client: {why}"] + (["unclean"] if good else [])
    return Case([("c", good + data)], good, m.fatal(why), idle=not good, events=events, cut="")


def broken(data: bytes, why: str) -> Case:
    """The server's end is the client's end; what was good has gone on."""
    return Case(
        [("c", Q()), ("s", m.columns + data)],
        Q(),
        m.columns + m.fatal(f"server: {why}"),
        idle=False,
        events=[f"server: {why}", "server gone"],
    )


LENGTHS = (0, 3, 2**31 - 1, 2**31, 2**32 - 1)
VIOLATIONS = (
    {
        f"a client's {kind:c} of length {length}, {'later' if good else 'at first'}": refused(
            header(bytes((kind,)), length),
            f"bad packet header: '{header(bytes((kind,)), length).hex()}'",
            good,
        )
        for kind in b"QPBDECSHFdcfX?"
        for length in LENGTHS
        for good in (b"", Q())
    }
    | {
        f"a server's {kind:c} of length {length}": broken(
            header(bytes((kind,)), length), "bad pkt header"
        )
        for kind in b"CDEGHIKNRSTVWZn123stdcA?"
        for length in LENGTHS
    }
    | {
        f"a client's {data!r}": refused(data, why)
        for data, why in {
            header(b"?", 4): "unknown pkt",
            header(b"p", 2**30): "unknown pkt",
            m.message(b"D"): "failed to parse packet",
            m.message(b"D", b"S"): "failed to parse packet",
            m.message(b"D", b"Sname"): "failed to parse packet",
            m.message(b"D", b"Sname\0more"): "failed to parse packet",
            m.message(b"C", b"Sname"): "failed to parse packet",
            header(b"D", 2**30) + b"S": "failed to parse packet",
            header(b"C", 2**30) + b"S": "failed to parse packet",
            m.message(b"B"): "failed to parse packet",
            m.message(b"B", b"portal"): "failed to parse packet",
            m.message(b"B", b"portal\0name"): "failed to parse packet",
            m.message(b"P"): "failed to parse packet",
            m.message(b"P", b"name"): "failed to parse packet",
        }.items()
    }
    | {
        "a server's unknown message": broken(m.message(b"?"), "unknown pkt"),
        "a server's login message": broken(m.message(b"R", bytes(4)), "unknown pkt"),
        "a server's ReadyForQuery of nothing": broken(m.message(b"Z"), "bad pkt header"),
        "a server's ReadyForQuery of a gigabyte": broken(header(b"Z", 2**30), "bad pkt header"),
        "a server's parameter of a gigabyte": broken(
            header(b"S", 2**30), "failed to store ParameterStatus"
        ),
        "a server's parameter that is none": broken(
            m.message(b"S", b"name"), "broken ParameterStatus packet"
        ),
        "a server's dirt": Case(
            [("s", m.IDLE)], b"", b"", idle=False, events=["idle server got dirty"]
        ),
        "a server's dirt after the end": Case(
            [("c", Q()), ("s", m.rows + m.IDLE + m.row())],
            Q(),
            m.rows + m.IDLE,
            idle=False,
            events=["idle server got dirty"],
        ),
    }
)

CASES = {
    f"{group}: {name}": case
    for group, cases in {
        "plain": PLAIN,
        "failure": FAILURES,
        "copy": COPY,
        "stream": STREAMS,
        "statement": STATEMENTS,
        "stale": STALE,
        "mode": MODES,
        "violation": VIOLATIONS,
    }.items()
    for name, case in cases.items()
}


@dataclass(frozen=True)
class Outcome:
    to_server: bytes
    to_client: bytes
    idle: bool
    events: list[str]
    counts: dict[str, float]
    prepared: tuple[int, int]


def run(form: Form, case: Case, way: list[list[bytes]]) -> Outcome:
    rig = Rig(form, case.mode, case.max_prepared_statements)
    client, server = rig.add_client(), rig.servers[0]
    for (side, _), chunks in zip(case.steps, way, strict=True):
        for chunk in chunks:
            rig.now += 1 / 1024
            (client if side == "c" else server).data_received(chunk)
    counts = rig.counts()
    if client.closed:  # when was it noticed?
        del counts["client_bytes"], counts["server_bytes"]
    return Outcome(
        bytes(server.transport.written),
        bytes(client.transport.written),
        rig.idle() == [server],
        rig.events,
        {name: count for name, count in counts.items() if not name.endswith("_time")},
        (client.prepared_count, server.prepared_count),
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_passes_is_the_same_wherever_the_streams_are_cut(form: Form, case: Case) -> None:
    whole, *others = cuts([data for _, data in case.steps])
    outcome = run(form, case, whole)
    assert outcome.to_server == case.to_server
    assert outcome.to_client == case.to_client
    assert (outcome.idle, outcome.events) == (case.idle, case.events)
    for way in others:
        if all(
            len(chunks) == 1 or side in case.cut
            for (side, _), chunks in zip(case.steps, way, strict=True)
        ):
            assert run(form, case, way) == outcome, way


@pytest.mark.parametrize("name", ["n" * 65536, "n", ""], ids=len)
@pytest.mark.parametrize("step", [1 << 20, 4096, 1000])
def test_names_of_64_kb_are_rewritten(form: Form, name: str, step: int) -> None:
    stream = P(name) + B(name, LONG) + D(name) + E + C(name) + S
    rig = Rig(form)
    client = rig.add_client()
    for at in range(0, len(stream), step):
        client.data_received(stream[at : at + step])
    own = ONE if name else ""
    expected = P(own) + B(own, LONG) + D(own) + E + (b"" if name else C("")) + S
    assert bytes(rig.servers[0].transport.written) == expected
