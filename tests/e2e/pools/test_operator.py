"""What an operator does to a running pooler: RELOAD, PAUSE and the like, SHUTDOWN, signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.e2e.pools.clients import (
    Connect,
    Connection,
    answer,
    is_answered,
    pid,
    pool_of,
    send,
    server_count,
    value,
    wait_for_log,
    wait_for_pool,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

HINT = "RELOAD failed, see logs for additional details"


@pytest.fixture(scope="module")
def shared(module_pooler: MakePooler) -> Pooler:
    return module_pooler(databases={"db": "dbname=postgres", "other": "dbname=postgres"})


def is_running(pooler: Pooler) -> bool:
    """Whether the process has not ended; a zombie has."""
    status = Path(f"/proc/{pooler.pid}/stat").read_text().rpartition(")")[2].split()
    return status[0] != "Z"


def wait_for_the_end(pooler: Pooler) -> None:
    wait_until(lambda: not is_running(pooler))


def as_console(connect: Connect, pooler: Pooler) -> Connection:
    return connect(pooler, "pgbouncer", unix_socket=True)


# ---- RELOAD


def write(pooler: Pooler, text: str) -> str:
    """Add lines to the attributes' pgbouncer.ini; returns "path:line" of the last one."""
    pooler.write_configuration()
    path = pooler.directory / "pgbouncer.ini"
    path.write_text(f"{path.read_text()}{text}\n")
    return f"{path}:{len(path.read_text().splitlines())}"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("default_pol_size = 1", "unknown parameter: pgbouncer/default_pol_size"),
        ("pool_mode = sesion", 'invalid value "sesion" for parameter pool_mode'),
        ("[nonsense]", "nonsense"),
        ("[users]\nalice = pol_size=3", "unrecognized user parameter: pol_size"),
        ("[databases]\nnew = hst=127.0.0.1", "unrecognized connection parameter: hst"),
    ],
)
@pytest.mark.parametrize("by", ["RELOAD", "SIGHUP"])
def test_a_bad_file_changes_nothing_and_says_where(
    shared: Pooler, connect: Connect, by: str, line: str, what: str
) -> None:
    before = len(shared.log())
    config, databases = shared.console("SHOW CONFIG"), shared.console("SHOW DATABASES")
    client = connect(shared, "db")
    backend = pid(client)
    place = write(shared, f"default_pool_size = 7\n{line}")
    if by == "RELOAD":
        with pytest.raises(psycopg.Error) as refused:
            shared.console("RELOAD")
        assert HINT in str(refused.value)
        assert refused.value.sqlstate == "F0000"
    else:
        shared.send_signal(signal.SIGHUP)
        wait_for_log(shared, "got SIGHUP, re-reading config")
        wait_until(lambda: place in shared.log()[before:])
    said = [text for text in shared.log()[before:].splitlines() if place in text]
    assert len(said) == 1
    assert what in said[0]
    assert " ERROR " in said[0]
    assert shared.console("SHOW CONFIG") == config
    unchanged = ("name", "pool_size", "host", "database")
    assert [[row[c] for c in unchanged] for row in shared.console("SHOW DATABASES")] == [
        [row[c] for c in unchanged] for row in databases
    ]
    assert pid(client) == backend
    shared.reload()


def test_the_nearest_name_is_told(shared: Pooler) -> None:
    write(shared, "default_pol_size = 1")
    with pytest.raises(psycopg.Error) as refused:
        shared.console("RELOAD")
    assert "default_pool_size" in str(refused.value)
    assert "default_pool_size" in shared.log()
    shared.reload()


