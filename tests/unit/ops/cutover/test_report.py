"""Two recordings compared: what was normal, what was the most, and who connects where."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pgmux.cli.cutover import command
from pgmux.ops.cutover.markdown import escape
from pgmux.ops.cutover.recording import Recorder
from pgmux.ops.cutover.sample import Sample
from pgmux.ops.cutover.summary import Spread, TooLittle, summarize
from tests.unit.ops.cutover.samples import START, count, refused, sample

HOSTILE = "a|b<script>alert(1)</script>`\x1b[31m\n[x](http://y) **z** @all"


def before(number: int = 12) -> list[Sample]:
    """Every ten seconds: 40 connections and one more each time, 100 transactions a second."""
    return [
        sample(
            10 * each,
            count("web", 30 + each),
            count("worker", 10),
            server={"connections": 40 + each, "commits": 1000 * each},
        )
        for each in range(number)
    ]


def after(number: int = 12) -> list[Sample]:
    """An hour later, through the pooler."""
    return [
        sample(
            3600 + 10 * each,
            count("web", 0, 30 + each),
            count("worker", 0, 10),
            server={"connections": 10, "max_connections": 200, "commits": 5220 * each},
            pooler={"transactions": 5200 * each, "wait_time": 5.2 * each, "errors": 3 + each},
        )
        for each in range(number)
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "before.jsonl"


def record(path: Path, samples: Sequence[Sample]) -> str:
    with Recorder(str(path)) as recorder:
        for each in samples:
            recorder.add(each)
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["report", *arguments])


def test_peak_is_the_most_and_normally_is_the_median() -> None:
    period = summarize(before(), "before")
    assert period.connections == Spread(45.5, 51)
    assert period.share == Spread(0.455, 0.51)
    assert period.commits == Spread(100, 100)
    assert period.interval == 10
    assert [(each.app.application, each.direct) for each in period.apps] == [
        ("web", Spread(35.5, 41)),
        ("worker", Spread(10, 10)),
    ]
    assert period.pooler is None


def test_a_refused_sample_means_that_it_was_full() -> None:
    period = summarize([*before(), refused(120), refused(130)], "before")
    assert (period.refused, period.full, period.failed) == (2, 2, 0)
    assert period.connections.peak == 100
    last = sample(140, server={"connections": 97})
    assert summarize([*before(), last], "before").full == 1


def test_the_pooler_is_told_where_it_was_asked() -> None:
    pooler = summarize(after(), "after").pooler
    assert pooler is not None
    assert pooler.transactions == Spread(520, 520)
    assert pooler.wait == pytest.approx(0.001)
    assert pooler.errors == 11
    assert (pooler.waiting, pooler.failed) == (0, 0)


def test_rates_mind_restarts_and_gaps() -> None:
    samples = before()
    restarted = sample(120, server={"started": START + 115, "commits": 5, "connections": 1})
    long_after = sample(9000, server={"started": START + 115, "commits": 10**9, "connections": 1})
    period = summarize([*samples, restarted, long_after], "before")
    assert period.restarts == 1
    assert period.commits == Spread(100, 100)


def test_a_pooler_that_began_again_counts_from_nothing() -> None:
    counts = [5, 9, 2, 4]
    samples = [sample(each, pooler={"errors": errors}) for each, errors in enumerate(counts)]
    pooler = summarize(samples, "after", least=1).pooler
    assert pooler is not None
    assert pooler.errors == 4 + 2 + 2


def test_who_is_direct_is_not_told_by_samples_without_the_pooler() -> None:
    lost = replace(sample(3720, count("web", 99)), pooler_error="no connection")
    period = summarize([*after(), lost], "after")
    assert max(each.direct.peak for each in period.apps) == 0
    assert period.pooler is not None
    assert period.pooler.failed == 1


def test_too_little_is_refused() -> None:
    with pytest.raises(TooLittle, match=r"b has 9 samples in which PostgreSQL answered, of 10: at"):
        summarize([*before(9), refused(99)], "b")
    with pytest.raises(TooLittle):
        summarize([], "b", least=0)


# The command


def test_the_table_has_what_the_ticket_wants(file: Path, tmp_path: Path) -> None:
    later = record(tmp_path / "after.jsonl", after())
    done = run(record(file, [*before(), refused(120)]), later, "--markdown")
    assert done.exit_code == 0
    assert "| PostgreSQL connections at peak | 100 of 100 (100%, full) | 10 of 200 (5%) |" in (
        done.output
    )
    assert "| PostgreSQL connections normally | 45.5 (46%) | 10 (5%) |" in done.output
    assert "| Refused: too many clients | 1 of 13 samples | none |" in done.output
    assert "| Transactions/s, PostgreSQL | 100 (peak 100) | 522 (peak 522) |" in done.output
    assert "| Mean wait for a server | – | 1.0ms |" in done.output
    assert "| web | app | shop | 41 (35.5) | – | – | 41 (35.5) |" in done.output
    assert done.output.endswith("\n")


def test_json_has_numbers(file: Path, tmp_path: Path) -> None:
    later = record(tmp_path / "after.jsonl", after())
    content = json.loads(run("--before", record(file, before()), "--after", later, "--json").output)
    assert content["before"]["connections"] == {"normally": 45.5, "peak": 51}
    assert content["after"]["share"] == {"normally": 0.05, "peak": 0.05}
    assert content["before"]["start"] == "2027-01-15T08:00:00.000Z"
    assert content["before"]["pooler"] is None


def test_names_break_neither_tables_nor_markdown(file: Path, tmp_path: Path) -> None:
    samples = [sample(10 * each, count(HOSTILE, 5, user="u|<i>")) for each in range(12)]
    paths = [record(file, samples), record(tmp_path / "after.jsonl", after())]
    marked = run(*paths, "--markdown").output
    [row] = [line for line in marked.splitlines() if "script" in line]
    assert row.replace("\\|", "").count("|") == 8
    assert "<" not in row
    assert "\x1b" not in marked
    shown = run(*paths).output
    assert "\x1b[31m" not in shown
    assert "\\x1B[31m" in shown


def test_names_are_themselves_in_markdown() -> None:
    assert escape("a|b") == "a\\|b"
    assert escape("<b>&@x") == "&lt;b&gt;&amp;&#64;x"
    assert escape("*_`[]~#\\") == "\\*\\_\\`\\[\\]\\~\\#\\\\"
    assert escape("a\n- b\x1b") == "a\\\\x0A- b\\\\x1B"


def test_one_recording_is_split_at_a_time(file: Path) -> None:
    path = record(file, [*before(), *after()])
    clock = time.strftime("%H:%M", time.localtime(START + 1800))
    done = run(path, "--at", clock, "--json")
    content = json.loads(done.output)
    assert (content["before"]["samples"], content["after"]["samples"]) == (12, 12)
    done = run(path, "--at", "2027-01-15T08:30:00Z", "--json")
    assert json.loads(done.output)["after"]["samples"] == 12


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("yesterday", "yesterday is no time: write 2026-03-01T14:00"),
        ("2020-01-01", "2020-01-01 is not within"),
        ("0001-01-01", "0001-01-01 is no"),
    ],
)
def test_a_time_that_doesnt_split_is_refused(file: Path, at: str, said: str) -> None:
    done = run(record(file, before()), "--at", at)
    assert done.exit_code == 2
    assert said in done.output


def test_broken_lines_are_told_by_number_and_passed_over(file: Path, tmp_path: Path) -> None:
    path = record(file, before())
    with open(path, "a") as lines:
        lines.write("not a sample\n" * 7)
    done = run(path, record(tmp_path / "after.jsonl", after()))
    assert done.exit_code == 1
    assert f"{path}:13: passed over: not JSON" in done.stderr
    assert "and 2 more lines" in done.stderr
    assert "41 (35.5)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "two recordings are needed"),
        (("a",), "two recordings are needed"),
        (("a", "b", "--at", "12:00"), "--at splits one recording"),
        (("--before", "a"), "name both"),
        (("a", "--before", "a", "--after", "b"), "name both"),
        (("/no/such", "/no/such"), "cannot read /no/such: No such file"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_why(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_what_makes_them_hard_to_compare_is_said(file: Path, tmp_path: Path) -> None:
    moved = [
        sample(50 + each, server={"place": "db2:5432", "is_partial": True}) for each in range(12)
    ]
    done = run(record(file, before()), record(tmp_path / "after.jsonl", moved))
    assert "Not the same PostgreSQL: db1:5432 before, db2:5432 after." in done.output
    assert "The two periods overlap." in done.output
    assert "could not see states and addresses" in done.output
