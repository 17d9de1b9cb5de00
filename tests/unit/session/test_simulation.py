"""Clients and servers that come, go, ask and answer in any order, under an operator who is busy.

After each step: a connection is in the list that its state says, links have two ends, nobody waits
while a server idles, no server is lost or too many; each answer reaches who asked, on a server that
carries that client's parameters. Logins look their users up on the servers of one of the clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pgmux.auth.credentials import Credentials
from pgmux.auth.secrets import parse_secret
from pgmux.config import Database, PoolMode
from pgmux.config.model import SessionLink
from pgmux.errors import PoolerError
from pgmux.pool.limits import Quota, full_quotas, is_quiet, next_contender
from pgmux.pool.pool import Pool
from pgmux.pool.states import CL_ACTIVE, CL_WAITING, SV_ACTIVE, SV_GONE, SV_IDLE, SV_USED
from pgmux.session import operator
from pgmux.session.control import PoolControl
from pgmux.session.lookups import Lookup, Lookups
from pgmux.wire.replication import Replication
from tests.unit.session.rig import ClientEnd, FakeAttempt, Rig, configure
from tests.unit.session.simulation import AUTH_QUERY, SimulatedClient, SimulatedServer

USERS = ("bob", "bob", "eve")
ZONES = ("UTC", "CET", "Asia/Tokyo")
VERBS = ("SELECT", "BEGIN", "COMMIT", "SET:CET", "SET:UTC", "RESET", "DISCARD", "FAIL", "CREATE")
TEXTS = ("shared 1", "shared 2", "shared 3", "fail 1", "bad 1")
KINDS = (*(Replication.NONE,) * 4, Replication.LOGICAL)
ASK_OFTEN = (*("prepared",) * 8, "close")
MOST_SERVERS = 3


class Simulation(RuleBasedStateMachine):
    DATABASES: tuple[str, ...] = ("app",)
    MODES: tuple[tuple[PoolMode, SessionLink], ...] = (
        (PoolMode.TRANSACTION, SessionLink.LOGIN),
        (PoolMode.TRANSACTION, SessionLink.LOGIN),
        (PoolMode.SESSION, SessionLink.QUERY),
    )
    MOST_RESERVE = 0
    MOST_CLIENTS = 6

    @initialize(
        always=st.booleans(),
        round_robin=st.booleans(),
        data=st.data(),
    )
    def start(self, always: bool, round_robin: bool, data: st.DataObject) -> None:
        mode, link = self.pick(data, self.MODES)
        config = configure(
            mode,
            default_pool_size=2,
            max_prepared_statements=2,
            server_lifetime=300.0,
            server_reset_query_always=always,
            server_round_robin=round_robin,
            auth_user="bob",
            auth_query=AUTH_QUERY,
            **self.draw_limits(data),
        )
        own = replace(config.pgmux, session_link=link)
        self.rig = Rig(replace(config, databases=self.databases(), pgmux=own))
        self.turns: list[Callable[[], None]] = []
        self.lookups = Lookups(self.rig.pooler, self.turns.append)
        self.logins: dict[Lookup, list[Any]] = {}  # and what they were told
        self.clients: dict[int, SimulatedClient] = {}
        self.servers: list[SimulatedServer] = []
        self.settle()

    def draw_limits(self, data: st.DataObject) -> dict[str, int]:
        """Settings that limit several pools together."""
        return {}

    def databases(self, host: str | None = None) -> dict[str, Database]:
        return {name: Database(name, name, host=host) for name in self.DATABASES}

    def settle(self) -> None:
        """Everybody reads what has come; who has gone is forgotten."""
        for server in self.servers:
            server.read()
        for client in self.clients.values():
            client.read()
        self.servers = [server for server in self.servers if server.is_open]

    def pick(self, data: st.DataObject, among: Sequence[Any]) -> Any:
        return data.draw(st.sampled_from(among))

    def open_clients(self) -> list[SimulatedClient]:
        return [client for client in self.clients.values() if client.is_open]

    def senders(self) -> list[SimulatedClient]:
        return [client for client in self.clients.values() if client.may_send]

    def controls(self) -> Iterator[PoolControl]:
        yield from self.rig.pooler.pools.values()

    # ---- clients

    @precondition(lambda self: len(self.open_clients()) < self.MOST_CLIENTS - 2)
    @rule(data=st.data())
    def enter(self, data: st.DataObject) -> None:
        self.enter_as(data)

    def enter_as(self, data: st.DataObject) -> None:
        if len(self.open_clients()) == self.MOST_CLIENTS:
            return
        startup = {
            "TimeZone": self.pick(data, [None, *ZONES]),
            "statement_timeout": self.pick(data, [None, None, "5s"]),
        }
        wanted = {name: value for name, value in startup.items() if value is not None}
        database, user = self.pick(data, self.DATABASES), self.pick(data, USERS)
        try:
            kind = self.pick(data, KINDS)
            end = self.rig.enter(wanted, database=database, user=user, replication=kind)
        except PoolerError as error:
            assert "client connections exceeded" in error.message
            return
        self.clients[end.relay.owner.id] = SimulatedClient(end.relay.owner.id, end, wanted)
        self.settle()

    @rule(data=st.data(), what=st.sampled_from((*VERBS, *ASK_OFTEN)))
    def ask(self, data: st.DataObject, what: str) -> None:
        """One more request, from whoever may send one."""
        if not self.senders():
            self.enter_as(data)
            return
        client = self.pick(data, self.senders())
        if what == "prepared":
            self.use_prepared(data, client)
        elif what == "close" and client.names and not client.outstanding:
            client.close_statement(self.pick(data, sorted(client.names)))
        else:
            self.query(client, what)
        self.settle()

    def query(self, client: SimulatedClient, verb: str) -> None:
        server = client.end.relay.linked_server
        is_free = not client.outstanding and (server is None or server.ready)
        if verb in ("RESET", "DISCARD") and not is_free:
            verb = "SELECT"  # its effect would depend on what comes before
        client.query(verb)

    def use_prepared(self, data: st.DataObject, client: SimulatedClient) -> None:
        name = self.pick(data, ["a", "b"])
        if any(request.sets_name == name for request in client.outstanding):
            return  # it may yet fail
        if name in client.names:
            client.execute(name)
        else:
            # Behind a Parse that is refused, one of the same text has been answered already.
            texts = TEXTS[:-1] if client.outstanding else TEXTS
            client.prepare(name, self.pick(data, texts))

    def leave(self, data: st.DataObject) -> None:
        if self.open_clients():
            client = self.pick(data, self.open_clients())
            if data.draw(st.booleans()):
                client.end.send(b"X\0\0\0\4")
            if client.is_open:
                client.end.lose()

    def send_garbage(self, data: st.DataObject) -> None:
        if self.open_clients():
            self.pick(data, self.open_clients()).end.send(b"Q\xff\xff\xff\xff")

    # ---- logins that look up

    @precondition(lambda self: len(self.waiting_logins()) < 4)
    @rule(user=st.sampled_from(["carol", "carol", "dave", "nobody"]))
    def look_up(self, user: str) -> None:
        told: list[Any] = []
        self.logins[self.lookups.begin("app", user, told.append)] = told
        self.settle()

    def waiting_logins(self) -> list[Lookup]:
        return [login for login, told in self.logins.items() if not told]

    @precondition(lambda self: bool(self.turns))
    @rule()
    def turn(self) -> None:
        """The loop's next turn."""
        turns, self.turns[:] = list(self.turns), []
        for run in turns:
            run()
        self.settle()

    def login_leaves(self, data: st.DataObject) -> None:
        if self.waiting_logins():
            login = self.pick(data, self.waiting_logins())
            login.cancel()
            self.logins[login].append("left")

    # ---- servers

    @precondition(lambda self: bool(self.rig.pending()))
    @rule(data=st.data())
    def log_in(self, data: st.DataObject) -> None:
        attempt = self.pick(data, self.rig.pending())
        self.log_in_now(attempt)
        self.settle()

    def log_in_now(self, attempt: FakeAttempt) -> None:
        startup = attempt.client.startup if attempt.client else {}
        zone = {"TimeZone": startup["TimeZone"]} if "TimeZone" in startup else {}
        self.servers.append(SimulatedServer(self.rig.log_in(attempt, **zone), startup))

    def refuse(self, data: st.DataObject) -> None:
        if self.rig.pending():
            sqlstate = self.pick(data, ["", "", "53300", "28P01"])
            self.rig.refuse("connect failed", sqlstate, "refused" if sqlstate else "")

    def asked(self) -> list[SimulatedServer]:
        return [server for server in self.servers if server.is_asked]

    @precondition(lambda self: bool(self.asked()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.pick(data, self.asked()).answer(self.clients)
        self.settle()

    @precondition(lambda self: self.is_at_work())
    @rule()
    def answer_everything(self) -> None:
        """All servers log in and work till nobody asks anything any more."""
        for _ in range(200):
            if not self.is_at_work():
                return
            if self.turns:
                self.turn()
            elif self.rig.pending():
                self.log_in_now(self.rig.pending()[0])
            else:
                self.asked()[0].answer(self.clients)
            self.settle()
        raise AssertionError("the work never ends")

    def is_at_work(self) -> bool:
        return bool(self.turns or self.rig.pending() or self.asked())

    def die(self, data: st.DataObject) -> None:
        if self.servers:
            self.pick(data, self.servers).end.lose()

    # ---- cancel requests

    @precondition(lambda self: bool(self.busy_clients()))
    @rule(data=st.data(), right=st.sampled_from([True, True, False]))
    def cancel(self, data: st.DataObject, right: bool) -> None:
        info = self.pick(data, self.busy_clients()).end.relay.owner
        key = info.cancel_key if right else b"nope"
        self.rig.pooler.cancel(info.cancel_pid, key, lambda reason: None)
        self.settle()

    def busy_clients(self) -> list[SimulatedClient]:
        return [client for client in self.open_clients() if client.outstanding]

    @precondition(lambda self: bool(self.rig.pooler.cancels))
    @rule(data=st.data())
    def cancel_is_through(self, data: st.DataObject) -> None:
        self.pick(data, self.cancels()).done()
        self.settle()

    def cancels(self) -> list[Any]:
        return list(self.rig.pooler.cancels)

    # ---- time and the operator

    @precondition(lambda self: bool(self.servers))
    @rule(seconds=st.sampled_from([0.01, 0.4, 7.0, 16.0, 31.0, 31.0, 301.0]))
    def pass_time(self, seconds: float) -> None:
        self.rig.pass_time(seconds)
        self.lookups.end_slow(60.0, self.rig.now)
        self.settle()

    @precondition(lambda self: len(self.servers) + len(self.rig.pending()) > 1)
    @rule(data=st.data(), which=st.integers(0, 15))
    def mishap(self, data: st.DataObject, which: int) -> None:
        """One rule for all that destroys, and not each time: most steps are to be work."""
        mishaps = (
            self.leave,
            self.leave,
            self.login_leaves,
            self.send_garbage,
            self.refuse,
            self.die,
            self.reconnect,
            self.reload,
            self.pause,
            self.remove_and_add_the_database,
        )
        if which < len(mishaps):
            mishaps[which](data)
        self.settle()

    def reconnect(self, data: st.DataObject) -> None:
        operator.reconnect(self.rig.pooler, "app")

    def reload(self, data: st.DataObject) -> None:
        self.rig.reload(
            default_pool_size=data.draw(st.integers(1, MOST_SERVERS)),
            min_pool_size=data.draw(st.integers(0, 2)),
            databases=self.databases(self.pick(data, ["a", "a", "b"])),
            **self.draw_limits(data),
        )

    def remove_and_add_the_database(self, data: st.DataObject) -> None:
        self.rig.reload(databases={})
        assert (self.rig.pooler.pools, self.rig.pooler.client_count) == ({}, 0)
        self.rig.reload(databases=self.databases())

    def pause(self, data: st.DataObject) -> None:
        operator.hold(self.rig.pooler, None, held=True)

    @precondition(lambda self: self.rig.pooler.paused)
    @rule()
    def resume(self) -> None:
        operator.hold(self.rig.pooler, None, held=False)
        self.settle()

    # ---- what always holds

    @invariant()
    def nothing_of_ours_went_wrong(self) -> None:
        assert self.rig.log.exceptions == []

    @invariant()
    def servers_are_in_the_list_that_their_state_says(self) -> None:
        seen: set[Any] = set()
        for control in self.controls():
            for state in range(SV_GONE):
                for server in control.pool.lists.servers(state):
                    assert server.state == state
                    assert server not in seen
                    assert not server.closed
                    seen.add(server)
                    assert (server.linked_client is not None) == (state == SV_ACTIVE)
        assert seen == {server.end.relay for server in self.servers}

    @invariant()
    def clients_are_in_the_list_that_their_state_says(self) -> None:
        seen: set[Any] = set()
        for control in self.controls():
            lists = control.pool.lists
            active, waiting = lists.active_clients(), lists.waiting_clients()
            assert {client.state for client in active} <= {CL_ACTIVE}
            assert {client.state for client in waiting} <= {CL_WAITING}
            assert all(client.linked_server is None for client in waiting)
            assert lists.client_count() == len({*active, *waiting})
            lookups = {client for client in (*active, *waiting) if client.owner.is_lookup}
            seen |= {*active, *waiting} - lookups
        assert seen == {client.end.relay for client in self.open_clients()}
        assert self.rig.pooler.client_count == len(seen)
        keyed = [client for client in seen if client.owner.cancel_pid]
        assert len(self.rig.pooler.cancel_keys) == len(keyed)
        assert all(client in keyed for client in seen if client.owner.welcomed)

    @invariant()
    def each_login_is_told_once_and_about_its_own_user(self) -> None:
        for login, told in self.logins.items():
            assert len(told) <= 1
            for credentials in told:
                if isinstance(credentials, Credentials):
                    assert credentials.user == login.key.user
                    assert credentials.secret == parse_secret(f"secret of {credentials.user}")

    @invariant()
    def links_have_two_ends(self) -> None:
        for control in self.controls():
            for server in control.pool.lists.servers(SV_ACTIVE):
                assert server.linked_client.linked_server is server
            for client in control.pool.lists.active_clients():
                server = client.linked_server
                assert server is None or server.linked_client is client

    @invariant()
    def a_dedicated_server_has_its_own_client(self) -> None:
        for control in self.controls():
            for server in control.pool.lists.all_servers():
                client = server.linked_client
                if server.owner.replication:
                    assert client is None or client.owner.replication
                    assert server.state != SV_IDLE
                else:
                    assert client is None or not client.owner.replication

    @invariant()
    def idle_servers_could_serve(self) -> None:
        for control in self.controls():
            for server in control.pool.lists.servers(SV_IDLE):
                assert server.ready
                assert server.outstanding_count == 0
                assert not server.close_needed

    @invariant()
    def nobody_waits_while_a_server_idles(self) -> None:
        for control in self.controls():
            lists = control.pool.lists
            assert lists.held or not (lists.idle_count() and lists.waiting_count())

    @invariant()
    def who_waits_waits_for_something(self) -> None:
        for control in self.controls():
            pool = control.pool
            if full_quotas(pool):
                continue  # for other pools' servers
            if pool.lists.waiting_count() and not pool.lists.held and pool.failure is None:
                assert pool.server_count() > 0

    @invariant()
    def servers_are_no_more_than_allowed(self) -> None:
        for control in self.controls():
            assert control.pool.server_count() <= MOST_SERVERS + self.MOST_RESERVE

    @invariant()
    def nobody_waits_while_there_is_a_place(self) -> None:
        """Time passes only with the janitor's round, which looks at all pools."""
        for control in self.controls():
            pool = control.pool
            # A used server makes room for a dedicated one once the queue doesn't want it any more.
            makes_room = pool.lists.dedicated_count() and pool.lists.server_count(SV_USED)
            if pool.failure is None and not makes_room:  # else the janitor tries again
                assert pool.wants_since(self.rig.now) is None or full_quotas(pool)

    @invariant()
    def quotas_count_what_is_there(self) -> None:
        for quota, pools in self.quotas():
            held = {pool: pool.server_count() for pool in pools if pool.server_count()}
            assert (quota.server_count, quota.holders) == (sum(held.values()), held)
        clients = Counter(end.relay.owner.user for end in self.client_ends())
        users = self.rig.pooler.quotas.users
        assert {name: q.client_count for name, q in users.items() if q.client_count} == clients
        clients = Counter(end.relay.owner.database for end in self.client_ends())
        databases = self.rig.pooler.databases
        assert {n: s.quota.client_count for n, s in databases.items()} == {
            name: clients[name] for name in databases
        }

    def client_ends(self) -> list[ClientEnd]:
        return [client.end for client in self.open_clients()]

    def quotas(self) -> Iterator[tuple[Quota, list[Pool]]]:
        """Each with the pools that share it."""
        pooler = self.rig.pooler
        for name, state in pooler.databases.items():
            yield state.quota, [c.pool for k, c in pooler.pools.items() if k.database == name]
        for name, quota in pooler.quotas.users.items():
            yield quota, [c.pool for k, c in pooler.pools.items() if k.user == name]

    @invariant()
    def connects_and_cancel_requests_are_counted(self) -> None:
        pooler = self.rig.pooler
        for control in self.controls():
            attempts, own = pooler.connects.attempts, pooler.connects.dedicated
            begun = [attempt for attempt, (owner, _) in attempts.items() if owner is control]
            pool = control.pool
            assert len(begun) == pool.logins + pool.dedicated_logins
            whose = [own[attempt] for attempt in begun if attempt in own]
            assert len(whose) == pool.dedicated_logins == len({*whose})
            assert all(client.state == CL_WAITING for client in whose)
        for server in self.servers:
            info = server.end.relay.owner
            assert info.cancels == len([a for a in self.cancels() if a.target is info])

    @invariant()
    def a_held_pool_neither_connects_nor_keeps_unused_servers(self) -> None:
        for control in self.controls():
            if control.pool.lists.held:
                assert not control.pool.is_connecting()
                assert control.pool.lists.idle_count() == 0

    def teardown(self) -> None:
        """Everybody gets an answer once servers are well and the operator rests."""
        if not hasattr(self, "rig"):
            return
        operator.hold(self.rig.pooler, None, held=False)
        for _ in range(100):
            is_idle = not any(client.outstanding for client in self.open_clients())
            if is_idle and not self.waiting_logins():
                break
            for server in self.servers:
                server.in_transaction = False
            for attempt in self.cancels():
                attempt.done()
            self.settle()
            self.answer_everything()
            for client in self.open_clients():
                if not client.outstanding and client.end.relay.linked_server is not None:
                    client.end.send(b"X\0\0\0\4")
            self.rig.pass_time(0.4)
            self.settle()
        assert not any(client.outstanding for client in self.open_clients())
        self.answer_everything()
        assert (self.waiting_logins(), self.lookups._running, self.lookups._waiting) == ([], {}, {})


class LimitedSimulation(Simulation):
    """Two databases with two users, who compete for servers. Limits change, and hold."""

    DATABASES = ("app", "crm")
    MOST_RESERVE = 2

    def draw_limits(self, data: st.DataObject) -> dict[str, int]:
        names = ("max_db_connections", "max_user_connections", "reserve_pool_size")
        limits = {name: data.draw(st.sampled_from([0, 1, 1, 2])) for name in names}
        return limits | {
            "max_db_client_connections": data.draw(st.sampled_from([0, 0, 2])),
            "max_user_client_connections": data.draw(st.sampled_from([0, 0, 3])),
        }

    def settle(self) -> None:
        super().settle()
        self.check_limits()

    def check_limits(self) -> None:
        """No quota is exceeded, but by what was there when its limit was lowered."""
        before: dict[int, int] = getattr(self, "counts", {})
        self.counts = {id(quota): quota.server_count for quota, _ in self.quotas()}
        for quota, _ in self.quotas():
            if quota.has_too_many():
                assert quota.server_count <= before[id(quota)]

    @invariant()
    def nobody_contends_while_a_server_idles(self) -> None:
        """Unless its client may be back at once: then it is looked at again."""
        now = self.rig.now
        for quota, pools in self.quotas():
            idle = [server for pool in pools for server in pool.lists.servers(SV_IDLE)]
            if idle and next_contender(quota, now) is not None:
                assert quota.is_watched
                assert not any(is_quiet(server, now) for server in idle)


def case_of(machine: type[RuleBasedStateMachine]) -> Any:
    case = machine.TestCase
    case.settings = settings(
        max_examples=60,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return case


class LoginSimulation(Simulation):
    """More clients than servers, that get theirs at login and keep them."""

    MODES = ((PoolMode.SESSION, SessionLink.LOGIN),)
    MOST_CLIENTS = 12

    @invariant()
    def who_has_been_welcomed_has_a_server(self) -> None:
        for client in self.open_clients():
            info = client.end.relay.owner
            if not info.replication and info.welcomed:
                assert client.end.relay.linked_server is not None
                assert info.cancel_pid


TestSimulation = case_of(Simulation)
TestLoginSimulation = case_of(LoginSimulation)
TestLimitedSimulation = case_of(LimitedSimulation)
