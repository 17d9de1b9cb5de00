"""What hostile HTTP may make us say."""

from __future__ import annotations

import errno
import logging
import sys

import pytest
from aiohttp.http_exceptions import BadStatusLine

from pgmux.web import log
from pgmux.web.log import OneLine
from tests.fixtures.clock import Clock


def record(error: Exception) -> logging.LogRecord:
    """As aiohttp's of an exception that it has caught."""
    try:
        raise error
    except Exception:
        info = sys.exc_info()
    return logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "from %s", ("x",), info)


def test_what_is_no_http_is_one_line_a_minute_that_counts_the_others(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log.time, "monotonic", clock)
    one_line = OneLine()
    first, last = record(BadStatusLine("\x1b[2J")), record(BadStatusLine("x"))
    assert one_line.filter(first)
    assert [one_line.filter(record(BadStatusLine("x"))) for _ in range(5)] == [False] * 5
    clock.now += log.SELDOM
    assert one_line.filter(last)
    assert first.getMessage() == "a request that is no HTTP, answered with 400"
    assert last.getMessage().endswith("400 (5 more since the last such line)")
    assert first.exc_info is None and first.levelno == logging.WARNING


def test_that_no_connection_can_be_accepted_is_one_line_of_many() -> None:
    one_line = OneLine()
    first = record(OSError(errno.EMFILE, "Too many open files"))
    assert one_line.filter(first)
    assert not one_line.filter(record(OSError(errno.EMFILE, "Too many open files")))
    assert first.getMessage() == "connections can't be accepted: Too many open files"


def test_a_bug_of_ours_keeps_its_traceback() -> None:
    ours = record(ZeroDivisionError())
    assert OneLine().filter(ours)
    assert ours.exc_info is not None and ours.levelno == logging.ERROR
