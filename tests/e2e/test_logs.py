"""The log of a running pooler, as its readers get it: people, pgbadger, fail2ban, collectors."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmux.daemon.log.floods import BURST
from pgmux.wire.build import build_startup_message
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

STAMP = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [A-Z]{3,6} \[\d+\] "
# What pgbadger takes from a line: place of the connection, then the text; and from two texts more.
BADGER_LINE = re.compile(
    STAMP
    + r"\S+ .-0x[0-9a-f.]*: ([\w\[\].-]*)/([\w\[\].-]*)@([a-zA-Z0-9.-]+)(?:\(\d+\))?[:\d]* (.*)"
)
BADGER_LOGIN = re.compile(r"login attempt: db=(\S+) user=(\S+)")
BADGER_END = re.compile(r"closing because: (.*) \(age=(\d+)s?\)")
BADGER_STATS = re.compile(
    STAMP + r"\S+ stats: \d+ xacts/s, \d+ queries/s, \d+ client parses/s, \d+ server parses/s,"
    r" \d+ binds/s, in \d+ B/s, out \d+ B/s, xact \d+ us, query \d+ us, wait \d+ us"
)
# docs/logs.md recommends this one.
FAIL2BAN = re.compile(
    r" (?:ERROR|WARNING) C-0x[0-9a-f]+: \S*@(?P<host>[\d.]+|\[[\da-f:]+\]):\d+"
    r" (?:pooler error: )?password authentication failed$"
)


@pytest.fixture(scope="module")
def logged(module_pooler: MakePooler) -> Pooler:
    settings = {"auth_type": "scram-sha-256", "stats_period": 1}
    return module_pooler(settings=settings, users={"eve": "secret"})


def connect(pooler: Pooler, **kwargs: Any) -> None:
    """Log in, run a query, leave; a refusal is for the log to tell."""
    try:
        dsn = pooler.dsn(**kwargs)
        with closing(psycopg.connect(dsn, sslmode="disable", autocommit=True)) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        pass


def added(pooler: Pooler, before: int, text: str) -> list[str]:
    """The lines since `before`, once there is one with `text`."""
    wait_until(lambda: text in pooler.log()[before:])
    return pooler.log()[before:].splitlines()


def test_pgbadger_reads_logins_ends_and_statistics(logged: Pooler) -> None:
    before = len(logged.log())
    connect(logged)
    added(logged, before, "client close request")
    lines = added(logged, before, " stats: ")
    matches = [match for line in lines if (match := BADGER_LINE.match(line))]
    clients = [match for match in matches if match[1] == "postgres" and match[3] == "127.0.0.1"]
    assert any(BADGER_LOGIN.search(match[4]) for match in clients)
    assert any(BADGER_END.search(match[4]) for match in clients)
    assert any(BADGER_STATS.match(line) for line in lines)


def test_fail2ban_finds_each_refused_password_and_its_address(logged: Pooler) -> None:
    before = len(logged.log())
    for _ in range(3):
        connect(logged, user="eve", password="wrong")
    wait_until(lambda: logged.log()[before:].count("SASL authentication failed (age=") == 3)
    found = FAIL2BAN.finditer  # one line of each refusal names the reason
    lines = logged.log()[before:].splitlines()
    assert [match["host"] for line in lines for match in found(line)] == ["127.0.0.1"] * 3


def test_a_refused_password_is_told_as_pgbouncer_tells_it(logged: Pooler) -> None:
    before = len(logged.log())
    connect(logged, user="eve", password="wrong")
    lines = added(logged, before, "pooler error: ")
    place = re.compile(STAMP + r"(\S+) C-0x[0-9a-f]+: postgres/eve@127\.0\.0\.1:\d+ (.*)")
    assert [match.groups() for line in lines if (match := place.match(line))] == [
        ("LOG", "login attempt: db=postgres user=eve tls=no replication=no"),
        ("ERROR", "password authentication failed"),
        ("LOG", "closing because: SASL authentication failed (age=0s)"),
        ("WARNING", "pooler error: SASL authentication failed"),
    ]


def test_a_probe_that_connects_and_closes_leaves_no_line(logged: Pooler) -> None:
    before = len(logged.log())
    for _ in range(3):
        socket.create_connection((logged.host, logged.port)).close()
    connect(logged)
    lines = added(logged, before, "client close request")
    assert not any("(nodb)" in line for line in lines)


def test_a_flood_is_bounded_counted_and_said(pooler: MakePooler) -> None:
    flooded = pooler()
    count = BURST + 200
    stranger = build_startup_message({"user": "stranger", "database": "postgres"})
    for _ in range(count):
        with socket.create_connection((flooded.host, flooded.port)) as sock:
            sock.sendall(stranger)
            while sock.recv(1000):
                pass
    connect(flooded)
    wait_until(lambda: "client close request" in flooded.log())
    # Who gets in is told whole, though its kind of line was flooded when it came.
    assert "login attempt: db=postgres user=postgres" in flooded.log()
    flooded.send_signal(signal.SIGTERM)  # what isn't said by then is said at the end
    wait_until(lambda: 'lines like "pooler error" suppressed' in flooded.log())
    wait_until(lambda: 'lines like "closing because" suppressed' in flooded.log())
    for kind in ("login attempt", "closing because", "pooler error"):
        text = flooded.log()
        written = len(re.findall(rf"postgres/stranger@\S+ {kind}: ", text))
        held_back = re.findall(rf'(\d+) lines like "{kind}" suppressed in the last', text)
        assert BURST <= written < count
        assert written + sum(map(int, held_back)) == count


def test_json_is_an_object_a_line_with_the_connection_in_it(pooler: MakePooler) -> None:
    made = pooler(settings={"stats_period": 1}, pgmux={"log_format": "json"})
    connect(made)
    wait_until(lambda: "client close request" in made.log() and "stats: " in made.log())
    lines = [json.loads(line) for line in (made.directory / "log").read_text().splitlines()]
    (end,) = [line for line in lines if line.get("reason") == "client close request"]
    assert (end["side"], end["database"], end["user"]) == ("client", "postgres", "postgres")
    assert (end["level"], end["pid"], end["address"]) == ("LOG", made.pid, "127.0.0.1")
    assert end["message"] == f"closing because: client close request (age={end['age']}s)"
    stats = next(line for line in lines if line["message"].startswith("stats: "))
    assert stats["avg_query_count"] >= 0
    assert {line["side"] for line in lines if "side" in line} == {"client", "server"}


def test_the_service_manager_has_the_stats_as_status(
    pooler: MakePooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"pgmux-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(20)
        manager.bind(f"\0{name}")
        pooler(settings={"stats_period": 1, "log_stats": 0})
        assert manager.recv(1000) == b"READY=1"
        assert manager.recv(1000).startswith(b"STATUS=stats: 0 xacts/s, 0 queries/s, ")


def test_kill_closes_servers_for_one_reason_as_pgbouncer_does(pooler: MakePooler) -> None:
    made = pooler()
    connect(made)
    made.console("KILL postgres")
    wait_until(lambda: "closing because: database removed" in made.log())
    assert "pause mode" not in made.log()


def test_with_v_steps_are_told_and_what_a_reload_has_changed(pooler: MakePooler) -> None:
    made = pooler(settings={"verbose": 1})
    connect(made)
    made.settings["default_pool_size"] = 7
    made.databases["extra"] = made.entry("dbname=postgres")
    made.reload()
    wait_until(lambda: "new database: extra" in made.log())
    said = re.findall(r" DEBUG (?:\S-0x\S+ \S+@\S+ )?(.*)", made.log())
    assert said[:4] == [
        "new pool: postgres/postgres",
        "launching new connection to server",
        "logged in",
        "server login ok, start accepting queries",
    ]
    assert "changed setting: default_pool_size" in said


def test_the_format_changes_at_reload(pooler: MakePooler) -> None:
    made = pooler()
    made.pgmux["log_format"] = "json"
    made.reload()
    connect(made)
    wait_until(lambda: '"reason": "client close request"' in made.log())
    made.pgmux["log_format"] = "text"
    made.reload()
    before = len(made.log())
    connect(made)
    assert BADGER_LINE.match(added(made, before, "client close request")[-1])


def test_set_changes_the_format_till_the_next_reload(pooler: MakePooler) -> None:
    made = pooler()
    made.console("SET log_format = 'json'")
    connect(made)
    wait_until(lambda: '"reason": "client close request"' in made.log())
    made.reload()
    before = len(made.log())
    connect(made)
    assert BADGER_LINE.match(added(made, before, "client close request")[-1])


def test_logrotate_moves_the_file_and_hup_makes_a_new_one(pooler: MakePooler) -> None:
    made = pooler()
    path = made.directory / "log"
    path.rename(made.directory / "log.1")
    made.send_signal(signal.SIGHUP)
    wait_until(path.exists)
    connect(made)
    wait_until(lambda: "client close request" in path.read_text())
    assert "process up" not in path.read_text()


def test_set_and_reload_switch_the_log_file_and_a_bad_one_is_refused(pooler: MakePooler) -> None:
    made = pooler()
    other = made.directory / "other"
    made.console(f"SET logfile = '{other}'")
    connect(made)
    wait_until(lambda: "client close request" in other.read_text())
    with pytest.raises(psycopg.Error, match="Cannot open logfile: '/nowhere/log'"):
        made.console("SET logfile = '/nowhere/log'")
    connect(made)
    made.reload()
    wait_until(lambda: other.read_text().count("closing because: client close request") >= 2)
    assert "RELOAD" not in (made.directory / "log").read_text()


# A stderr that nobody reads, and syslog; the process is started so that root isn't needed.

PROCESS = """
import sys
from pgmux.daemon import process
from pgmux.daemon.log import Log
Log.__init__.__kwdefaults__["syslog"] = sys.argv.pop()
process.refuse_root = lambda: None
from pgmux.daemon.main import main
sys.exit(main(sys.argv[1:], "pgmux run"))
"""


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "pgbouncer.ini"
    path.write_text(
        f"[databases]\n[pgbouncer]\nauth_type = trust\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nlogfile = {tmp_path}/log\n"
        "admin_users = boss\nsyslog_facility = local1\n"
        f"auth_file = {tmp_path}/users\n"
    )
    (tmp_path / "users").write_text('"boss" ""\n')
    return path


@pytest.fixture
def unread(ini: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A pooler whose stderr is a pipe that nobody reads."""
    command = [sys.executable, "-c", PROCESS, str(ini), str(ini.with_name("syslog"))]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        log = ini.with_name("log")
        wait_until(lambda: log.exists() and "process up" in log.read_text())
        yield process
        process.kill()


