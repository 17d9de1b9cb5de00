"""SQLAlchemy behind a pooler: settings from the environment, metrics, health, leaks."""

from pgmux_apps.sqlalchemy.health import HealthLimits, check_pool_health
from pgmux_apps.sqlalchemy.metrics import (
    MetricsMissing,
    setup_sqlalchemy_pool_metrics,
    update_sqlalchemy_pool_metrics,
)
from pgmux_apps.sqlalchemy.pgbouncer_metrics import collect_pgbouncer_metrics
from pgmux_apps.sqlalchemy.settings import (
    get_db_connect_args,
    get_db_url,
    get_sqlalchemy_pool_config,
)

__all__ = [
    "HealthLimits",
    "MetricsMissing",
    "check_pool_health",
    "collect_pgbouncer_metrics",
    "get_db_connect_args",
    "get_db_url",
    "get_sqlalchemy_pool_config",
    "setup_sqlalchemy_pool_metrics",
    "update_sqlalchemy_pool_metrics",
]
