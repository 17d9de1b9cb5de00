"""A pool's histograms, drawn: a line for each power of eight of a µs, and a bar for each of three.

SHOW HISTOGRAMS has four buckets to an octave, so that these bounds are bounds of its buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.text import Text

from pgmux.monitor.sample import Sample
from pgmux.monitor.tables import Buckets
from pgmux.ops import figures
from pgmux.ops.top.watch import Picture, PoolKey

BOUNDS = tuple(8**power for power in range(1, 9))  # µs; the last stands for all that is longer
HEIGHT = len(BOUNDS) + 1
_NAMES = {"wait": "wait", "xact": "transaction", "query": "query"}
_LABEL, _COUNT = 8, 7  # characters


def draw_histograms(picture: Picture, pool: PoolKey, width: int) -> Text:
    """The three side by side, of all time since the pooler's start; HEIGHT lines."""
    found = _find_buckets(picture.sample, pool)
    each = max(8, (width - _LABEL) // len(_NAMES) - _COUNT - 2)
    counts = [coarsen(found.get(name, Buckets(()))) for name in _NAMES]
    heading = "".join(f"{title:<{each + _COUNT + 2}}" for title in _NAMES.values())
    lines = [Text(" " * _LABEL + heading, "bold")]
    for number, bound in enumerate(BOUNDS):
        longest = bound == BOUNDS[-1]
        label = f"> {figures.time(BOUNDS[-2] / 1e6)}" if longest else figures.time(bound / 1e6)
        line = Text(f"{label:>{_LABEL - 1}} ", "dim")
        for of_one in counts:
            drawn = figures.bar(of_one[number], max(of_one), each)
            line.append(f"{drawn:<{each}}", "cyan")
            line.append(f"{_shown(of_one[number]):>{_COUNT}}  ")
        lines.append(line)
    return Text("\n").join(lines)


def _shown(number: int) -> str:
    return figures.count(number) if number else ""


def _find_buckets(sample: Sample, pool: PoolKey) -> Mapping[str, Buckets]:
    rows = (row for row in sample.histograms if (row.database, row.user) == pool)
    return {row.histogram: row.buckets for row in rows}


def coarsen(buckets: Iterable[tuple[int, int]]) -> list[int]:
    """How many values each of BOUNDS has: those above the bound before, the last one all longer."""
    counts = [0] * len(BOUNDS)
    for upper, count in buckets:
        number = next((n for n, bound in enumerate(BOUNDS[:-1]) if upper <= bound), -1)
        counts[number] += count
    return counts
