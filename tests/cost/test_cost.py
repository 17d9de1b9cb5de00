"""What a query and a login cost doesn't grow unnoticed: counts, which are the same on every machine
and at every run. What the counts are: docs/performance.md, "What a query may cost".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.cost import exchanges
from tests.cost.limits import (
    BLOCKS_LEFT,
    CALLS_PER_CHUNK,
    LEFT,
    LOGIN,
    LOGIN_SYSTEM_CALLS,
    QUERIES,
    chunk_count,
    tables,
)
from tests.cost.shapes import SHAPES, Shape
from tests.fixtures.tools import require_strace

ROOT = Path(__file__).parents[2]
FORMS = ("compiled", "uncompiled")
LIMIT = "; if it is worth that, raise its limit in tests/cost/limits.py and say why"

# Of the other ends, in tests/cost/pooler.py and logins.py.
PEERS_CALLS = ("sendmsg", "recvmsg", "socket", "connect")

each_form = pytest.mark.parametrize("form", FORMS)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


@cache
def run(form: str, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of ours in a process of that form."""
    environ = {**os.environ, "PGMUX_PURE": str(FORMS.index(form))}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)


def measured(form: str) -> dict[str, Any]:
    """All counts of one form; a form that is missing fails."""
    done = run(form, sys.executable, "-m", "tests.cost.measure")
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout)
    assert counts["form"] == form, f"`make build`: the modules are {counts['form']}"
    return counts


def query(form: str, shape: Shape) -> dict[str, Any]:
    """The counts of one exchange."""
    counts: dict[str, Any] = measured(form)["queries"][shape.name]
    return counts


# ---- a query


@each_form
@each_shape
def test_a_chunk_is_one_write(form: str, shape: Shape) -> None:
    assert query(form, shape)["writes"] == chunk_count(shape), (
        "each chunk that comes is to leave in one write: join what belongs together before it is"
        " written, and write nothing that could wait for the next chunk"
    )


@each_form
@each_shape
def test_what_is_not_rewritten_is_passed_on_as_the_very_object(form: str, shape: Shape) -> None:
    assert query(form, shape)["copied"] == shape.rewritten, (
        "a chunk is copied, though no statement's name in it is rewritten: write `data` itself"
    )


@each_form
@each_shape
def test_a_chunk_is_one_look_at_the_clock(form: str, shape: Shape) -> None:
    # Who has waited is served by somebody else's chunk: till when did it wait, when does it ask?
    assert query(form, shape)["clock reads"] <= chunk_count(shape) + 2 * shape.waits, (
        "the clock is read more than once a chunk: take the relay's `request_time`"
    )


@each_form
@each_shape
def test_a_query_schedules_nothing(form: str, shape: Shape) -> None:
    assert query(form, shape)["scheduled"] == 0, (
        "a task, timer or callback for a query wakes the loop: do it in the call that has the"
        " chunk, or leave it to the janitor"
    )


@each_form
@each_shape
def test_a_query_calls_no_more_of_python(form: str, shape: Shape) -> None:
    limit = QUERIES[shape.name][FORMS.index(form)].calls
    assert query(form, shape)["calls"] <= limit, (
        "a query makes more calls of Python functions than it did: look at what is called per"
        " chunk or per message in session/_relay_cy.py, pool/_pool_cy.py, net/_transport_cy.py,"
        f" and at what they call in control{LIMIT}"
    )


@each_form
@each_shape
def test_a_query_allocates_no_more_memory(form: str, shape: Shape) -> None:
    limit = QUERIES[shape.name][FORMS.index(form)].allocated
    assert query(form, shape)["bytes at a time"] <= limit, (
        "a query has more memory allocated at a time than it did (what of a chunk is copied, what"
        f" is built for it?){LIMIT}"
    )


@each_form
@each_shape
def test_a_query_leaves_nothing_behind(form: str, shape: Shape) -> None:
    counts = query(form, shape)
    text = (
        "a thousand queries leave memory behind: something grows with each, or is a cycle that"
        " only the garbage collector would find"
    )
    assert abs(counts["objects left"]) <= LEFT, text
    assert abs(counts["blocks left"]) <= BLOCKS_LEFT, text


