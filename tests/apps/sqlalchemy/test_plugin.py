"""`?plugin=pgmux` in a database URL: all that an application changes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import create_engine
from sqlalchemy.dialects import plugins
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

from pgmux_apps.sqlalchemy import (
    check_pool_health,
    plugin,
    setup_sqlalchemy_pool_metrics,
)
from tests.apps.sqlalchemy.rig import Scrape, connect

ROOT = Path(__file__).parents[3]
URL = "sqlite://?plugin=pgmux"


@pytest.fixture(autouse=True)
def plugin_is_found(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by its entry point, also where the distribution isn't installed; the process's registry
    is this test's.
    """
    monkeypatch.setitem(plugins.impls, "pgmux", lambda: plugin.PgmuxPlugin)
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)


def test_the_entry_point_is_the_plugin() -> None:
    project = tomllib.loads((ROOT / "apps/pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["sqlalchemy.plugins"]["pgmux"].partition(":")
    assert (module, name) == (plugin.__name__, plugin.PgmuxPlugin.__name__)


def test_an_engine_of_such_a_url_is_measured_and_named(scrape: Scrape) -> None:
    engine = create_engine(f"{URL}&pool_name=api", poolclass=QueuePool)
    with engine.connect():
        assert scrape.of("api", "checked_out") == 1
    assert check_pool_health(engine)["pool_name"] == "api"
    assert engine.url.query == {}


def test_the_name_is_default_unless_given(scrape: Scrape) -> None:
    engine = create_engine(URL, poolclass=QueuePool)
    assert scrape["size"] == 5
    engine.dispose()


def test_arguments_of_the_driver_stay_in_the_url() -> None:
    engine = create_engine(f"{URL}&pool_name=api&leak_seconds=5&timeout=3")
    assert engine.url.query == {"timeout": "3"}


def test_create_engine_takes_the_same_arguments(scrape: Scrape) -> None:
    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        plugins=["pgmux"],
        pool_name="api",
        leak_seconds=5,
    )
    assert scrape.of("api", "size") == 5
    assert check_pool_health(engine)["held_too_long"] == []


def test_async_engines_have_it_too(scrape: Scrape) -> None:
    engine = create_async_engine("postgresql+asyncpg://nobody@nowhere/d?plugin=pgmux&pool_name=api")
    assert scrape.of("api", "size") == 5
    assert check_pool_health(engine)["pool_name"] == "api"


def test_an_engine_that_is_set_up_besides_is_counted_once(
    scrape: Scrape, registry: CollectorRegistry
) -> None:
    engine = create_engine(f"{URL}&plugin=pgmux&pool_name=api", poolclass=QueuePool)
    setup_sqlalchemy_pool_metrics(engine, "api", registry=registry)
    with engine.connect():
        assert scrape.of("api", "checkouts_total") == 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("pool_name=%0A", "pool_name=.*: a name of printable characters"),
        ("pool_name=a&pool_name=b", "pool_name= is given 2 times"),
        ("leak_seconds=soon", "leak_seconds='soon': seconds from 0 to 86400"),
        ("leak_seconds=-1", "leak_seconds='-1': seconds from 0"),
        ("leak_seconds=nan", "leak_seconds='nan': seconds from 0"),
        ("leak_seconds=1_0", "leak_seconds='1_0': seconds from 0"),
    ],
)
def test_nonsense_in_the_url_is_an_error_that_names_it(query: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"plugin pgmux: {message}"):
        create_engine(f"sqlite:///secret?plugin=pgmux&{query}")


def test_nonsense_in_the_environment_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DB_POOL_LEAK_SECONDS", "soon")
    with pytest.raises(ArgumentError, match="plugin pgmux: DB_POOL_LEAK_SECONDS='soon'"):
        create_engine(URL)


def test_metrics_of_the_applications_own_do_not_keep_it_from_starting(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, scrape: Scrape
) -> None:
    Gauge("sqlalchemy_pool_size", "handmade", ["pool_name"], registry=registry)
    for _ in range(2):
        engine = create_engine(URL, poolclass=QueuePool)
        assert check_pool_health(engine)["waiters"] == 0
    assert caplog.text.count("exports no metrics of SQLAlchemy's pools: metrics named") == 1


def test_without_prometheus_client_the_rest_works_and_that_is_said_once() -> None:
    program = """
import logging, sys
logging.basicConfig()
sys.modules["prometheus_client"] = None
from sqlalchemy import create_engine
from sqlalchemy.dialects import plugins
from pgmux_apps.sqlalchemy import check_pool_health
plugins.register("pgmux", "pgmux_apps.sqlalchemy.plugin", "PgmuxPlugin")
for name in ("api", "batch"):
    engine = create_engine(f"sqlite:///x?plugin=pgmux&pool_name={name}&leak_seconds=5")
    health = check_pool_health(engine)
    print(health["pool_name"], health["waiters"], health["held_too_long"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["api 0 []", "batch 0 []"], done.stderr
    (line,) = done.stderr.splitlines()
    assert "pip install 'pgmux-apps[metrics]'" in line
