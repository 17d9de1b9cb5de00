"""`pgmux top` on a screen: keys, and what is seen. The console is a scripted one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps

import pytest
from textual.pilot import Pilot
from textual.widgets import Static, Tabs

from pgmux.ops.top.app import TopApp
from pgmux.ops.top.screens import ColumnChoice, HelpScreen, PoolerScreen, PoolScreen, TableScreen
from pgmux.ops.top.watch import Watch
from tests.fixtures.scripted_console import NEW, OLD, Row, ScriptedConsole
from tests.unit.ops.top.pictures import CLIENTS, SERVERS, Answers, changed
from tests.unit.ops.top.test_panes import HOSTILE

ALL = NEW | {"CLIENTS": CLIENTS, "SERVERS": SERVERS}
TIMEOUT = 10.0


def asynchronous(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Seen:
    """The application, and what can be read on it."""

    def __init__(self, app: TopApp, pilot: Pilot[None], console: ScriptedConsole) -> None:
        self.app, self.pilot, self.console = app, pilot, console

    @property
    def screen(self) -> TableScreen:
        assert isinstance(self.app.screen, TableScreen)
        return self.app.screen

    def lines(self) -> list[str]:
        """The table, without what is to the right of it."""
        grid = self.screen.grid
        return [grid.render_line(y).text.rstrip() for y in range(grid.size.height)]

    def first_words(self) -> list[str]:
        """Of each row."""
        return [line.split()[0] for line in self.lines()[1:] if line]

    def said(self, name: str) -> str:
        return str(self.screen.query_one(f"#{name}", Static).visual)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not is_so():
            assert time.monotonic() < deadline, "\n".join(self.lines())
            await asyncio.sleep(0.01)
        await self.pilot.pause()


@asynccontextmanager
async def running(
    answers: Answers = ALL, size: tuple[int, int] = (80, 24), interval: float = 60.0
) -> AsyncIterator[Seen]:
    console = ScriptedConsole(answers)
    app = TopApp(Watch(console), interval)
    async with app.run_test(size=size) as pilot:
        seen = Seen(app, pilot, console)
        await seen.until(lambda: app.pooler.picture or app.pooler.failure)
        yield seen


def many_pools(count: int) -> Answers:
    pool = NEW["POOLS"][0]
    rows = [
        pool | {"database": f"db{n:04}", "cl_active": str(n), "cl_waiting": "0"}
        for n in range(count)
    ]
    return ALL | {"POOLS": rows, "HISTOGRAMS": []}


@asynchronous
async def test_80_by_24_shows_the_head_the_pools_and_the_keys() -> None:
    async with running() as seen:
        head = seen.said("head")
        assert "PgBouncer 1.25.2 at test:6432" in head
        assert "clients 6 of 100, 2 waiting up to 1.5s" in head
        header, row, *_ = seen.lines()
        assert header.split()[:4] == ["database", "user", "clients", "waiting"]
        assert row.split()[:4] == ["app", "web", "3", "2"]
        assert len(seen.lines()) >= 10
        assert "every 60 s" in seen.said("message")


@asynchronous
async def test_rates_come_with_the_second_sample() -> None:
    async with running(interval=0.05) as seen:
        await seen.until(lambda: seen.app.pooler.picture and seen.app.pooler.picture.rates)
        await seen.until(lambda: "tx/s" in seen.said("head"))


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("2", "tx/s"),
        ("3", "held"),
        ("4", "role"),
        ("5", "sqlstate"),
        ("6", "reason"),
        ("7", "max_connections"),
    ],
)
@asynchronous
async def test_digits_open_tables(key: str, title: str) -> None:
    async with running(size=(160, 24)) as seen:
        await seen.press(key)
        assert title in seen.lines()[0].split()


@asynchronous
async def test_tab_goes_through_the_tables_and_back() -> None:
    async with running() as seen:
        await seen.press("tab")
        assert seen.screen.query_one(Tabs).active == "databases"
        await seen.press("shift+tab", "shift+tab")
        assert seen.screen.query_one(Tabs).active == "hosts"


@asynchronous
async def test_a_pgbouncers_tabs_are_those_that_it_tells() -> None:
    async with running(OLD) as seen:
        await seen.press("3")
        assert seen.screen.query_one(Tabs).active == "pools"
        await seen.press("tab", "tab")
        assert seen.screen.query_one(Tabs).active == "pools"
        assert "doesn't tell: applications" in seen.said("message")
        assert "wait p99" not in seen.lines()[0]


# Sorting


@asynchronous
async def test_keys_sort_by_one_column_after_another() -> None:
    async with running(many_pools(3)) as seen:
        assert seen.first_words() == ["db0002", "db0001", "db0000"]
        await seen.press("greater_than_sign")
        assert seen.first_words() == ["db0000", "db0001", "db0002"]
        assert "database▲" in seen.lines()[0]
        await seen.press("r")
        assert seen.first_words() == ["db0002", "db0001", "db0000"]
        assert "database▼" in seen.lines()[0]
        await seen.press("less_than_sign")
        assert "▼" not in seen.lines()[0]


@asynchronous
async def test_a_column_is_chosen_from_a_list() -> None:
    async with running(many_pools(3)) as seen:
        await seen.press("s")
        assert isinstance(seen.app.screen, ColumnChoice)
        await seen.press("down", "down", "enter")
        assert "clients▼" in seen.lines()[0]
        await seen.press("s", "down", "down", "enter")
        assert "clients▲" in seen.lines()[0]
        assert seen.first_words() == ["db0000", "db0001", "db0002"]
        await seen.press("s", "escape")
        assert "clients▲" in seen.lines()[0]


@asynchronous
async def test_a_click_on_a_heading_sorts() -> None:
    async with running(many_pools(3)) as seen:
        await seen.pilot.click(seen.screen.grid, offset=(2, 0))
        assert seen.first_words() == ["db0000", "db0001", "db0002"]


@asynchronous
async def test_each_table_keeps_its_order() -> None:
    async with running(many_pools(3)) as seen:
        await seen.press("greater_than_sign", "2", "greater_than_sign", "greater_than_sign", "1")
        assert "database▲" in seen.lines()[0]


@asynchronous
async def test_the_cursor_stays_at_its_row_when_others_pass_it() -> None:
    async with running(many_pools(3), interval=0.05) as seen:
        await seen.press("end")
        assert seen.screen.grid.row is not None
        assert seen.screen.grid.row.key[0] == "db0000"
        seen.console.answers = changed(many_pools(3), "POOLS", cl_active=9)
        await seen.until(lambda: seen.first_words()[0] == "db0000")
        assert seen.screen.grid.row.key[0] == "db0000"


# The filter


@asynchronous
async def test_a_filter_leaves_the_rows_that_have_the_text() -> None:
    async with running(many_pools(30)) as seen:
        await seen.press("slash", *"DB001")
        assert len(seen.screen.grid.rows) == 10
        await seen.press("enter")
        assert "only rows with DB001" in seen.said("message")
        assert seen.app.focused is seen.screen.grid
        await seen.press("escape")
        assert len(seen.screen.grid.rows) == 30


@asynchronous
async def test_keys_of_the_filter_are_text() -> None:
    async with running() as seen:
        await seen.press("slash", "q", "s", "p", "escape")
        assert seen.app.is_running
        assert seen.app.is_following
        assert len(seen.screen.grid.rows) == 1


# A pool


@asynchronous
async def test_enter_opens_a_pool_with_its_times_and_connections() -> None:
    async with running() as seen:
        await seen.press("enter")
        assert isinstance(seen.screen, PoolScreen)
        await seen.until(lambda: "waiting" in seen.first_words())
        head = seen.said("head")
        assert "app as web   transaction   clients 3, 2 waiting" in head
        assert "█" in head
        assert seen.first_words() == ["waiting", "active"]
        await seen.press("2")
        assert seen.first_words() == ["active", "idle"]
        await seen.press("3")
        assert seen.first_words() == ["waiting", "holding"]
        await seen.press("enter", "escape")
        assert isinstance(seen.screen, PoolerScreen)


@asynchronous
async def test_a_pool_of_a_pgbouncer_has_no_histograms_and_no_waiters() -> None:
    async with running(OLD | {"CLIENTS": CLIENTS, "SERVERS": SERVERS}) as seen:
        await seen.press("enter")
        await seen.until(lambda: seen.first_words() == ["waiting", "active"])
        assert "█" not in seen.said("head")
        await seen.press("3")
        assert seen.screen.query_one(Tabs).active == "clients"


@asynchronous
async def test_an_application_opens_its_pool() -> None:
    async with running() as seen:
        await seen.press("3", "enter")
        assert isinstance(seen.screen, PoolScreen)
        assert seen.screen.pool == ("app", "web")


@asynchronous
async def test_a_row_without_a_pool_opens_nothing() -> None:
    async with running() as seen:
        await seen.press("5", "enter")
        assert isinstance(seen.screen, PoolerScreen)


# Following


@asynchronous
async def test_a_pause_stops_asking_until_it_ends() -> None:
    async with running(interval=0.05) as seen:
        await seen.press("p")
        assert "paused" in seen.said("message")
        await seen.until(lambda: not seen.app.is_following)
        await asyncio.sleep(0)
        asked = len(seen.console.asked)
        picture = seen.app.pooler.picture
        await seen.press("down", "up", "down", "up")
        assert len(seen.console.asked) <= asked + 20  # a sample that was under way
        picture = seen.app.pooler.picture
        await seen.press("p")
        await seen.until(lambda: seen.app.pooler.picture is not picture)


@asynchronous
async def test_keys_change_the_interval() -> None:
    async with running(interval=2.0) as seen:
        await seen.press("plus")
        assert "every 5 s" in seen.said("message")
        await seen.press("minus", "minus", "minus", "minus", "minus")
        assert "every 0.5 s" in seen.said("message")


@asynchronous
async def test_a_console_that_goes_away_leaves_a_stale_picture_and_may_come_back() -> None:
    async with running(interval=0.05) as seen:
        seen.console.gone = "connection refused [red]\x1b[31m"
        await seen.until(lambda: "stale" in seen.said("message"))
        assert "connection refused [red]\\x1B[31m" in seen.said("message")
        assert seen.first_words() == ["app"]
        seen.console.gone = None
        await seen.until(lambda: "stale" not in seen.said("message"))


@asynchronous
async def test_a_console_that_was_never_there_says_so() -> None:
    async with running({}) as seen:
        assert "invalid command 'SHOW VERSION'" in seen.said("message")


@asynchronous
async def test_a_bug_ends_it_and_tells_no_variables() -> None:
    class Faulty(ScriptedConsole):
        async def query(self, sql: str) -> list[Row]:
            password = "".join(("sec", "ret"))
            raise RuntimeError("a bug" if password else "")

    said = []

    class Listening(TopApp):
        def exit(self, *_: object, message: object = None, **__: object) -> None:
            said.append(str(message))
            super().exit(return_code=1)

    app = Listening(Watch(Faulty(ALL)), 60.0)
    async with app.run_test() as pilot:
        while app.return_code is None:
            await pilot.pause()
    assert app.return_code == 1
    assert "RuntimeError: a bug" in said[0]
    assert "secret" not in said[0]


# Everything else


@asynchronous
async def test_arrows_show_columns_that_have_no_room() -> None:
    async with running(size=(60, 24)) as seen:
        assert "mode" not in seen.lines()[0]
        await seen.press("right", "right", "right")
        await seen.until(lambda: seen.lines()[0].startswith("abase"))


@asynchronous
async def test_help_names_the_keys() -> None:
    async with running(OLD) as seen:
        await seen.press("question_mark")
        assert isinstance(seen.app.screen, HelpScreen)
        help_ = str(seen.app.screen.query_one(Static).visual)
        assert "only rows that have a text in a name" in help_
        assert "PgBouncer 1.18.0 doesn't tell" in help_
        await seen.press("escape")
        assert isinstance(seen.app.screen, PoolerScreen)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
@asynchronous
async def test_a_key_ends_it(key: str) -> None:
    async with running() as seen:
        await seen.press(key)
        assert seen.app.return_code == 0


@asynchronous
async def test_hostile_names_are_shown_as_they_are() -> None:
    answers = changed(ALL, "APPS", application_name=HOSTILE)
    async with running(answers, size=(120, 24)) as seen:
        await seen.press("3")
        assert any("\\x1B[31m\\u202Eevil\\x0A[red]" in line for line in seen.lines())
        assert not any("\x1b" in line or "\n" in line for line in seen.lines())


@asynchronous
async def test_only_visible_rows_are_drawn() -> None:
    async with running(many_pools(1000)) as seen:
        grid = seen.screen.grid
        await seen.press("end")
        assert seen.first_words()[-1] == "db0000"
        assert grid.row is not None
        assert grid.row.key[0] == "db0000"
        await seen.press("home", "pagedown")
        assert grid.row.key[0] == f"db{999 - (grid.size.height - 2):04}"
        assert len(seen.first_words()) == grid.size.height - 1


@asynchronous
async def test_nothing_but_show_is_asked() -> None:
    async with running(interval=0.05) as seen:
        await seen.press("3", "enter", "2", "escape", "r")
        assert all(sql.startswith("SHOW ") for sql in seen.console.asked)


@asynchronous
async def test_a_small_terminal_breaks_nothing() -> None:
    async with running(size=(20, 5)) as seen:
        await seen.press("tab", "enter", "escape", "end")
        await seen.pilot.resize_terminal(200, 60)
        assert "dbname" in " ".join(seen.lines())
