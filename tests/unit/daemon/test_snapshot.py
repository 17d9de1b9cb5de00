"""SHOW with many pools: rows of one moment, made a few in each turn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pgmux.admin.console import MAX_STEPS, Console
from pgmux.config.model import Database
from pgmux.daemon.admin import DaemonAdmin
from pgmux.daemon.readiness import Readiness
from pgmux.daemon.snapshot import DaemonSnapshot
from pgmux.net.console_connection import Consoles
from pgmux.session.host_limits import HostLimits
from pgmux.wire import build
from tests.unit.admin.talk import messages
from tests.unit.session.rig import Rig, with_databases

POOLS = 3 * MAX_STEPS
NAMES = [f"db{number:03}" for number in range(POOLS)]
OF_EACH_POOL = (
    *("pools", "databases", "stats", "stats_totals", "stats_averages"),
    *("apps", "histograms", "connects", "readiness"),
)


class Shown:
    """A pooler with many pools, a server each, and its SHOW."""

    def __init__(self) -> None:
        self.rig = Rig(with_databases(*(Database(name, name) for name in NAMES)))
        for name in NAMES:
            self.rig.enter(database=name).query()
            self.rig.log_in()
        pooler = self.rig.pooler
        app: Any = SimpleNamespace(pooler=pooler, log=self.rig.log)
        self.admin = DaemonAdmin(app)
        app.consoles = Consoles(pooler, self.admin)
        others: Any = SimpleNamespace(logins={})
        app.snapshot = self.snapshot = DaemonSnapshot(
            pooler,
            others,
            app.consoles,
            others,
            others,
            Readiness(pooler, lambda: "", lambda: ""),
            HostLimits(pooler, lambda call: None),
        )

    def count(self, database: str, queries: int) -> None:
        self.rig.control(database).relay.counters.query_count += queries


@pytest.fixture(scope="module")
def shown() -> Shown:
    return Shown()


@pytest.mark.parametrize("name", OF_EACH_POOL)
def test_no_turn_makes_more_than_a_few_rows(shown: Shown, name: str) -> None:
    console = Console(shown.admin, is_admin=False)
    reply = console.feed(build.build_query(f"SHOW {name}"))
    kinds = "".join(kind for kind, _ in messages(reply.data))
    while reply.more:
        reply = console.feed(b"")
        found = "".join(kind for kind, _ in messages(reply.data))
        assert found.count("D") <= MAX_STEPS
        kinds += found
    assert kinds.endswith("CZ") and kinds.count("D") >= POOLS


def test_counts_are_those_of_one_moment(shown: Shown) -> None:
    totals, averages = shown.snapshot.stats(), shown.snapshot.averages()
    before = next(totals).query_count
    next(averages)
    shown.count(NAMES[-1], 1000)
    assert {row.query_count for row in totals if row.database in NAMES} == {before}
    assert all(row.query_count < 1000 for row in averages)


def test_pools_of_one_database_are_summed_up() -> None:
    rig = Rig()
    for user in ("bob", "eve"):
        rig.enter(user=user).query()
        rig.log_in()
        rig.control(user=user).relay.counters.query_count = 20
    admin: Any = None
    consoles = Consoles(rig.pooler, admin)
    others: Any = SimpleNamespace(logins={})
    snapshot = DaemonSnapshot(rig.pooler, others, consoles, others, others, others, others)
    assert [(row.database, row.query_count) for row in snapshot.stats()] == [
        ("app", 40),
        ("pgbouncer", 0),
    ]
    assert snapshot.overall()[0].query_count == 40


def test_a_pool_that_goes_meanwhile_still_has_its_row() -> None:
    shown = Shown()
    rows = shown.snapshot.pools(), shown.snapshot.databases(), shown.snapshot.apps()
    for table in rows:
        next(iter(table))
    shown.rig.reload(databases={NAMES[0]: Database(NAMES[0], NAMES[0])})
    shown.rig.pass_time(1)
    assert len(shown.rig.pooler.pools) < POOLS
    counts = [sum(row is not None for row in table) for table in rows]
    assert counts[:2] == [POOLS, POOLS], "one has been read, and the console's own is one more"
