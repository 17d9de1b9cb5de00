"""The Airflow that is installed beside this, if one is: its version, settings and pools.

Pools go through the model's own functions, which `airflow pools` of 2 and of 3 calls too: no
process of several seconds for each question, and no output to take apart. Settings are asked of
Airflow's configuration where there is one, else read from AIRFLOW__SECTION__NAME and airflow.cfg.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pgmux_apps.airflow.checker.settings import AirflowSettings, installed_airflow
from pgmux_apps.console import first_line
from pgmux_apps.environment import SettingError


class AirflowError(Exception):
    """Airflow, or its metadata database, can't be asked: what it says."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of Airflow's, as its metadata database has it; slots -1: unlimited."""

    name: str
    slots: int
    description: str = ""
    include_deferred: bool = False


def find_pool(name: str) -> Pool | None:
    """The pool of that name. Raises: AirflowError."""
    found = _asked(lambda model: model.get_pool(name))
    if found is None:
        return None
    return Pool(name, found.slots, found.description or "", bool(found.include_deferred))


def set_pool(pool: Pool) -> None:
    """Make the pool, or change it. A team that it belongs to stays. Raises: AirflowError."""

    def change(model: Any) -> None:
        existing = model.get_pool(pool.name)
        team = getattr(existing, "team_name", None)
        model.create_or_update_pool(
            name=pool.name,
            slots=pool.slots,
            description=pool.description,
            include_deferred=pool.include_deferred,
            **({"team_name": team} if team else {}),
        )

    _asked(change)


def _asked(question: Callable[[Any], Any]) -> Any:
    try:
        # The first imports all of Airflow: its settings, and what they do at import
        import airflow  # noqa: F401
        from airflow.models.pool import Pool as Model

        return question(Model)
    except Exception as error:
        said = first_line(error)
        raise AirflowError(f"Airflow's metadata database can't be asked: {said}") from error


def setting(section: str, name: str) -> str | None:
    """Airflow's value of a setting, or None where neither says one. Raises: AirflowError."""
    if installed_airflow() is not None:
        try:
            from airflow.configuration import conf

            value = conf.get(section, name, fallback=None)
        except Exception as error:
            raise AirflowError(f"Airflow's configuration can't be read: {error}") from error
        return None if value is None else str(value)
    try:
        found = AirflowSettings(os.environ).get(section, name)
    except SettingError as error:
        raise AirflowError(str(error)) from error
    return None if found is None else found.value
