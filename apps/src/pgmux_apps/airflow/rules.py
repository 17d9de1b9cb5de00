"""The access policy's rules: one table for the checker of source and for the policy plugin.

A finding says where (a file's line, or a task of a DAG), the rule's id, its own message, and the
rule's advice. Ids never change their meaning; a rule that goes away leaves its id unused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad it is; the values are SARIF's levels."""

    ERROR = "error"  # it breaks, or bypasses the pooler
    WARNING = "warning"  # it costs connections
    NOTE = "note"  # advice


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `text` says what is wrong, `reason` why, `advice` what to do."""

    id: str
    name: str
    severity: Severity
    text: str
    reason: str
    advice: str


UNREADABLE = Rule(
    "AIR000",
    "unreadable-file",
    Severity.ERROR,
    "a file that can't be read as Python",
    "Airflow can't import it either, and nothing in it has been checked.",
    "Correct the file, or name it in .airflowignore or with --exclude.",
)
NO_POOL = Rule(
    "AIR001",
    "task-without-pool",
    Severity.WARNING,
    "a task uses the database outside the pool that limits such tasks",
    "Without pool= a task runs in default_pool, whose 128 slots all other tasks share: as many "
    "tasks ask for a connection at once as the schedulers start.",
    'Set pool="{pool}" on the task, in the default_args of its DAG, or in @task(...).',
)
AT_IMPORT = Rule(
    "AIR002",
    "database-at-import",
    Severity.WARNING,
    "a hook, an engine, a connection or a look-up at module level",
    "The DAG processor and each worker import the file again and again: what stands at module "
    "level connects, or asks the metadata database, at each import, whether a task runs or not.",
    "Move it into the task's function; a Variable can be a template: {{ var.value.name }}.",
)
DIRECT = Rule(
    "AIR003",
    "bypasses-pooler",
    Severity.ERROR,
    "a connection that goes to the server past the pooler",
    "Its connections are in none of the pooler's pools and limits.",
    "Use an Airflow connection whose host and port are the pooler's, or --direct-port for the "
    "ports that are the server's own.",
)
NOT_CLOSED = Rule(
    "AIR004",
    "connection-not-closed",
    Severity.WARNING,
    "a connection that nothing closes",
    "get_conn() opens a new connection at each call. It stays open, perhaps in a transaction that "
    "holds a server of the pooler, until the process ends.",
    "Use hook.run() or hook.get_records(), or `with closing(hook.get_conn()) as conn:`.",
)
SIZES = Rule(
    "AIR005",
    "sizes",
    Severity.NOTE,
    "Airflow may start more database tasks than the pooler has servers for",
    "What is above the pooler's default_pool_size waits there, and fails at query_wait_timeout.",
    "Give the Airflow pool at most as many slots as default_pool_size.",
)
PREPARED = Rule(
    "AIR006",
    "prepared-statements",
    Severity.ERROR,
    "a driver prepares statements, and the pooler doesn't track them",
    "psycopg 3 prepares a statement when it is run for the sixth time, asyncpg each one; the next "
    'transaction may run on a server that doesn\'t have it: "prepared statement does not exist".',
    'Give the connection the extra {"prepare_threshold": null} (0 means: prepare at once), or set '
    "max_prepared_statements in the pooler.",
)

RULES = (UNREADABLE, NO_POOL, AT_IMPORT, DIRECT, NOT_CLOSED, SIZES, PREPARED)