def test_databases_come_change_and_go(pooler: MakePooler, connect: Connect) -> None:
    changing = pooler(databases={"kept": "dbname=postgres", "gone": "dbname=postgres"})
    kept, gone = connect(changing, "kept"), connect(changing, "gone")
    first, _ = pid(kept), pid(gone)
    with pytest.raises(psycopg.OperationalError, match="no such database: come"):
        psycopg.connect(changing.dsn("come"))
    changing.databases = {
        "kept": changing.entry("dbname=template1"),
        "come": changing.entry("dbname=postgres"),
    }
    value(kept, "BEGIN")
    changing.reload()
    assert value(kept, "SELECT current_database()") == "postgres"  # till its transaction ends
    value(kept, "COMMIT")
    assert value(kept, "SELECT current_database()") == "template1"
    assert pid(kept) != first
    assert "FATAL:  database removed" in value(gone, "SELECT 1")
    dropping = "dropping database 'gone' as it does not exist anymore or inactive auto-database"
    assert dropping in changing.log()
    assert value(connect(changing, "come"), "SELECT current_database()") == "postgres"
    assert "gone" not in [row["name"] for row in changing.console("SHOW DATABASES")]


def test_a_user_comes_and_a_password_changes(
    pooler: MakePooler, connect: Connect, create_role: Callable[..., tuple[str, str]]
) -> None:
    name, password = create_role()
    users = pooler(settings={"auth_type": "scram-sha-256"})
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(users.dsn(user=name, password=password))
    users.users[name] = password
    users.reload()
    assert value(connect(users, user=name), "SELECT current_user") == name
    users.users[name] = "another"
    users.reload()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(users.dsn(user=name, password=password))


def test_a_setting_that_needs_a_restart_is_named(shared: Pooler) -> None:
    shared.settings["listen_backlog"] = 77
    shared.reload()
    text = "changed setting needs a restart, the old value stays: listen_backlog"
    assert f"WARNING {text}" in shared.log()
    (row,) = (row for row in shared.console("SHOW CONFIG") if row["key"] == "listen_backlog")
    assert (row["value"], row["changeable"]) == ("128", "no")
    del shared.settings["listen_backlog"]
    shared.reload()


def test_a_setting_gone_from_the_file_has_its_default_again(shared: Pooler) -> None:
    def query_timeout() -> str:
        rows = shared.console("SHOW CONFIG")
        return str(next(row["value"] for row in rows if row["key"] == "query_timeout"))

    shared.settings["query_timeout"] = 99
    shared.reload()
    assert query_timeout() == "99"
    del shared.settings["query_timeout"]
    shared.reload()
    assert query_timeout() == "0"


def test_an_auth_file_that_broke_fails_the_reload_and_is_said_once(pooler: MakePooler) -> None:
    made = pooler()
    (made.directory / "userlist.txt").write_text('"broken" "half')
    with pytest.raises(psycopg.Error, match="RELOAD failed"):
        made.console("RELOAD")
    assert made.log().count("broken auth file") == 1


def test_a_reload_that_would_lose_a_forced_user_says_that_it_stays(pooler: MakePooler) -> None:
    made = pooler(databases={"forced": "dbname=postgres user=postgres"})
    made.databases["forced"] = made.entry("dbname=postgres")
    made.reload()
    text = "losing forced user not supported, keeping old setting"
    assert f"WARNING {text} (database forced)" in made.log()


def test_set_conffile_has_the_next_reload_read_another_file(pooler: MakePooler) -> None:
    made = pooler()
    first, second = made.directory / "pgbouncer.ini", made.directory / "second.ini"
    first.rename(second)
    with pytest.raises(psycopg.Error, match="RELOAD failed"):  # it has vanished
        made.console("RELOAD")
    second.write_text(f"{second.read_text()}query_timeout = 99\n")
    made.console(f"SET conffile = '{second}'")
    made.console("RELOAD")
    config = {row["key"]: row["value"] for row in made.console("SHOW CONFIG")}
    assert (config["conffile"], config["query_timeout"]) == (str(second), "99")


# ---- PAUSE, RESUME


def test_pause_waits_for_transactions_and_resume_goes_on(shared: Pooler, connect: Connect) -> None:
    busy, late, console = connect(shared, "db"), connect(shared, "db"), as_console(connect, shared)
    value(busy, "BEGIN")
    first = pid(busy)
    send(console, "PAUSE")
    wait_for_log(shared, "PAUSE command issued")
    send(late, "SELECT 'late'")
    wait_for_pool(shared, "db", cl_waiting=1)
    assert not is_answered(console)
    value(busy, "COMMIT")
    assert answer(console) == ""
    assert server_count(shared, "db") == 0
    assert not is_answered(late)
    assert "already suspended/paused" in value(console, "PAUSE")
    value(console, "RESUME")
    assert answer(late) == "late"
    assert pid(busy) != first
    assert "pooler is not paused/suspended" in value(console, "RESUME")


