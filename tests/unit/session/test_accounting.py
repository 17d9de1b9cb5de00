"""Whatever clients and servers do, the numbers of SHOW APPS, SHOW HISTOGRAMS and SHOW STATS agree
with each other and with what was to be seen from outside, and no counter goes back.

A walk of random steps, the same for the same seed; the servers answer what the pooler asks of them
at once, and what clients ask in steps of their own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, fields, replace
from random import Random

import pytest

from pgmux.config import PgmuxSettings, PoolMode
from pgmux.daemon.activity import app_rows, histogram_rows
from pgmux.metrics.snapshot import AppRow
from pgmux.pool.states import CL_WAITING, SV_ACTIVE
from pgmux.session.operator import kill_client
from pgmux.wire import build, codes
from tests.unit.session.rig import ClientEnd, Rig, ServerEnd, bound, configure

NAMES = ("", "web", "billing", "report", "other")
STEPS = 400
STATES = ("cl_active", "cl_waiting", "sv_active", "sv_idle_in_xact", "open_xact_time")
NAMING = ("database", "user", "application_name")
COUNTERS = [field.name for field in fields(AppRow) if field.name not in STATES + NAMING]


class Walk:
    """A rig, its clients and servers, and what one sees of them from outside."""

    def __init__(self, seed: int, mode: PoolMode, max_applications: int) -> None:
        self.random = Random(seed)
        self.is_bounded = max_applications < 2 * len(NAMES)  # some become `other`
        config = configure(
            mode,
            default_pool_size=3,
            query_wait_timeout=8,
            idle_transaction_timeout=9,
            query_timeout=12,
        )
        self.rig = Rig(replace(config, pgmux=PgmuxSettings(max_applications=max_applications)))
        self.clients: list[ClientEnd] = []
        self.servers: list[ServerEnd] = []
        self.held = self.idle = self.waited = 0.0  # seconds of all servers, of all clients
        self.last: dict[tuple[str, str], AppRow] = {}

    def step(self) -> None:
        random = self.random
        act = random.choice(
            [self.come, self.ask, self.ask, self.answer, self.answer, self.answer, self.go]
            + [self.pass_time] * 4
            + [self.break_something]
        )
        act()
        self.settle()

    # ---- what happens

    def come(self) -> None:
        if len(self.clients) < 12:
            name = self.random.choice(NAMES)
            user = self.random.choice(("bob", "eve"))
            self.clients.append(self.rig.enter({"application_name": name}, user=user))

    def ask(self) -> None:
        free = [c for c in self.clients if not c.relay.query_start and c.relay.state != CL_WAITING]
        if free:
            self.random.choice(free).query()

    def answer(self) -> None:
        """One server is ready with its client's query."""
        busy = [s for s in self.servers if s.relay.linked_client and s.relay.outstanding_count]
        if not busy:
            return
        server, random = self.random.choice(busy), self.random
        in_xact = (
            random.random() < 0.4
            and self.rig.pooler.config.settings.pool_mode != PoolMode.STATEMENT
        )
        if random.random() < 0.2:
            server.fail()
        if random.random() < 0.2:
            server.report("application_name", random.choice(NAMES))
        server.answer(status=codes.TRANSACTION_BLOCK if in_xact else codes.TRANSACTION_IDLE)

    def go(self) -> None:
        if not self.clients:
            return
        client = self.random.choice(self.clients)
        how = self.random.randrange(4)
        if how == 0:
            client.send(build.build_terminate())
        elif how == 1:
            client.lose()
        elif how == 2:
            kill_client(self.rig.pooler, client.relay.owner.id)
        else:
            client.relay.pool_relay.control.cancel_waiting(client.relay)

    def break_something(self) -> None:
        if self.servers and self.random.random() < 0.3:
            server = self.random.choice(self.servers)
            if self.random.random() < 0.5:
                server.fail("25P03", "terminating connection due to idle-in-transaction timeout")
            server.lose()

    def pass_time(self) -> None:
        seconds = self.random.choice((0.001, 0.01, 0.3, 0.3, 1.0))
        for control in self.rig.pooler.pools.values():
            for server in control.pool.lists.servers(SV_ACTIVE):
                if server.linked_client is not None:
                    self.held += seconds
                    self.idle += seconds * server.idle_tx
            self.waited += seconds * control.pool.lists.waiting_count()
        self.rig.pass_time(seconds)

    def settle(self) -> None:
        """Connects log in, what the pooler asks is answered, who has gone is forgotten."""
        for attempt in self.rig.pending():
            self.servers.append(self.rig.log_in(attempt))
        self.servers = [server for server in self.servers if not server.is_closed]
        for server in self.servers:
            while server.relay.private and not server.is_closed:
                binds = [bound(body) for kind, body in server.messages() if kind == "B"]
                if binds:
                    texts = [str(value, "utf-8") for value in binds[-1] if value is not None]
                    server.accept(**dict(zip(texts[::2], texts[1::2], strict=True)))
                else:
                    server.answer("DISCARD ALL")
            server.transport.written.clear()
        self.clients = [client for client in self.clients if not client.is_closed]
        for client in self.clients:
            client.transport.written.clear()

    # ---- what is to hold

    def check(self) -> None:
        rows = [row for row in app_rows(self.rig.pooler) if row is not None]
        self.check_each(rows)
        self.check_sums(rows)
        self.check_histograms()

    def check_each(self, rows: list[AppRow]) -> None:
        now = {(row.user, row.application_name): row for row in rows}
        assert len(now) == len(rows)
        for key, row in now.items():
            assert all(value >= -1e-9 for value in astuple(row)[3:]), row
            for name in () if self.is_bounded else COUNTERS:
                before = getattr(self.last[key], name) if key in self.last else 0
                assert getattr(row, name) >= before - 1e-9, (key, name)
        self.last = now

    def check_sums(self, rows: list[AppRow]) -> None:
        sums = Counter[str]()
        for row in rows:
            for name in (*COUNTERS, *STATES):
                sums[name] += getattr(row, name)
        controls = list(self.rig.pooler.pools.values())
        assert sums["cl_active"] + sums["cl_waiting"] == len(self.clients)
        assert sums["cl_waiting"] == sum(c.pool.lists.waiting_count() for c in controls)
        for name in ("xact_count", "query_count", "client_bytes"):
            assert sums[name] == sum(getattr(c.relay.counters, name) for c in controls), name
        assert sums["server_time"] == pytest.approx(self.held)
        assert sums["idle_xact_time"] == pytest.approx(self.idle)
        assert sums["wait_time"] == pytest.approx(self.waited)

    def check_histograms(self) -> None:
        for control in self.rig.pooler.pools.values():
            rows = {
                row.histogram: row
                for row in histogram_rows(self.rig.pooler)
                if row.user == control.pool.key.user
            }
            counters = control.relay.counters
            assert rows["wait"].count == counters.server_assignment_count
            assert 0 <= rows["xact"].count <= counters.xact_count
            assert 0 <= rows["query"].count <= counters.query_count
            assert rows["wait"].sum == counters.wait_time
            assert rows["xact"].sum == counters.xact_time


@pytest.mark.parametrize("mode", PoolMode)
@pytest.mark.parametrize(("seed", "max_applications"), [(1, 500), (2, 500), (3, 500), (4, 3)])
def test_the_numbers_agree_whatever_happens(
    seed: int, max_applications: int, mode: PoolMode
) -> None:
    walk = Walk(seed, mode, max_applications)
    for _ in range(STEPS):
        walk.step()
        walk.check()
    for client in walk.clients:
        client.lose()
    walk.settle()
    walk.check()
    states = {(row.cl_active, row.cl_waiting, row.sv_active) for row in walk.last.values()}
    assert states == {(0, 0, 0)}
