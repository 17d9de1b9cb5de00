"""Airflow's sizes that count against a pooler's, with the defaults of 2.11 and of 3.3.

Which value means "unlimited" is not the same for any two of them: parallelism 0 in Airflow 2 (3
refuses it), SQLAlchemy's pool_size 0 and max_overflow -1, a pool of -1 slots; and no pool of
connections at all where sql_alchemy_pool_enabled is off.
"""

from __future__ import annotations

from pgmux_apps.airflow import installed
from pgmux_apps.airflow.checker.settings import installed_airflow
from pgmux_apps.airflow.sizing import AirflowSizes, Limit
from pgmux_apps.environment import Environment

DEFAULT_MAJOR = 3
_LARGEST = 1_000_000


def read(major: int | None) -> AirflowSizes:
    """The sizes of the Airflow that is installed, or configured for `major` where none is.

    Raises: SettingError, installed.AirflowError.
    """
    major = major or installed_airflow() or DEFAULT_MAJOR
    parallelism = _integer("core", "parallelism", 32, least=0 if major < 3 else 1)
    workers = ("api", "workers", 1) if major >= 3 else ("webserver", "workers", 4)
    parsing = "dag_processor" if major >= 3 else "scheduler"
    return AirflowSizes(
        major=major,
        parallelism=parallelism or None,
        max_active_tasks_per_dag=_integer("core", "max_active_tasks_per_dag", 16),
        max_active_runs_per_dag=_integer("core", "max_active_runs_per_dag", 16),
        engine_connections=_engine_connections(),
        api_workers=_integer(*workers, least=1),
        parsing_processes=_integer(parsing, "parsing_processes", 2, least=1),
        is_enforced=_values("pgmux", "policy").text("[pgmux] policy", "off").lower() == "enforce",
    )


def _engine_connections() -> Limit:
    """What one engine opens at most."""
    if not _values("database", "sql_alchemy_pool_enabled").flag(
        "[database] sql_alchemy_pool_enabled", True
    ):
        return None
    size = _integer("database", "sql_alchemy_pool_size", 5)
    overflow = _integer("database", "sql_alchemy_max_overflow", 10, least=-1)
    return None if size == 0 or overflow == -1 else size + overflow


def _integer(section: str, name: str, default: int, least: int = 0) -> int:
    shown = f"[{section}] {name}"
    return _values(section, name).integer(shown, default, least=least, most=_LARGEST)


def _values(section: str, name: str) -> Environment:
    """One setting under the name that an error is to show."""
    return Environment({f"[{section}] {name}": installed.setting(section, name) or ""})
