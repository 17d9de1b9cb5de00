"""An engine's settings out of environment variables, right for a pooler in front and for none.

    engine = create_engine(
        get_db_url(), **get_sqlalchemy_pool_config(), connect_args=get_db_connect_args()
    )

The same for create_async_engine. All three take `environ` instead of os.environ, `driver` instead
of the URL's (psycopg, psycopg2, asyncpg), and `use_pgbouncer` instead of USE_PGBOUNCER, as for
migrations, which go past the pooler. docs/apps/sqlalchemy.md has all variables.

Errors: `SettingError` names the variable and what is accepted, and never shows a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.pool import NullPool

from pgmux_apps.environment import Environment, SettingError
from pgmux_apps.sqlalchemy.database_url import FORM, DatabaseUrl
from pgmux_apps.sqlalchemy.drivers import (
    asyncpg_numbers,
    check_driver,
    choose_driver,
    connect_timeout_of,
    render_url,
)
from pgmux_apps.sqlalchemy.sources import find_database

CONNECT_TIMEOUT = 10  # seconds
DAY = 24 * 3600
YEAR = 365 * DAY
MOST_CONNECTIONS = 10_000
MOST_EXECUTIONS = 1_000_000

_NEVER = frozenset({"0", "off", "none", "null", "no", "false", "never", "disabled"})


@dataclass(frozen=True, slots=True)
class Preset:
    """A QueuePool's sizes, and its times in seconds."""

    pool_size: int
    max_overflow: int
    pool_timeout: float
    pool_recycle: int


# The pooler bounds PostgreSQL's connections and has a queue of its own: a few for each process are
# enough, and who waits long for one of them is told so soon.
WITH_POOLER = Preset(pool_size=5, max_overflow=10, pool_timeout=10.0, pool_recycle=1800)
WITHOUT_POOLER = Preset(pool_size=20, max_overflow=30, pool_timeout=30.0, pool_recycle=3600)


@dataclass(frozen=True, slots=True)
class Prepare:
    """After how many executions psycopg prepares a statement: 0 is at the first, None is never."""

    threshold: int | None


def get_db_url(
    environ: Mapping[str, str] | None = None,
    *,
    driver: str | None = None,
    use_pgbouncer: bool | None = None,
) -> str:
    """SQLAlchemy's URL of the database, password included: `make_url()` of it hides that in logs.

    Raises: SettingError.
    """
    environment = Environment(environ)
    pooled = _is_pooled(environment, use_pgbouncer)
    url = find_database(environment, use_pgbouncer=pooled)
    if url is None:
        raise SettingError(
            "DATABASE_URL is not set, nor are POSTGRES_HOST, POSTGRES_USER, POSTGRES_PASSWORD and "
            f"POSTGRES_DB: DATABASE_URL={FORM} is accepted"
        )
    return render_url(url, choose_driver(driver, url))


def get_sqlalchemy_pool_config(
    environ: Mapping[str, str] | None = None,
    *,
    driver: str | None = None,
    use_pgbouncer: bool | None = None,
) -> dict[str, Any]:
    """create_engine's arguments about its pool, the same for every driver and for an async engine.

    Raises: SettingError.
    """
    check_driver(driver)
    environment = Environment(environ)
    preset = WITH_POOLER if _is_pooled(environment, use_pgbouncer) else WITHOUT_POOLER
    queue = _queue_config(environment, preset)
    general = {
        "pool_recycle": _recycle(environment, preset.pool_recycle),
        "pool_pre_ping": environment.flag("DB_POOL_PRE_PING", True),
        "echo_pool": _echo(environment),
    }
    if environment.choice("DB_POOL_CLASS", "queuepool", ("queuepool", "nullpool")) == "nullpool":
        return {"poolclass": NullPool, **general}  # which refuses sizes
    return {**queue, **general}


