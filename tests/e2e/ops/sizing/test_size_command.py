"""`pgmux size` at pgmux and PgBouncer 1.18 under load whose right answer is known."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from pgmux.config.ini import read_ini
from pgmux.config.load import SECTIONS
from pgmux.config.problems import Problems
from pgmux.ops.edited_texts import EditedTexts
from pgmux.ops.files import read_text
from pgmux.ops.ini_edit import IniEdit
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from tests.e2e.ops.sizing.known_load import arriving, returning
from tests.fixtures.operator import without_libpq
from tests.fixtures.tools import command_of
from tests.fixtures.waiting import wait_until

SIZE = (sys.executable, "-P", "-m", "pgmux", "size")
EDITED = "edited.ini"
TIMEOUT = 60.0  # seconds
SHORTAGE = 14  # connections that a second advice may share out
Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One run of the command."""

    code: int
    out: str
    err: str

    @property
    def advice(self) -> Json:
        found: Json = json.loads(self.out)
        return found

    def pool(self, database: str) -> Json:
        [found] = (pool for pool in self.advice["pools"] if pool["database"] == database)
        return dict(found)


@dataclass(frozen=True)
class Setup:
    """A pooler, the PostgreSQL behind it, and what the command said of them under load."""

    pooler: PoolerProcess
    postgres: EmbeddedPostgres
    advice: Asked
    scarce: Asked
    interrupted: Asked
    unread: Asked


def start_pooler(postgres: EmbeddedPostgres, kind: str) -> PoolerProcess:
    where = f"host={postgres.host} port={postgres.port} dbname=postgres"
    return PoolerProcess(
        port=find_free_port(),
        databases={
            "open": f"{where} pool_size=4",
            "full": f"{where} pool_size=2",
            "quiet": where,
            "session": f"{where} pool_mode=session",
        },
        users={postgres.superuser: postgres.password},
        settings={
            "auth_type": "trust",
            "pool_mode": "transaction",
            "default_pool_size": 5,
            "admin_users": "postgres",
        },
        command=command_of(kind),
    )


