"""Results as values, as text and as JSON."""

from __future__ import annotations

import io
import json

import asyncpg
import pytest
from rich.console import Console

from pgmux.ops.loadtest.plan import Side
from pgmux.ops.loadtest.report import Report, _doubts, find_bend, summarize
from pgmux.ops.loadtest.running import Course
from pgmux.ops.loadtest.statements import Query
from pgmux.ops.loadtest.text import percent, print_report
from pgmux.ops.printing import to_json
from tests.unit.ops.loadtest.results import RAMP, ramp, report_of, tally

TOO_MANY = asyncpg.TooManyConnectionsError("sorry, too many clients already")
GOOD = tally([0.001 * each for each in range(1, 101)], seconds=2.0)
BAD = tally([0.02] * 40, seconds=2.0, errors=[TOO_MANY] * 60)


def printed(report: Report, encoding: str = "utf-8", width: int = 120) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding, "backslashreplace")
    print_report(report, Console(file=stream, width=width))
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(encoding)


def test_a_summary_has_the_figures_of_what_succeeded() -> None:
    summary = summarize(GOOD, 50)
    assert (summary.queries, summary.succeeded, summary.failed) == (100, 100, 0)
    assert summary.queries_per_second == 50
    latency = summary.latency
    assert latency.mean_ms == pytest.approx(50.5)
    assert latency.median_ms == pytest.approx(50, rel=0.01)
    assert latency.p95_ms == pytest.approx(95, rel=0.01)
    assert latency.p99_ms == pytest.approx(99, rel=0.01)
    assert latency.max_ms == pytest.approx(100)
    assert summary.connect.mean_ms == pytest.approx(4)
    assert sum(slot.succeeded for slot in summary.timeline) == 100


def test_the_ratio_is_the_poolers_to_the_direct_sides() -> None:
    ratio = report_of({Side.DIRECT: [GOOD], Side.POOLER: [BAD]}).ratio
    assert ratio["queries_per_second"] == pytest.approx(0.4)
    assert ratio["mean"] == pytest.approx(20 / 50.5)
    assert report_of({Side.POOLER: [GOOD]}).ratio == {}


@pytest.mark.parametrize(
    ("rates", "bend"),
    [
        ((100, 200, 400, 800), None),
        ((100, 200, 380, 400), 4),
        ((100, 95, 90, 80), 1),
        ((100, 200, 400, 100), 4),
        ((0, 0, 0, 0), None),
    ],
)
def test_a_ramp_bends_where_more_workers_get_hardly_more_done(
    rates: tuple[int, ...], bend: int | None
) -> None:
    steps = [summarize(each, 2**n) for n, each in enumerate(ramp(*rates))]
    assert find_bend(steps) == bend


def test_the_text_has_everything_and_the_verdict_last() -> None:
    text = printed(report_of({Side.DIRECT: [BAD], Side.POOLER: [GOOD]}))
    assert "direct: me@127.0.0.1:5432/app, server version 17.2" in text
    for label in ("success", "median", "p99", "queries/s", "connect, mean", "pooler/direct"):
        assert label in text
    assert "sorry, too many clients already   53300       60" in text
    assert "a pooler in between" in text
    assert "in turns, 4 rounds each" in text
    assert "█" in text and "▁" not in text.splitlines()[0]
    assert text.splitlines()[-2].startswith("failed: mean < 50 ms: 50.5 ms")
    assert text.splitlines()[-1] == "direct, for comparison: failed: success > 99 %: 40 %"


def test_the_text_needs_no_more_than_ascii() -> None:
    text = printed(report_of({Side.POOLER: [GOOD]}), "ascii")
    assert "####" in text
    assert "\\u" not in text


def test_a_ramp_shows_its_steps_where_it_bends_and_which_step_failed() -> None:
    steps = [*ramp(100, 200, 210), *ramp(205, latency=0.2)]
    text = printed(report_of({Side.POOLER: steps}, load=RAMP, workers=(1, 2, 4, 8)))
    assert "pooler: bends at 2 workers" in text
    assert text.count("passed") == 3
    assert "failed at 8 workers: mean < 50 ms: 200" in text


def test_both_sides_fit_into_eighty_columns() -> None:
    steps = {side: [*ramp(100, 20_000), *ramp(12_000, latency=0.2)] for side in Side}
    text = printed(report_of(steps, load=RAMP, workers=(1, 2, 100)), width=80)
    assert text.count("passed") == 4 and text.count("failed at") == 2
    lines = text.splitlines()
    [first, second] = [line.split() for line in lines if line.startswith("    100")]
    assert first[1:3] == ["direct", "12,000"] and second[1:3] == ["pooler", "12,000"]
    bars = [line for line in lines if "█" in line and "≤" in line]
    assert bars and all(line.count("%") == 2 for line in bars)


def test_what_a_file_does_is_said() -> None:
    query = Query("my.sql", ("SELECT 1", "SELECT 2"), is_own=True)
    text = printed(report_of({Side.POOLER: [GOOD]}, query=query, writes=True))
    assert "my.sql: 2 statements, one transaction" in text
    assert "my.sql writes or locks rows" in text


def test_an_interrupted_test_shows_what_there_is_and_judges_nothing() -> None:
    text = printed(report_of({Side.POOLER: [GOOD]}, is_interrupted=True))
    assert text.splitlines()[-1] == "interrupted: these are the results so far, not judged"


def test_a_side_of_which_much_failed_is_not_to_be_compared_without_a_word() -> None:
    report = report_of({Side.DIRECT: [BAD], Side.POOLER: [GOOD]})
    assert any("direct: its latencies are of the 40.0 % that succeeded" in n for n in report.notes)


def test_a_machine_too_busy_to_measure_on_is_said() -> None:
    course = Course({Side.POOLER: [GOOD]}, [50], cpu_share=0.97)
    for _ in range(20):
        course.lateness.record(0.02)
    notes = " ".join(_doubts(course))
    assert "at work 97% of the time" in notes
    assert "noticed up to 20 ms late" in notes
    assert _doubts(Course({Side.POOLER: [GOOD]}, [50])) == []


def test_nothing_that_succeeded_is_no_reason_for_a_traceback() -> None:
    text = printed(report_of({Side.POOLER: [tally([], errors=[TOO_MANY])]}))
    assert "0.00 %" in text
    assert "nothing to measure" in text


def test_json_has_it_all_and_no_secret() -> None:
    text = to_json(report_of({Side.DIRECT: [BAD], Side.POOLER: [GOOD]}))
    shown = json.loads(text)
    assert "s3cret" not in text
    assert shown["passed"] is False
    assert shown["test"]["test_type"] == "concurrent"
    direct = shown["sides"]["direct"]["whole"]
    assert direct["success_percent"] == 40
    assert direct["errors"][0]["code"] == "53300"
    assert sum(count for _, count in direct["histogram"]) == 40
    assert {each["side"] for each in shown["judgements"]} == {"direct", "pooler"}


def test_a_share_that_is_not_all_never_looks_like_all() -> None:
    assert [percent(v) for v in (100, 99.9999, 99.5, None)] == ["100 %", "99.99 %", "99.50 %", "–"]
