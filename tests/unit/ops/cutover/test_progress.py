"""What a watch remembers: who is direct, who has moved, and when it is over."""

from __future__ import annotations

from dataclasses import replace

from pgmux.ops.cutover.names import App, Exceptions, as_postgres_shows
from pgmux.ops.cutover.progress import IN_A_ROW, Progress, State
from pgmux.ops.cutover.screen import changes_of, draw, line_of
from pgmux.ops.printing import terminal
from tests.unit.ops.cutover.samples import count, refused, sample

EXCEPTIONS = Exceptions(["pg_dump", "repl*"], ["backup"])


def states(progress: Progress) -> dict[str, State]:
    return {each.count.application: each.state for each in progress.standings}


def shown(progress: Progress) -> str:
    screen = terminal()
    with screen.capture() as capture:
        screen.print(draw(progress))
    return capture.get()


def test_an_application_goes_from_direct_to_the_pooler() -> None:
    progress = Progress(EXCEPTIONS)
    assert progress.add(sample(0, count("billing", 3))) == ()
    [moving] = progress.add(sample(1, count("billing", 1, 2)))
    assert moving.state is State.BOTH
    [moved] = progress.add(sample(2, count("billing", 0, 3)))
    assert moved.state is State.POOLED
    assert "billing as app on shop: through the pooler" in changes_of([moved])[0]
    [gone] = progress.add(sample(3))
    assert gone.state is State.AWAY
    assert "0 of 1 applications through the pooler, 1 not connected" in line_of(progress)


def test_it_is_over_when_nobody_was_direct_for_some_samples() -> None:
    progress = Progress(EXCEPTIONS)
    dump = count("pg_dump", 1)
    progress.add(sample(0, count("billing", 1), dump))
    for second in range(1, IN_A_ROW + 1):
        assert not progress.is_done
        progress.add(sample(second, count("billing", 0, 1), dump))
    assert progress.is_done
    assert states(progress) == {"pg_dump": State.EXCEPTED, "billing": State.POOLED}
    progress.add(sample(9, count("billing", 1)))
    assert not progress.is_done


def test_what_isnt_known_is_no_success() -> None:
    progress = Progress(Exceptions())
    for second in range(IN_A_ROW - 1):
        progress.add(sample(second))
    progress.add(refused(5))
    assert not progress.is_done
    progress.add(replace(sample(6), pooler_error="no connection"))
    assert not progress.is_done
    assert "no connection" in line_of(progress)
    progress.add(sample(7))
    assert not progress.is_done


def test_connections_beyond_those_told_one_by_one_are_direct() -> None:
    progress = Progress(Exceptions())
    for second in range(5):
        progress.add(replace(sample(second), others=12))
    assert not progress.is_done
    assert progress.direct == 12


def test_exceptions_are_patterns_of_applications_and_users() -> None:
    assert EXCEPTIONS.has(App("replica1", "x", "d"))
    assert EXCEPTIONS.has(App("anything", "backup", "d"))
    assert not EXCEPTIONS.has(App("pg_dumpall", "x", "d"))


def test_rates_are_of_two_samples_of_the_same_server() -> None:
    progress = Progress(Exceptions())
    progress.add(sample(0, server={"commits": 100}, pooler={"transactions": 10, "errors": 1}))
    assert progress.rates.commits is None
    progress.add(sample(2, server={"commits": 300}, pooler={"transactions": 50, "errors": 4}))
    assert (progress.rates.commits, progress.rates.transactions) == (100, 20)
    assert progress.rates.errors == 3
    progress.add(sample(4, server={"commits": 5, "started": 0.0}, pooler={"transactions": 0}))
    assert (progress.rates.commits, progress.rates.transactions) == (None, None)


def test_a_hostile_name_moves_no_cursor() -> None:
    progress = Progress(Exceptions())
    progress.add(sample(0, count("[red]\x1b[2J\u202e" + "x" * 60, 1)))
    text = shown(progress)
    assert "[red]\\x1B[2J\\u202E" in text
    assert "\x1b[2J" not in text


def test_servers_that_postgres_doesnt_know_are_said() -> None:
    progress = Progress(Exceptions())
    progress.add(sample(0, pooler={"servers": 5, "unknown_servers": 5}))
    assert "none of the pooler's 5 servers is a backend of this PostgreSQL" in shown(progress)


def test_a_name_is_as_postgres_makes_it() -> None:
    assert as_postgres_shows("größe", 150000) == "gr????e"
    assert as_postgres_shows("größe", 160000) == "gr\\xc3\\xb6\\xc3\\x9fe"
    assert as_postgres_shows("a" * 70, 150000) == "a" * 63
    assert as_postgres_shows("web - 10.0.0.1:5123", 150000, has_host=True) == "web"
    assert as_postgres_shows("web - 10.0.0.1:5123", 150000) == "web - 10.0.0.1:5123"
