"""What Airflow's sizes make of a pooler's, and the sizes that fit (AIR005): arithmetic alone.

Two things are limited apart: server connections, by the slots of the pool that the database's tasks
run in, and client connections, most of which are those of Airflow's own processes. A limit here is
a number or None, "unlimited": pooler_sizes.py and airflow_sizes.py know which setting spells it 0
and which -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

Limit = int | None  # None: unlimited

# Kept from the slots for whoever else uses the same database and user: a psql, a dashboard, a task
# that was killed and whose query still runs.
KEPT_FRACTION = 5
# A running task of Airflow 2 reads the metadata database itself: once for the task, once for its
# heartbeat, without a pool. In Airflow 3 it asks the API server.
METADATA_CONNECTIONS_PER_TASK = 2


class Verdict(Enum):
    """What is to be done about a setting."""

    OK = "ok"
    NOTE = "note"  # nothing, but one should know
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class PoolerSizes:
    """The pooler's limits for the database and user of the tasks."""

    pool_size: Limit
    max_db_connections: Limit
    max_user_connections: Limit
    max_client_conn: int
    pool_mode: str = "transaction"

    @property
    def servers(self) -> Limit:
        """How many server connections the tasks can have at once."""
        limits = (self.pool_size, self.max_db_connections, self.max_user_connections)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def servers_by(self) -> str:
        """The setting that `servers` is of, with its value."""
        named = {
            "default_pool_size": self.pool_size,
            "max_db_connections": self.max_db_connections,
            "max_user_connections": self.max_user_connections,
        }
        name = next((name for name, limit in named.items() if limit == self.servers), "")
        return f"{name} {self.servers}"


@dataclass(frozen=True, slots=True)
class AirflowSizes:
    """Airflow's settings that matter here."""

    major: int
    parallelism: Limit
    max_active_tasks_per_dag: int
    max_active_runs_per_dag: int
    engine_connections: Limit  # of one engine: pool_size + max_overflow
    api_workers: int
    parsing_processes: int
    is_enforced: bool = False  # [pgmux] policy = enforce: no task gets past the pool


