"""`pgmux-airflow advice`: Airflow's sizes beside the pooler's, with the arithmetic (AIR005).

Exit code: 0 they fit, 1 something is to be changed, 2 they couldn't be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from pgmux_apps.airflow import airflow_sizes, installed, pooler_sizes
from pgmux_apps.airflow.aligned import aligned
from pgmux_apps.airflow.checker.settings import installed_airflow
from pgmux_apps.airflow.installed import AirflowError
from pgmux_apps.airflow.pool import add_pool_name, pool_name, positive
from pgmux_apps.airflow.rules import SIZES
from pgmux_apps.airflow.sizing import Advice, Layout, Verdict, advise
from pgmux_apps.environment import SettingError

NAME = "advice"
HELP = "Compare Airflow's sizes with the pooler's, and say which to change."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may follow `pgmux-airflow advice`."""
    add_pool_name(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    pooler_sizes.add_arguments(parser)
    group = parser.add_argument_group("Airflow")
    group.add_argument("--airflow", type=int, choices=(2, 3), help="default: the one installed")
    group.add_argument(
        "--slots", type=int, metavar="N", help="the pool's, where Airflow can't be asked"
    )
    for name in ("schedulers", "api-servers", "dag-processors", "triggerers"):
        group.add_argument(f"--{name}", type=positive, default=1, metavar="N", help="default: 1")
    group.add_argument(
        "--metadata-direct",
        action="store_true",
        help="the metadata database isn't behind this pooler",
    )


def run(arguments: argparse.Namespace) -> int:
    """Read both sides and compare; the exit code."""
    try:
        sizes, source = pooler_sizes.read(arguments)
        airflow = airflow_sizes.read(arguments.airflow)
        name = pool_name(arguments.name)
        slots = _slots(arguments, name)
    except (pooler_sizes.SizesError, SettingError, AirflowError) as error:
        print(f"pgmux-airflow advice: {error}", file=sys.stderr)
        return 2
    layout = Layout(
        schedulers=arguments.schedulers,
        api_servers=arguments.api_servers,
        dag_processors=arguments.dag_processors,
        triggerers=arguments.triggerers,
        connections_per_task=arguments.connections_per_task,
        is_metadata_pooled=not arguments.metadata_direct,
    )
    rows = advise(sizes, airflow, layout, name, slots)
    if arguments.json:
        print(json.dumps([_as_json(row) for row in rows], indent=2))
    else:
        print(f"Airflow {airflow.major} and a pooler whose sizes are from {source}:")
        print("\n".join(table(rows)))
    return 1 if any(row.verdict is Verdict.CHANGE for row in rows) else 0


def table(rows: Sequence[Advice]) -> list[str]:
    """Aligned text; the arithmetic is last, as it is of any length."""
    cells = [("setting", "now", "advised", "", "why")]
    cells += [(row.setting, row.now, row.advised, row.verdict.value, row.why) for row in rows]
    return aligned(cells)


def _slots(arguments: argparse.Namespace, name: str) -> int | None:
    """The pool's slots. Raises: AirflowError."""
    if arguments.slots is not None or installed_airflow() is None:
        slots: int | None = arguments.slots
        return slots
    found = installed.find_pool(name)
    return None if found is None else found.slots


def _as_json(row: Advice) -> dict[str, str | None]:
    return {
        "setting": row.setting,
        "now": row.now,
        "advised": row.advised,
        "verdict": row.verdict.value,
        "rule": SIZES.id if row.verdict is Verdict.CHANGE else None,
        "why": row.why,
    }
