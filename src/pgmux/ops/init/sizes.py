"""How large the pools are to be, and how many clients may come.

    available       = max_connections - reserved - connected directly now
    max_db_connections = nine tenths of it, shared by the databases
    default_pool_size  = that, shared by the users of a database; 20 at most
    max_client_conn    = 1000, or what the file descriptors leave

The tenth that is left is for who comes directly: migrations, backups, psql. Errors: none; what is
too small is said.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_CLIENTS = 1000
LARGEST_POOL = 20  # PgBouncer's default; more servers than that rarely do more work
_OTHER_FILES = 64  # sockets that listen, logs, the console's clients, the web process


@dataclass(frozen=True, slots=True)
class Sizes:
    available: int
    max_db_connections: int
    default_pool_size: int
    max_client_conn: int
    warnings: tuple[str, ...] = ()


def size(
    max_connections: int, reserved: int, direct: int, databases: int, users: int, files: int
) -> Sizes:
    """`users` share each of the `databases`; `files` is the limit of file descriptors."""
    warnings = []
    available = max_connections - reserved - direct
    usable = max(available, 0) * 9 // 10
    per_database = max(usable // databases, 1)
    pool = max(min(per_database // users, LARGEST_POOL), 1)
    if usable < databases * users:
        warnings.append(
            f"{databases} databases and {users} users are more pools than there are connections for"
            f" ({available} of max_connections = {max_connections}): they will wait for each other"
        )
    elif available < max_connections // 2:
        warnings.append(
            f"{direct} connections are open directly now, which leaves {available}: when they come"
            " through the pooler, `pgmux size` has better numbers"
        )
    servers = per_database * databases
    clients = min(MOST_CLIENTS, files - servers - _OTHER_FILES)
    clients = max(clients - clients % 50, 50)
    return Sizes(available, per_database, pool, clients, tuple(warnings))
