"""Airflow's entry point group `airflow.policy`: the access policy, held where DAGs are loaded.

Airflow calls `dag_policy` and then `task_policy` for each task, wherever it builds a DAG from its
file: in the DAG processor, in a worker before it runs a task, in `airflow dags test`. Only
AirflowClusterPolicyViolation has an effect there on that DAG alone: it becomes the file's import
error, and the DAG isn't scheduled (in a worker: the task doesn't start). An import error of this
module would stop Airflow itself: it imports what Airflow has imported already, and the rest once
`[pgmux] policy` asks for it. `trylast`: a policy of airflow_local_settings.py may set the pool.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.policies import hookimpl

if TYPE_CHECKING:
    from pgmux_apps.airflow.judge import Judge

# `off` unquoted in YAML, as a chart's values are, arrives as False
_OFF = frozenset({"", "off", "false", "none", "no", "0"})


@hookimpl(trylast=True)  # type: ignore[untyped-decorator]
def dag_policy(dag: Any) -> None:
    """Begin with a DAG; one without tasks is judged now."""
    if (judge := _judge()) is not None:
        judge.begin(dag)


@hookimpl(trylast=True)  # type: ignore[untyped-decorator]
def task_policy(task: Any) -> None:
    """Look at a task; with the DAG's last one all that was found is said at once."""
    if (judge := _judge()) is not None:
        judge.look_at(task)


@cache
def _judge() -> Judge | None:
    """The one that holds this process's DAGs to the policy; None while it is off."""
    try:
        from airflow.configuration import conf

        mode = str(conf.get("pgmux", "policy", fallback="off") or "off").strip().lower()
        if mode in _OFF:
            return None
        from pgmux_apps.airflow.judge import Judge

        return Judge(lambda name: conf.get("pgmux", name, fallback=None))
    except Exception:
        logging.getLogger(__name__).exception("the database access policy isn't held")
        return None
