"""The pooler's numbers, read by an application: of pgmux and of PgBouncer, and of none."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry, Gauge

from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy import collect_pgbouncer_metrics, pgbouncer_metrics
from tests.fixtures.pooler import MakePooler
from tests.fixtures.tools import require_tool

HOST = "127.0.0.1"
SECRET = "hunter2-secret"
USERS = {"trader": SECRET}
SETTINGS = {"auth_type": "scram-sha-256", "stats_users": "trader", "pool_mode": "transaction"}
DOCUMENTED = {
    "pgbouncer_databases_current_connections": {"name": "mt5_trading"},
    "pgbouncer_databases_pool_size": {"name": "mt5_trading"},
    "pgbouncer_pools_cl_active": {"database": "mt5_trading"},
    "pgbouncer_pools_cl_waiting": {"database": "mt5_trading"},
    "pgbouncer_pools_sv_active": {"database": "mt5_trading"},
    "pgbouncer_pools_sv_idle": {"database": "mt5_trading"},
    "pgbouncer_pools_maxwait": {"database": "mt5_trading"},
}


@pytest.fixture(scope="module")
def trader(postgres: EmbeddedPostgres) -> Iterator[str]:
    postgres.psql(f"CREATE ROLE trader LOGIN PASSWORD '{SECRET}'")
    yield "dbname=postgres pool_size=2"
    postgres.psql("DROP ROLE trader")


@pytest.fixture(scope="module")
def pgmux(module_pooler: MakePooler, trader: str) -> PoolerProcess:
    return module_pooler(databases={"mt5_trading": trader}, users=USERS, settings=SETTINGS)


@pytest.fixture(scope="module")
def pgbouncer(postgres: EmbeddedPostgres, trader: str) -> Iterator[PoolerProcess]:
    with PoolerProcess(
        port=find_free_port(),
        databases={"mt5_trading": f"host={postgres.host} port={postgres.port} {trader}"},
        users=USERS,
        settings=SETTINGS,
        command=(str(require_tool("pgbouncer")),),
    ) as pooler:
        yield pooler


@pytest.fixture(params=["pgmux", "pgbouncer"])
def pooler(request: pytest.FixtureRequest) -> PoolerProcess:
    pooler: PoolerProcess = request.getfixturevalue(request.param)
    return pooler


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgbouncer_metrics, "_failures", {})
    monkeypatch.setattr(pgbouncer_metrics, "_warned", set())


Collect = Callable[..., bool]


@pytest.fixture
def collect(registry: CollectorRegistry) -> Collect:
    def call(port: int, password: str | None = SECRET, **arguments: Any) -> bool:
        return collect_pgbouncer_metrics(
            pgbouncer_host=HOST,
            pgbouncer_user="trader",
            pgbouncer_password=password,
            pgbouncer_port=port,
            registry=registry,
            **arguments,
        )

    return call


def find(registry: CollectorRegistry, metric: str, **labels: str) -> list[float]:
    """The values of the series that have these labels."""
    return [
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    ]


def test_what_the_document_names_is_there(
    pooler: PoolerProcess, collect: Collect, registry: CollectorRegistry
) -> None:
    dsn = f"postgresql://trader:{SECRET}@{HOST}:{pooler.port}/mt5_trading"
    with psycopg.connect(dsn) as client:
        client.execute("SELECT 1")
        assert collect(pooler.port)
        found = {name: find(registry, name, **labels) for name, labels in DOCUMENTED.items()}
    assert found.pop("pgbouncer_pools_maxwait") == [0.0]
    assert found == {
        "pgbouncer_databases_current_connections": [1.0],
        "pgbouncer_databases_pool_size": [2.0],
        "pgbouncer_pools_cl_active": [1.0],
        "pgbouncer_pools_cl_waiting": [0.0],
        "pgbouncer_pools_sv_active": [1.0],
        "pgbouncer_pools_sv_idle": [0.0],
    }
    assert find(registry, "pgbouncer_up", pgbouncer=f"{HOST}:{pooler.port}") == [1.0]


def test_maxwait_is_seconds_with_their_fraction() -> None:
    (column,) = (c for c in pgbouncer_metrics.COLUMNS if c.metric == "pgbouncer_pools_maxwait")
    assert column.value({"maxwait": "3", "maxwait_us": "250000"}) == 3.25
    assert column.value({"maxwait": "3"}) == 3.0


@pytest.mark.parametrize("reason", ["dead port", "wrong password", "no password", "no pooler"])
def test_a_console_that_is_not_read_is_said_once_and_raises_nothing(
    reason: str,
    pgmux: PoolerProcess,
    postgres: EmbeddedPostgres,
    collect: Collect,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = {"dead port": find_free_port(), "no pooler": postgres.port}.get(reason, pgmux.port)
    password = {"wrong password": "wrong-secret", "no password": None}.get(reason, SECRET)
    assert not collect(port, password)
    assert not collect(port, password)
    (record,) = caplog.records
    assert f"{HOST}:{port}" in record.getMessage()
    assert "secret" not in record.getMessage().replace("md5", "")
    assert find(registry, "pgbouncer_up") == [0.0]
    assert find(registry, "pgbouncer_pools_cl_active") == []


def test_what_was_read_before_does_not_stay_when_the_console_is_gone(
    pgmux: PoolerProcess,
    collect: Collect,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert collect(pgmux.port)
    assert find(registry, "pgbouncer_pools_cl_active")
    assert not collect(pgmux.port, "wrong")
    for metric in DOCUMENTED:
        assert find(registry, metric) == []
    assert find(registry, "pgbouncer_up") == [0.0]
    with caplog.at_level("INFO", "pgmux_apps"):
        assert collect(pgmux.port)
    assert f"the console {HOST}:{pgmux.port} is read again" in caplog.text
    assert find(registry, "pgbouncer_up") == [1.0]


def test_a_pool_that_is_gone_has_no_series(
    collect: Collect, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [[{"database": name, "user": "u"} | NUMBERS for name in "ab"], []]
    monkeypatch.setattr(pgbouncer_metrics, "read_console", lambda *_: answers)
    assert collect(6432)
    assert len(find(registry, "pgbouncer_pools_cl_active")) == 2
    del answers[0][0]
    assert collect(6432)
    assert find(registry, "pgbouncer_pools_cl_active", database="a") == []
    assert find(registry, "pgbouncer_pools_cl_active", database="b") == [1.0]


COUNTS = ("cl_active", "cl_waiting", "sv_active", "sv_idle", "maxwait", "maxwait_us")
NUMBERS = dict.fromkeys(COUNTS, "1")


def test_what_nobody_reads_any_longer_grows_stale(
    collect: Collect, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgbouncer_metrics, "read_console", lambda *_: [[], []])
    assert collect(6432, stale_after=300)
    assert find(registry, "pgbouncer_up") == [1.0]
    now = pgbouncer_metrics.monotonic()
    monkeypatch.setattr(pgbouncer_metrics, "monotonic", lambda: now + 301)
    assert find(registry, "pgbouncer_up") == []


@pytest.mark.parametrize("row", [{}, {"database": "a", "user": "u"} | NUMBERS | {"sv_idle": "x"}])
def test_an_answer_that_is_no_poolers_is_an_error_like_any_other(
    row: dict[str, str], collect: Collect, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(pgbouncer_metrics, "read_console", lambda *_: [[row], []])
    assert not collect(6432)
    assert "isn't the console of a pooler" in caplog.text


def test_two_poolers_are_apart(
    collect: Collect, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [[{"database": "a", "user": "u"} | NUMBERS], []]
    monkeypatch.setattr(pgbouncer_metrics, "read_console", lambda *_: answers)
    assert collect(6432)
    assert collect(6433)
    found = find(registry, "pgbouncer_pools_cl_active", pgbouncer=f"{HOST}:6433")
    assert found == [1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pgbouncer_host": ""}, "pgbouncer_host=''"),
        ({"pgbouncer_host": f"postgresql://trader:{SECRET}@db"}, "pgbouncer_host: .* not a URL"),
        ({"pgbouncer_host": f"trader:{SECRET}@db"}, "pgbouncer_host: .* not a URL"),
        ({"pgbouncer_host": "db\0"}, "pgbouncer_host: printable text"),
        ({"pgbouncer_host": "\udcff"}, "pgbouncer_host: printable text"),
        ({"pgbouncer_user": None}, "pgbouncer_user=None"),
        ({"pgbouncer_user": "trader\n"}, "pgbouncer_user: printable text"),
        ({"pgbouncer_port": 70000}, "pgbouncer_port=70000: an integer from 1 to 65535"),
        ({"pgbouncer_port": "6432"}, "pgbouncer_port='6432'"),
        ({"timeout": 0}, "timeout=0"),
        ({"stale_after": "300"}, "stale_after='300'"),
        ({"stale_after": None}, "stale_after=None"),
        ({"stale_after": 0}, "stale_after=0"),
    ],
)
def test_nonsense_is_an_error_that_names_it(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"pgbouncer_host": HOST, "pgbouncer_user": "u"} | arguments
    with pytest.raises(SettingError, match=message) as caught:
        collect_pgbouncer_metrics(**given, pgbouncer_password=SECRET)
    assert SECRET not in str(caught.value)


def test_metrics_of_the_applications_own_by_these_names_are_an_error_that_says_so(
    collect: Collect, registry: CollectorRegistry
) -> None:
    Gauge("pgbouncer_pools_cl_active", "handmade", registry=registry)
    with pytest.raises(ValueError, match="metrics named pgbouncer_… are in this registry already"):
        collect(6432)


def test_who_calls_it_in_an_event_loop_is_told_once_that_it_blocks(
    collect: Collect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pgbouncer_metrics, "read_console", lambda *_: [[], []])

    async def background() -> None:
        await asyncio.to_thread(collect, 6432)
        assert "blocks the event loop" not in caplog.text
        collect(6432)
        collect(6432)

    asyncio.run(background())
    assert caplog.text.count("blocks the event loop") == 1


def test_the_youngest_of_several_processes_counts_and_what_is_gone_is_nan(tmp_path: Path) -> None:
    program = """
import os
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from pgmux_apps.sqlalchemy import collect_pgbouncer_metrics, pgbouncer_metrics
numbers = dict.fromkeys(["cl_waiting", "sv_active", "sv_idle", "maxwait"], "0")
def answer(count):
    row = {"database": "a", "user": "u", "cl_active": str(count)} | numbers
    return lambda *_: [[row] if count else [], []]
def collect(count):
    pgbouncer_metrics.read_console = answer(count)
    collect_pgbouncer_metrics("db", "u", None)
def value():
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    labels = {"pgbouncer": "db:6432", "database": "a", "user": "u"}
    return registry.get_sample_value("pgbouncer_pools_cl_active", labels)
collect(1)
if not os.fork():
    collect(2)
    os._exit(0)
os.wait()
print(value())
collect(3)
print(value())
collect(0)
print(value())
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        timeout=60,
    )
    assert done.stdout.split() == ["2.0", "3.0", "nan"], done.stderr
