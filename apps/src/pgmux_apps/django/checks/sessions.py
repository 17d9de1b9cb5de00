"""What belongs to a session, and so to a server that the next client gets: cursors, parameters,
roles, prepared statements.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage

from pgmux_apps.django.aliases import Alias
from pgmux_apps.django.project import Project
from pgmux_apps.django.rules import Rule, shown
from pgmux_apps.django.startup_options import HONOURED_BY_PGMUX, alter_role, parameters_in


def server_side_cursors(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Django's chunked cursor is WITH HOLD outside a transaction: of one server."""
    if alias.server_side_cursors:
        yield Rule.SERVER_SIDE_CURSORS.found(
            alias.place,
            f"Behind a pooler ({alias.because}): .iterator() outside a transaction, and dumpdata, "
            'declare a cursor on one server and may fetch from another: \'cursor "_django_curs_…" '
            "does not exist', and the cursor stays open on the first one.",
            'Write "DISABLE_SERVER_SIDE_CURSORS": True; .iterator() then reads its whole result '
            'into memory, so read large ones by .using("direct"). Or put every .iterator() in '
            f"transaction.atomic() and silence {Rule.SERVER_SIDE_CURSORS.id}.",
        )


def startup_options(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """PgBouncer refuses `options`, or drops it; pgmux honours what follows a client."""
    parameters = parameters_in(alias.startup_options)
    if alias.pooler == "pgmux":
        parameters = {k: v for k, v in parameters.items() if k not in HONOURED_BY_PGMUX}
    if not alias.startup_options or (alias.pooler == "pgmux" and not parameters):
        return
    names = ", ".join(parameters) or "nothing that is a parameter"
    if alias.pooler == "pgmux":
        fate = "pgmux refuses what isn't named in startup_parameters of its pgmux.ini"
        also = f"Add {names} to startup_parameters in pgmux.ini, or set it for the role: "
    else:
        fate = (
            "PgBouncer refuses the connection, or drops it silently where "
            "ignore_startup_parameters has `options`"
        )
        also = (
            'pgmux honours the usual ones: say PGMUX = {"aliases": {"'
            f'{alias.name}": {{"pooler": "pgmux"}}}}}} if it is one. Else set them for the role: '
        )
    yield Rule.STARTUP_OPTIONS.found(
        alias.place,
        f'Behind a pooler ({alias.because}): OPTIONS["options"] has {names}; {fate}.',
        also + alter_role(alias.user, alias.dbname, parameters.items()),
    )


def assume_role(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """SET ROLE runs once, on whichever server; it stays there."""
    role = alias.options.get("assume_role")
    if role:
        yield Rule.ASSUME_ROLE.found(
            alias.place,
            f'Behind a pooler ({alias.because}): OPTIONS["assume_role"] runs SET ROLE once for '
            "each connection, on one server. The next transaction may be on another, with the "
            f"rights of {alias.user!r}; whoever gets the first one has those of {str(role)!r}.",
            'Leave out "assume_role", and log in as that role, or have PostgreSQL set it at each '
            f"login: {alter_role(alias.user, alias.dbname, [('role', str(role))])}",
        )


def prepared_statements(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Django prepares nothing unless both options are there."""
    threshold = alias.options.get("prepare_threshold")
    binding = alias.options.get("server_side_binding") is True
    if threshold is not None and binding and alias.pooler != "pgmux":
        yield Rule.PREPARED_STATEMENTS.found(
            alias.place,
            f"Behind a pooler ({alias.because}): prepare_threshold {shown(threshold)} with "
            "server_side_binding prepares statements on servers; PgBouncer before 1.21, or with "
            "max_prepared_statements = 0, doesn't know on which: 'prepared statement \"_pg3_0\" "
            "does not exist'.",
            'Leave out "prepare_threshold" (Django\'s default is None: nothing is prepared; 0 '
            "means at once). `manage.py pgmux_check` asks whether this pooler tracks them.",
        )


def tenant_schemas(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """django-tenants sets search_path outside transactions."""
    if "tenant" in alias.engine:
        yield Rule.TENANT_SCHEMAS.found(
            alias.place,
            f"Behind a pooler ({alias.because}): ENGINE {alias.engine} sets search_path for a "
            "tenant, on one server; a statement of the same request may run on another, with "
            "another tenant's.",
            "Use session mode for this database, or ATOMIC_REQUESTS, so that search_path is set in "
            "the transaction that goes by it; read what the backend says of poolers.",
        )


FOR_POOLED_ALIASES = (
    server_side_cursors,
    startup_options,
    assume_role,
    prepared_statements,
    tenant_schemas,
)
