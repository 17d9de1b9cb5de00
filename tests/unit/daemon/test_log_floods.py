"""Lines that others can cause in any number: bounded, counted, said."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgmux.daemon.log import Log
from pgmux.daemon.log.floods import BURST, PERIOD, RATE, Floods
from tests.fixtures.clock import Clock


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Log:
    log = Log(quiet=True, monotonic=clock)
    log.use_file(str(tmp_path / "log"))
    return log


def lines_of(log: Log) -> list[str]:
    return [line.partition("] ")[2] for line in Path(log.path).read_text().splitlines()]


def test_a_burst_goes_through_whole_and_then_so_many_a_second() -> None:
    floods = Floods()
    assert sum(floods.take("a", 5.0) for _ in range(3 * BURST)) == BURST
    assert sum(floods.take("a", 6.0) for _ in range(BURST)) == RATE
    assert sum(floods.take("a", 5.0 + 3600) for _ in range(3 * BURST)) == BURST


def test_every_line_of_an_ordinary_day_is_written() -> None:
    floods = Floods()
    assert all(floods.take("a", i / RATE) for i in range(10 * BURST))
    assert list(floods.due(1e9, all_=True)) == []


def test_kinds_do_not_share_their_limit() -> None:
    floods = Floods()
    while floods.take("a", 0.0):
        pass
    assert floods.is_empty("a", 0.0)
    assert floods.take("b", 0.0)


def test_nothing_that_is_held_back_goes_unsaid(log: Log, clock: Clock) -> None:
    for _ in range(BURST + 700):
        log.warning("pooler error: x", limit="pooler error")
    assert len(lines_of(log)) == BURST
    log.say_suppressed()
    assert len(lines_of(log)) == BURST
    clock.now += PERIOD
    log.say_suppressed()
    log.say_suppressed()
    said = 'WARNING 700 lines like "pooler error" suppressed in the last 10 s'
    assert lines_of(log)[BURST:] == [said]


def test_the_end_of_the_process_says_what_is_left(log: Log) -> None:
    for _ in range(BURST + 1):
        log.log("x", limit="login attempt")
    log.say_suppressed(all_=True)
    assert lines_of(log)[-1].startswith('WARNING 1 line like "login attempt" suppressed')


def test_lines_without_a_limit_are_all_written(log: Log) -> None:
    for _ in range(2 * BURST):
        log.log("closing because: client close request (age=0s)")
    assert len(lines_of(log)) == 2 * BURST


def test_a_bug_that_every_packet_meets_does_not_fill_the_disk(log: Log) -> None:
    for number in range(2 * BURST):
        log.exception(f"Exception in callback <Handle at {number:#x}>", ValueError("x"))
    assert sum("ERROR Exception in" in line for line in lines_of(log)) == BURST
    log.say_suppressed(all_=True)
    assert f'{BURST} lines like "internal error" suppressed' in lines_of(log)[-1]


def test_an_attempt_waits_where_its_kind_is_flooded(log: Log, clock: Clock) -> None:
    assert not log.is_flooded("login attempt")
    for _ in range(BURST):
        log.log("x", limit="login attempt")
    assert log.is_flooded("login attempt")
    clock.now += 1
    assert not log.is_flooded("login attempt")
