"""Where clients come in and servers are reached: TCP, Unix sockets, and the options of both."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import psycopg2
import pytest

from pgmux.ops.account import unprivileged_account
from pgmux.ops.postgres import EmbeddedPostgres
from tests.e2e.pools.clients import Connect, pid, value, wait_for_log
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

KEEPALIVE = "02"  # /proc/net/tcp's name of the keepalive timer
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler, postgres: EmbeddedPostgres) -> Pooler:
    login = f"dbname=postgres port={postgres.port}"
    return module_pooler(
        databases={
            "tcp": "dbname=postgres",
            "unix": f"host={postgres.socket_dir} {login}",
            "nowhere": "host=/nonexistent dbname=postgres",
        },
        settings={
            "unix_socket_mode": "0750",
            "tcp_keepalive": 1,
            "tcp_keepidle": 77,
            "tcp_keepintvl": 5,
            "tcp_keepcnt": 3,
        },
    )


@pytest.mark.parametrize("database", ["tcp", "unix"])
@pytest.mark.parametrize("unix", [False, True], ids=["tcp client", "unix client"])
def test_tcp_and_unix_sockets_on_either_side(
    shared: Pooler, connect: Connect, database: str, unix: bool
) -> None:
    client = connect(shared, database, unix_socket=unix)
    address = value(client, "SELECT inet_client_addr() IS NULL")
    assert address == ("t" if database == "unix" else "f")
    rows = shared.console("SHOW CLIENTS") + shared.console("SHOW SERVERS")
    mine = [row for row in rows if row["database"] == database]
    client_row = next(row for row in mine if row["type"] == "C")
    server_row = next(row for row in mine if row["type"] == "S")
    assert client_row["addr"] == ("unix" if unix else "127.0.0.1")
    assert client_row["remote_pid"] == (os.getpid() if unix else 0)
    assert server_row["addr"] == ("unix" if database == "unix" else "127.0.0.1")
    assert server_row["remote_pid"] == pid(client)


def test_the_log_names_both_kinds(shared: Pooler, connect: Connect) -> None:
    pid(connect(shared, "unix", unix_socket=True))
    name = f": unix/postgres@unix({os.getpid()}):{shared.port} login attempt: db=unix user=postgres"
    assert name in shared.log()
    unix_servers = [line for line in shared.log().splitlines() if "unix/postgres@unix" in line]
    assert any(line.endswith(" new connection to server") for line in unix_servers)


def test_a_unix_server_that_is_not_there_is_a_failed_connect(shared: Pooler) -> None:
    shared.console("SET client_login_timeout = '0.1'")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(shared.dsn("nowhere"))
    shared.console("RELOAD")
    assert "cannot connect to unix:/nonexistent/.s.PGSQL.5432: No such file" in shared.log()


def test_the_socket_has_the_mode_of_the_settings(shared: Pooler) -> None:
    path = shared.socket_dir / f".s.PGSQL.{shared.port}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


def timer_of(local_port: int) -> tuple[str, float]:
    """(kind of timer, seconds till it fires) of an established IPv4 connection of this machine."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, _, timer, *_ = line.split()
        if int(local.partition(":")[2], 16) == local_port and state == "01":
            kind, _, ticks = timer.partition(":")
            return kind, int(ticks, 16) / TICKS
    raise AssertionError(f"no connection from port {local_port}")


def test_connections_are_kept_alive_as_the_settings_say(shared: Pooler, connect: Connect) -> None:
    client = connect(shared, "tcp")
    pid(client)
    (server,) = (row for row in shared.console("SHOW SERVERS") if row["database"] == "tcp")
    # On loopback an acknowledgement may still be due, which takes the timer's place.
    wait_until(lambda: timer_of(server["local_port"])[0] == KEEPALIVE)
    assert 60 < timer_of(server["local_port"])[1] <= 77


def test_keepalive_can_be_switched_off(pooler: MakePooler, connect: Connect) -> None:
    without = pooler(settings={"tcp_keepalive": 0})
    pid(connect(without))
    (server,) = without.console("SHOW SERVERS")
    wait_until(lambda: timer_of(server["local_port"])[0] == "00")


def test_the_socket_belongs_to_the_group_of_the_settings(pooler: MakePooler) -> None:
    # Whom it runs as is in no other group when it was root, which alone could give files away.
    account = unprivileged_account()
    group = grp.getgrgid(account.pw_gid if account else os.getgroups()[-1]).gr_name
    owned = pooler(settings={"unix_socket_group": group})
    path = owned.socket_dir / f".s.PGSQL.{owned.port}"
    wait_for_log(owned, "process up")
    assert grp.getgrgid(path.stat().st_gid).gr_name == group


def test_a_name_that_begins_with_at_is_abstract(pooler: MakePooler) -> None:
    name = f"@pgmux-test-{os.getpid()}"
    abstract = pooler(settings={"unix_socket_dir": name})
    wait_for_log(abstract, f"listening on unix:{name}/.s.PGSQL.{abstract.port}")
    # psycopg 3 takes the name for a host's; psycopg2 leaves it to libpq.
    with closing(psycopg2.connect(host=name, port=abstract.port, user="postgres")) as client:
        cursor = client.cursor()
        cursor.execute("SELECT 'here'")
        assert cursor.fetchone() == ("here",)


def test_a_database_may_be_behind_an_abstract_socket(pooler: MakePooler, connect: Connect) -> None:
    name = f"@pgmux-inner-{os.getpid()}"
    inner = pooler(settings={"unix_socket_dir": name})
    wait_for_log(inner, "process up")
    outer = pooler(databases={"db": f"host={name} port={inner.port} dbname=postgres"})
    assert value(connect(outer, "db"), "SELECT 'here'") == "here"


@pytest.fixture
def sharing_a_port(postgres: EmbeddedPostgres) -> Iterator[list[Pooler]]:
    with ExitStack() as stack:
        poolers: list[Pooler] = []
        for _ in range(2):
            each = Pooler(postgres, {"*": ""}, {"so_reuseport": 1}, {}, {})
            each.port = poolers[0].port if poolers else each.port
            poolers.append(stack.enter_context(each))
            wait_for_log(each, "process up")  # the port may have been answered by the other one
        yield poolers


def test_so_reuseport_lets_two_share_a_port(sharing_a_port: list[Pooler], connect: Connect) -> None:
    clients = [connect(sharing_a_port[0]) for _ in range(20)]
    assert all(pid(client) > 0 for client in clients)
    counts = [clients_of(each) for each in sharing_a_port]
    assert sum(counts) == 20
    assert all(counts)


def clients_of(pooler: Pooler) -> int:
    """Clients of the database `postgres`, asked through the pooler's own Unix socket."""
    with psycopg.connect(pooler.dsn("pgbouncer", unix_socket=True), autocommit=True) as console:
        rows = console.execute(b"SHOW CLIENTS").fetchall()
    return sum(row[2] == "postgres" for row in rows)


def test_two_addresses_and_all_addresses(pooler: MakePooler, connect: Connect) -> None:
    two = pooler(settings={"listen_addr": "127.0.0.1,127.0.0.2"})
    for host in ("127.0.0.1", "127.0.0.2"):
        wait_for_log(two, f"listening on {host}:{two.port}")
        with closing(psycopg.connect(two.dsn(hostaddr=host))) as client:
            assert value(client, "SELECT 'here'") == "here"
    everywhere = pooler(settings={"listen_addr": "*"})
    wait_for_log(everywhere, f"listening on 0.0.0.0:{everywhere.port}")
    assert pid(connect(everywhere)) > 0
