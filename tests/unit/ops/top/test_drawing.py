"""The head, the bars and the table that `--once` prints."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console as Terminal

from pgmux.monitor.tables import Buckets
from pgmux.ops.top import bars, head, once
from pgmux.ops.top.panes import PANES
from pgmux.ops.top.watch import Picture
from tests.fixtures.scripted_console import NEW, OLD
from tests.unit.ops.top.pictures import changed, take_picture
from tests.unit.ops.top.test_panes import BUSIER, HOSTILE

POOLS, _, APPLICATIONS = PANES[:3]


def test_the_head_says_what_is_done_and_how_long_it_takes() -> None:
    picture = take_picture(NEW, BUSIER)
    assert head.work(picture).plain == (
        "50 tx/s   20 query/s   in 0B/s out 2.0kB/s   wait p50 16µs p99 16µs   tx p99 640µs"
    )
    assert "mean wait – tx – query –" in head.work(take_picture(OLD, OLD)).plain
    assert "next sample" in head.work(take_picture(NEW)).plain


def test_the_head_says_load_against_limits() -> None:
    assert head.load(take_picture(NEW).sample).plain == (
        "clients 6 of 100, 2 waiting up to 1.5s   servers 6 of 9, 4 active   db1:5432 6 of 97"
    )
    assert "servers 6 of 20, 4 active" in head.load(take_picture(OLD).sample).plain


def test_a_pooler_that_is_paused_or_not_ready_says_so() -> None:
    paused = changed(changed(NEW, "STATE", 0, value="no"), "STATE", 1, value="yes")
    assert "   paused" in head.title(take_picture(paused), "db1:6432").plain
    title = head.title(take_picture(NEW), "db1:6432").plain
    assert title == "PgBouncer 1.25.2 at db1:6432   not ready: app: server login failed"
    assert head.title(take_picture(OLD), "db1:6432").plain == "PgBouncer 1.18.0 at db1:6432"


def test_the_past_fits_its_line() -> None:
    picture = take_picture(*[NEW, BUSIER] * 60)
    for width in (20, 78, 200):
        assert head.past(picture, width).cell_len <= max(width, 60)
    assert "wait p99" in head.past(picture, 78).plain
    assert "wait p99" not in head.past(take_picture(OLD, OLD), 78).plain
    assert head.past(take_picture(NEW), 78).plain == ""


def test_what_is_not_told_is_said() -> None:
    assert head.not_told(take_picture(OLD).sample) == (
        "PgBouncer 1.18.0 doesn't tell: applications, quantiles, errors, connects,"
        " who waits for whom, PostgreSQL's limits"
    )
    assert head.not_told(take_picture(NEW).sample) == ""


def test_an_opened_pool_may_be_gone() -> None:
    title = head.pool_title(take_picture(NEW), ("app", "nobody")).plain
    assert title == "app as nobody   there is no such pool any more"


def test_buckets_are_drawn_by_powers_of_eight() -> None:
    assert bars.coarsen(Buckets(((1, 2), (8, 3), (10, 1), (512, 4), (640, 1)))) == [
        *(5, 1, 4, 1, 0, 0, 0, 0)
    ]
    assert bars.coarsen(Buckets(((8**7, 1), (8**7 + 1, 2), (10**10, 3))))[-2:] == [1, 5]


def test_a_pools_histograms_fit_80_columns() -> None:
    drawn = bars.draw_histograms(take_picture(NEW), ("app", "web"), 78).plain.splitlines()
    assert len(drawn) == bars.HEIGHT
    assert all(len(line) <= 78 for line in drawn)
    assert drawn[0].split() == ["wait", "transaction", "query"]
    assert drawn[1].split() == ["8µs", "█" * 14, "50"]


# --once and --json


def printed(picture: Picture, pane: int = 0, width: int = 4096) -> str:
    file = io.StringIO()
    terminal = Terminal(file=file, width=width, highlight=False, markup=False, emoji=False)
    terminal.print(once.render(picture, "db1:6432", PANES[pane], width))
    return file.getvalue()


def test_once_prints_the_head_and_a_table() -> None:
    lines = printed(take_picture(NEW, BUSIER)).splitlines()
    assert lines[0].startswith("PgBouncer 1.25.2 at db1:6432")
    assert lines[-2].split()[:3] == ["database", "user", "clients"]
    assert lines[-1].split()[:3] == ["app", "web", "3"]


def test_columns_without_room_are_left_out_and_named() -> None:
    text = printed(take_picture(NEW, BUSIER), width=40)
    assert all(len(line) <= 40 for line in text.splitlines())
    assert "No room for:" in text
    assert "mode" in text.split("No room for:")[1]


def test_a_table_that_is_not_told_is_not_printed() -> None:
    text = printed(take_picture(OLD, OLD), pane=2)
    assert "doesn't tell: applications" in text
    assert "held" not in text


def test_a_hostile_name_is_harmless() -> None:
    text = printed(take_picture(NEW, changed(NEW, "APPS", application_name=HOSTILE)), pane=2)
    assert "\x1b" not in text
    assert "[red]bold[/red]" in text


def test_json_has_the_sample_and_the_rates() -> None:
    content = json.loads(once.to_json(take_picture(NEW, changed(NEW, "ERRORS", count=7))))
    assert content["pools"][0]["cl_waiting"] == 2
    assert content["limits"]["max_client_conn"] == 100
    assert content["not_told"] == []
    assert content["rates"]["seconds"] == 2.0
    assert content["rates"]["apps"][0].keys() >= {"application_name", "servers_held"}
    assert content["rates"]["pools"][0]["database"] == "app"
    [error] = content["rates"]["errors"]
    assert (error["sqlstate"], error["count"]) == ("53300", 4)


def test_json_of_a_single_sample_has_no_rates() -> None:
    picture = take_picture(NEW, NEW)
    assert "rates" not in json.loads(once.to_json(replace(picture, rates=None)))
