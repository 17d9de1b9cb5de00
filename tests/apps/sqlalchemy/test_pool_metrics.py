"""Metrics of SQLAlchemy's pools: what they say while connections come and go."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import (
    AssertionPool,
    NullPool,
    Pool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from pgmux_apps.environment import SettingError
from pgmux_apps.sqlalchemy import (
    check_pool_health,
    pools,
    setup_sqlalchemy_pool_metrics,
    update_sqlalchemy_pool_metrics,
)
from pgmux_apps.sqlalchemy.measurement import PoolMeasurement
from tests.apps.sqlalchemy.rig import Scrape, connect, make_engine, somebody_waits


@pytest.fixture
def setup(registry: CollectorRegistry) -> Callable[..., Engine]:
    """An engine that is set up, of make_engine's arguments."""

    def make(pool_name: str = "default", **arguments: Any) -> Engine:
        engine = make_engine(**arguments)
        setup_sqlalchemy_pool_metrics(engine, pool_name, registry=registry)
        return engine

    return make


Setup = Callable[..., Engine]


def test_2_of_15_connections_are_2_fifteenths(setup: Setup, scrape: Scrape) -> None:
    engine = setup()
    with engine.connect(), engine.connect():
        assert scrape["checked_out"] == 2
        assert scrape["utilization_ratio"] == 2 / 15
        assert (scrape["size"], scrape["max_overflow"], scrape["capacity"]) == (5, 10, 15)
        assert (scrape["overflow"], scrape["checked_in"]) == (0, 0)
    assert (scrape["checked_out"], scrape["checked_in"]) == (0, 2)


def test_overflow_is_never_negative_and_counts_what_is_beyond_size(
    setup: Setup, scrape: Scrape
) -> None:
    engine = setup(pool_size=1, max_overflow=2)
    assert scrape["overflow"] == 0
    with engine.connect(), engine.connect():
        assert scrape["overflow"] == 1
    assert scrape["overflow"] == 0
    assert scrape["disconnects_total"] == 1, "the one beyond the size isn't kept"


def test_a_pool_without_a_limit_has_no_capacity_and_no_utilisation(
    setup: Setup, scrape: Scrape
) -> None:
    engine = setup(pool_size=1, max_overflow=-1)
    with engine.connect(), engine.connect(), engine.connect():
        assert (scrape["checked_out"], scrape["overflow"]) == (3, 2)
        for absent in ("capacity", "utilization_ratio", "max_overflow"):
            assert scrape[absent] is None


def test_what_happens_is_counted(setup: Setup, scrape: Scrape) -> None:
    engine = setup()
    for _ in range(3):
        with engine.connect():
            pass
    with engine.connect() as connection:
        connection.invalidate()
    assert scrape["connects_total"] == 1
    assert scrape["checkouts_total"] == scrape["checkins_total"] == 4
    assert scrape["invalidations_total"] == scrape["disconnects_total"] == 1
    assert scrape["checkout_duration_seconds_count"] == 4
    assert scrape["checkout_hold_seconds_count"] == 4
    assert scrape["checkout_hold_seconds_sum"] > 0  # type: ignore[operator]


def test_a_connection_that_the_garbage_collector_returns_is_returned(
    setup: Setup, scrape: Scrape
) -> None:
    engine = setup()
    connection = engine.raw_connection()
    assert scrape["checked_out"] == 1
    del connection
    gc.collect()
    assert scrape["checked_out"] == 0
    assert scrape["checkins_total"] == 1


def test_a_connection_that_is_detached_is_no_longer_the_pools(setup: Setup, scrape: Scrape) -> None:
    engine = setup()
    with engine.connect() as connection:
        connection.detach()
        assert scrape["checked_out"] == 0
        assert scrape["checkins_total"] == 1
    assert scrape["disconnects_total"] == 1


def test_who_waits_for_a_connection_is_counted_while_it_waits(setup: Setup, scrape: Scrape) -> None:
    engine = setup(pool_size=1, max_overflow=0)
    holder = engine.connect()
    with somebody_waits(engine, 2):
        assert scrape["waiters"] == 2
        assert scrape["utilization_ratio"] == 1
        holder.close()
    assert scrape["waiters"] == 0


