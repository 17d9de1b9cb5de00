"""The benchmark runs to its end; what it measures is nothing that a test could assert."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHORT = ("--rounds", "1", "--seconds", "0.05")


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    environ = {k: v for k, v in os.environ.items() if k != "PGBOUNCER"} | environment
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environ
    )


def measured(*arguments: str) -> dict[str, Any]:
    """What --json tells."""
    done = bench("--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def fake_pgbouncer(directory: Path, version: str) -> str:
    path = directory / "pgbouncer"
    path.write_text(f"#!/bin/sh\nprintf '{version}'\n")
    path.chmod(0o755)
    return str(path)


def test_a_short_run_has_a_sample_of_every_pooler_and_round() -> None:
    found = measured("--seconds", "0.05", "--rounds", "2", "--only", "unix simple 16")
    (result,) = found["results"]
    assert result["load"] == "unix simple 16"
    (row,) = result["rows"]
    assert row["goal"] == {"limit": 1.2, "is_ratio": True}
    assert "pgmux compiled" in result["samples"]
    for name, samples in result["samples"].items():
        assert len(samples) == 2
        assert {"cpu_us", "user_us", "kernel_us", "tps", "p50_ms", "p99_ms"} <= samples[0].keys()
        assert samples[0].keys() <= found["figures"].keys()
        assert all(0 < sample["p50_ms"] <= sample["p99_ms"] for sample in samples)
        assert row["median"][name] > 0
        assert result["peak_bytes"][name] > 1e6


def test_clients_that_connect_each_time_log_in_by_scram() -> None:
    found = measured(*SHORT, "--only", "connect scram", "--form", "pure", "--quick")
    (result,) = found["results"]
    (sample,) = result["samples"]["pgmux pure"]
    assert sample["connect_ms"] > 0
    assert "p50_ms" not in sample


def test_the_list_names_every_kind_of_load() -> None:
    names = bench("--list").stdout.splitlines()
    assert len(names) == len(set(names))
    for name in (
        *(
            f"{transport} {mode} {clients}"
            for transport in ("tcp", "unix")
            for mode in ("simple", "extended", "prepared")
            for clients in (1, 16, 100)
        ),
        "tls simple 16",
        "tcp connect 16",
        "tcp connect scram 16",
        "tls connect 16",
        "tcp row 4 kB 16",
        "tcp pipeline extended 16",
        "tcp exhausted 100 on 2",
        "tcp crowd 2000 on 20",
        "tcp copy out 500 MB",
        "tcp copy in 500 MB",
        "tcp idle 10000",
    ):
        assert name in names


def test_only_may_name_several_parts() -> None:
    done = bench("--list", "--only", "unix prepared", "--only", "exhausted")
    assert done.stdout.splitlines() == [
        "unix prepared 1",
        "unix prepared 16",
        "unix prepared 100",
        "tcp exhausted 100 on 2",
    ]


def test_markdown_is_two_tables_with_the_version_of_each_pooler_above_its_column() -> None:
    done = bench(*SHORT, "--only", "tcp simple 16", "--quick", "--markdown")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    heading, rule, row, *details = lines
    assert heading.startswith("| load | ") and "pgmux compiled" in heading
    assert row.startswith("| tcp simple 16 | ") and "≤ 1.10" in row
    assert {line.count("|") for line in (heading, rule, row)} == {heading.count("|")}
    assert len(details) == 3 and details[2].startswith("| tcp simple 16 | ")


def test_a_drop_in_of_our_own_is_no_yardstick(tmp_path: Path) -> None:
    path = fake_pgbouncer(tmp_path, "PgBouncer 1.25.2\\npgmux 0.1 (compiled)\\n")
    done = bench(PGBOUNCER=path)
    assert done.returncode != 0
    assert f"{path} isn't PgBouncer but pgmux's drop-in" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pgbouncer", "/nonexistent"), "there is no such program"),
        (("--pgbouncer", "/bin/echo"), "isn't PgBouncer"),
        (("--only", "nonsense"), "see --list"),
    ],
)
def test_what_cannot_be_measured_is_said(arguments: tuple[str, ...], message: str) -> None:
    done = bench(*arguments)
    assert done.returncode != 0
    assert message in done.stderr


def test_idle_clients_are_let_in_weighed_and_probed_beside() -> None:
    (result,) = measured(*SHORT, "--only", "tls idle", "--form", "pure", "--quick")["results"]
    (sample,) = result["samples"]["pgmux pure"]
    assert sample["bytes_per_client"] > 0
    assert sample["start_mb"] > 1
    assert sample["worst_ms"] >= sample["p50_ms"] > 0
    assert sample["worst_login_ms"] > 0


def test_copy_both_ways_has_its_throughput() -> None:
    found = measured("--rounds", "1", "--seconds", "0.01", "--only", "copy", "--quick")
    for result in found["results"]:
        assert result["rows"][0]["more_is_better"]
        for (sample,) in result["samples"].values():
            assert sample["mb_per_s"] > 0
            assert sample["cpu_ms_per_gb"] > 0
    assert len(found["results"]) == 2