def system_calls(form: str) -> dict[str, Counter[str]]:
    """What one exchange of a shape asks of the system, or one login and its end; without what the
    peers do.
    """
    strace = (str(require_strace()), "-qq", "-o", "/dev/stdout", "-e", "signal=none")
    done = run(form, *strace, sys.executable, "-m", "tests.cost.exchanges")
    assert done.returncode == 0, done.stderr
    found: dict[str, Counter[str]] = {}
    current: Counter[str] = Counter()
    for line in done.stdout.splitlines():
        called = line.partition("(")[0]
        if exchanges.END in line:
            current = Counter()
        elif exchanges.BEGIN in line:
            name = line.partition(exchanges.BEGIN)[2].partition('"')[0]
            current = found[name] = Counter()
        elif called not in PEERS_CALLS:
            current[called] += 1
    return found


@each_form
@each_shape
def test_a_chunk_is_three_system_calls(form: str, shape: Shape) -> None:
    calls = system_calls(form)[shape.name]
    assert calls.total() <= CALLS_PER_CHUNK * chunk_count(shape) * exchanges.COUNT, (
        "a chunk is to be one wait (epoll_wait), one read and one write, which is nine tenths of"
        f" what a query costs; so many times as here are these called: {calls}"
    )


# ---- a login


@each_form
def test_a_login_calls_no_more_of_python(form: str) -> None:
    counts, limit = measured(form)["login"], LOGIN[FORMS.index(form)]
    assert counts["calls"] <= limit.calls, (
        "a login makes more calls of Python functions than it did: net/_client_connection_cy.py,"
        f" session/client.py, session/pooler.py{LIMIT}"
    )
    assert counts["calls at its end"] <= limit.calls_at_end, (
        f"a client's end makes more calls of Python functions than it did{LIMIT}"
    )


@each_form
@pytest.mark.parametrize("kind", LOGIN_SYSTEM_CALLS)
def test_a_login_asks_the_system_no_more(form: str, kind: str) -> None:
    calls = Counter(system_calls(form)[kind])
    calls["close"] -= exchanges.COUNT  # the client's own
    del calls["epoll_wait"]  # one is for many, where many come
    assert calls.total() <= LOGIN_SYSTEM_CALLS[kind] * exchanges.COUNT, (
        "a client that comes and goes costs more system calls than it did, most of what it costs;"
        f" these are {exchanges.COUNT} clients: {calls}{LIMIT}"
    )


@each_form
def test_a_login_is_answered_in_one_write_and_schedules_nothing(form: str) -> None:
    counts = measured(form)["login"]
    assert counts["writes"] == 1, "join AuthenticationOk and the welcome before they are written"
    assert counts["scheduled"] == 0, "a callback, timer or task for a login wakes the loop"


@each_form
def test_an_idle_client_is_no_larger(form: str) -> None:
    counts, limit = measured(form)["login"], LOGIN[FORMS.index(form)]
    text = "at 10,000 clients each object counts, and the garbage collector visits them all"
    assert counts["objects of a client"] <= limit.objects, text + LIMIT
    assert counts["bytes of a client"] <= limit.allocated, text + LIMIT


@each_form
def test_a_client_that_has_left_leaves_nothing_to_the_garbage_collector(form: str) -> None:
    counts = measured(form)["login"]
    assert counts["garbage"] == 0, (
        "a connection is a reference cycle: where a protocol, a transport or a login knows the"
        " other, one of them has to forget at the end"
    )
    assert abs(counts["objects left"]) <= LEFT, "something remembers clients that have left"


# ---- the documentation


def test_the_documentation_says_the_same() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert tables() in text, "run `python -m tests.cost.limits`, whose tables belong there"


def test_each_shape_has_its_limit() -> None:
    assert [shape.name for shape in SHAPES] == list(QUERIES)
