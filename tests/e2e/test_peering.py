"""Cancel requests that come to another pooler than their client's, with PgBouncer itself as a peer.

PGMUX_PGBOUNCER=/path/to/pgbouncer names one; older ones than 1.21 have keys of another format.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from pgmux.ops.installation import give_to
from pgmux.ops.pooler import PGMUX
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux.wire import build, codes
from pgmux.wire.parse import BackendKeyData, parse_backend_key_data
from tests.fixtures.blackhole import blackhole
from tests.fixtures.pooler import DEFAULTS, Pooler
from tests.fixtures.raw import RawClient, error_of
from tests.fixtures.tools import require_pgbouncer
from tests.fixtures.waiting import wait_until

QUERY_CANCELED = "57014"
SLEEP = build.build_query("SELECT pg_sleep(20)")


class Member(Pooler):
    """A pooler of a group; `peers` is that section."""

    def __init__(
        self,
        server: EmbeddedPostgres,
        number: int,
        command: tuple[str, ...],
        settings: dict[str, object],
    ) -> None:
        self.number = number
        self.peers: dict[int, str] = {}
        super().__init__(server, {"*": ""}, DEFAULTS | {"peer_id": number} | settings, {}, {})
        self._command = command

    def write_configuration(self) -> None:
        super().write_configuration()
        path = self.directory / "pgbouncer.ini"
        with path.open("a") as file:
            file.write("[peers]\n" + "".join(f"{n} = {v}\n" for n, v in self.peers.items()))
        give_to(self._account, path)

    @property
    def by_socket(self) -> str:
        return f"host={self.socket_dir} port={self.port}"

    def find(self, show: str, **values: object) -> list[dict[str, object]]:
        """The rows of a SHOW with these values."""
        return [row for row in self.console(f"SHOW {show}") if row.items() >= values.items()]


Start = Callable[..., Member]


@pytest.fixture
def start(postgres: EmbeddedPostgres) -> Iterator[Start]:
    """`start(number, *command, **settings)`: a member that has no peers yet."""
    with ExitStack() as stack:

        def start_(number: int, *command: str, **settings: object) -> Member:
            return stack.enter_context(Member(postgres, number, command or PGMUX, settings))

        yield start_


def introduce(*members: Member) -> None:
    """All to all, themselves included, as one configuration for all would have it."""
    for member in members:
        member.peers = {other.number: other.by_socket for other in members}
        member.reload()


class Client(RawClient):
    """A client that runs a long query, and can be cancelled."""

    key: BackendKeyData

    def begin(self, minor: int = 0) -> Client:
        start = {"user": "postgres", "database": "postgres"}
        answer = self.exchange(build.build_startup_message(start, codes.PROTOCOL_3_0 + minor))
        self.key = parse_backend_key_data(next(body for kind, body in answer if kind == "K"))
        self.send(SLEEP)
        return self

    def is_cancelled(self) -> bool:
        return error_of(self.read_until()).sqlstate == QUERY_CANCELED


def send_cancel(pooler: Pooler, key: BackendKeyData) -> socket.socket:
    sock = socket.create_connection((pooler.host, pooler.port), 10)
    sock.sendall(build.build_cancel_request(key.pid, key.key))
    return sock


def cancel(pooler: Pooler, key: BackendKeyData) -> None:
    """Returns when the pooler has closed the request's connection, without a word."""
    with send_cancel(pooler, key) as sock:
        assert sock.recv(1) == b""


def wait_until_running(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.dsn(), autocommit=True) as monitor:
        sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        wait_until(lambda: monitor.execute(sql).fetchone())


def cancel_by(other: Member, client: Client, postgres: EmbeddedPostgres) -> bool:
    """Whether a request that comes to `other` cancels the client's query."""
    wait_until_running(postgres)
    cancel(other, client.key)
    return client.is_cancelled()


# Between poolers


@pytest.mark.parametrize("place", ["{0.socket_dir}", "localhost"])
def test_a_request_reaches_its_client_by_way_of_another_pooler(
    start: Start, postgres: EmbeddedPostgres, place: str
) -> None:
    own, other = start(1), start(2)
    other.peers = {1: f"host={place.format(own)} port={own.port}"}
    other.reload()
    with Client(own) as client:
        assert cancel_by(other, client.begin(), postgres)
    assert re.search(r"S-0x\w+: peer-1@\S+:\d+ new connection to server", other.log())
    sent = r"closing because: successfully sent cancel request \(age=0s\)"
    assert re.search(rf"S-0x\w+: peer-1@\S+ {sent}", other.log())
    assert re.search(rf"C-0x\w+: peer-1@127\.0\.0\.1:\d+ {sent}", other.log())
    assert other.find("PEERS", peer_id=1, port=own.port, pool_size=20)
    assert other.find("LISTS", list="peers", items=1)
    assert other.find("LISTS", list="peer_pools", items=1)
    idle = dict.fromkeys(("cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel"), 0)
    assert other.find("PEER_POOLS", peer_id=1, sv_login=0, **idle)


