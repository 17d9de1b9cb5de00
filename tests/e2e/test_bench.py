"""The benchmark runs to its end; what it measures is nothing that a test could assert."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
# One load of each kind.
LOADS = (
    "unix simple 16",
    "tcp connect scram 16",
    "tcp crowd 2000 on 20",
    "tcp copy out 500 MB",
    "tls idle 2000",
)

Results = dict[str, Any]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The JSON and the SVG of a short run."""
    directory = tmp_path_factory.mktemp("bench")
    svg = directory / "chart.svg"
    only = [part for load in LOADS for part in ("--only", load)]
    done = bench(
        *only, "--quick", "--rounds", "2", "--seconds", "0.02", "--json", "--svg", str(svg)
    )
    assert done.returncode == 0, done.stderr
    path = directory / "results.json"
    path.write_text(done.stdout)
    return path, svg


@pytest.fixture(scope="module")
def results(run: tuple[Path, Path]) -> Results:
    """Each load's, by its name."""
    found = json.loads(run[0].read_text())["results"]
    return {result["load"]: result for result in found}


def test_a_run_has_a_sample_of_every_pooler_and_round(results: Results) -> None:
    assert set(results) == set(LOADS)
    for load in results.values():
        assert not load["failures"]
        assert "pgmux compiled" in load["samples"]
        rounds = 1 if "idle" in load["load"] else 2
        assert all(len(samples) == rounds for samples in load["samples"].values())
        assert all(peak > 1e6 for peak in load["peak_bytes"].values())


def test_a_transaction_has_its_cpu_time_and_latency(results: Results) -> None:
    loads = (results["unix simple 16"], results["tcp crowd 2000 on 20"])
    for samples in (samples for load in loads for samples in load["samples"].values()):
        for sample in samples:
            assert sample["cpu_us"] >= 0 and sample["tps"] > 0
            assert sample["user_us"] + sample["kernel_us"] == pytest.approx(sample["cpu_us"])
            assert 0 < sample["p50_ms"] <= sample["p99_ms"]


def test_a_connect_has_the_time_that_it_takes_instead_of_a_latency(results: Results) -> None:
    for samples in results["tcp connect scram 16"]["samples"].values():
        assert all(sample["connect_ms"] > 0 for sample in samples)
        assert not any("p50_ms" in sample for sample in samples)


def test_copy_has_its_throughput(results: Results) -> None:
    for samples in results["tcp copy out 500 MB"]["samples"].values():
        assert all(s["mb_per_s"] > 0 and s["cpu_ms_per_gb"] > 0 for s in samples)


def test_idle_clients_are_weighed_and_probed_beside(results: Results) -> None:
    for (sample,) in results["tls idle 2000"]["samples"].values():
        assert sample["bytes_per_client"] > 0 and sample["start_mb"] > 1
        assert sample["worst_ms"] >= sample["p50_ms"] > 0
        assert sample["worst_login_ms"] > 0


def test_the_chart_is_written_beside_and_the_tables_are_made_of_the_json(
    run: tuple[Path, Path],
) -> None:
    path, svg = run
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    done = bench("--from", str(path), "--markdown")
    assert done.returncode == 0, done.stderr
    for load in LOADS:
        assert f"| {load} " in done.stdout


def test_the_list_names_every_kind_of_load() -> None:
    names = bench("--list").stdout.splitlines()
    assert len(names) == len(set(names))
    selects = {
        f"{transport} {mode} {clients}"
        for transport in ("tcp", "unix")
        for mode in ("simple", "extended", "prepared")
        for clients in (1, 16, 100)
    }
    others = {
        *("tls simple 16", "tcp connect 16", "tcp connect scram 16", "tls connect 16"),
        *("tcp row 1 kB 16", "tcp row 4 kB 16", "tcp pipeline extended 16"),
        *("tcp exhausted 100 on 2", "tcp crowd 2000 on 20"),
        *("tcp copy out 500 MB", "tcp copy in 500 MB", "tcp idle 10000"),
    }
    assert selects | others <= set(names)


def test_only_may_name_several_parts() -> None:
    done = bench("--list", "--only", "unix prepared 1", "--only", "exhausted")
    assert done.stdout.splitlines() == [
        *("unix prepared 1", "unix prepared 16", "unix prepared 100"),
        "tcp exhausted 100 on 2",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pgbouncer", "/bin/echo"), "isn't PgBouncer"),
        (("--only", "nonsense"), "see --list"),
        (("--from", "README.md"), "isn't what --json"),
        (("--from", "README.md"), "README.md: "),
        (("--from", sys.executable), "isn't what --json"),
        (("--svg", "no/such/chart.svg"), "no/such is no directory"),
        (("--json", "--markdown"), "--from FILE"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], message: str) -> None:
    done = bench(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