def get_db_connect_args(
    environ: Mapping[str, str] | None = None,
    *,
    driver: str | None = None,
    use_pgbouncer: bool | None = None,
) -> dict[str, Any]:
    """create_engine's `connect_args`: how long connecting may take, and prepared statements.

    DB_PREPARE_THRESHOLD=0 turns these off, as its authors mean it, where psycopg's own 0 prepares
    at the first execution: that is `always` here. Behind a pooler they are off unless it is set.
    Raises: SettingError.
    """
    environment = Environment(environ)
    pooled = _is_pooled(environment, use_pgbouncer)
    # who has a URL from elsewhere says the driver
    url = find_database(environment, use_pgbouncer=pooled) or DatabaseUrl("DATABASE_URL")
    prepare = _prepare(environment)
    timeout = _connect_timeout(environment, url)
    chosen = choose_driver(driver, url)
    if chosen == "asyncpg":
        return _asyncpg_args(url, prepare, timeout, pooled)
    arguments: dict[str, Any] = {"connect_timeout": timeout}
    if chosen != "psycopg2" and (prepare is not None or pooled):
        arguments["prepare_threshold"] = prepare.threshold if prepare is not None else None
    return arguments


def _asyncpg_args(
    url: DatabaseUrl, prepare: Prepare | None, timeout: int, pooled: bool
) -> dict[str, Any]:
    """DB_PREPARE_THRESHOLD counts before what the URL says of caches, and that before the default.

    Off is both caches: asyncpg's gives statements names, and SQLAlchemy's alone would read rows as
    the types were before a DDL, as the nameless statement is parsed anew and not described.
    """
    arguments: dict[str, Any] = {"timeout": timeout or None, **asyncpg_numbers(url)}
    off = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    if prepare is None:
        return {**off, **arguments} if pooled else arguments
    return {**arguments, **off} if prepare.threshold is None else arguments


def _is_pooled(environment: Environment, asked: bool | None) -> bool:
    given = environment.flag("USE_PGBOUNCER", True)
    return given if asked is None else asked


def _queue_config(environment: Environment, preset: Preset) -> dict[str, Any]:
    """A QueuePool's own arguments."""
    return {
        "pool_size": environment.integer(
            "DB_POOL_SIZE", preset.pool_size, least=1, most=MOST_CONNECTIONS
        ),
        "max_overflow": environment.integer(
            "DB_MAX_OVERFLOW", preset.max_overflow, least=-1, most=MOST_CONNECTIONS
        ),
        "pool_timeout": environment.seconds(
            "DB_POOL_TIMEOUT", preset.pool_timeout, least=0, most=DAY
        ),
        # The connection that came back last goes out first: the same few work, and the others lie
        # idle till the pooler's client_idle_timeout takes them, where taking turns keeps all alive.
        "pool_use_lifo": True,
    }


def _recycle(environment: Environment, default: int) -> int:
    """Seconds till a connection is made anew, -1 for never.

    Not 0: "off" for some, while SQLAlchemy would connect anew for each use.
    """
    if environment.given("DB_POOL_RECYCLE") == "-1":
        return -1
    return environment.integer(
        "DB_POOL_RECYCLE", default, least=1, most=YEAR, also=", or -1 for never"
    )


def _echo(environment: Environment) -> bool | Literal["debug"]:
    """Whether the pool logs; `debug` is each taking and giving back as well."""
    if environment.text("DB_ECHO_POOL", "").lower() == "debug":
        return "debug"
    return environment.flag("DB_ECHO_POOL", False, also=", or debug")


def _prepare(environment: Environment) -> Prepare | None:
    """What DB_PREPARE_THRESHOLD says; None where it says nothing."""
    text = environment.text("DB_PREPARE_THRESHOLD", "").lower()
    if not text:
        return None
    if text in _NEVER:
        return Prepare(None)
    if text == "always":
        return Prepare(0)
    also = ", or 0 or off for never, or always for at once"
    return Prepare(
        environment.integer("DB_PREPARE_THRESHOLD", 1, least=1, most=MOST_EXECUTIONS, also=also)
    )


def _connect_timeout(environment: Environment, url: DatabaseUrl) -> int:
    """Seconds; 0 is without end. DB_CONNECT_TIMEOUT counts before what the URL says."""
    default = connect_timeout_of(url)
    if default is None:
        default = CONNECT_TIMEOUT
    return environment.integer("DB_CONNECT_TIMEOUT", default, least=0, most=DAY)
