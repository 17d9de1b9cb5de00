"""check_pool_health: its shape, and how a pool comes to each status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool

from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy import HealthLimits, check_pool_health, setup_sqlalchemy_pool_metrics
from tests.apps.sqlalchemy.rig import connect, make_engine, somebody_waits


def test_a_healthy_pool_is_described_as_the_document_has_it() -> None:
    engine = make_engine()
    connections = [engine.connect() for _ in range(5)]
    for connection in connections[2:]:
        connection.close()
    assert check_pool_health(engine, pool_name="default") == {
        "pool_name": "default",
        "status": "healthy",
        "size": 5,
        "checked_out": 2,
        "checked_in": 3,
        "overflow": 0,
        "utilization_percent": 13.33,
        "total_capacity": 15,
        "reasons": [],
    }
    for connection in connections[:2]:
        connection.close()


def test_a_pool_that_is_set_up_tells_its_name_and_who_waits(registry: CollectorRegistry) -> None:
    engine = make_engine()
    setup_sqlalchemy_pool_metrics(engine, "api", registry=registry)
    health = check_pool_health(engine)
    assert (health["pool_name"], health["waiters"], health["timeouts"]) == ("api", 0, 0)
    assert json.loads(json.dumps(health)) == health


@pytest.mark.parametrize(
    ("held", "status"),
    [(2, "healthy"), (3, "warning"), (4, "critical")],
)
def test_utilisation_makes_a_pool_unwell(held: int, status: str) -> None:
    engine = make_engine(pool_size=2, max_overflow=2)
    connections = [engine.connect() for _ in range(held)]
    health = check_pool_health(engine)
    assert (health["status"], health["utilization_percent"]) == (status, 25.0 * held)
    assert bool(health["reasons"]) == (status != "healthy")
    for connection in connections:
        connection.close()


def test_the_limits_can_be_changed() -> None:
    engine = make_engine()
    limits = HealthLimits(warning_percent=5, critical_percent=13)
    with engine.connect():
        assert check_pool_health(engine, limits=limits)["status"] == "warning"
        with engine.connect():
            health = check_pool_health(engine, limits=limits)
            assert health["status"] == "critical"
            assert health["reasons"] == ["2 of 15 connections are checked out: 13 % is critical"]


@pytest.mark.parametrize(
    "limits",
    [
        {"warning_percent": 0},
        {"warning_percent": 95},
        {"critical_percent": 101},
        {"critical_percent": float("nan")},
        {"warning_waiters": 0},
        {"critical_timeout_seconds": -1},
    ],
)
def test_limits_that_say_nothing_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(limits))):
        HealthLimits(**limits)


def test_who_waits_makes_a_pool_unwell(registry: CollectorRegistry) -> None:
    engine = make_engine(pool_size=1, max_overflow=0)
    setup_sqlalchemy_pool_metrics(engine, registry=registry)
    calm = HealthLimits(warning_percent=100, critical_percent=100)
    with engine.connect() as holder, somebody_waits(engine):
        health = check_pool_health(engine, limits=calm)
        assert (health["waiters"], health["status"]) == (1, "critical")
        assert "1 wait for a connection" in health["reasons"]
        holder.close()
    assert check_pool_health(engine)["status"] == "healthy"


def test_a_timeout_is_critical_for_as_long_as_the_limit_says(registry: CollectorRegistry) -> None:
    engine = make_engine(pool_size=1, max_overflow=0, pool_timeout=0.01)
    setup_sqlalchemy_pool_metrics(engine, registry=registry)
    with engine.connect(), pytest.raises(PoolTimeoutError):
        engine.connect()
    health = check_pool_health(engine)
    assert (health["status"], health["timeouts"]) == ("critical", 1)
    assert health["reasons"] == ["a checkout timed out 0 s ago"]
    limits = HealthLimits(critical_timeout_seconds=0)
    assert check_pool_health(engine, limits=limits)["status"] == "healthy"


def test_an_attempt_to_connect_that_failed_is_an_error_until_one_succeeds(
    registry: CollectorRegistry,
) -> None:
    is_up = False

    def creator() -> Any:
        if is_up:
            return connect()
        raise OSError("connection to 10.0.0.1 refused\nIs it running?")

    engine = make_engine(creator=creator)
    setup_sqlalchemy_pool_metrics(engine, registry=registry)
    with pytest.raises(OSError, match="refused"):
        engine.connect()
    health = check_pool_health(engine)
    assert health["status"] == "error"
    assert health["error"] == "OSError: connection to 10.0.0.1 refused"
    assert health["error_seconds_ago"] >= 0
    assert health["checked_out"] == 0
    is_up = True
    engine.connect().close()
    health = check_pool_health(engine)
    assert health["status"] == "healthy"
    assert "error" not in health


@pytest.mark.parametrize(
    "text",
    [
        "could not connect with p@ss w/rd!",
        "bad URL postgresql://trader:p%40ss%20w%2Frd%21@db/mt5",
        "bad URL postgresql://trader:something-else@db/mt5",
        "invalid dsn: host=db password=something-else user=trader",
        "invalid dsn: password='something else'",
        'body {"password": "something-else"}',
    ],
)
def test_an_error_never_shows_the_password(text: str, registry: CollectorRegistry) -> None:
    def creator() -> Any:
        raise OSError(text)

    engine = make_engine(creator=creator)
    engine.url = make_url("postgresql://db/mt5").set(username="trader", password="p@ss w/rd!")
    setup_sqlalchemy_pool_metrics(engine, registry=registry)
    with pytest.raises(OSError):
        engine.connect()
    answer = json.dumps(check_pool_health(engine))
    assert "***" in answer
    for secret in ("p@ss", "p%40ss", "something", "else'"):
        assert secret not in answer


@pytest.mark.parametrize("url", ["trader:half@secret@db/mt5", "trader:half@secret/@db/mt5"])
def test_the_half_of_a_password_that_a_url_has_for_its_host_is_not_shown(
    url: str, registry: CollectorRegistry
) -> None:
    def creator() -> Any:
        raise OSError(f"failed to resolve host '{engine.url.host}' of '{engine.url.database}'")

    engine = make_engine(creator=creator)
    engine.url = make_url(f"postgresql://{url}")
    setup_sqlalchemy_pool_metrics(engine, registry=registry)
    with pytest.raises(OSError):
        engine.connect()
    assert "secret" not in json.dumps(check_pool_health(engine))


@pytest.mark.parametrize("what", [None, 5, object()])
def test_what_is_no_engine_is_an_error_and_raises_nothing(what: Any) -> None:
    health = check_pool_health(what, "api")
    assert (health["pool_name"], health["status"]) == ("api", "error")
    assert health["error"].startswith("TypeError: an Engine or AsyncEngine of SQLAlchemy is needed")
    assert health["total_capacity"] is None


def test_a_pool_without_numbers_says_which_it_is() -> None:
    health = check_pool_health(make_engine(poolclass=NullPool))
    assert (health["status"], health["size"], health["total_capacity"]) == ("healthy", None, None)
    assert health["pool_class"] == "NullPool"


def test_a_pool_without_a_limit_has_no_utilisation() -> None:
    engine = make_engine(pool_size=1, max_overflow=-1)
    with engine.connect(), engine.connect():
        health = check_pool_health(engine)
    assert (health["checked_out"], health["overflow"]) == (2, 1)
    assert health["utilization_percent"] is health["total_capacity"] is None
    assert health["status"] == "healthy"
