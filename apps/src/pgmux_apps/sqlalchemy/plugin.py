"""`?plugin=pgmux&pool_name=api` in a database URL: metrics, health and leaks, and no code changed.

Arguments, in the URL or of create_engine(plugins=["pgmux"], …): `pool_name` (`default`), and
`leak_seconds` (by DB_POOL_LEAK_SECONDS).
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.engine import URL, CreateEnginePlugin, Engine
from sqlalchemy.exc import ArgumentError

from pgmux_apps.environment import Environment, SettingError
from pgmux_apps.sqlalchemy.measurement import (
    MOST_LEAK_SECONDS,
    check_name,
    leak_limit,
    measure,
)
from pgmux_apps.sqlalchemy.metrics import MetricsMissing, export_measurement

log = logging.getLogger("pgmux_apps.sqlalchemy")

ARGUMENTS = ("pool_name", "leak_seconds")

_said: set[str] = set()


class PgmuxPlugin(CreateEnginePlugin):
    """Sets every engine up that is made of such a URL."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        """Raises: ArgumentError, which names the argument."""
        # Taken out here for create_engine; out of the URL by update_url.
        given = {name: _value(name, url, kwargs) for name in ARGUMENTS}
        seconds = given["leak_seconds"]
        try:
            self._pool_name = check_name(
                "default" if given["pool_name"] is None else given["pool_name"]
            )
            self._leak_seconds = leak_limit(_read(seconds) if isinstance(seconds, str) else seconds)
        except SettingError as error:
            raise ArgumentError(f"plugin pgmux: {error}") from error

    def update_url(self, url: URL) -> URL:
        """Without our arguments, which the driver doesn't know."""
        return url.difference_update_query(ARGUMENTS)

    def engine_created(self, engine: Engine) -> None:
        """The engine is measured, also where its metrics can't be exported."""
        measurement = measure(engine, self._pool_name, self._leak_seconds)
        try:
            export_measurement(measurement)
        except (MetricsMissing, ValueError) as error:
            if (text := str(error)) not in _said:  # once, not for each engine
                _said.add(text)
                log.warning("plugin pgmux exports no metrics of SQLAlchemy's pools: %s", text)


def _value(name: str, url: URL, kwargs: dict[str, Any]) -> Any:
    """Of create_engine, else of the URL. Raises: ArgumentError where the URL has it twice."""
    value = url.query.get(name)
    if isinstance(value, tuple):
        raise ArgumentError(f"plugin pgmux: {name}= is given {len(value)} times")
    return kwargs.pop(name, value)


def _read(leak_seconds: str) -> float:
    """The URL's. Raises: SettingError."""
    environment = Environment({"leak_seconds": leak_seconds})
    return environment.seconds("leak_seconds", 0.0, least=0.0, most=MOST_LEAK_SECONDS)