def test_pause_of_one_database_leaves_the_others(shared: Pooler, connect: Connect) -> None:
    paused, other, console = (
        connect(shared, "db"),
        connect(shared, "other"),
        as_console(connect, shared),
    )
    pid(paused)
    value(console, "PAUSE db")
    send(paused, "SELECT 'resumed'")
    wait_for_pool(shared, "db", cl_waiting=1)
    assert value(other, "SELECT 'other'") == "other"
    row = next(row for row in shared.console("SHOW DATABASES") if row["name"] == "db")
    assert row["paused"] == 1
    value(console, "RESUME db")
    assert answer(paused) == "resumed"
    assert "database db is not paused" in value(console, "RESUME db")
    assert "no such database: nothing" in value(console, "PAUSE nothing")
    assert "cannot pause admin db: pgbouncer" in value(console, "PAUSE pgbouncer")


def test_a_pause_that_waits_can_be_cancelled(shared: Pooler, connect: Connect) -> None:
    busy, other, console = connect(shared, "db"), connect(shared, "db"), as_console(connect, shared)
    value(busy, "BEGIN")
    send(console, "PAUSE")
    wait_for_log(shared, "PAUSE command issued")
    assert not is_answered(console)
    console.cancel()
    assert "canceling statement due to user request" in answer(console)
    assert value(other, "SELECT 'served'") == "served"


def test_a_pause_outlives_the_console_that_waits_for_it(shared: Pooler, connect: Connect) -> None:
    busy, other, console = connect(shared, "db"), connect(shared, "db"), as_console(connect, shared)
    value(busy, "BEGIN")
    send(console, "PAUSE")
    wait_for_log(shared, "PAUSE command issued")
    console.close()
    # the one that asks
    wait_until(lambda: pool_of(shared, "pgbouncer", "pgbouncer")["cl_active"] == 1)
    send(other, "SELECT 'served'")
    wait_for_pool(shared, "db", cl_waiting=1)
    assert shared.console("SHOW STATE")[1] == {"key": "paused", "value": "yes"}
    shared.console("RESUME")
    assert answer(other) == "served"


def test_a_new_client_of_a_paused_database_waits_for_its_first_query(
    shared: Pooler, connect: Connect
) -> None:
    pid(connect(shared, "db"))
    shared.console("PAUSE db")
    late = connect(shared, "db")  # welcomed: the pool knows what the server would say
    send(late, "SELECT 'late'")
    wait_for_pool(shared, "db", cl_waiting=1)
    shared.console("RESUME db")
    assert answer(late) == "late"


def test_usr1_and_usr2_pause_and_resume(shared: Pooler, connect: Connect) -> None:
    client = connect(shared, "db")
    pid(client)
    shared.send_signal(signal.SIGUSR1)
    wait_for_log(shared, "got SIGUSR1, pausing all activity")
    send(client, "SELECT 'resumed'")
    wait_for_pool(shared, "db", cl_waiting=1)
    shared.send_signal(signal.SIGUSR2)
    wait_for_log(shared, "got SIGUSR2, continuing from PAUSE")
    assert answer(client) == "resumed"


# ---- KILL, DISABLE


def test_kill_ends_the_connections_of_a_database_and_leaves_it_paused(
    shared: Pooler, connect: Connect
) -> None:
    idle, busy, other = connect(shared, "db"), connect(shared, "db"), connect(shared, "other")
    value(busy, "BEGIN")
    shared.console("KILL db")
    for client in (idle, busy):
        assert "FATAL:  database removed" in value(client, "SELECT 1")
    assert server_count(shared, "db") == 0
    assert value(other, "SELECT 'other'") == "other"
    shared.console("RESUME db")
    assert pid(connect(shared, "db")) > 0


