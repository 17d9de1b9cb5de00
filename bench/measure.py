"""The rounds: each load on every pooler in turn, so that a round's ratio is that of neighbours, and
what else the machine does hits all.

A load's poolers are started for it: none carries what another load left in its memory. What fails
at a load has no samples there, and the run goes on (PgBouncer before 1.21 has no prepared
statements in transaction mode).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from bench import BenchError
from bench.poolers import Bed, Pooler
from bench.workload import UNCOMPILED_LIMIT, Goal, Quantity, Sample, Workload

PURE = "pgmux pure"


@dataclass(slots=True)
class Measured:
    """A load's samples by pooler, one a round."""

    workload: Workload
    samples: dict[str, list[Sample]]
    peaks: dict[str, int] = field(default_factory=dict)  # bytes
    failures: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """One for each quantity that the load gives."""
        return [Row(self, quantity) for quantity in self.workload.quantities]

    def median(self, name: str, figure: str) -> float | None:
        """A pooler's, or None where it failed or the load has no such figure."""
        values = [sample[figure] for sample in self.samples[name] if figure in sample]
        return median(values) if values else None


@dataclass(frozen=True, slots=True)
class Row:
    """A quantity of a load, compared."""

    measured: Measured
    quantity: Quantity

    @property
    def name(self) -> str:
        return f"{self.measured.workload.name} {self.quantity.label}".rstrip()

    def others(self) -> list[str]:
        """The poolers that are compared with the first one."""
        return list(self.measured.samples)[1:]

    def samples(self, name: str) -> list[float]:
        return [sample[self.quantity.figure] for sample in self.measured.samples[name]]

    def median(self, name: str) -> float | None:
        return self.measured.median(name, self.quantity.figure)

    def goal(self, name: str) -> Goal | None:
        """What is aimed at by a form of pgmux."""
        goal = self.quantity.goal
        if goal is not None and self.quantity.figure == "cpu_us" and name == PURE:
            return Goal(max(goal.limit, UNCOMPILED_LIMIT))
        return goal

    def ratios(self, name: str) -> list[float]:
        """A pooler's figure to the yardstick's, round by round, ascending."""
        yardstick = self.samples(next(iter(self.measured.samples)))
        pairs = zip(self.samples(name), yardstick, strict=False)
        return sorted(own / other for own, other in pairs if other > 0)


def measure(
    workload: Workload,
    bed: Bed,
    *,
    rounds: int,
    seconds: float,
    on_run: Callable[[], None],
) -> Measured:
    """All rounds of a load; `seconds` is about how long each run takes."""
    rounds = min(rounds, workload.most_rounds or rounds)
    measured = Measured(workload, {program.name: [] for program in bed.programs})
    with ExitStack() as stack:
        poolers = [
            stack.enter_context(bed.running(program, workload.setup))
            for program in bed.programs
            if program.has_prepared or not workload.needs_prepared
        ]
        size, poolers = _warm_up(workload, bed, poolers, seconds, measured)
        for number in range(rounds):
            # Each is as often before another as behind it.
            for pooler in reversed(poolers) if number % 2 else poolers:
                if pooler.name not in measured.failures:
                    _run(workload, bed, pooler, size, measured)
                on_run()
        measured.peaks |= {pooler.name: pooler.peak_memory() for pooler in poolers}
    return measured


def _warm_up(
    workload: Workload,
    bed: Bed,
    poolers: Sequence[Pooler],
    seconds: float,
    measured: Measured,
) -> tuple[float, list[Pooler]]:
    """The size of a run, the same for all, and who could do the load."""
    sizes, able = [], []
    for pooler in poolers:
        try:
            sizes.append(workload.warm_up(bed, pooler, seconds))
        except BenchError as error:
            measured.failures[pooler.name] = str(error)
        else:
            able.append(pooler)
    return min(sizes, default=0), able


def _run(workload: Workload, bed: Bed, pooler: Pooler, size: float, measured: Measured) -> None:
    try:
        measured.samples[pooler.name].append(workload.run(bed, pooler, size))
    except BenchError as error:
        measured.failures[pooler.name] = str(error)
        measured.samples[pooler.name].clear()
