"""Holds the DAGs of one process to the access policy: what `policy.py` asks of once it is on.

A DAG's findings are collected task by task and said at once, with the last task: whoever writes a
DAG sees all of it in one import error. Airflow keeps one a file, that of the file's last DAG: it
says what the DAGs before it had, too. A mistake of ours is logged once and lets DAGs pass: nobody
who runs Airflow could put it right, and nothing but the pool's limit is lost meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pgmux_apps.airflow import policy_settings, rules
from pgmux_apps.airflow.connections import Connections
from pgmux_apps.airflow.policy_settings import Mode
from pgmux_apps.airflow.rules import Rule
from pgmux_apps.airflow.sources import Sources
from pgmux_apps.airflow.tasks import Use, conn_ids_of, uses_of

log = logging.getLogger("pgmux_apps.airflow.policy")

MOST_SHOWN = 20  # findings of a file that are written out; an import error is a column of a table


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing against the policy: where, what, and what to write instead."""

    rule: Rule
    place: str
    task_id: str | None
    message: str
    advice: str

    def __str__(self) -> str:
        task = f" task {self.task_id}:" if self.task_id else ""
        return f"{self.place}:{task} {self.rule.id} {self.message}. {self.advice}"


class Judge:
    """One process's; `setting(name)` reads the section [pgmux]."""

    def __init__(self, setting: Callable[[str], str | None]) -> None:
        self.settings = policy_settings.read(setting)
        self._connections = Connections()
        self._sources = Sources(self.settings.policy)
        self._dag: Any = None
        self._last_task: Any = None
        self._findings: list[Finding] = []
        self._file: str | None = None  # that is being loaded, with what was found in its DAGs
        self._in_file: dict[str, list[Finding]] = {}
        self._is_broken_said = False
        if self.settings.error:
            log.error("%s", self.settings.error)

    def begin(self, dag: Any) -> None:
        """A DAG whose tasks come next. Raises: AirflowClusterPolicyViolation."""
        self._refuse_unreadable_settings(dag)
        tasks = list(dag.tasks)
        self._dag, self._last_task = dag, tasks[-1] if tasks else None
        file = getattr(dag, "fileloc", None)
        if file != self._file or dag.dag_id in self._in_file:  # or the same file again
            self._file, self._in_file = file, {}
        self._in_file[dag.dag_id] = []
        self._findings = self._tried(lambda: self._of_file(dag))
        if not tasks:
            self._conclude()

    def look_at(self, task: Any) -> None:
        """A task of the DAG that was begun. Raises: AirflowClusterPolicyViolation at its last."""
        self._findings += self._tried(lambda: self._of_task(task))
        if task is self._last_task:
            self._conclude()

    def _refuse_unreadable_settings(self, dag: Any) -> None:
        if self.settings.error and self.settings.mode is Mode.ENFORCE:
            raise _violation(
                f"DAG {dag.dag_id}: the database access policy can't be enforced:"
                f" {self.settings.error}"
            )

    def _tried(self, judge: Callable[[], Iterable[Finding]]) -> list[Finding]:
        try:
            return list(judge())
        except Exception:
            if not self._is_broken_said:
                self._is_broken_said = True
                log.exception(
                    "a mistake of the database access policy itself: DAG %s isn't held to it",
                    getattr(self._dag, "dag_id", None),
                )
            return []

    def _conclude(self) -> None:
        dag, findings = self._dag, self._findings
        self._dag, self._last_task, self._findings = None, None, []
        if not findings:
            return
        if self.settings.mode is Mode.ENFORCE:
            self._in_file[dag.dag_id] = findings
            raise _violation(_text(self._in_file))
        log.warning("%s", _text({dag.dag_id: findings}))
        self._tried(lambda: _tag(dag, findings))

    def _of_file(self, dag: Any) -> Iterable[Finding]:
        for found in self._sources.findings(dag.fileloc):
            place = f"{dag.fileloc}:{found.place.line}"
            yield Finding(found.rule, place, None, found.message, found.advice)

    def _of_task(self, task: Any) -> Iterable[Finding]:
        uses = list(uses_of(task, self._sources))
        in_database: list[Use] = []
        for use in [*conn_ids_of(task), *uses]:
            known = self._connections.find(use.conn_id) if use.conn_id else None
            is_database = use.is_database or (
                known is not None and known.conn_type in self.settings.policy.database_conn_types
            )
            if not is_database:
                continue
            in_database.append(use)
            if known is not None and known.port in self.settings.policy.direct_ports:
                yield self._direct(task, use, known.port)
        if in_database and task.pool not in self.settings.policy.pools:
            yield self._without_pool(task, in_database[0])

    def _without_pool(self, task: Any, use: Use) -> Finding:
        pools = self.settings.policy.pools
        names = pools[0] if len(pools) == 1 else f"one of {', '.join(pools)}"
        return Finding(
            rules.NO_POOL,
            self._place(task, use),
            task.task_id,
            f"{use.what} in pool {task.pool}, not in {names}",
            rules.NO_POOL.advice.format(pool=pools[0]),
        )

    def _direct(self, task: Any, use: Use, port: int | None) -> Finding:
        return Finding(
            rules.DIRECT,
            self._place(task, use),
            task.task_id,
            f"connection {use.conn_id} goes to port {port}, the server's own, past the pooler",
            "Give the connection the pooler's host and port.",
        )

    def _place(self, task: Any, use: Use) -> str:
        """file:line of the task where the DAG's file shows it, else of what uses the database."""
        file = getattr(self._dag, "fileloc", None)
        if file and (line := self._sources.task_line(file, task.task_id)) is not None:
            return f"{file}:{line}"
        return use.place or file or "?"


def _text(found: dict[str, list[Finding]]) -> str:
    """By DAG, the last one first; what stands at module level is each one's, and written once."""
    lines: list[str] = []
    shown: set[str] = set()
    for dag_id, findings in reversed(found.items()):
        if not findings:
            continue
        new = [text for text in map(str, findings) if text not in shown]
        room = max(0, MOST_SHOWN - len(shown))
        lines.append(f"DAG {dag_id} is against the database access policy:")
        lines += [f"  {text}" for text in new[:room]]
        if len(new) > room:
            lines.append(f"  and {len(new) - room} more")
        if len(new) < len(findings):
            lines.append(f"  and {len(findings) - len(new)} as above")
        shown.update(new)
    return "\n".join(lines)


def _tag(dag: Any, findings: Iterable[Finding]) -> Iterable[Finding]:
    """Airflow's pages show no warning of ours, but tags, by which DAGs can be listed too."""
    tags = {f"pgmux:{finding.rule.id}" for finding in findings}
    # anew, as one list may be several DAGs'
    dag.tags = type(dag.tags)([*dag.tags, *sorted(tags.difference(dag.tags))])
    return ()


def _violation(message: str) -> Exception:
    from airflow.exceptions import AirflowClusterPolicyViolation

    error: Exception = AirflowClusterPolicyViolation(message)
    return error
