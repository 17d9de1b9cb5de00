"""How long connections are kept: CONN_MAX_AGE, CONN_HEALTH_CHECKS, OPTIONS["pool"], AUTOCOMMIT."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from django.core.checks import CheckMessage

from pgmux_apps.django.aliases import Alias
from pgmux_apps.django.project import Project
from pgmux_apps.django.rules import Rule

DEFAULT_MIN_SIZE = 4  # psycopg_pool's


def pool_with_max_age(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Django raises ImproperlyConfigured at the first query."""
    if alias.pool is not None and alias.max_age != 0:
        yield Rule.POOL_WITH_MAX_AGE.found(
            alias.place,
            'OPTIONS["pool"] and CONN_MAX_AGE exclude each other: Django raises "Pooling doesn\'t '
            'support persistent connections." at the first query.',
            'Write "CONN_MAX_AGE": 0 (the pool keeps the connections), or leave out "pool".',
        )


def pool_values(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """psycopg_pool's constructor raises at the first query."""
    if alias.pool is None or not (_has_psycopg3() and find_spec("psycopg_pool")):
        return
    least, most = pool_sizes(alias)
    wrong = ""
    if not _is_count(least) or not _is_count(most):
        wrong = "its sizes aren't integers"
    elif least < 0 or most < least or most == 0:
        wrong = f"min_size {least} and max_size {most} don't go together"
    elif unknown := sorted(set(alias.pool) - _pool_arguments()):
        wrong = f"psycopg_pool doesn't know {', '.join(map(str, unknown))}"
    if wrong:
        yield Rule.POOL_VALUES.found(
            alias.place,
            f'OPTIONS["pool"]: {wrong}; psycopg_pool raises at the first query.',
            'Write "pool": {"min_size": 0, "max_size": 4}: these are connections of one process.',
        )


def needs_psycopg3(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """With psycopg2 the connection fails."""
    names = [name for name in ("pool", "prepare_threshold") if alias.options.get(name) is not None]
    if names and not _has_psycopg3():
        yield Rule.NEEDS_PSYCOPG3.found(
            alias.place,
            f"OPTIONS has {' and '.join(names)}, which psycopg2 doesn't take: connecting fails.",
            "Install psycopg 3 (pip install 'psycopg[binary,pool]'); Django uses it where it is.",
        )
    elif alias.pool is not None and find_spec("psycopg_pool") is None:
        yield Rule.NEEDS_PSYCOPG3.found(
            alias.place,
            'OPTIONS["pool"] takes the package psycopg_pool, which isn\'t installed.',
            "Write psycopg[pool] among the requirements: pip install 'psycopg[pool]'.",
        )


def text_as_flag(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """`os.environ.get(…)` gives a text, and "False" is true."""
    for flag in alias.flags_as_text:
        yield Rule.TEXT_AS_FLAG.found(
            alias.place,
            f"{flag} is a text; every text but the empty one counts as true, also 'False' and '0'.",
            f'Write "{flag}": os.environ.get("…", "").lower() in ("1", "true", "yes").',
        )


def login_per_request(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """What CONN_MAX_AGE = 0 costs; under ASGI it is right, and a pool makes up for it."""
    closes = alias.max_age is not None and alias.max_age <= 0
    if closes and alias.pool is None and project.server == "wsgi":
        yield Rule.LOGIN_PER_REQUEST.found(
            alias.place,
            f"Behind a pooler ({alias.because}): CONN_MAX_AGE is {alias.max_age:g}, so each "
            "request logs in to the pooler anew. Transaction pooling doesn't ask for that: a "
            "client between transactions holds no server.",
            'Write "CONN_MAX_AGE": 300, "CONN_HEALTH_CHECKS": True. `manage.py pgmux_check` '
            'measures what a login costs here. Under ASGI 0 is right: say PGMUX = {"server": '
            '"asgi"} there, and OPTIONS["pool"] saves the logins.',
        )


def kept_but_never_used(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Connections belong to threads; a thread that is never reused leaves its own behind."""
    if not alias.is_kept or project.server == "wsgi":
        return
    age = "None" if alias.max_age is None else f"{alias.max_age:g}"
    thread = "greenlet" if project.server == "gevent" else "thread"
    yield Rule.KEPT_BUT_NEVER_USED.found(
        alias.place,
        f"Behind a pooler ({alias.because}): CONN_MAX_AGE is {age} under {project.server}, where "
        f"each request has a {thread} of its own. What it keeps nobody uses again, and it stays a "
        "client of the pooler until the garbage collector finds it: cl_active grows to "
        "max_client_conn.",
        'Write "CONN_MAX_AGE": 0, and "OPTIONS": {"pool": {"min_size": 0, "max_size": 4}} to save '
        'the logins. If this project is served by WSGI, say PGMUX = {"server": "wsgi"}.',
    )


def no_health_checks(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """What is kept may have been closed meanwhile."""
    if alias.health_checks or not (alias.is_kept or alias.pool is not None):
        return
    kept = "a pool hands out" if alias.pool is not None else "Django keeps"
    yield Rule.NO_HEALTH_CHECKS.found(
        alias.place,
        f"Behind a pooler ({alias.because}): {kept} connections that the pooler may have closed "
        "meanwhile (its restart, client_idle_timeout); the request that gets one fails.",
        'Write "CONN_HEALTH_CHECKS": True: a short query before the first one of each request.',
    )


def pool_below_threads(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Django's pool is each process's own, and makes its threads wait."""
    if alias.pool is None or project.threads is None:
        return
    most = pool_sizes(alias)[1]
    if _is_count(most) and most < project.threads:
        yield Rule.POOL_BELOW_THREADS.found(
            alias.place,
            f'OPTIONS["pool"] has max_size {most} for {project.threads} threads a process (PGMUX): '
            "they wait for each other, for 30 s, though the pooler could serve them.",
            f'Write "pool": {{"min_size": 0, "max_size": {project.threads}}}; without max_size it '
            f"is min_size, {DEFAULT_MIN_SIZE} by default.",
        )


def no_autocommit(alias: Alias, project: Project) -> Iterator[CheckMessage]:
    """Without autocommit the first query opens a transaction that Django doesn't end."""
    if not alias.autocommit:
        yield Rule.NO_AUTOCOMMIT.found(
            alias.place,
            f"Behind a pooler ({alias.because}): AUTOCOMMIT is false, so the first query opens a "
            "transaction that only your own commit or the connection's end ends; till then a "
            "server is held, idle in transaction.",
            'Leave out "AUTOCOMMIT", and use transaction.atomic() or ATOMIC_REQUESTS.',
        )


def pool_sizes(alias: Alias) -> tuple[int, int]:
    """min_size and max_size as psycopg_pool takes them."""
    pool = alias.pool or {}
    least = pool.get("min_size", DEFAULT_MIN_SIZE)
    most = pool.get("max_size")
    return least, least if most is None else most


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pool_arguments() -> set[str]:
    """What Django may pass on: not what it gives itself."""
    import inspect

    from psycopg_pool import ConnectionPool

    return set(inspect.signature(ConnectionPool).parameters) - {"kwargs", "open", "configure"}


def _has_psycopg3() -> bool:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    return bool(is_psycopg3)


FOR_EVERY_ALIAS = (
    pool_with_max_age,
    pool_values,
    needs_psycopg3,
    text_as_flag,
    pool_below_threads,
)
FOR_POOLED_ALIASES = (login_per_request, kept_but_never_used, no_health_checks, no_autocommit)
