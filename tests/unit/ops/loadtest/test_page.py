"""The page is one file that fetches nothing, and no text of others becomes a part of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from pgmux.ops.loadtest.drawing import round_up
from pgmux.ops.loadtest.page import build_page
from pgmux.ops.loadtest.plan import LoadType, Side
from pgmux.ops.loadtest.statements import Query
from tests.unit.ops.loadtest.results import RAMP, Load, ramp, report_of, tally

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\x1b[2J&amp;"
GOOD = tally([0.001 * each for each in range(1, 101)], seconds=2.0)


def test_it_has_the_figures_the_verdict_and_when_it_was() -> None:
    page = build_page(report_of({Side.DIRECT: [GOOD], Side.POOLER: [GOOD]}), NOW)
    for text in ("1,000 queries, 50 workers, simple", "failed: mean &lt; 50 ms: 50.5 ms"):
        assert text in page
    assert "2026-01-02 03:04 UTC" in page
    assert page.count("<figure>") == 2
    assert "s3cret" not in page


def test_it_asks_no_other_place_for_anything() -> None:
    page = build_page(report_of({Side.POOLER: ramp(10, 20)}, load=RAMP, workers=(1, 2)), NOW)
    assert not re.search(r"https?://|@import|url\(|<script|<link|src=", page)


def test_no_text_becomes_an_element_or_moves_anything() -> None:
    error = asyncpg.PostgresError.new({"C": "22000", "M": EVIL})
    assert isinstance(error, Exception)
    query = Query(EVIL, ("SELECT 1",), is_own=True)
    report = report_of({Side.POOLER: [tally([0.1], errors=[error])]}, query=query, writes=True)
    side = report.sides["pooler"]
    report = replace(report, sides={"pooler": replace(side, place=EVIL, version=EVIL)})
    page = build_page(report, NOW)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page


@pytest.mark.parametrize(
    ("tallies", "load", "workers"),
    [
        ([tally([], errors=[ValueError("no")])], Load(), (1,)),
        ([tally([0.01])], Load(LoadType.BURST), (1,)),
        (ramp(10), RAMP, (1,)),
        (ramp(0, 0), RAMP, (1, 2)),
    ],
)
def test_whatever_came_of_it_there_is_a_page(
    tallies: list[object], load: Load, workers: tuple[int, ...]
) -> None:
    report = report_of({Side.POOLER: tallies}, load=load, workers=workers)  # type: ignore[dict-item]
    assert build_page(report, NOW).endswith("</html>\n")


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (3, 4), (0.011, 0.02), (950, 1000)])
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)
