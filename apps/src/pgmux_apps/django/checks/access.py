"""Who logs in, and what others on the way may read: sslmode, superusers, passwords."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage

from pgmux_apps.django.aliases import Alias
from pgmux_apps.django.project import Project, is_remote
from pgmux_apps.django.rules import Rule

SUPERUSERS = ("postgres",)  # by name; pgmux_check asks


def tls(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Of hosts with a name or address that isn't surely this machine's or its neighbour's."""
    if not is_remote(alias.host):
        return
    where = f"Behind a pooler ({alias.because}) at {alias.host}"
    advice = (
        'Write "OPTIONS": {"sslmode": "verify-full", "sslrootcert": "/path/to/ca.crt"}, and have '
        "the pooler offer TLS (client_tls_sslmode, client_tls_key_file, client_tls_cert_file)"
    )
    if alias.sslmode == "disable":
        yield Rule.TLS_OFF.found(
            alias.place,
            f"{where}: sslmode is disable, so queries and rows cross the network readable.",
            f"{advice}; or put a pooler on this machine.",
        )
    elif alias.sslmode in ("prefer", "allow"):
        yield Rule.TLS_OPTIONAL.found(
            alias.place,
            f"{where}: sslmode is {alias.sslmode}, so without a word there is no TLS where the "
            "pooler offers none, as PgBouncer does by default (client_tls_sslmode = disable), or "
            "somebody between says so.",
            f"{advice}. sslmode=require at least.",
        )


def superuser(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """By name, as nobody is asked."""
    if alias.user in SUPERUSERS:
        yield Rule.SUPERUSER.found(
            alias.place,
            f"Behind a pooler ({alias.because}): the user is {alias.user}, by its name a "
            "superuser: its servers may take the places that superuser_reserved_connections keeps "
            "for you, and an SQL injection may do everything.",
            'Write "USER": "app" after CREATE ROLE app LOGIN PASSWORD …; ALTER DATABASE '
            f"{alias.dbname or 'app'} OWNER TO app; and ALTER TABLE … OWNER TO app for each table, "
            "as migrations need it (REASSIGN OWNED BY postgres is refused).",
        )


def empty_password(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Over TCP; at a Unix socket, auth_type peer needs none."""
    if not alias.has_password and alias.host and alias.host[0] not in "/@":
        yield Rule.EMPTY_PASSWORD.found(
            alias.place,
            f"Behind a pooler ({alias.because}): there is no password here, nor in a password "
            "file: that works only where the pooler lets everybody in (auth_type = trust or any).",
            'Write "PASSWORD": os.environ["…"], or "OPTIONS": {"passfile": "…"}; and in the '
            'pooler auth_type = scram-sha-256, and no line `"name" ""` in auth_file.',
        )


FOR_POOLED_ALIASES = (tls, superuser, empty_password)
