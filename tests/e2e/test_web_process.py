"""The web process that a pooler starts: what happens to it, which the pools don't notice."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmux.ops.postgres import find_free_port
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until


def get(port: int, path: str = "/healthz") -> tuple[int, str] | None:
    """Status and body; None where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        with closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
    except OSError:
        return None


def is_served(port: int) -> bool:
    found = get(port)
    return found is not None and found[0] == 200


def show_web(pooler: Pooler) -> dict[str, Any]:
    (row,) = pooler.console("SHOW WEB")
    return row


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def act(port: int, token: str, command: str, database: str) -> tuple[int, str]:
    """What the web process answers to a command of the dashboard."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        body = json.dumps({"action": command, "database": database})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request("POST", "/api/actions", body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.fixture
def port() -> int:
    return find_free_port()


def test_http_listen_starts_it_under_its_own_name(pooler: MakePooler, port: int) -> None:
    served = pooler(pgmux={"http_listen": port})
    wait_until(lambda: is_served(port))
    row = show_web(served)
    assert (row["state"], row["address"], row["starts"]) == ("running", f"127.0.0.1:{port}", 1)
    assert Path(f"/proc/{row['pid']}/comm").read_text() == "pgmux-web\n"
    assert Path(f"/proc/{row['pid']}").stat().st_uid == Path(f"/proc/{served.pid}").stat().st_uid
    assert os.getpriority(os.PRIO_PROCESS, row["pid"]) > os.getpriority(
        os.PRIO_PROCESS, served.pid
    ), "the pooler has the CPU first"
    assert len(served.console("SHOW CLIENTS")) == 1, "it is no client"
    wait_until(lambda: f"web process: listening on http://127.0.0.1:{port}" in served.log())


def test_one_that_is_killed_is_started_again_and_a_transaction_goes_on(
    pooler: MakePooler, port: int
) -> None:
    served = pooler(pgmux={"http_listen": port})
    wait_until(lambda: is_served(port))
    with psycopg.connect(served.dsn()) as client:
        client.execute("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS n")
        first = show_web(served)["pid"]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: show_web(served)["starts"] == 2 and is_served(port))
        assert client.execute("SELECT n FROM t").fetchone() == (1,)
    row = show_web(served)
    assert row["last_end"] == "killed by SIGKILL" and row["pid"] != first


def test_one_that_cant_listen_says_why_and_listens_when_it_can(
    pooler: MakePooler, port: int
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        served = pooler(pgmux={"http_listen": port})
        wait_until(lambda: f":{port}: address already in use" in show_web(served)["last_end"])
    wait_until(lambda: is_served(port), timeout=20)
    assert "cannot listen on" in served.log()


def test_reload_and_set_move_it_and_end_it(pooler: MakePooler, port: int) -> None:
    served = pooler()
    assert show_web(served)["state"] == "off"
    served.pgmux["http_listen"] = port
    served.reload()
    wait_until(lambda: is_served(port))
    first = show_web(served)["pid"]
    other = find_free_port()
    served.console(f"SET http_listen = '127.0.0.1:{other}'")
    wait_until(lambda: is_served(other))
    assert not is_served(port) and is_gone(first)
    served.pgmux.clear()
    served.reload()
    wait_until(lambda: show_web(served)["state"] == "off")
    assert not is_served(other)


@pytest.mark.parametrize("signum", [signal.SIGQUIT, signal.SIGKILL])
def test_the_end_of_the_pooler_is_its_end(
    pooler: MakePooler, port: int, signum: signal.Signals
) -> None:
    served = pooler(pgmux={"http_listen": port})
    wait_until(lambda: is_served(port))
    pid = show_web(served)["pid"]
    served.send_signal(signum)
    wait_until(lambda: is_gone(pid))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_one_that_is_stuck_ends_with_the_pooler_too(
    pooler: MakePooler, port: int, signum: signal.Signals
) -> None:
    served = pooler(pgmux={"http_listen": port})
    wait_until(lambda: is_served(port))
    pid = show_web(served)["pid"]
    os.kill(pid, signal.SIGSTOP)
    served.send_signal(signum)
    wait_until(lambda: is_gone(pid))


def test_it_serves_while_the_pooler_waits_for_its_last_clients(
    pooler: MakePooler, port: int
) -> None:
    served = pooler(pgmux={"http_listen": port})
    wait_until(lambda: is_served(port))
    with psycopg.connect(served.dsn()) as client:
        client.execute("SELECT 1")
        served.send_signal(signal.SIGTERM)
        wait_until(lambda: "shutting down" in served.log())
        assert is_served(port)
        client.execute("SELECT 1")
    wait_until(lambda: not is_served(port))


@pytest.mark.parametrize("text", ["nonsense", "127.0.0.1:0", "http://x:1"])
def test_a_bad_address_is_refused_with_its_place(pooler: MakePooler, text: str) -> None:
    served = pooler()
    served.pgmux["http_listen"] = text
    with pytest.raises(psycopg.Error) as caught:
        served.reload()
    detail = caught.value.diag.message_detail or ""
    assert "pgmux.ini:2" in detail and "http_listen" in detail
    assert show_web(served)["state"] == "off"


def test_the_token_of_the_pooler_s_file_pauses_and_another_doesnt(
    pooler: MakePooler, port: int
) -> None:
    served = pooler(databases={"app": "dbname=postgres"})
    served.write_file("token", "correct-horse-battery\n")
    (served.directory / "token").chmod(0o600)
    served.pgmux |= {"http_listen": port, "http_token_file": served.directory / "token"}
    served.reload()
    wait_until(lambda: is_served(port))
    assert act(port, "guess", "pause", "app")[0] == 401
    assert "wrong token at the web process" in served.log()
    assert act(port, "correct-horse-battery", "pause", "app")[0] == 200
    assert "PAUSE 'app' command issued (via the web process)" in served.log()
    assert "correct-horse" not in served.log() and "guess" not in served.log()
    rows = {(row["check"], row["name"]): row for row in served.console("SHOW READINESS")}
    assert rows["database", "app"]["reason"] == "paused"
    (served.directory / "token").chmod(0o644)
    served.console("RELOAD")
    assert act(port, "correct-horse-battery", "resume", "app")[0] == 401
    assert "others may read or write it (mode 0644)" in served.log()


def test_what_postgresql_allows_is_asked_over_a_connection_that_is_there(
    pooler: MakePooler, port: int
) -> None:
    served = pooler(pgmux={"http_listen": port})
    with psycopg.connect(served.dsn(), autocommit=True) as client:
        allowed = client.execute("SHOW max_connections").fetchone()

        def row() -> dict[str, Any] | None:
            rows = served.console("SHOW HOSTS")
            return rows[0] if rows and rows[0]["max_connections"] else None

        found = wait_until(row)
        assert (str(found["max_connections"]),) == allowed
        assert found["server_connections"] == 1, "none is opened for it"
        assert found["reserved_connections"] >= 3
    assert found["host"] == served.server.host and found["port"] == served.server.port


def test_a_reload_that_is_refused_makes_the_pooler_unready(pooler: MakePooler) -> None:
    served = pooler()

    def configuration() -> tuple[int, str]:
        rows = served.console("SHOW READINESS")
        return next((r["ready"], r["reason"]) for r in rows if r["check"] == "configuration")

    assert configuration() == (1, "")
    served.settings["pool_mode"] = "nonsense"
    with pytest.raises(psycopg.Error):
        served.reload()
    ready, reason = configuration()
    assert not ready and "pool_mode" in reason
    served.settings["pool_mode"] = "transaction"
    served.reload()
    assert configuration() == (1, "")


def test_a_database_whose_server_is_gone_isnt_ready_and_says_why(pooler: MakePooler) -> None:
    served = pooler(databases={"gone": "host=127.0.0.1 port=1", "app": "dbname=postgres"})
    with pytest.raises(psycopg.Error):
        psycopg.connect(served.dsn("gone"), connect_timeout=2)
    rows = {row["name"]: row for row in served.console("SHOW READINESS")}
    assert not rows["gone"]["ready"] and rows["gone"]["reason"]
    assert (rows["app"]["ready"], rows["app"]["reason"]) == (1, "no server asked for yet")
