"""What to do about a connection that failed, from what libpq or the pooler has said."""

from __future__ import annotations

_NOT_RUNNING = "Is the pooler running there? Name another host and port, or another pgbouncer.ini."
_PASSWORD = (
    "The password of auth_file is asked for on a terminal, or taken from PGPASSWORD or ~/.pgpass."
    " Over the Unix socket the account that runs the pooler needs none:"
    " sudo -u ACCOUNT pgmux console -U pgbouncer"
)
_HINTS = (
    (
        ("not allowed",),
        "That user is neither in admin_users nor in stats_users of pgbouncer.ini: log in as"
        " one that is, or add it there and RELOAD.",
    ),
    (
        ("does not exist", "is no console"),
        "Is that PostgreSQL itself? The console is at the pooler's listen_port, 6432 by default.",
    ),
    (("no password supplied", "authentication failed", "no such user"), _PASSWORD),
    (
        ("Permission denied",),
        "unix_socket_mode and unix_socket_group say who may use the socket.",
    ),
    (
        ("could not translate host name",),
        "A host is a name, an address, or the directory of the pooler's Unix socket.",
    ),
    (("No such file", "Connection refused", "not answered in time"), _NOT_RUNNING),
)


def find_hint(message: str) -> str:
    """What to do about that; "" where it isn't known."""
    for texts, hint in _HINTS:
        if any(text in message for text in texts):
            return hint
    return ""