@pytest.fixture
def pgbouncer() -> str:
    path = require_pgbouncer()
    said = subprocess.run([path, "-V"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"PgBouncer (\d+)\.(\d+)", said)
    assert version is not None, said
    if tuple(map(int, version.groups())) < (1, 21):
        pytest.skip(f"{version[0]} has other cancel keys; PGMUX_PGBOUNCER names another")
    return path


@pytest.mark.parametrize("minor", [0, 2])
@pytest.mark.parametrize("pgmux_has_the_client", [True, False])
def test_pgbouncer_and_pgmux_are_peers(
    start: Start,
    postgres: EmbeddedPostgres,
    pgbouncer: str,
    pgmux_has_the_client: bool,
    minor: int,
) -> None:
    ours, theirs = start(300), start(2, pgbouncer)  # a number that needs both bytes
    introduce(ours, theirs)
    own, other = (ours, theirs) if pgmux_has_the_client else (theirs, ours)
    with Client(own) as client:
        assert cancel_by(other, client.begin(minor), postgres)


# Peers that don't work


def test_an_entry_that_leads_back_to_oneself_ends_when_it_was_passed_on_three_times(
    start: Start,
) -> None:
    pooler = start(1, default_pool_size=5)
    pooler.peers = {2: f"host={pooler.host} port={pooler.port}"}
    pooler.reload()
    cancel(pooler, BackendKeyData(0x00020001, b"KEY\xff"))
    log = pooler.log()
    assert log.count("failed to forward cancel request because its TTL was exhausted") == 1
    assert log.count("new connection to server") == 3
    assert not pooler.find("PEER_POOLS", peer_id=2, sv_login=1)


def test_a_peer_that_nobody_answers_for_is_said_and_so_is_one_that_is_unknown(
    start: Start,
) -> None:
    pooler = start(1)
    nowhere = find_free_port()
    pooler.peers = {2: f"host=127.0.0.1 port={nowhere}"}
    pooler.reload()
    cancel(pooler, BackendKeyData(0x00020001, b"KEY\xff"))
    cancel(pooler, BackendKeyData(0x00030001, b"KEY\xff"))
    log = pooler.log()
    assert f"peer-2@127.0.0.1:{nowhere} cannot connect to 127.0.0.1:{nowhere}" in log
    assert "closing because: failed to forward cancel request (age=0s)" in log
    assert "closing because: could not find peer to forward request to (age=0s)" in log


def test_a_peer_that_keeps_silent_holds_as_many_connections_as_its_pool_has(
    start: Start,
) -> None:
    pooler = start(1, cancel_wait_timeout=60)
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        pooler.peers = {
            2: f"host=127.0.0.1 port={silent.getsockname()[1]} pool_size=2",
            3: f"host=127.0.0.1 port={stack.enter_context(blackhole())}",
        }
        pooler.reload()
        for number in (2, 2, 2, 3):
            key = BackendKeyData(number << 16, b"KEY\xff")
            stack.enter_context(send_cancel(pooler, key))
        sent = {"cl_active_cancel_req": 2, "cl_waiting_cancel_req": 1, "sv_active_cancel": 2}
        wait_until(lambda: pooler.find("PEER_POOLS", peer_id=2, sv_login=0, **sent))
        connecting = {"cl_active_cancel_req": 0, "cl_waiting_cancel_req": 1, "sv_login": 1}
        wait_until(lambda: pooler.find("PEER_POOLS", peer_id=3, sv_active_cancel=0, **connecting))
        clients = {"database": "(nodb)", "user": "(nouser)", "addr": "127.0.0.1"}
        assert len(pooler.find("CLIENTS", state="active_cancel_req", **clients)) == 2
        assert len(pooler.find("CLIENTS", state="waiting_cancel_req", **clients)) == 2
        assert len(pooler.find("SERVERS", state="active_cancel", database="(nodb)")) == 2
        assert len(pooler.find("SERVERS", state="new", database="(nodb)")) == 1
        pooler.console("SET cancel_wait_timeout = '0.1'")
        wait_until(lambda: pooler.log().count("closing because: cancel_wait_timeout") == 7)
        assert not pooler.find("CLIENTS", database="(nodb)")
        assert not pooler.find("SERVERS", database="(nodb)")


def test_keys_that_nobody_gave_out_bring_down_nobody(
    start: Start, postgres: EmbeddedPostgres
) -> None:
    own, other = start(1), start(2)
    introduce(own, other)

    def flood() -> None:
        for number in range(200):
            key = BackendKeyData(1 << 16 | number, b"KEY" + bytes([number]))
            send_cancel(other, key).close()

    threads = [threading.Thread(target=flood) for _ in range(3)]
    with Client(own) as client:
        client.begin()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cancel_by(other, client, postgres)
    assert "internal error" not in own.log() + other.log()
