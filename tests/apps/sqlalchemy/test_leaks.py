"""Who holds a connection for too long is named, with where it was taken."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy import (
    check_pool_health,
    setup_sqlalchemy_pool_metrics,
    update_sqlalchemy_pool_metrics,
)
from tests.apps.sqlalchemy.rig import make_engine

Setup = Callable[..., Engine]
LOGGER = "pgmux_apps.sqlalchemy.leaks"


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("pools", "measurement", "health"):
        monkeypatch.setattr(f"pgmux_apps.sqlalchemy.{module}.monotonic", clock)
    return clock


@pytest.fixture
def setup(registry: CollectorRegistry) -> Setup:
    """An engine whose connections are to be given back within 30 s."""

    def make(leak_seconds: float | None = 30, **arguments: object) -> Engine:
        engine = make_engine(**arguments)
        setup_sqlalchemy_pool_metrics(engine, leak_seconds=leak_seconds, registry=registry)
        return engine

    return make


def take(engine: Engine) -> Connection:
    return engine.connect()


TAKEN_AT = f"{__file__}:{inspect.getsourcelines(take)[1] + 1}"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == LOGGER]


def test_nobody_is_watched_unless_that_is_asked_for(
    setup: Setup, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    engine = setup(None)
    with take(engine):
        clock.now += 1e6
        assert "held_too_long" not in check_pool_health(engine)
    assert told(caplog) == []


def test_a_holding_beyond_the_limit_is_named_in_the_log_and_once(
    setup: Setup, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    engine = setup()
    with take(engine):
        clock.now += 30
        take(engine).close()
        assert told(caplog) == []
        clock.now += 45.5
        take(engine).close()
        message = (
            "pool default: a connection has been held for 75.5 s (limit 30 s), taken at "
            f"{TAKEN_AT} in take (thread MainThread)"
        )
        assert told(caplog) == [message]
        clock.now += 100
        update_sqlalchemy_pool_metrics(engine)
    assert told(caplog) == [message]


@pytest.mark.parametrize("look", ["scrape", "update", "health", "checkout", "return"])
def test_whoever_comes_along_looks(
    setup: Setup,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    registry: CollectorRegistry,
    look: str,
) -> None:
    engine = setup()
    connection = take(engine)
    clock.now += 31
    if look == "scrape":
        list(registry.collect())
    elif look == "update":
        update_sqlalchemy_pool_metrics(engine)
    elif look == "health":
        check_pool_health(engine)
    elif look == "checkout":
        take(engine).close()
    connection.close()
    (message,) = told(caplog)
    assert ("has come back" in message) == (look == "return")


def test_each_holding_is_told_at_its_own_time(
    setup: Setup, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    engine = setup()
    first = take(engine)
    clock.now += 20
    second = take(engine)
    clock.now += 15
    update_sqlalchemy_pool_metrics(engine)
    assert len(told(caplog)) == 1
    clock.now += 16
    update_sqlalchemy_pool_metrics(engine)
    assert len(told(caplog)) == 2
    first.close()
    second.close()


def test_the_health_has_them_the_longest_first(setup: Setup, clock: Clock) -> None:
    engine = setup()
    first = take(engine)
    clock.now += 10
    second = take(engine)
    clock.now += 31
    health = check_pool_health(engine)
    assert health["status"] == "warning"
    assert health["reasons"] == ["2 connections are held for more than 30 s"]
    assert health["held_too_long"] == [
        {
            "seconds": seconds,
            "taken_at": TAKEN_AT,
            "function": "take",
            "thread": "MainThread",
            "task": None,
        }
        for seconds in (41.0, 31.0)
    ]
    first.close()
    second.close()
    assert check_pool_health(engine)["held_too_long"] == []


def test_all_holders_are_in_the_log_when_somebody_gets_none(
    setup: Setup, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    engine = setup(pool_size=2, max_overflow=0, pool_timeout=0.01)
    first = take(engine)
    clock.now += 5
    second = take(engine)
    clock.now += 1
    for _ in range(3):
        with pytest.raises(PoolTimeoutError):
            take(engine)
    where = f"{TAKEN_AT} in take (thread MainThread)"
    lines = ("no connection became free in time; 2 are held:", f"6.0 s: {where}", f"1.0 s: {where}")
    assert told(caplog) == ["pool default: " + "\n  ".join(lines)], "once for a crowd"
    clock.now += 11
    with pytest.raises(PoolTimeoutError):
        take(engine)
    assert len(told(caplog)) == 2
    first.close()
    second.close()


def test_an_orm_session_is_named_by_the_line_that_made_it_connect(
    setup: Setup, clock: Clock
) -> None:
    engine = setup()
    with Session(engine) as session:
        session.execute(text("SELECT 1")); line = inspect.currentframe().f_lineno  # type: ignore[union-attr]  # noqa: E702  # fmt: skip
        clock.now += 31
        (held,) = check_pool_health(engine)["held_too_long"]
    assert held["taken_at"] == f"{__file__}:{line}"


@pytest.fixture
def library(tmp_path: Path) -> Callable[..., Connection]:
    """An installed package's function that calls the application's, or connects."""
    path = tmp_path / "site-packages" / "library.py"
    source = "def call(what, depth=0):\n    return call(what, depth - 1) if depth else what()\n"
    names: dict[str, Any] = {"__name__": "library"}
    exec(compile(source, str(path), "exec"), names)
    call: Callable[..., Connection] = names["call"]
    return call


def test_behind_a_library_the_applications_own_line_is_named(
    setup: Setup, clock: Clock, library: Callable[..., Connection]
) -> None:
    engine = setup()
    with library(engine.connect, 3):
        line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
        clock.now += 31
        (held,) = check_pool_health(engine)["held_too_long"]
    assert held["taken_at"] == f"{__file__}:{line}"


def test_an_application_that_is_installed_is_named_not_what_has_started_it(
    setup: Setup, clock: Clock, library: Callable[..., Connection]
) -> None:
    engine = setup()
    with library(engine.connect, 40):
        clock.now += 31
        (held,) = check_pool_health(engine)["held_too_long"]
    assert held["taken_at"].endswith("site-packages/library.py:2")
    assert held["function"] == "call"


def test_a_thread_is_named(setup: Setup, clock: Clock) -> None:
    engine = setup()
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with take(engine):
            taken.set()
            done.wait(10)

    thread = threading.Thread(target=hold, name="report-7")
    thread.start()
    assert taken.wait(10)
    clock.now += 31
    (held,) = check_pool_health(engine)["held_too_long"]
    done.set()
    thread.join()
    assert held["thread"] == "report-7"


def test_a_pool_that_is_disposed_of_still_has_its_holders(setup: Setup, clock: Clock) -> None:
    engine = setup()
    connection = take(engine)
    engine.dispose()
    clock.now += 31
    assert len(check_pool_health(engine)["held_too_long"]) == 1
    connection.close()
    assert check_pool_health(engine)["held_too_long"] == []


def test_a_pool_without_a_queue_has_leaks_too(setup: Setup, clock: Clock) -> None:
    engine = setup(poolclass=NullPool)
    with take(engine):
        clock.now += 31
        assert len(check_pool_health(engine)["held_too_long"]) == 1


def test_a_connection_taken_before_has_no_place_and_is_told_all_the_same(
    setup: Setup, clock: Clock, caplog: pytest.LogCaptureFixture, registry: CollectorRegistry
) -> None:
    engine = setup(0)
    connection = take(engine)
    setup_sqlalchemy_pool_metrics(engine, leak_seconds=30, registry=registry)
    clock.now += 31
    connection.close()
    (message,) = told(caplog)
    assert message.endswith("taken at an unknown place, before the leak finder was on")


def test_the_environment_switches_it_on(
    setup: Setup, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_POOL_LEAK_SECONDS", "30")
    engine = setup(None)
    with take(engine):
        clock.now += 31
        assert len(check_pool_health(engine)["held_too_long"]) == 1
    assert "held_too_long" not in check_pool_health(setup(0))


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "30", True])
def test_a_limit_that_is_none_is_refused(setup: Setup, seconds: float) -> None:
    with pytest.raises(SettingError, match="leak_seconds="):
        setup(seconds)


def test_a_variable_that_is_no_number_is_refused(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_POOL_LEAK_SECONDS", "half a minute")
    with pytest.raises(SettingError, match="DB_POOL_LEAK_SECONDS='half a minute': seconds"):
        setup(None)


def test_real_time_passes_too(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    engine = setup(1e-6)
    with caplog.at_level(logging.WARNING, LOGGER):
        with take(engine):
            before = time.monotonic()
            while time.monotonic() - before < 1e-5:
                pass
        assert len(told(caplog)) == 1