def boss(ini: Path) -> str:
    port = re.search(r"listen_port = (\d+)", ini.read_text())
    assert port is not None
    return f"host=127.0.0.1 port={port[1]} user=boss dbname=pgbouncer sslmode=disable"


def console(ini: Path, sql: str) -> None:
    with psycopg.connect(boss(ini), autocommit=True) as admin:
        admin.execute(sql.encode())


def test_a_stderr_that_nobody_reads_stops_nobody(
    unread: subprocess.Popen[bytes], ini: Path
) -> None:
    log = ini.with_name("log")
    while log.stat().st_size < 1 << 17:  # more than a pipe holds
        with psycopg.connect(boss(ini), autocommit=True) as admin:
            for _ in range(20):
                with pytest.raises(psycopg.Error):
                    admin.execute(b"zork " + b"x" * 1000)
    assert "WARNING log lines are being lost: stderr: nobody reads it" in log.read_text()
    assert unread.stderr is not None
    os.set_blocking(unread.stderr.fileno(), False)
    while unread.stderr.read(1 << 16):
        pass
    console(ini, "SHOW VERSION")
    wait_until(lambda: b"log lines lost: stderr: nobody reads it" in (unread.stderr.read() or b""))  # type: ignore[union-attr]


def test_set_switches_syslog_on_and_off(unread: subprocess.Popen[bytes], ini: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(ini.with_name("syslog")))
        daemon.settimeout(10)
        console(ini, "SET syslog = 1")
        end = daemon.recv(10_000)
        assert re.fullmatch(rb"<142>.* pgbouncer\[\d+\]: C-0x\w+: pgbouncer/boss@.*", end)
        console(ini, "SET syslog = 0")
        daemon.recv(10_000)  # its login
        unread.terminate()
        unread.wait()
        daemon.setblocking(False)
        with pytest.raises(BlockingIOError):
            daemon.recv(10_000)


def test_what_is_set_for_a_client_is_noise(pooler: MakePooler) -> None:
    noisy = pooler(settings={"verbose": 2})
    with psycopg.connect(noisy.dsn(options="-c DateStyle=ISO"), autocommit=True) as client:
        client.execute("SELECT 1")
        client.execute("SELECT 1")
    lines = [line for line in noisy.log().splitlines() if " NOISE " in line]
    texts = [line.partition(" NOISE ")[2] for line in lines]
    assert texts == [
        "varcache_apply: SET DateStyle='ISO';",
        "varcache_set_canonical: setting DateStyle to its canonical version ISO -> ISO, MDY",
    ]
