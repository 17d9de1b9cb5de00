"""The benchmark runs to its end; what it measures is nothing that a test could assert."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_short_run_has_a_sample_of_every_pooler_and_round() -> None:
    done = bench("--seconds", "0.2", "--rounds", "2", "--only", "unix simple 16", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["cell"] == "unix simple 16"
    assert "pgmux" in " ".join(result["samples"])
    assert all(len(samples) == 2 for samples in result["samples"].values())


def test_idle_clients_are_let_in_and_weighed() -> None:
    done = bench("--only", "idle", "--idle", "50", "--form", "pure", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["unit"] == "bytes/client"
    assert "pgmux pure" in result["samples"]


def test_what_cannot_be_measured_is_said() -> None:
    assert "there is no such program" in bench("--pgbouncer", "/nonexistent").stderr
    assert "--list shows them" in bench("--only", "nonsense").stderr
