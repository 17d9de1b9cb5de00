"""The last hour in figures: what is kept, for how long, and of which pools."""

from __future__ import annotations

from pgmux.web.history import HOUR, MAX_POINTS, History, Key, Point


def busy(rates: dict[Key, float]) -> dict[Key, Point]:
    return {key: Point(xacts=rate) for key, rate in rates.items()}


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    history = History()
    for step in range(4000):
        history.add(step * 2.0, Point(xacts=float(step)), {})
    times = history.of(None)["t"]
    assert times[-1] == 3999 * 2.0
    first = times[0]
    assert first is not None
    assert HOUR <= times[-1] - first <= HOUR + 2.0 * 61  # dropped in portions
    assert history.of(None)["xacts"][-1] == 3999.0


def test_samples_that_come_too_often_are_bounded_by_their_number() -> None:
    history = History()
    for step in range(MAX_POINTS + 10):
        history.add(step * 0.01, Point(), {})
    assert len(history.of(None)["t"]) == MAX_POINTS


def test_a_clock_that_was_set_back_begins_the_history_anew() -> None:
    history = History()
    for time in (100.0, 102.0, 50.0, 52.0):
        history.add(time, Point(), {})
    assert history.of(None)["t"] == [50.0, 52.0]


def test_what_is_not_known_is_none_and_not_zero() -> None:
    history = History()
    history.add(1.0, Point(xacts=0.0), {})
    columns = history.of(None)
    assert (columns["xacts"], columns["p99"]) == ([0.0], [None])


def test_with_a_thousand_pools_only_the_busiest_have_a_history() -> None:
    history = History(max_pools=3)
    pools = busy({("db", f"u{i}"): float(i) for i in range(1000)})
    history.add(1.0, Point(), pools)
    assert set(history.pools) == {("db", "u999"), ("db", "u998"), ("db", "u997")}


def test_a_pool_that_has_become_busy_takes_the_place_of_an_idle_one() -> None:
    history = History(max_pools=2)
    for step in range(50):
        history.add(step, Point(), busy({("db", "a"): 100.0, ("db", "b"): 1.0}))
    history.add(50.0, Point(), busy({("db", "a"): 100.0, ("db", "b"): 0.0, ("db", "c"): 50.0}))
    assert set(history.pools) == {("db", "a"), ("db", "c")}


def test_pools_of_about_the_same_business_keep_their_histories() -> None:
    history = History(max_pools=1)
    for step in range(200):
        history.add(step, Point(), busy({("db", "a"): 100.0, ("db", "b"): 110.0 + step % 7}))
    assert set(history.pools) == {("db", "b")}
    assert len(history.of(("db", "b"))["t"]) == 200


def test_a_pool_that_somebody_looks_at_has_a_history_from_then_on() -> None:
    history = History(max_pools=1)
    rates = busy({("db", "a"): 100.0, ("db", "b"): 0.1})
    history.add(1.0, Point(), rates)
    history.add(2.0, Point(), rates, wanted=[("db", "b")])
    history.add(3.0, Point(), rates, wanted=[("db", "b")])
    assert history.of(("db", "b"))["t"] == [2.0, 3.0]


def test_a_pool_that_nobody_knows_gets_no_history_by_being_asked_for() -> None:
    history = History()
    for step in range(100):
        history.add(step, Point(), {}, wanted=[("db", f"made up {step}")])
    assert not history.pools
    assert history.of(("db", "made up 1"))["t"] == []


def test_a_pool_that_has_gone_leaves_a_hole() -> None:
    history = History()
    history.add(1.0, Point(), busy({("db", "a"): 1.0}))
    history.add(2.0, Point(), {})
    assert history.of(("db", "a"))["xacts"] == [1.0, None]