def test_kill_client_ends_one_client(shared: Pooler, connect: Connect) -> None:
    one, two = connect(shared, "db"), connect(shared, "db")
    row = next(
        row
        for row in shared.console("SHOW CLIENTS")
        if row["port"] == one.fileno() or row["database"] == "db"
    )
    shared.console(f"KILL_CLIENT {row['id']}")
    ends = [value(client, "SELECT 1") for client in (one, two)]
    assert sum("FATAL:  admin forced disconnect" in end for end in ends) == 1
    with pytest.raises(psycopg.Error, match="client not found"):
        shared.console("KILL_CLIENT 999999")


def test_disable_refuses_new_clients_alone(shared: Pooler, connect: Connect) -> None:
    client = connect(shared, "db")
    shared.console("DISABLE db")
    with pytest.raises(psycopg.OperationalError, match='database "db" is disabled'):
        psycopg.connect(shared.dsn("db"))
    assert pid(client) > 0
    shared.console("ENABLE db")
    assert pid(connect(shared, "db")) > 0


# ---- the end


@pytest.mark.parametrize("how", ["SHUTDOWN WAIT_FOR_SERVERS", signal.SIGINT], ids=str)
def test_an_end_that_waits_for_servers(
    pooler: MakePooler, connect: Connect, how: str | signal.Signals
) -> None:
    ending = pooler(settings={"query_wait_timeout": 0})
    busy, waiting, console = connect(ending), connect(ending), as_console(connect, ending)
    value(busy, "BEGIN")
    end(ending, console, how)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(ending.dsn())
    send(waiting, "SELECT 1")
    assert "FATAL:  server shutting down" in answer(waiting)
    assert value(busy, "SELECT 'still'") == "still"
    send(busy, "COMMIT")
    wait_for_the_end(ending)
    assert answer(busy) == ""


@pytest.mark.parametrize("how", ["SHUTDOWN WAIT_FOR_CLIENTS", signal.SIGTERM], ids=str)
def test_an_end_that_waits_for_clients(
    pooler: MakePooler, connect: Connect, how: str | signal.Signals
) -> None:
    ending = pooler()
    client, console = connect(ending), as_console(connect, ending)
    end(ending, console, how)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(ending.dsn())
    assert pid(client) > 0  # served as before
    with closing(psycopg.connect(ending.dsn("pgbouncer", unix_socket=True))):
        pass  # the console stays
    client.close()
    wait_for_the_end(ending)


def end(pooler: Pooler, console: Connection, how: str | signal.Signals) -> None:
    if isinstance(how, str):
        send(console, how)
        wait_for_log(pooler, f"{how} command issued")
    else:
        pooler.send_signal(how)
        wait_for_log(pooler, f"got {how.name}, shutting down, waiting for all ")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_second_signal_ends_at_once(
    pooler: MakePooler, connect: Connect, how: signal.Signals
) -> None:
    ending = pooler()
    client = connect(ending)
    value(client, "BEGIN")
    ending.send_signal(how)
    wait_for_log(ending, f"got {how.name}, shutting down")
    ending.send_signal(signal.SIGUSR2)
    wait_for_log(ending, "got SIGUSR2 while shutting down, ignoring")
    assert is_running(ending)
    ending.send_signal(how)
    wait_for_the_end(ending)


@pytest.mark.parametrize("how", ["SHUTDOWN", signal.SIGQUIT], ids=str)
def test_an_end_at_once(pooler: MakePooler, connect: Connect, how: str | signal.Signals) -> None:
    ending = pooler()
    client, console = connect(ending), as_console(connect, ending)
    value(client, "BEGIN")
    started = time.monotonic()
    if isinstance(how, str):
        send(console, how)
        assert "server closed the connection" in answer(console)
    else:
        ending.send_signal(how)
    wait_for_the_end(ending)
    assert time.monotonic() - started < 2


# ---- the console, and what SHOW tells


