"""What an application calls for its pools' metrics; docs/apps/sqlalchemy.md.

Once an engine is set up, its numbers are in the registry at each scrape: nothing has to be called
again. update_sqlalchemy_pool_metrics may be, as by a background task that there is already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmux_apps.sqlalchemy.measurement import PoolMeasurement, measure, pool_of
from pgmux_apps.sqlalchemy.pools import find_measurement

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class MetricsMissing(ImportError):
    """prometheus-client isn't installed; the message says how to install it."""


def setup_sqlalchemy_pool_metrics(
    engine: Any,
    pool_name: str = "default",
    *,
    leak_seconds: float | None = None,
    registry: CollectorRegistry | None = None,
) -> None:
    """The engine's pool is measured, and in `registry` (None: prometheus-client's own) under
    `pool_name`. An engine may be set up again: it stays what it is.

    `leak_seconds`: who holds a connection longer is named; 0 is off, None by DB_POOL_LEAK_SECONDS.
    Raises: TypeError (no engine), SettingError, MetricsMissing, NameTaken (a ValueError).
    """
    pool_of(engine)
    require_prometheus()
    export_measurement(measure(engine, pool_name, leak_seconds), registry)


def update_sqlalchemy_pool_metrics(engine: Any, pool_name: str = "default") -> None:
    """The metrics are as the pool is now, and leaks are looked for. An engine that isn't set up is
    set up, so that a task that is started first does no harm. Raises: as the set-up.
    """
    measurement = find_measurement(pool_of(engine))
    if measurement is None:
        setup_sqlalchemy_pool_metrics(engine, pool_name)
        return
    measurement.look_for_leaks()
    measurement.publish()


def export_measurement(
    measurement: PoolMeasurement, registry: CollectorRegistry | None = None
) -> None:
    """Into `registry` with it. Raises: MetricsMissing, NameTaken."""
    require_prometheus()
    from prometheus_client import REGISTRY

    from pgmux_apps.sqlalchemy.exposition import export

    export(measurement.named, REGISTRY if registry is None else registry)


def require_prometheus() -> None:
    """Raises: MetricsMissing."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise MetricsMissing(
            "metrics need prometheus-client: pip install 'pgmux-apps[metrics]'"
        ) from error
