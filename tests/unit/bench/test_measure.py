"""The rounds: who is measured when, and what becomes of who fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from bench import BenchError
from bench.measure import Measured, measure
from bench.poolers import Bed, Cpu, Pooler, Setup
from bench.programs import Program
from bench.workload import Quantity, Sample, Workload, cpu_figures, latency_figures, part_of


@dataclass(frozen=True)
class FakePooler:
    name: str

    def peak_memory(self) -> int:
        return 1000


@dataclass
class FakeBed:
    programs: list[Program]

    @contextmanager
    def running(self, program: Program, setup: Setup) -> Iterator[FakePooler]:
        yield FakePooler(program.name)


@dataclass
class FakeLoad(Workload):
    """Fails where `failing` says, as (pooler, run); a run is named by the pooler in `runs`."""

    failing: tuple[str, int] = ("", 0)
    prepared: bool = False
    name: str = "a load"
    setup: Setup = Setup.TRUST
    quantities: tuple[Quantity, ...] = (Quantity("cpu_us"),)
    runs: list[str] = field(default_factory=list)

    @property
    def needs_prepared(self) -> bool:
        return self.prepared

    def warm_up(self, bed: Bed, pooler: Pooler, seconds: float) -> float:
        if self.failing == (pooler.name, 0):
            raise BenchError("fails at once")
        return 7 if pooler.name == "B" else 9

    def run(self, bed: Bed, pooler: Pooler, size: float) -> Sample:
        self.runs.append(pooler.name)
        if self.failing == (pooler.name, self.runs.count(pooler.name)):
            raise BenchError("fails later")
        return {"cpu_us": size}


def measured(load: FakeLoad, *, rounds: int = 2) -> Measured:
    programs = [Program("A", ()), Program("B", (), has_prepared=False), Program("C", ())]
    bed = cast(Any, FakeBed(programs))
    return measure(load, bed, rounds=rounds, seconds=1, on_run=lambda: None)


def test_poolers_take_turns_and_every_other_round_is_the_other_way_round() -> None:
    load = FakeLoad()
    measured(load, rounds=3)
    assert "".join(load.runs) == "ABCCBAABC"


def test_a_run_has_the_same_size_for_all() -> None:
    samples = measured(FakeLoad()).samples
    assert samples == {name: [{"cpu_us": 7}] * 2 for name in "ABC"}


def test_who_cannot_do_a_load_is_left_out() -> None:
    result = measured(FakeLoad(prepared=True))
    assert result.samples["B"] == [] and not result.failures
    assert result.samples["C"] == [{"cpu_us": 9}] * 2


def test_who_fails_has_no_samples_and_the_others_go_on() -> None:
    for run, problem in ((0, "fails at once"), (1, "fails later"), (2, "fails later")):
        result = measured(FakeLoad(failing=("B", run)))
        assert result.failures == {"B": problem}
        assert [len(result.samples[name]) for name in "ABC"] == [2, 0, 2]
        (row,) = result.rows()
        assert row.median("B") is None and row.ratios("B") == []
        assert len(row.ratios("C")) == 2


def test_cpu_time_is_shared_out_by_the_parts_that_the_kernel_saw() -> None:
    used = Cpu(2.0, 0.5, 1.6) - Cpu(1.0, 0.4, 1.3)
    figures = cpu_figures(used, 1000)
    assert figures["cpu_us"] == 1000
    assert round(figures["user_us"]) == 250 and round(figures["kernel_us"]) == 750
    assert cpu_figures(Cpu(0.0, 0.0, 0.0), 10)["user_us"] == 0


def test_percentiles_are_of_what_was_seen() -> None:
    figures = latency_figures([i / 1000 for i in range(1, 101)])
    assert figures == {"p50_ms": 50.0, "p99_ms": 99.0, "p99_to_p50": 1.98}
    assert latency_figures([0.002])["p99_ms"] == 2


def test_a_short_run_has_less_to_copy_and_a_long_one_no_more() -> None:
    assert [part_of(500, seconds) for seconds in (0.0001, 0.1, 1, 3)] == [1, 50, 500, 500]
