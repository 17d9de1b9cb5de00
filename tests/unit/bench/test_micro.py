"""The micro benchmarks do what they are named after, in both forms."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.micro.bed import ANSWERED, QUERY, Bed
from bench.micro.operations import OPERATIONS, Operation
from pgmux.pool.states import SV_IDLE

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_can_be_done_again_and_again(operation: Operation) -> None:
    call = operation.prepare()
    for _ in range(3):
        call()


def test_a_query_takes_a_server_and_its_answer_gives_it_back() -> None:
    bed = Bed(servers=2)
    client = bed.enter()
    client.data_received(QUERY)
    server = client.linked_server
    assert server in bed.servers
    server.data_received(ANSWERED)
    assert client.linked_server is None
    assert bed.lists.server_count(SV_IDLE) == 2


def test_both_forms_have_a_sample_a_round() -> None:
    command = [sys.executable, "-m", "bench.micro", "--rounds", "2", "--seconds", "0.001"]
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    samples = json.loads(done.stdout)["samples"]
    assert "pure" in samples
    for form in samples.values():
        assert set(form) == {operation.name for operation in OPERATIONS}
        assert all(len(ns) == 2 and min(ns) > 0 for ns in form.values())
