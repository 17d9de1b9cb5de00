"""SQLAlchemy behind a pooler: settings from the environment, metrics, health, leaks."""

from pgmux_apps.sqlalchemy.settings import (
    get_db_connect_args,
    get_db_url,
    get_sqlalchemy_pool_config,
)

__all__ = ["get_db_connect_args", "get_db_url", "get_sqlalchemy_pool_config"]
