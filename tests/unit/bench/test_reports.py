"""What was measured, shown: the tables, the JSON and the chart of a run that never was."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench import BenchError
from bench.measure import Measured
from bench.report.cells import comparison, details
from bench.report.chart import chart
from bench.report.data import Report, as_json, read_json
from bench.report.tables import markdown_tables, terminal_tables
from bench.workload import FIGURES
from bench.workloads import WORKLOADS

YARDSTICK, SECOND, COMPILED = "PgBouncer 1.25.2", "PgBouncer 1.18.0", "pgmux compiled"
SVG = "{http://www.w3.org/2000/svg}"
LOADS = {workload.name: workload for workload in WORKLOADS}


def selects(*, name: str = "tcp simple 16") -> Measured:
    """Costs 10, 11 and 12, 13: ratios 1.1 and 1.3 to the yardstick."""
    own = [
        {"cpu_us": us, "user_us": us / 4, "tps": 1e4, "p50_ms": 1, "p99_ms": 2} for us in (11, 13)
    ]
    samples = {YARDSTICK: [{"cpu_us": 10.0}] * 2, COMPILED: own}
    return Measured(LOADS[name], samples, {YARDSTICK: 8_000_000, COMPILED: 42_000_000})


def copies() -> Measured:
    samples = {
        YARDSTICK: [{"mb_per_s": 400.0, "cpu_ms_per_gb": 1500.0}],
        COMPILED: [{"mb_per_s": 800.0, "cpu_ms_per_gb": 500.0}],
    }
    return Measured(LOADS["tcp copy out 500 MB"], samples, {})


def report(*results: Measured) -> Report:
    return Report("a machine", 2, 1.0, results)


def drawn(*results: Measured) -> tuple[list[str], int]:
    """The texts of the chart, and how many goals it marks."""
    svg = ElementTree.fromstring(chart(report(*results)))
    texts = [str(text.text) for text in svg.iter(f"{SVG}text")]
    lines = [line.get("stroke") for line in svg.iter(f"{SVG}line")]
    return texts, lines.count("#c2489d") - 1  # the key has one


def test_a_row_has_each_figure_its_ratio_with_the_spread_and_the_goal() -> None:
    headings, line = comparison([selects()])
    assert headings == ["load", YARDSTICK, COMPILED, "ratio [spread]", "goal"]
    assert line == ["tcp simple 16", "10.0", "12.0", "1.20 [1.10–1.30]", "≤ 1.10"]


def test_what_is_better_when_it_is_more_says_so_and_has_its_unit() -> None:
    _, throughput, cpu = comparison([copies()])
    assert throughput == ["tcp copy out 500 MB ↑", "400.0 MB/s", "800.0 MB/s", "2.00", "≥ 1.20"]
    assert cpu == ["tcp copy out 500 MB CPU", "1500 ms/GB", "500.0 ms/GB", "0.33", ""]


def test_who_failed_and_who_cannot_are_told_apart_and_have_no_ratio() -> None:
    result = selects()
    result.samples |= {SECOND: [], "pgmux pure": []}
    result.failures["pgmux pure"] = "closed a client"
    _, line = comparison([result])
    assert line[4:8] == ["–", "–", "fails", "–"]


def test_without_a_yardstick_the_first_pooler_is_shown_alone() -> None:
    result = selects()
    del result.samples[YARDSTICK]
    headings, line = comparison([result])
    assert headings == ["load", COMPILED, "goal"]
    assert line[1] == "12.0"


def test_the_uncompiled_form_has_a_goal_of_its_own() -> None:
    result = selects()
    result.samples["pgmux pure"] = result.samples[COMPILED]
    assert comparison([result])[1][-1] == "≤ 1.10 / ≤ 1.60"
    del result.samples[COMPILED]
    assert comparison([result])[1][-1] == "≤ 1.60"


def test_the_details_leave_out_what_a_load_has_not() -> None:
    assert details([selects()])[1][1:] == ["8 MB", "10000/s, 1.00/2.00 ms, 25%, 42 MB"]
    assert details([copies()])[1][1:] == ["–", "–"]


def test_markdown_has_as_many_cells_in_each_line_of_a_table() -> None:
    text = markdown_tables(report(selects(), copies()))
    parts = text.split("Transactions/s")
    first, second = ([line for line in part.splitlines() if line[:1] == "|"] for part in parts)
    assert len(first) == 2 + 3 and len(second) == 2 + 2
    for table in (first, second):
        assert len({line.count("|") for line in table}) == 1
    assert text.startswith("a machine; ") and YARDSTICK in text


def test_the_terminal_gets_the_same_rows() -> None:
    table, _ = terminal_tables(report(selects())).renderables
    assert table.row_count == 1  # type: ignore[union-attr]


def test_json_is_read_again_as_it_was_written() -> None:
    written = as_json(report(selects(), copies()))
    assert as_json(read_json(written)) == written


def test_json_has_all_samples_and_says_what_their_keys_mean() -> None:
    found = json.loads(as_json(report(selects())))
    (result,) = found["results"]
    assert result["samples"][COMPILED][1]["cpu_us"] == 13
    assert result["rows"][0]["ratios"] == {COMPILED: [1.1, 1.3]}
    assert result["rows"][0]["goal"] == {"limit": 1.1, "is_ratio": True}
    assert found["figures"] == FIGURES


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": [{"load": "no such load"}]}'])
def test_what_is_no_such_json_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="isn't what --json"):
        read_json(text)


def test_the_chart_has_a_line_for_each_ratio_and_marks_the_goals() -> None:
    texts, goals = drawn(selects(), copies())
    assert {"tcp simple 16", "tcp copy out 500 MB ↑", "tcp copy out 500 MB CPU"} <= set(texts)
    assert {"1.20 [1.10–1.30]", "2.00", "0.33"} <= set(texts)
    assert goals == 2
    assert "a machine" in texts


def test_the_chart_tells_the_forms_apart_and_leaves_out_what_is_not_ours() -> None:
    result = selects()
    result.samples |= {"pgmux pure": result.samples[COMPILED], SECOND: result.samples[COMPILED]}
    texts, goals = drawn(result)
    assert {"tcp simple 16 (compiled)", "tcp simple 16 (pure)"} <= set(texts)
    assert goals == 2


def test_a_chart_without_a_ratio_is_still_one() -> None:
    result = replace(selects(), samples={COMPILED: selects().samples[COMPILED]})
    texts, goals = drawn(result)
    assert "tcp simple 16" not in texts
    assert goals == 0


def test_figures_of_which_the_ratio_says_little_are_not_drawn() -> None:
    figures = ("bytes_per_client", "start_mb", "worst_ms", "worst_login_ms")
    samples = {name: [dict.fromkeys(figures, 1.0)] for name in (YARDSTICK, COMPILED)}
    texts, _ = drawn(Measured(LOADS["tcp idle 10000"], samples))
    assert "tcp idle 10000 each" in texts
    assert "tcp idle 10000 at start" not in texts
