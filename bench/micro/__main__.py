"""`python -m bench.micro`, or `make bench-micro`: ns of each hot part, compiled and pure.

Both forms are measured in turn, each time in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from bench.micro.operations import OPERATIONS
from pgmux import _pure

COMPILED, PURE = "compiled", "pure"

Samples = dict[str, dict[str, list[float]]]  # ns by form and operation, one a round


@click.command("bench-micro")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=0.2, show_default=True, help="How long each is measured.")
@click.option("--only", metavar="TEXT", default="", help="Operations whose name contains it.")
@click.option("--json", "with_json", is_flag=True, help="Every sample as JSON on stdout.")
def command(rounds: int, seconds: float, only: str, with_json: bool) -> None:
    """ns of CPU of the hot parts, without sockets: relay, pool, login; compiled and pure."""
    names = [operation.name for operation in OPERATIONS if only in operation.name]
    if not names:
        raise click.ClickException(f"no operation's name contains {only!r}")
    # What isn't compiled wholly would only be measured twice.
    forms = [PURE] if _pure.form() != COMPILED else [COMPILED, PURE]
    samples: Samples = {form: {name: [] for name in names} for form in forms}
    for _ in range(rounds):
        for form in forms:
            for name, ns in measure(form, names, seconds).items():
                samples[form][name].append(ns)
    if with_json:
        print(json.dumps({"unit": "ns", "rounds": rounds, "samples": samples}, indent=2))
    else:
        Console(highlight=False).print(table(samples))


def measure(form: str, names: Sequence[str], seconds: float) -> dict[str, float]:
    """A round of one form."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.micro.once", str(seconds), *names],
        env=os.environ | {"PGMUX_PURE": str(int(form == PURE))},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise click.ClickException(f"{form}: {done.stderr.strip()}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def table(samples: Samples) -> Table:
    """Medians, and where both forms are there, pure to compiled with the spread of the rounds."""
    result = Table(caption="ns of CPU each, the median of the rounds")
    result.add_column("operation")
    for heading in (*samples, *(["pure to compiled [spread]"] if len(samples) > 1 else [])):
        result.add_column(heading, justify="right")
    for name in next(iter(samples.values())):
        cells = [f"{median(by_name[name]):.0f}" for by_name in samples.values()]
        if len(samples) > 1:
            pairs = zip(samples[PURE][name], samples[COMPILED][name], strict=True)
            ratios = sorted(pure / compiled for pure, compiled in pairs)
            cells.append(f"{median(ratios):.2f} \\[{ratios[0]:.2f}–{ratios[-1]:.2f}]")
        result.add_row(name, *cells)
    return result


if __name__ == "__main__":
    command(prog_name=f"{os.path.basename(sys.executable)} -m bench.micro")
