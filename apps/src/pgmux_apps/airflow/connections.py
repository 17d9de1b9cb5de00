"""Airflow's connections by id, as far as a policy may know them: type, port, nothing secret.

Looked up as Airflow itself does at parsing, through its secrets backends: environment variables
and a vault in all processes; the metadata database directly in Airflow 2, and in Airflow 3 through
the process that started the parser or the task (`SUPERVISOR_COMMS`), as these can't reach it. Each
id is asked for once a minute at most, and after one failure of the asking itself nothing more is
for as long: a metadata database that is away costs a parser one timeout and not one for each task.
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

KEPT_FOR = 60.0  # seconds; a parser mostly lives shorter, a triggerer or a test doesn't
# libpq's, where the connection names none
DEFAULT_PORTS = {"postgres": 5432}


@dataclass(frozen=True, slots=True)
class Known:
    """What a connection says of itself."""

    conn_type: str
    port: int | None


class Connections:
    """Finds connections, and remembers them, also those that there aren't."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, Known | None]] = {}
        self._silent_until = 0.0

    def find(self, conn_id: str) -> Known | None:
        """The connection; None where there is none of that id, or it can't be asked for."""
        now = time.monotonic()
        asked_at, known = self._found.get(conn_id, (None, None))
        if asked_at is not None and now - asked_at < KEPT_FOR:
            return known
        if now < self._silent_until:
            return None
        known = self._ask(conn_id)
        self._found[conn_id] = now, known
        return known

    def _ask(self, conn_id: str) -> Known | None:
        from airflow.exceptions import AirflowNotFoundException

        try:
            found = _look_up(conn_id)
        except AirflowNotFoundException:
            return None
        except Exception as error:
            self._silent_until = time.monotonic() + KEPT_FOR
            log.warning(
                "connection %s can't be looked up (%s): for %d s the database access policy goes"
                " by what the DAG files say alone",
                conn_id,
                type(error).__name__,
                KEPT_FOR,
            )
            return None
        conn_type = str(found.conn_type or "").lower().replace("postgresql", "postgres")
        return Known(conn_type, found.port or DEFAULT_PORTS.get(conn_type))


def _look_up(conn_id: str) -> Any:
    """Airflow's own connection object. Raises: AirflowNotFoundException, and whatever goes wrong.

    Airflow 3 has two ways, and the one for the server's own processes tells of the other, by a
    DeprecationWarning, where it is used in a parser or a task.
    """
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    if getattr(runner, "SUPERVISOR_COMMS", None) is not None:
        from airflow.sdk.definitions.connection import Connection as TaskConnection

        return TaskConnection.get(conn_id)
    from airflow.models.connection import Connection

    return Connection.get_connection_from_secrets(conn_id)
