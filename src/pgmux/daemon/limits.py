"""The log line that compares the file descriptors we may have with those we may come to need.

Source: PgBouncer 1.25.2's check_limits. Errors: none.
"""

from __future__ import annotations

import resource

from pgmux.config import Config
from pgmux.config.model import ADMIN_DATABASE

_CONSOLE_POOL = 2
_MARGIN = 10


def expected_files(config: Config) -> int:
    """File descriptors if every known user fills its pool of every database."""
    databases = config.databases.values()
    users = {ADMIN_DATABASE, *config.users, *config.userlist}
    users |= {db.user for db in databases if db.user is not None}
    pools = sum(
        config.pool_size(db) * (1 if db.user is not None else len(users)) for db in databases
    )
    return config.settings.max_client_conn + _MARGIN + _CONSOLE_POOL + pools


def file_descriptor_limits(config: Config) -> str:
    """PgBouncer's line, for logs that are searched for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"kernel file descriptor limit: {soft} (hard: {hard});"
        f" max_client_conn: {config.settings.max_client_conn},"
        f" max expected fd use: {expected_files(config)}"
    )