def test_whoever_runs_the_pooler_is_admin_over_the_unix_socket(pooler: MakePooler) -> None:
    strict = pooler(
        settings={"admin_users": "somebody", "auth_type": "scram-sha-256"},
        users={"pgbouncer": "secret"},
    )
    dsn = strict.dsn("pgbouncer", "pgbouncer", password="", unix_socket=True)
    uid = strict.socket_dir.stat().st_uid
    if os.geteuid() != uid:  # root runs the test: another uid than the pooler's
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(dsn)
        os.seteuid(uid)
    try:
        with closing(psycopg.connect(dsn, autocommit=True)) as console:
            assert console.execute(b"SHOW VERSION").fetchall()[0] == ("PgBouncer 1.25.2",)
            console.execute(b"RELOAD")
    finally:
        os.seteuid(os.getuid())
    with pytest.raises(psycopg.OperationalError, match="not allowed"):
        psycopg.connect(strict.dsn("pgbouncer", "pgbouncer"))


def test_stats_users_may_look_and_not_touch(pooler: MakePooler) -> None:
    looked_at = pooler(settings={"stats_users": "looker"}, users={"looker": "secret"})
    with closing(psycopg.connect(looked_at.dsn("pgbouncer", "looker"), autocommit=True)) as console:
        assert console.execute(b"SHOW POOLS").fetchall()
        with pytest.raises(psycopg.Error, match="admin access needed"):
            console.execute(b"PAUSE")


def test_max_client_conn_is_told_and_the_console_exempt(
    pooler: MakePooler, connect: Connect
) -> None:
    full = pooler(settings={"max_client_conn": 2})
    clients = [connect(full) for _ in range(2)]
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(full.dsn())
    text = "no more connections allowed (max_client_conn)"
    assert f"FATAL:  {text}" in str(refused.value)
    assert f"closing because: {text} (age=" in full.log()
    assert full.console("SHOW VERSION")
    clients[0].close()
    wait_for_pool(full, "postgres", cl_active=1)
    assert pid(connect(full)) > 0


def test_show_pools_tells_what_is_there_while_queries_run(
    pooler: MakePooler, connect: Connect
) -> None:
    seen = pooler(databases={"db": "dbname=postgres pool_size=2"})
    clients = [connect(seen, "db") for _ in range(4)]
    for client in clients:
        send(client, "SELECT pg_sleep(0.4)")
    wait_for_pool(seen, "db", cl_active=2, cl_waiting=2, sv_active=2, sv_idle=0)
    assert pool_of(seen, "db")["maxwait_us"] > 0
    states = [r["state"] for r in seen.console("SHOW CLIENTS") if r["database"] == "db"]
    assert sorted(states) == ["active", "active", "waiting", "waiting"]
    servers = seen.console("SHOW SERVERS")
    assert [row["state"] for row in servers] == ["active", "active"]
    lists = {row["list"]: row["items"] for row in seen.console("SHOW LISTS")}
    assert (lists["used_clients"], lists["used_servers"]) == (5, 2)  # one asks
    assert [answer(client) for client in clients] == [""] * 4
    wait_for_pool(seen, "db", cl_active=4, cl_waiting=0, sv_active=0, sv_idle=2, maxwait=0)
    states = [r["state"] for r in seen.console("SHOW CLIENTS") if r["database"] == "db"]
    assert states == ["idle"] * 4
    for client in clients:
        client.close()
    wait_for_pool(seen, "db", cl_active=0, sv_idle=2)


def test_show_users_counts_by_who_logged_in(
    pooler: MakePooler, connect: Connect, create_role: Callable[..., tuple[str, str]]
) -> None:
    name, password = create_role()
    seen = pooler(users={name: password})
    login = f"user=postgres password={seen.server.password}"
    seen.databases["forced"] = seen.entry(f"dbname=postgres {login}")
    seen.reload()
    clients = [connect(seen, "forced", name) for _ in range(2)] + [connect(seen, user=name)]
    assert [value(client, "SELECT 1") for client in clients] == ["1"] * 3
    rows = {row["name"]: row for row in seen.console("SHOW USERS")}
    assert rows[name]["current_client_connections"] == 3
    assert rows["postgres"]["current_client_connections"] == 1  # the console
    assert rows[name]["current_connections"] == 1
    assert rows["postgres"]["current_connections"] >= 1
