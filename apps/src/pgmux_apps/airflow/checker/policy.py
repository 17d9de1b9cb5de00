"""What the policy is: the names, ports and versions that the rules go by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of `[pgmux]`, and which Airflow the files are for."""

    pools: tuple[str, ...] = ("db_pool",)
    direct_ports: tuple[int, ...] = (5432,)
    database_conn_types: tuple[str, ...] = ("postgres",)
    max_prepared_statements: int = 200  # 0: the pooler doesn't track them
    airflow: int = 3

    @property
    def hook_driver(self) -> str:
        """What PostgresHook connects by: psycopg 3 where SQLAlchemy 2 is, as in Airflow 3."""
        return "psycopg" if self.airflow >= 3 else "psycopg2"