def start_size(
    pooler: PoolerProcess, *arguments: str, password: str = "", config: str = "pgbouncer.ini"
) -> subprocess.Popen[str]:
    console = f"host={pooler.host} port={pooler.port} user=postgres"
    return subprocess.Popen(
        [*SIZE, str(pooler.directory / config), "--console", console, *arguments],
        env=without_libpq(PGPASSWORD=password),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> Asked:
    out, err = process.communicate(timeout=TIMEOUT)
    return Asked(process.returncode, out, err)


def dsn_of(pooler: PoolerProcess, database: str) -> str:
    return f"host={pooler.host} port={pooler.port} dbname={database} user=postgres"


def transactions(pooler: PoolerProcess, database: str) -> int:
    with psycopg.connect(dsn_of(pooler, "pgbouncer"), autocommit=True) as console:
        rows = console.execute(b"SHOW STATS_TOTALS").fetchall()
    return next((int(row[2]) for row in rows if row[0] == database), 0)


@pytest.fixture(scope="module", params=["pgmux", "pgbouncer"])
def setup(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Iterator[Setup]:
    """All loads at once, each in a database of its own, and three who watch."""
    with start_pooler(postgres, request.param) as pooler, ExitStack() as loads:
        for load in (
            arriving(dsn_of(pooler, "open"), rate=60, seconds=0.05),
            returning(dsn_of(pooler, "full"), clients=8, seconds=0.04, thinking=0.04),
            returning(dsn_of(pooler, "quiet"), clients=1, seconds=0.01, thinking=0.5),
            returning(dsn_of(pooler, "session"), clients=4, seconds=0.01, thinking=0.2),
        ):
            loads.enter_context(load)
        wait_until(lambda: transactions(pooler, "open") > 20)
        server = f"host={postgres.host} port={postgres.port} user=postgres dbname=postgres"
        watch = ("--for", "4s", "--interval", "50ms", "--postgres", server)
        free = 200 - 3 - SHORTAGE  # max_connections of the tests' PostgreSQL
        advice = start_size(pooler, *watch, "--json", password=postgres.password)
        scarce = start_size(
            pooler, *watch, "--json", "--keep-free", str(free), password=postgres.password
        )
        for name in (EDITED, "as_it_was.ini"):
            shutil.copy(pooler.directory / "pgbouncer.ini", pooler.directory / name)
        interrupted = start_size(
            pooler, "--for", "1h", "--interval", "50ms", "--edit", config=EDITED
        )
        unread = start_size(pooler, "--for", "3s", "--interval", "50ms")
        assert unread.stdout is not None
        unread.stdout.close()
        unread.stdout = None
        done, short = end(advice), end(scarce)
        interrupted.send_signal(signal.SIGINT)
        yield Setup(pooler, postgres, done, short, end(interrupted), end(unread))


def test_offered_load_is_arrivals_times_time_and_gets_the_servers_that_it_needs(
    setup: Setup,
) -> None:
    demand, wanted = (setup.advice.pool("open")[name] for name in ("demand", "wanted"))
    assert 40 < demand["rate"] < 75
    assert 0.045 < demand["time"] < 0.065  # the waits for its four servers aren't in it
    assert 2.3 < demand["load"] < 4.2
    # Erlang C, for 99 of 100 within 5 ms: 8 or 9 for 3.0 servers busy; chance moves that a little.
    assert 7 <= wanted["pool_size"] <= 12


def test_a_full_pool_gets_what_its_clients_would_hold_if_none_waited(setup: Setup) -> None:
    pool = setup.advice.pool("full")
    assert pool["demand"]["saturation"] == "full"
    assert pool["demand"]["load"] == pytest.approx(2.0, rel=0.15)
    # 8 clients that work for 40 ms and think for 40 ms are 4 servers; 8 are enough whatever comes.
    assert pool["demand"]["likely"] == pytest.approx(4.0, rel=0.2)
    assert 4 <= pool["wanted"]["pool_size"] <= 8
    assert pool["now"]["pool_size"] == 2
    assert "hidden" in pool["caveat"]


def test_of_a_nearly_idle_pool_nothing_is_said(setup: Setup) -> None:
    pool = setup.advice.pool("quiet")
    assert pool["wanted"] is None and "100 are needed" in pool["lacking"]
    assert pool["after"] == pool["now"]


def test_in_session_mode_each_client_has_a_server(setup: Setup) -> None:
    pool = setup.advice.pool("session")
    assert pool["demand"]["pool_mode"] == "session"
    assert pool["wanted"]["pool_size"] == 4
    assert pool["demand"]["by_counters"] < 1


def test_postgresql_s_room_is_without_the_pooler_s_own_servers(setup: Setup) -> None:
    [server] = setup.advice.advice["servers"]
    room = server["room"]
    assert (room["max_connections"], room["reserved"]) == (200, 3)
    assert room["others"] <= 3  # who watched besides
    assert setup.advice.code == 1


def test_what_there_is_not_is_not_advised(setup: Setup) -> None:
    [server] = setup.scarce.advice["servers"]
    assert server["step"] == "shared" and setup.scarce.code == 3
    assert server["after"] <= server["room"]["left"] <= SHORTAGE
    sizes = {pool["database"]: pool["after"]["pool_size"] for pool in setup.scarce.advice["pools"]}
    assert sizes["open"] > sizes["quiet"] >= 1


def test_ctrl_c_ends_early_with_advice(setup: Setup) -> None:
    assert setup.interrupted.code == 1, setup.interrupted.err
    for said in ("open/postgres", "servers busy", "pool_size", "wait of 99 in 100", "--postgres"):
        assert said in setup.interrupted.out
    assert "Traceback" not in setup.interrupted.err


def test_edit_puts_the_sizes_into_the_file_and_leaves_every_other_line(setup: Setup) -> None:
    as_it_was = (setup.pooler.directory / "as_it_was.ini").read_text().splitlines()
    edited = (setup.pooler.directory / EDITED).read_text().splitlines()
    changed = [pair for pair in zip(as_it_was, edited, strict=True) if pair[0] != pair[1]]
    assert [old.split(" = ")[0] for old, _ in changed] == ["open", "full"]
    for old, new in changed:
        size = int(new.rpartition("pool_size=")[2])
        assert new.startswith(old.partition(" pool_size")[0]) and size > 2
    assert f"changed: {setup.pooler.directory / EDITED}; now RELOAD" in setup.interrupted.err


def test_what_is_advised_is_what_the_pooler_takes(setup: Setup) -> None:
    pooler, text = setup.pooler, setup.advice.advice["fragment"]
    apply(text, pooler)
    with psycopg.connect(dsn_of(pooler, "pgbouncer"), autocommit=True) as console:
        console.execute(b"RELOAD")
        found = console.execute(b"SHOW DATABASES")
        assert found.description is not None
        at = [column.name for column in found.description].index("pool_size")
        sizes = {row[0]: int(row[at]) for row in found.fetchall()}
    for name in ("open", "full"):
        assert sizes[name] == setup.advice.pool(name)["after"]["pool_size"]
    assert sizes["quiet"] == 5


def apply(fragment: str, pooler: PoolerProcess) -> None:
    """Each line of the fragment in the place of that name of the pooler's file."""
    path = str(pooler.directory / "pgbouncer.ini")
    problems = Problems()
    entries, _ = read_ini("fragment", lambda _: fragment, SECTIONS, problems)
    problems.raise_any()
    texts = EditedTexts(read_text)
    edit = IniEdit(path, texts)
    changed = [entry for entry in entries if entry.key is not None]
    assert changed
    for entry in changed:
        edit.set(entry.section, str(entry.key), entry.value)
    texts.write()


@pytest.fixture(scope="module")
def idle(postgres: EmbeddedPostgres) -> Iterator[PoolerProcess]:
    with start_pooler(postgres, "pgmux") as pooler:
        yield pooler


def test_where_nobody_works_there_is_no_advice(idle: PoolerProcess) -> None:
    asked = end(start_size(idle, "--for", "0.5s", "--interval", "20ms"))
    assert asked.code == 2 and not asked.out
    assert "nobody has used a pool" in asked.err


def test_ctrl_c_before_enough_was_seen_is_no_advice(idle: PoolerProcess) -> None:
    process = start_size(idle)
    assert process.stderr is not None
    assert "Observing" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    asked = end(process)
    assert asked.code == 130 and not asked.out and "Traceback" not in asked.err


def test_a_postgresql_that_lets_nobody_in_is_said_before_anything_is_observed(
    idle: PoolerProcess, postgres: EmbeddedPostgres
) -> None:
    server = f"host={postgres.host} port={postgres.port} user=postgres"
    asked = end(start_size(idle, "--postgres", server, password="wrong"))
    assert asked.code == 2 and not asked.out
    assert "password authentication failed" in asked.err and "Observing" not in asked.err


def test_a_password_on_the_command_line_is_refused(idle: PoolerProcess) -> None:
    asked = end(start_size(idle, "--postgres", "host=db1 password=sekrit"))
    assert asked.code == 2 and "sekrit" not in asked.err


def test_who_stops_reading_sees_no_traceback(setup: Setup) -> None:
    assert setup.unread.code == 1 and "Traceback" not in setup.unread.err
