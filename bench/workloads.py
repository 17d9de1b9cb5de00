"""The table of loads, and what is expected of pgmux at each.

A name is the transport, what is done, and how many clients do it; `--only` selects by its parts.
"""

from __future__ import annotations

from itertools import product

from bench.copy import WHOLE_MB, CopyIn, CopyOut
from bench.idle import IdleLoad
from bench.pgbench import PgbenchLoad
from bench.poolers import Setup
from bench.raw import RawLoad
from bench.workload import CPU, Goal, Quantity, Workload
from pgmux.wire import build, codes

TRANSPORTS = ("tcp", "unix")
_GOALS = {"tcp": Goal(1.10), "unix": Goal(1.20), "tls": Goal(1.15)}


def _selects() -> list[Workload]:
    """pgbench -S; PostgreSQL is reached as the pooler is."""
    loads: list[Workload] = []
    for transport, mode, clients in product(
        TRANSPORTS, ("simple", "extended", "prepared"), (1, 16, 100)
    ):
        goal = _GOALS[transport] if mode != "extended" else None
        quantity = Quantity("cpu_us", goal=goal)
        name = f"{transport} {mode} {clients}"
        loads.append(PgbenchLoad(name, transport, mode, clients, quantities=(quantity,)))
    return loads


def _tls() -> list[Workload]:
    """TLS with clients only."""
    quantity = Quantity("cpu_us", goal=_GOALS["tls"])
    return [
        PgbenchLoad(f"tls {mode} {n}", "tcp", mode, n, setup=Setup.TLS, quantities=(quantity,))
        for mode, n in product(("simple", "extended", "prepared"), (1, 16))
    ]


def _connects() -> list[Workload]:
    """A connection for each transaction."""
    cases = (
        ("tcp connect", "tcp", Setup.TRUST, Goal(1.10)),
        ("unix connect", "unix", Setup.TRUST, Goal(1.10)),
        ("tcp connect scram", "tcp", Setup.SCRAM, Goal(1.00)),
        ("tls connect", "tcp", Setup.TLS, _GOALS["tls"]),
    )
    return [
        PgbenchLoad(
            f"{name} 16",
            transport,
            "simple",
            16,
            connect=True,
            setup=setup,
            quantities=(Quantity("cpu_us", goal=goal),),
        )
        for name, transport, setup, goal in cases
    ]


def _sizes() -> list[Workload]:
    """Rows that fill a buffer, and many answers in one."""
    rows: list[Workload] = [
        PgbenchLoad(f"tcp row {kb} kB 16", "tcp", "simple", 16, script=_row(kb)) for kb in (1, 4)
    ]
    return [
        *rows,
        RawLoad("tcp pipeline extended 16", 16, ask=_pipeline(_parse("") + _bind(""))),
        RawLoad(
            "tcp pipeline prepared 16",
            16,
            ask=_pipeline(_bind("s")),
            begin=_parse("s") + build.build_sync(),
            is_prepared=True,
        ),
    ]


def _row(kb: int) -> str:
    return f"SELECT repeat('x', {kb * 1024});\n"


def _pipeline(query: bytes) -> bytes:
    return query * 100 + build.build_sync()


def _parse(statement: str) -> bytes:
    return build.build_parse(statement, "SELECT abalance FROM pgbench_accounts WHERE aid = $1;")


def _bind(statement: str) -> bytes:
    """And Describe and Execute, as libpq sends them."""
    describe = build.build_describe(codes.KIND_PORTAL, "")
    return build.build_bind("", statement, [b"4711"]) + describe + build.build_execute()


def _crowds() -> list[Workload]:
    """More clients than servers, by far."""
    fairness = Quantity("p99_to_p50", "p99/p50", goal=Goal(1.00))
    return [
        PgbenchLoad("tcp exhausted 100 on 2", "tcp", "simple", 100, database="small"),
        RawLoad("tcp crowd 2000 on 20", 2000, quantities=(CPU, fairness)),
    ]


def _copies() -> list[Workload]:
    quantities = (
        Quantity("mb_per_s", more_is_better=True, goal=Goal(1.20)),
        Quantity("cpu_ms_per_gb", "CPU"),
    )
    return [
        CopyOut(f"tcp copy out {WHOLE_MB} MB", quantities),
        CopyIn(f"tcp copy in {WHOLE_MB} MB", quantities),
    ]


def _idlers() -> list[Workload]:
    each = Quantity("bytes_per_client", "each", goal=Goal(2500, is_ratio=False))
    others = (
        _absolute("start_mb", "at start", 45),
        _absolute("worst_ms", "longest query", 5),
        _absolute("worst_login_ms", "longest login", 5),
    )
    return [
        IdleLoad("tcp idle 10000", 10_000, (each, *others)),
        IdleLoad("tls idle 2000", 2000, (Quantity("bytes_per_client", "each"),), Setup.TLS),
    ]


def _absolute(figure: str, label: str, limit: float) -> Quantity:
    """One whose ratio says little."""
    return Quantity(figure, label, goal=Goal(limit, is_ratio=False), is_charted=False)


WORKLOADS: tuple[Workload, ...] = (
    *_selects(),
    *_tls(),
    *_connects(),
    *_sizes(),
    *_crowds(),
    *_copies(),
    *_idlers(),
)
