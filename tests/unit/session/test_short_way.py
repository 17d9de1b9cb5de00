"""Clients that come in where others like them have: they are let in as those were, and are asked
about anew once anything has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgmux.auth.credentials import Credentials
from pgmux.auth.scram import ScramKeys
from pgmux.auth.secrets import parse_secret
from pgmux.config import Config, Database, PoolMode
from pgmux.config.model import PgmuxSettings, SessionLink
from pgmux.pool.pool import PoolKey
from pgmux.session._entry_cy import ClientInfo, Entries, Entry
from pgmux.session._relay_cy import ClientRelay
from pgmux.session.login_method import Method, Way
from pgmux.session.login_steps import ATTEMPTED
from pgmux.session.startup import Startup
from pgmux.session.startup_cache import StartupCache
from pgmux.wire.replication import Replication
from tests.unit.session.rig import ClientEnd, FakeEnds, FakeTransport, Rig, configure

PACKET = b"startup packet"
KEYS = ScramKeys(b"client", b"server", b"salt", 4096)
BOB = Credentials("bob", parse_secret("pw"))


class Hall:
    """A pooler where a client of this kind has come in before, in the ordinary way."""

    def __init__(self, config: Config | None = None, **startup: Any) -> None:
        self.rig = Rig(config)
        self.rig.log.is_debug = False
        self.startups = StartupCache()
        self.entries = Entries(self.rig.pooler, self.startups)
        self.startup = Startup("bob", "app", {"TimeZone": "UTC"}, **startup)
        self.way = Way(Method("trust"), BOB, (ATTEMPTED,))
        self.startup.ways[None] = self.way
        self.remember()
        self.enter_ordinarily()

    def remember(self) -> None:
        """Its packet is known under the configuration that is in force."""
        self.startups.add(PACKET, self.rig.pooler.config, self.startup)

    def enter_ordinarily(self, keys: ScramKeys | None = None) -> ClientEnd:
        startup = self.startup
        info = ClientInfo(7, startup.database, startup.user, FakeEnds(), startup.parameters)
        info.replication = startup.replication
        transport = FakeTransport()
        long_key = startup.long_key
        client = self.rig.pooler.enter(transport, info, BOB, keys, long_key=long_key)
        return ClientEnd(client, transport)

    def find(self) -> Entry | None:
        return self.entries.find_unasked(PACKET)

    def enter(self) -> ClientEnd:
        entry = self.find()
        assert entry is not None
        transport = FakeTransport()
        client = self.entries.let_in(entry, transport, 8, FakeEnds(), None, 999.5)
        return ClientEnd(client, transport)


def ready(config: Config | None = None, **startup: Any) -> Hall:
    """With an idle server."""
    hall = Hall(config, **startup)
    hall.rig.log_in()
    return hall


def seen(client: ClientEnd) -> tuple[list[tuple[str, bytes]], dict[str, Any]]:
    """What the client is told but for its key, and what is known of it but for who it is."""
    told = [(kind, b"" if kind == "K" else body) for kind, body in client.messages()]
    relay: ClientRelay = client.relay
    names = [name for name in vars(ClientInfo) if name[0] != "_"]
    names = [name for name in names if name not in ("id", "addresses")]
    info = {name: getattr(relay.owner, name) for name in names if not name.startswith("cancel")}
    return told, info | {"vars": relay.vars, "relay": relay.pool_relay, "state": relay.state}


def test_a_client_that_takes_the_short_way_is_like_any_other() -> None:
    hall = ready()
    one, two = hall.enter_ordinarily(), hall.enter()
    assert seen(one) == seen(two)
    assert two.relay.connect_time == 999.5
    control, pooler = hall.rig.control(), hall.rig.pooler
    assert control.pool.lists.client_count() == pooler.client_count == 3
    assert control.relay.counters.client_login_count == 3
    assert [quota.client_count for quota in two.relay.owner.quotas] == [3, 3]
    info = two.relay.owner
    assert pooler.cancel_keys.find(info.cancel_pid, info.cancel_key) is two.relay


def test_what_a_password_exchange_ends_with_goes_before_the_welcome_in_one_write() -> None:
    hall = ready()
    entry = hall.find()
    assert entry is not None
    written: list[bytes] = []
    transport = FakeTransport()
    transport.write = written.append  # type: ignore[method-assign]
    hall.entries.let_in(entry, transport, 8, FakeEnds(), None, 0.0, b"final")
    (data,) = written
    assert data.startswith(b"finalR\0\0\0\x08\0\0\0\0S")


def test_two_applications_of_one_user_dont_get_in_each_others_way() -> None:
    hall = ready()
    other = Startup("bob", "app", {"application_name": "other"})
    found = Credentials("bob", parse_secret("pw"))  # found anew for another startup packet
    other.ways[None] = Way(Method("trust"), found, (ATTEMPTED,))
    hall.startups.add(b"another packet", hall.rig.pooler.config, other)
    info = ClientInfo(9, "app", "bob", FakeEnds(), other.parameters)
    hall.rig.pooler.enter(FakeTransport(), info, found, None, long_key=False)
    for _ in range(2):
        assert hall.find() is not None
        assert hall.entries.find_unasked(b"another packet") is not None


def test_it_gets_a_server_like_any_other() -> None:
    hall = ready()
    client = hall.enter()
    client.query()
    assert client.relay.linked_server is not None


@pytest.mark.parametrize("linked", [False, True])
def test_whoever_leaves_leaves_nothing_behind(linked: bool) -> None:
    hall = ready()
    before = hall.rig.pooler.client_count
    client = hall.enter()
    if linked:
        client.query()
    client.send(b"X\0\0\0\4")
    assert client.is_closed
    pooler = hall.rig.pooler
    assert (pooler.client_count, len(pooler.cancel_keys)) == (before, before)
    assert hall.rig.control().pool.lists.client_count() == before
    assert [quota.client_count for quota in client.relay.owner.quotas] == [before, before]
    client.lose()
    assert pooler.client_count == before


def test_who_waits_for_something_to_end_is_told_that_a_client_has_left() -> None:
    hall = ready()
    client = hall.enter()
    changes: list[int] = []
    hall.rig.pooler.on_change = lambda: changes.append(hall.rig.pooler.client_count)
    client.send(b"X\0\0\0\4")
    assert changes == [1]


@pytest.mark.parametrize("is_logged", [False, True])
def test_the_log_says_that_a_client_has_left_if_it_is_to(is_logged: bool) -> None:
    hall = ready(configure(log_disconnections=is_logged))
    client = hall.enter()
    hall.rig.log.lines.clear()
    client.send(b"X\0\0\0\4")
    lines = [line for line in hall.rig.log.lines if "client close request" in line]
    assert len(lines) == is_logged


def test_keys_are_drawn_in_bulk_and_all_different() -> None:
    hall = ready()
    drawn: list[int] = []

    def draw(size: int) -> bytes:
        drawn.append(size)
        start = len(drawn) * 1000
        return b"".join(i.to_bytes(8, "little") for i in range(start, start + size // 8))

    hall.rig.pooler.outside.random = draw
    owners = [hall.enter().relay.owner for _ in range(100)]
    assert len({(info.cancel_pid, info.cancel_key) for info in owners}) == 100
    assert len(drawn) == 1
    assert all(0 < info.cancel_pid < 1 << 31 for info in owners)


def test_a_key_whose_process_id_is_taken_or_0_is_not_given_out() -> None:
    hall = ready()
    hall.rig.pooler.cancel_keys.add(7, b"KEY!", hall.enter_ordinarily().relay)
    free = b"\0\0\0\x09free"
    drawn = free + b"\x80\0\0\0zero" + b"\0\0\0\x07mine"
    hall.rig.pooler.outside.random = lambda size: drawn
    assert hall.enter().relay.owner.cancel_pid == 9


# Who takes the ordinary way


def test_before_anybody_was_welcomed_all_take_the_ordinary_way() -> None:
    hall = Hall()
    assert hall.find() is None
    hall.rig.log_in()
    assert hall.find() is not None


def test_an_unknown_packet_takes_the_ordinary_way() -> None:
    assert ready().entries.find_unasked(b"another") is None


def test_who_is_asked_for_something_takes_the_ordinary_way() -> None:
    hall = ready()
    hall.way.steps = ()
    assert hall.find() is None
    assert hall.entries.find(hall.startup, hall.way, has_keys=False) is not None


@pytest.mark.parametrize(
    "startup",
    [{"negotiation": b"v"}, {"long_key": True}, {"replication": Replication.LOGICAL}],
)
def test_whoever_is_treated_otherwise_takes_the_ordinary_way(startup: dict[str, Any]) -> None:
    assert ready(**startup).find() is None


@pytest.mark.parametrize(
    "config",
    [
        configure(login_notify_message="hello"),
        configure(peer_id=3),
        replace(configure(PoolMode.SESSION), pgmux=PgmuxSettings(session_link=SessionLink.LOGIN)),
    ],
)
def test_where_more_is_to_be_done_all_take_the_ordinary_way(config: Config) -> None:
    hall = Hall(config)
    hall.rig.log_in()
    assert hall.find() is None


def test_the_first_client_with_scram_keys_takes_the_ordinary_way() -> None:
    hall = ready()
    assert hall.entries.find(hall.startup, hall.way, has_keys=True) is None
    hall.enter_ordinarily(KEYS)
    assert hall.entries.find(hall.startup, hall.way, has_keys=True) is not None
    assert hall.rig.pooler.server_login(hall.rig.control()).scram_keys == KEYS


# What has changed since


def disable(rig: Rig) -> None:
    rig.pooler.databases["app"].disabled = True


def drop(rig: Rig) -> None:
    rig.reload(databases={})


def drop_pool(rig: Rig) -> None:
    rig.pooler.drop_pool(rig.control())


def learn_login(rig: Rig) -> None:
    key = PoolKey("app", "bob")
    rig.pooler.logins[key] = replace(rig.pooler.logins[key], as_of=7)


@pytest.mark.parametrize("change", [disable, drop, drop_pool, learn_login])
def test_after_a_change_the_ordinary_way_is_taken(change: Callable[[Rig], None]) -> None:
    hall = ready()
    assert hall.find() is not None
    change(hall.rig)
    assert hall.find() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"userlist": {"bob": "new"}},
        {"databases": {"app": Database("app", "other")}},
        {"databases": {"app": Database("app", "app", user="owner")}},
        {"pool_mode": PoolMode.SESSION},
        {"max_client_conn": 5},
    ],
)
def test_after_a_reload_the_ordinary_way_is_taken_once(changes: dict[str, Any]) -> None:
    hall = ready()
    entry = hall.find()
    hall.rig.reload(**changes)
    assert hall.find() is None
    hall.remember()
    assert hall.find() is None  # nobody has come in since
    assert hall.entries.find(hall.startup, hall.way, has_keys=False) is not entry


@pytest.mark.parametrize("setting", ["max_db_client_connections", "max_user_client_connections"])
def test_where_there_is_no_room_the_ordinary_way_says_so(setting: str) -> None:
    hall = ready(configure(**{setting: 2}))
    second = hall.enter()
    assert hall.find() is None
    second.lose()
    assert hall.find() is not None


def test_what_a_newer_server_reports_is_told() -> None:
    hall = ready()
    assert hall.enter().statuses()["server_version"] == "17.2"
    hall.rig.control().space.refresh({"server_version": "18.0"})
    assert hall.enter().statuses()["server_version"] == "18.0"


def test_a_spelling_that_has_been_learned_is_used() -> None:
    hall = ready()
    hall.enter()
    hall.rig.control().space.learn("TimeZone", "UTC", "Europe/Brussels")
    assert hall.enter().statuses()["TimeZone"] == "Europe/Brussels"