def test_who_finds_the_only_connection_free_does_not_wait_for_it(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = setup(pool_size=1, max_overflow=0)
    engine.connect().close()
    steps: list[int] = []
    monkeypatch.setattr(PoolMeasurement, "on_waiting", lambda self, step: steps.append(step))
    with engine.connect():
        assert steps == []


def test_who_makes_a_connection_does_not_wait_for_one(setup: Setup, scrape: Scrape) -> None:
    is_connecting, may_go_on = threading.Event(), threading.Event()

    def slowly() -> Any:
        is_connecting.set()
        assert may_go_on.wait(10)
        return connect()

    engine = setup(creator=slowly, pool_size=1, max_overflow=0)
    thread = threading.Thread(target=lambda: engine.connect().close())
    thread.start()
    assert is_connecting.wait(10)
    assert scrape["waiters"] == 0
    assert scrape["checked_out"] == 1
    may_go_on.set()
    thread.join(10)


def test_the_time_of_a_checkout_is_that_of_asking_waiting_and_connecting(
    setup: Setup, scrape: Scrape
) -> None:
    engine = setup(pool_size=1, max_overflow=0)
    holder = engine.connect()
    fast = scrape["checkout_duration_seconds_sum"]
    with somebody_waits(engine):
        threading.Event().wait(0.03)  # the time that is measured
        holder.close()
    assert scrape["checkout_duration_seconds_sum"] - fast >= 0.03  # type: ignore[operator]


def test_a_checkout_that_times_out_is_a_timeout_and_no_checkout(
    setup: Setup, scrape: Scrape
) -> None:
    engine = setup(pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), pytest.raises(PoolTimeoutError):
        engine.connect()
    assert scrape["timeouts_total"] == 1
    assert scrape["checkouts_total"] == scrape["checkout_duration_seconds_count"] == 1
    assert scrape["waiters"] == 0


def test_a_connection_that_is_made_and_not_given_is_no_checkin(
    setup: Setup, scrape: Scrape
) -> None:
    engine = setup()

    @event.listens_for(engine, "checkout")
    def refuse(*_: Any) -> None:
        raise DisconnectionError("not this one")

    with pytest.raises(Exception, match="This connection is closed"):
        engine.connect()
    assert scrape["checkouts_total"] == scrape["checkins_total"] == 0
    assert scrape["checked_out"] == 0


def test_a_failure_to_connect_is_the_applications_as_before(setup: Setup, scrape: Scrape) -> None:
    def fail() -> Any:
        raise RuntimeError("no route")

    engine = setup(creator=fail)
    with pytest.raises(RuntimeError, match="no route"):
        engine.connect()
    assert scrape["checked_out"] == scrape["checkouts_total"] == 0


def test_a_mistake_in_measuring_costs_the_application_nothing(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("a mistake of ours")

    engine = setup(pool_size=1, max_overflow=0)
    monkeypatch.setattr(PoolMeasurement, "on_checkout", fail)
    monkeypatch.setattr(PoolMeasurement, "on_checkin", fail)
    monkeypatch.setattr(pools, "_kept_from_the_application", pools._Kept())
    for _ in range(3):
        with engine.connect():
            pass
    assert caplog.text.count("measuring a pool failed") == 1


def test_dispose_leaves_the_pool_measured_and_counts_nothing_twice(
    setup: Setup, scrape: Scrape
) -> None:
    engine = setup()
    with engine.connect():
        pass
    engine.dispose()
    with engine.connect():
        assert scrape["checked_out"] == 1
    assert scrape["connects_total"] == scrape["checkouts_total"] == 2
    assert scrape["disconnects_total"] == 1
    assert scrape["checkins_total"] == 2


def test_who_waits_for_a_pool_that_is_disposed_of_still_waits(setup: Setup, scrape: Scrape) -> None:
    engine = setup(pool_size=1, max_overflow=0)
    holder = engine.connect()
    with somebody_waits(engine):
        engine.dispose()
        assert scrape["waiters"] == 1
        holder.close()
    assert scrape["waiters"] == 0


def test_an_engine_that_is_set_up_again_is_counted_once(
    setup: Setup, registry: CollectorRegistry, scrape: Scrape
) -> None:
    engine = setup()
    setup_sqlalchemy_pool_metrics(engine, registry=registry)
    setup_sqlalchemy_pool_metrics(engine.execution_options(), registry=registry)
    with engine.connect():
        assert scrape["checked_out"] == scrape["checkouts_total"] == scrape["connects_total"] == 1
    assert scrape["size"] == 5


def test_an_engine_keeps_the_name_that_it_has(
    setup: Setup, registry: CollectorRegistry, scrape: Scrape, caplog: pytest.LogCaptureFixture
) -> None:
    engine = setup("api")
    setup_sqlalchemy_pool_metrics(engine, "other", registry=registry)
    assert scrape.of("api", "size") == 5
    assert scrape.of("other", "size") is None
    assert "set up as pool_name='api' and again as 'other': it stays 'api'" in caplog.text


def test_engines_of_one_name_are_added(setup: Setup, scrape: Scrape) -> None:
    one, other = setup(pool_size=1, max_overflow=0), setup(pool_size=2, max_overflow=1)
    with one.connect(), other.connect(), other.connect():
        assert scrape["checked_out"] == 3
        assert (scrape["size"], scrape["capacity"]) == (3, 4)
        assert scrape["utilization_ratio"] == 3 / 4
        assert scrape["checkouts_total"] == 3


def test_an_engine_without_a_limit_leaves_its_name_none(setup: Setup, scrape: Scrape) -> None:
    bounded, unlimited = setup(), setup(max_overflow=-1)
    with bounded.connect(), unlimited.connect():
        assert (scrape["size"], scrape["checked_out"]) == (10, 2)
        for name in ("max_overflow", "capacity", "utilization_ratio"):
            assert scrape[name] is None


def test_an_engine_that_is_disposed_of_does_not_count_beside_its_successor(
    setup: Setup, scrape: Scrape
) -> None:
    old = setup()
    with old.connect():
        pass
    old.dispose()
    new = setup()
    with new.connect():
        assert (scrape["size"], scrape["capacity"]) == (5, 15)
    assert scrape["checkouts_total"] == 2, "what has happened has happened"


def test_an_engine_that_is_gone_leaves_its_counters_alone(setup: Setup, scrape: Scrape) -> None:
    engine = setup()
    with engine.connect():
        pass
    engine.dispose()
    gone = weakref.ref(engine.pool)
    del engine
    gc.collect()
    assert gone() is None
    assert scrape["size"] is scrape["checked_out"] is scrape["waiters"] is None
    assert scrape["checkouts_total"] == 1


def test_engines_that_are_made_again_and_again_add_up_to_nothing(
    setup: Setup, scrape: Scrape
) -> None:
    for _ in range(20):
        engine = setup()
        with engine.connect():
            assert scrape["checked_out"] == 1
        engine.dispose()
    assert scrape["size"] == 5
    assert scrape["connects_total"] == scrape["disconnects_total"] == 20


def test_pools_of_two_names_are_apart(setup: Setup, scrape: Scrape) -> None:
    api, batch = setup("api"), setup("batch")
    with api.connect(), batch.connect(), batch.connect():
        assert scrape.of("api", "checked_out") == 1
        assert scrape.of("batch", "checked_out") == 2


def test_updating_changes_nothing_and_sets_up_what_is_not(
    setup: Setup, scrape: Scrape, monkeypatch: pytest.MonkeyPatch, registry: CollectorRegistry
) -> None:
    engine = setup()
    with engine.connect():
        update_sqlalchemy_pool_metrics(engine, "default")
        assert scrape["checked_out"] == 1
    monkeypatch.setattr("prometheus_client.REGISTRY", registry)
    late = make_engine()
    update_sqlalchemy_pool_metrics(late, "late")
    assert scrape.of("late", "size") == 5


def test_a_class_of_the_applications_own_goes_on_working(setup: Setup, scrape: Scrape) -> None:
    class Polite(QueuePool):
        greetings = 0

        def connect(self) -> Any:
            Polite.greetings += 1
            return super().connect()

    engine = setup(poolclass=Polite)
    with engine.connect():
        assert scrape["checked_out"] == 1
    engine.dispose()
    with engine.connect():
        assert isinstance(engine.pool, Polite)
    assert Polite.greetings == scrape["checkouts_total"] == 2


def test_a_class_that_can_have_no_subclass_is_refused_and_stays_as_it_was(
    setup: Setup, registry: CollectorRegistry
) -> None:
    class Final(QueuePool):
        def __init_subclass__(cls) -> None:
            raise TypeError("Final has no subclasses")

    engine = make_engine(poolclass=Final)
    for _ in range(2):
        with pytest.raises(TypeError, match="Final has no subclasses"):
            setup_sqlalchemy_pool_metrics(engine, registry=registry)
        assert "waiters" not in check_pool_health(engine)
    with engine.connect():
        assert check_pool_health(engine)["checked_out"] == 1


def test_a_pool_made_of_a_measured_ones_class_is_an_ordinary_one(
    setup: Setup, scrape: Scrape
) -> None:
    engine = setup()
    other = make_engine(poolclass=type(engine.pool))
    with other.connect():
        assert scrape["checked_out"] == scrape["checkouts_total"] == 0
    other.dispose()


def test_listeners_on_pool_classes_still_hear_everything(setup: Setup) -> None:
    heard: list[str] = []

    def listen(*_: Any) -> None:
        heard.append("checkout")

    event.listen(Pool, "checkout", listen)
    try:
        engine = setup()
        with engine.connect():
            pass
        engine.dispose()
        with engine.connect():
            pass
    finally:
        event.remove(Pool, "checkout", listen)
    assert heard == ["checkout", "checkout"]


def test_the_pools_log_keeps_its_name(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    engine = setup()
    engine.dispose()
    with caplog.at_level(logging.DEBUG, "sqlalchemy.pool"), engine.connect():
        pass
    assert {record.name for record in caplog.records} == {"sqlalchemy.pool.impl.QueuePool"}


@pytest.mark.parametrize("poolclass", [NullPool, AssertionPool])
def test_a_pool_without_a_queue_has_what_is_held_and_how_long_connecting_takes(
    setup: Setup, scrape: Scrape, poolclass: type[Pool]
) -> None:
    engine = setup(poolclass=poolclass)
    with engine.connect():
        assert scrape["checked_out"] == 1
    assert scrape["checked_out"] == 0
    assert scrape["checkout_duration_seconds_count"] == scrape["connects_total"] == 1
    assert scrape["checkout_hold_seconds_count"] == 1
    for absent in ("size", "checked_in", "capacity", "utilization_ratio", "waiters"):
        assert scrape[absent] is None


@pytest.mark.parametrize("poolclass", [StaticPool, SingletonThreadPool])
def test_of_a_connection_that_many_share_nobody_is_the_holder(
    setup: Setup, scrape: Scrape, poolclass: type[Pool]
) -> None:
    engine = setup(poolclass=poolclass)
    with engine.connect(), engine.connect():
        assert scrape["checked_out"] is None
    assert scrape["checkouts_total"] == 2
    assert scrape["connects_total"] == 1
    assert scrape["checkout_hold_seconds_count"] == 0


@pytest.mark.parametrize("what", [None, "postgresql://u:hunter2@h/d", object(), QueuePool(connect)])
def test_something_that_is_no_engine_is_refused_by_its_type(
    what: Any, registry: CollectorRegistry
) -> None:
    message = f"an Engine or AsyncEngine of SQLAlchemy is needed, not {type(what).__name__}"
    with pytest.raises(TypeError, match=message):
        setup_sqlalchemy_pool_metrics(what, registry=registry)
    with pytest.raises(TypeError, match=message):
        update_sqlalchemy_pool_metrics(what)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, None, 5])
def test_a_name_that_is_none_is_refused(name: Any, registry: CollectorRegistry) -> None:
    with pytest.raises(SettingError, match="pool_name="):
        setup_sqlalchemy_pool_metrics(make_engine(), name, registry=registry)


def test_metrics_of_the_applications_own_by_these_names_are_an_error_that_says_so(
    registry: CollectorRegistry,
) -> None:
    Gauge("sqlalchemy_pool_size", "handmade", ["pool_name"], registry=registry)
    with pytest.raises(ValueError, match="in this registry already, of the application's own"):
        setup_sqlalchemy_pool_metrics(make_engine(), registry=registry)


def test_without_prometheus_client_the_error_names_what_to_install() -> None:
    program = """
import sys
sys.modules["prometheus_client"] = None
from sqlalchemy import create_engine
from pgmux_apps.sqlalchemy import *
engine = create_engine("sqlite://")
print(check_pool_health(engine)["status"])
try:
    setup_sqlalchemy_pool_metrics(engine)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "healthy",
        "metrics need prometheus-client: pip install 'pgmux-apps[metrics]'",
    ], done.stderr