@dataclass(frozen=True, slots=True)
class Layout:
    """How many of each process there are, and what a task takes."""

    schedulers: int = 1
    api_servers: int = 1
    dag_processors: int = 1
    triggerers: int = 1
    connections_per_task: int = 1
    is_metadata_pooled: bool = True


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting: its value now, the one advised, and the arithmetic between them."""

    setting: str
    now: str
    advised: str
    verdict: Verdict
    why: str


def advised_slots(pooler: PoolerSizes, connections_per_task: int = 1) -> int | None:
    """The slots that the pooler's server connections are enough for; None where it has no limit."""
    if pooler.servers is None:
        return None
    return max(1, (pooler.servers - _kept(pooler.servers)) // connections_per_task)


def slots_arithmetic(pooler: PoolerSizes, connections_per_task: int = 1) -> str:
    """How `advised_slots` comes about, in one line."""
    if pooler.servers is None:
        return "the pooler doesn't limit server connections (default_pool_size 0): say --slots"
    kept = _kept(pooler.servers)
    line = f"{pooler.servers_by} - {kept} kept for others = {pooler.servers - kept}"
    return line if connections_per_task == 1 else f"{line}, / {connections_per_task} a task"


def advise(
    pooler: PoolerSizes, airflow: AirflowSizes, layout: Layout, pool_name: str, slots: int | None
) -> list[Advice]:
    """Each setting in turn. `slots` of the pool now: -1 is unlimited, None that there is none."""
    fitting = advised_slots(pooler, layout.connections_per_task)
    wanted = _wanted_slots(slots, fitting)
    return [
        _slots(pooler, layout, pool_name, slots, fitting),
        _parallelism(pooler, airflow, layout, wanted),
        _tasks_per_dag(airflow, wanted),
        _runs_per_dag(airflow, wanted),
        _clients(pooler, airflow, layout),
        *_session_mode(pooler, airflow, layout),
    ]


def _kept(servers: int) -> int:
    return 0 if servers <= 1 else max(1, servers // KEPT_FRACTION)


def _wanted_slots(slots: int | None, fitting: int | None) -> int | None:
    """What the other settings are to go by: the slots there are, if they fit."""
    if slots is None or slots <= 0:
        return fitting
    return slots if fitting is None else min(slots, fitting)


def _slots(
    pooler: PoolerSizes, layout: Layout, name: str, slots: int | None, fitting: int | None
) -> Advice:
    now = "no such pool" if slots is None else _shown(None if slots == -1 else slots)
    why = slots_arithmetic(pooler, layout.connections_per_task)
    if fitting is None:
        return Advice(f"{name} slots", now, now, Verdict.NOTE, why)
    if slots == 0:
        why = f"no task in a pool of 0 slots ever runs; {why}"
    elif slots is not None and 0 < slots <= fitting:
        return Advice(f"{name} slots", now, now, Verdict.OK, f"at most {fitting}: {why}")
    return Advice(f"{name} slots", now, str(fitting), Verdict.CHANGE, why)


def _parallelism(
    pooler: PoolerSizes, airflow: AirflowSizes, layout: Layout, slots: int | None
) -> Advice:
    now = airflow.parallelism
    name, shown = "parallelism", _shown(now)
    if now is None:
        advised = str(pooler.servers or 32)
        why = "0 is unlimited: nothing then bounds the tasks' connections to the metadata database"
        return Advice(name, shown, advised, Verdict.CHANGE, why)
    at_once = now * layout.schedulers
    each = f"{now} x {layout.schedulers} schedulers" if layout.schedulers > 1 else str(now)
    if airflow.is_enforced or pooler.servers is None:
        why = f"{each} tasks at once, of which {slots or 'any number'} use the database"
        if slots is not None and at_once < slots:
            why = f"{each} tasks at once: {slots - at_once} slots of the pool are never used"
            return Advice(name, shown, shown, Verdict.NOTE, why)
        return Advice(name, shown, shown, Verdict.OK, why)
    most = max(1, pooler.servers // layout.connections_per_task)
    if at_once <= most:
        return Advice(name, shown, shown, Verdict.OK, f"{each} tasks at once, {most} are served")
    why = (
        f"{each} tasks at once, {most} are served ({pooler.servers_by}): the others wait in the"
        " pooler when they don't name the pool; policy = enforce makes them name it"
    )
    return Advice(name, shown, str(max(1, most // layout.schedulers)), Verdict.CHANGE, why)


def _tasks_per_dag(airflow: AirflowSizes, slots: int | None) -> Advice:
    name, now = "max_active_tasks_per_dag", airflow.max_active_tasks_per_dag
    of = "DAG run" if airflow.major >= 3 else "DAG"
    if now <= 0:
        why = f"at most 0 tasks of a {of} at once: none ever runs"
        return Advice(name, str(now), str(slots or 16), Verdict.CHANGE, why)
    if slots is None or now <= slots:
        return Advice(name, str(now), str(now), Verdict.OK, f"a {of} takes at most {now} slots")
    why = f"one {of} could take all {slots} slots, and {now - slots} of its tasks wait for more"
    return Advice(name, str(now), str(slots), Verdict.CHANGE, why)


def _runs_per_dag(airflow: AirflowSizes, slots: int | None) -> Advice:
    """In Airflow 3 a DAG's runs multiply its tasks; in Airflow 2 they share them."""
    name, now = "max_active_runs_per_dag", airflow.max_active_runs_per_dag
    if now <= 0:
        why = "at most 0 runs of a DAG at once: none ever starts"
        return Advice(name, str(now), "1", Verdict.CHANGE, why)
    if slots is None:
        return Advice(name, str(now), str(now), Verdict.OK, "the pool has no limit to go by")
    tasks = max(1, min(airflow.max_active_tasks_per_dag, slots))
    fitting = max(1, slots // tasks)
    if now <= fitting:
        return Advice(name, str(now), str(now), Verdict.OK, f"{now} x {tasks} tasks, {slots} slots")
    if airflow.major >= 3:
        why = f"{now} runs x {tasks} tasks a run = {now * tasks} for {slots} slots"
    else:
        why = f"{now} runs of a DAG share {tasks} tasks at once: most of them only wait"
    return Advice(name, str(now), str(fitting), Verdict.CHANGE, why)


def _clients(pooler: PoolerSizes, airflow: AirflowSizes, layout: Layout) -> Advice:
    """max_client_conn against all that Airflow may open."""
    name, now = "max_client_conn", pooler.max_client_conn
    if airflow.parallelism is None or (
        layout.is_metadata_pooled and airflow.engine_connections is None
    ):
        unlimited = "parallelism" if airflow.parallelism is None else "the metadata engine's pool"
        why = f"{unlimited} is unlimited: no number of clients is enough for certain"
        return Advice(name, str(now), str(now), Verdict.NOTE, why)
    tasks = airflow.parallelism * layout.schedulers
    per_task = layout.connections_per_task
    terms = [(f"{tasks} tasks x {per_task}", tasks * per_task)]
    if layout.is_metadata_pooled:
        terms += _metadata_clients(airflow, layout, tasks)
    needed = sum(number for _, number in terms)
    why = " + ".join(text for text, _ in terms) + f" = {needed}"
    if needed <= now:
        return Advice(name, str(now), str(now), Verdict.OK, why)
    return Advice(name, str(now), str(-(-needed // 50) * 50), Verdict.CHANGE, why)


def _metadata_clients(airflow: AirflowSizes, layout: Layout, tasks: int) -> list[tuple[str, int]]:
    """What Airflow's own processes open to the metadata database at most: text and number."""
    engine = airflow.engine_connections or 0
    api = layout.api_servers * airflow.api_workers
    processes = layout.schedulers + api + layout.dag_processors + layout.triggerers
    if airflow.major >= 3:
        each = f"({engine} sync + {engine} async)"
        return [(f"{processes} processes x {each}", processes * engine * 2)]
    children = layout.dag_processors * airflow.parsing_processes
    per_task = METADATA_CONNECTIONS_PER_TASK
    return [
        (f"{processes} processes x {engine}", processes * engine),
        (f"{children} parsing x {per_task}", children * per_task),
        (f"{tasks} running x {per_task}", tasks * per_task),
    ]


def _session_mode(pooler: PoolerSizes, airflow: AirflowSizes, layout: Layout) -> list[Advice]:
    if pooler.pool_mode != "session":
        return []
    if layout.is_metadata_pooled:
        why = "every connection of a metadata engine keeps a server connection while it is open"
    else:
        why = "a task's connection keeps its server connection until it is closed"
    return [Advice("pool_mode", "session", "transaction", Verdict.CHANGE, why)]


def _shown(limit: Limit) -> str:
    return "unlimited" if limit is None else str(limit)
