"""auth_query with a real PostgreSQL: whom it lets in, what its failures tell, and whom it holds up.

A lookup of a user whose name begins with `slow` waits for an advisory lock, which tests hold for as
long as they like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, error_of
from tests.fixtures.waiting import wait_until

LOCK = 20817
ASKER = {"aq_asker": "askerpw"}
FUNCTION = f"""
    CREATE SCHEMA pgbouncer;
    CREATE FUNCTION pgbouncer.user_lookup(in i_username text, out uname text, out phash text)
    RETURNS record AS $$
    BEGIN
        IF i_username LIKE 'slow%' THEN
            PERFORM pg_advisory_xact_lock({LOCK});
        END IF;
        SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END
        FROM pg_authid WHERE rolname = i_username AND rolcanlogin INTO uname, phash;
    END;
    $$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
    REVOKE ALL ON FUNCTION pgbouncer.user_lookup(text) FROM public;
    GRANT USAGE ON SCHEMA pgbouncer TO aq_asker;
    GRANT EXECUTE ON FUNCTION pgbouncer.user_lookup(text) TO aq_asker;
"""
ROLES = """
    CREATE ROLE aq_asker LOGIN PASSWORD 'askerpw';
    CREATE ROLE aq_super SUPERUSER LOGIN PASSWORD 'superpw';
    CREATE ROLE scram_user LOGIN PASSWORD 'scrampw';
    CREATE ROLE late_user LOGIN PASSWORD 'latepw' VALID UNTIL '2001-01-01';
    CREATE ROLE group_user NOLOGIN PASSWORD 'grouppw';
    CREATE ROLE bare_user LOGIN;
    SET password_encryption = 'md5';
    CREATE ROLE md5_user LOGIN PASSWORD 'md5pw';
"""
QUERY = "SELECT uname, phash FROM pgbouncer.user_lookup($1)"
SETTINGS: dict[str, object] = {
    "auth_type": "scram-sha-256",
    "auth_user": "aq_asker",
    "auth_query": QUERY,
    "default_pool_size": 4,
    "server_login_retry": 1,
}

HIDING = {"hide_unknown_users": 1}


@pytest.fixture(scope="module", autouse=True)
def roles(postgres: EmbeddedPostgres) -> Iterator[None]:
    """The roles of this module, and the databases `aq` and `aq2` with the function to ask."""
    postgres.psql(ROLES)
    for name in ("aq", "aq2"):
        postgres.psql(f"CREATE DATABASE {name} STRATEGY file_copy")
        postgres.psql(FUNCTION, name)
    yield
    for name in ("aq", "aq2"):
        postgres.psql(f"DROP DATABASE {name} WITH (FORCE)")
    for role in re.findall(r"CREATE ROLE (\w+)", ROLES):
        postgres.psql(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def asking(module_pooler: MakePooler) -> Pooler:
    """A pooler whose auth_file has auth_user and the console's admin, and nobody else."""
    return module_pooler(users=ASKER, settings=SETTINGS, pgmux=HIDING)


def connect(pooler: Pooler, user: str, password: str, db: str = "aq", **more: Any) -> Any:
    dsn = pooler.dsn(db, user, password, connect_timeout=20, **more)
    return closing(psycopg.connect(dsn, autocommit=True))


def whoami(pooler: Pooler, user: str, password: str, db: str = "aq") -> str:
    with connect(pooler, user, password, db) as client:
        return str(client.execute("SELECT current_user").fetchone()[0])


def refusal(pooler: Pooler, user: str, password: str, db: str = "aq") -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        whoami(pooler, user, password, db)
    return str(caught.value).strip().rpartition("FATAL:  ")[2]


@contextmanager
def slow_lookups(postgres: EmbeddedPostgres) -> Iterator[Any]:
    """While it lasts, lookups of slow users last; yields a way to count those that run."""
    with closing(psycopg.connect(postgres.dsn("aq"), autocommit=True)) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (LOCK,))

        def count() -> int:
            row = holder.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE usename = 'aq_asker' AND wait_event = 'advisory'"
            ).fetchone()
            return int(row[0]) if row else 0

        yield count


def begin_login(pooler: Pooler, user: str, db: str = "aq") -> RawClient:
    """A client that has sent its startup packet and waits."""
    client = RawClient(pooler)
    client.send(build.build_startup_message({"user": user, "database": db}))
    return client


# Who gets in


def test_a_user_that_only_the_server_knows_gets_in_with_its_password(asking: Pooler) -> None:
    assert whoami(asking, "scram_user", "scrampw") == "scram_user"
    assert whoami(asking, "scram_user", "scrampw", "aq2") == "scram_user"


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("scram_user", "wrong"),
        ("nobody_at_all", "x"),
        ("group_user", "grouppw"),  # NOLOGIN
        ("late_user", "latepw"),  # VALID UNTIL is over: its secret is NULL
        ("late_user", "md5"),  # what PgBouncer takes for the password of who has none
        ("bare_user", "md5"),
        ("md5_user", "md5pw"),  # an md5 secret is of no use for SCRAM
    ],
)
def test_everybody_else_is_refused_in_the_same_words(
    asking: Pooler, user: str, password: str
) -> None:
    assert refusal(asking, user, password) == "SASL authentication failed"


def test_who_is_not_found_is_told_so_unless_that_is_to_be_hidden(pooler: MakePooler) -> None:
    asking = pooler(users=ASKER, settings=SETTINGS)
    for user in ("nobody_at_all", "group_user"):
        assert refusal(asking, user, "x") == "no such user"
    assert refusal(asking, "scram_user", "wrong") == "SASL authentication failed"
    assert "closing because: no such user (age" in asking.log()


def test_with_md5_each_user_is_asked_for_what_its_secret_is(pooler: MakePooler) -> None:
    md5 = pooler(users=ASKER, settings=SETTINGS | {"auth_type": "md5"})
    assert whoami(md5, "md5_user", "md5pw") == "md5_user"
    assert whoami(md5, "scram_user", "scrampw") == "scram_user"
    assert refusal(md5, "late_user", "md5") == "password authentication failed"


def test_the_default_query_reads_pg_authid(pooler: MakePooler) -> None:
    settings = {k: v for k, v in SETTINGS.items() if k != "auth_query"} | {"auth_user": "aq_super"}
    default = pooler(users={"aq_super": "superpw"}, settings=settings)
    assert whoami(default, "scram_user", "scrampw") == "scram_user"
    assert refusal(default, "late_user", "latepw") == "SASL authentication failed"
    assert refusal(default, "group_user", "grouppw") == "no such user"


def test_auth_user_may_be_a_client_too(asking: Pooler) -> None:
    assert whoami(asking, "aq_asker", "askerpw") == "aq_asker"


def test_databases_may_share_one_auth_dbname_and_have_a_query_of_their_own(
    pooler: MakePooler,
) -> None:
    own = "SELECT uname, phash FROM pgbouncer.user_lookup(lower($1))"
    shared = pooler(
        users=ASKER,
        databases={
            "postgres": "dbname=postgres",
            "folded": f"dbname=postgres auth_query='{own}'",
            "users": "dbname=aq",
        },
        settings=SETTINGS | {"auth_dbname": "users"},
    )
    assert whoami(shared, "scram_user", "scrampw", "postgres") == "scram_user"
    assert whoami(shared, "SCRAM_user", "scrampw", "folded") == "scram_user"
    assert refusal(shared, "SCRAM_user", "scrampw", "postgres") == "no such user"


def test_the_console_asks_auth_dbname(pooler: MakePooler) -> None:
    console = pooler(
        users=ASKER, settings=SETTINGS | {"auth_dbname": "aq", "stats_users": "scram_user"}
    )
    with connect(console, "scram_user", "scrampw", "pgbouncer") as client:
        assert client.execute(b"SHOW VERSION").fetchall()
    assert "SASL" in refusal(console, "scram_user", "wrong", "pgbouncer")


def test_without_auth_dbname_the_console_says_that_it_needs_one(asking: Pooler) -> None:
    assert refusal(asking, "scram_user", "scrampw", "pgbouncer") == "bouncer config error"
    assert 'cannot use the reserved "pgbouncer" database as an auth_dbname' in asking.log()


def test_the_documented_function_is_all_that_a_database_needs(
    pooler: MakePooler, postgres: EmbeddedPostgres, create_database: Any
) -> None:
    text = (Path(__file__).parents[3] / "docs/authentication.md").read_text(encoding="utf-8")
    (setup,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    (query,) = re.findall(r"^ *auth_query = (.+)$", text, re.MULTILINE)
    db = create_database()
    postgres.psql(setup, db)
    try:
        settings = SETTINGS | {"auth_user": "pgbouncer", "auth_query": query}
        asking = pooler(users={"pgbouncer": "a long random password"}, settings=settings)
        assert whoami(asking, "scram_user", "scrampw", db) == "scram_user"
        assert "SASL" in refusal(asking, "late_user", "latepw", db)
        assert refusal(asking, "nobody_at_all", "x", db) == "no such user"
        with (
            connect(asking, "scram_user", "scrampw", db) as client,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            client.execute(b"SELECT pgbouncer.user_lookup('scram_user')")
    finally:
        postgres.psql("DROP OWNED BY pgbouncer CASCADE; DROP ROLE pgbouncer", db)


# Secrets that change


def test_a_changed_password_counts_at_once_and_for_new_servers(
    pooler: MakePooler, postgres: EmbeddedPostgres, create_role: Any
) -> None:
    asking = pooler(users=ASKER, settings=SETTINGS)
    user, password = create_role()
    with connect(asking, user, password) as old:
        old.execute("SELECT 1")
        postgres.psql(f"ALTER ROLE {user} PASSWORD 'changed'")
        assert refusal(asking, user, password) == "SASL authentication failed"
        with connect(asking, user, "changed") as new:
            new.execute("SELECT 1")
            old.execute("BEGIN")
            new.execute("SELECT 1")  # on a server of its own, logged in with the new secret
            old.execute("COMMIT")
    postgres.psql(f"ALTER ROLE {user} NOLOGIN")
    assert refusal(asking, user, "changed") == "no such user"


def test_who_is_in_auth_file_since_a_reload_is_not_looked_up(pooler: MakePooler) -> None:
    asking = pooler(users=ASKER, settings=SETTINGS)
    assert whoami(asking, "scram_user", "scrampw") == "scram_user"
    asking.users["scram_user"] = "another"
    asking.reload()
    assert refusal(asking, "scram_user", "scrampw") == "SASL authentication failed"
    del asking.users["scram_user"]
    asking.reload()
    assert whoami(asking, "scram_user", "scrampw") == "scram_user"


# Whose session it is


def test_a_clients_search_path_never_reaches_the_lookup(
    pooler: MakePooler, postgres: EmbeddedPostgres
) -> None:
    postgres.psql(
        "CREATE FUNCTION pgbouncer.calm(text) RETURNS TABLE(u text, p text) AS $$"
        " BEGIN IF current_setting('search_path') LIKE '%evil%' THEN RAISE 'evil'; END IF;"
        " RETURN QUERY SELECT * FROM pgbouncer.user_lookup($1); END $$ LANGUAGE plpgsql",
        "aq",
    )
    one = {"default_pool_size": 1, "auth_query": "SELECT * FROM pgbouncer.calm($1)"}
    asking = pooler(users=ASKER, settings=SETTINGS | one)
    evil = {"options": "-c search_path=evil"}
    with connect(asking, "scram_user", "scrampw", **evil) as client:
        assert client.execute("SHOW search_path").fetchone() == ("evil",)
    # auth_user's own clients share their servers with lookups
    with connect(asking, "aq_asker", "askerpw", **evil) as own:
        assert own.execute("SHOW search_path").fetchone() == ("evil",)
        assert whoami(asking, "scram_user", "scrampw") == "scram_user"
        assert own.execute("SHOW search_path").fetchone() == ("evil",)
    with connect(asking, "aq_asker", "askerpw") as own:
        own.execute("SET search_path = evil")
        assert whoami(asking, "scram_user", "scrampw") == "scram_user"


def test_a_hostile_user_name_is_only_a_name(asking: Pooler) -> None:
    for name in ("x' OR 'a'='a", '"; DROP SCHEMA pgbouncer', "ü" * 63, "%s", "$1"):
        assert refusal(asking, name, "x") == "SASL authentication failed"
    with begin_login(asking, b"\xff\xfe".decode("utf-8", "surrogateescape")) as client:
        assert error_of(client.read_until()).message == "bouncer config error"
    assert whoami(asking, "scram_user", "scrampw") == "scram_user"


# What takes long


def test_slow_lookups_hold_nobody_else_up(pooler: MakePooler, postgres: EmbeddedPostgres) -> None:
    asking = pooler(users=ASKER, settings=SETTINGS | {"max_client_conn": 200})
    with ExitStack() as stack:
        before = stack.enter_context(connect(asking, "scram_user", "scrampw"))
        running = stack.enter_context(slow_lookups(postgres))
        waiting = [stack.enter_context(begin_login(asking, f"slow_{i}")) for i in range(100)]
        wait_until(lambda: running() == 2)  # half of the pool
        assert before.execute("SELECT 1").fetchone() == (1,)
        assert whoami(asking, "aq_asker", "askerpw") == "aq_asker"  # of the very same pool
        assert whoami(asking, "postgres", "postgres") == "postgres"  # of auth_file
        assert whoami(asking, "scram_user", "scrampw", "aq2") == "scram_user"
        clients = asking.console("SHOW CLIENTS")
        assert {row["user"] for row in clients} == {"scram_user", "postgres"}
        pools = {(row["database"], row["user"]): row for row in asking.console("SHOW POOLS")}
        assert pools["aq", "aq_asker"]["cl_active"] == 0
        for client in waiting:
            client.socket.close()
    # each that was running ends by itself; nobody waits for the others any more
    wait_until(lambda: asking.console("SHOW LISTS")[7]["items"] == 0)
    assert whoami(asking, "scram_user", "scrampw") == "scram_user"


def test_equal_lookups_that_wait_are_one_query(
    pooler: MakePooler, postgres: EmbeddedPostgres
) -> None:
    asking = pooler(users=ASKER, settings=SETTINGS)
    with slow_lookups(postgres) as running, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(begin_login(asking, "slow_one"))
        wait_until(lambda: running() == 1)
        assert whoami(asking, "scram_user", "scrampw") == "scram_user"
        assert running() == 1


def test_a_lookup_that_hangs_ends_with_client_login_timeout(
    pooler: MakePooler, postgres: EmbeddedPostgres
) -> None:
    asking = pooler(users=ASKER, settings=SETTINGS | {"client_login_timeout": 1})
    with slow_lookups(postgres) as running:
        assert refusal(asking, "slow_one", "x") == "client_login_timeout"
        wait_until(lambda: running() == 0)  # the server has been told to stop, too
    assert whoami(asking, "scram_user", "scrampw") == "scram_user"


def test_a_client_that_leaves_leaves_its_lookups_server_to_others(
    pooler: MakePooler, postgres: EmbeddedPostgres
) -> None:
    asking = pooler(users=ASKER, settings=SETTINGS)
    with slow_lookups(postgres) as running:
        with begin_login(asking, "slow_one"):
            wait_until(lambda: running() == 1)
        wait_until(lambda: asking.console("SHOW LISTS")[7]["items"] == 0)
    wait_until(lambda: [row["state"] for row in asking.console("SHOW SERVERS")] == ["idle"])


# What goes wrong


@pytest.mark.parametrize(
    ("changes", "told", "logged"),
    [
        (
            {"auth_query": "SELECT 1, 2, 3 WHERE $1 <> ''"},
            "bouncer config error",
            "expected 2 columns from auth_query, not 3",
        ),
        (
            {"auth_query": "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1"},
            "bouncer config error",
            "S: error in auth_query: ERROR: permission denied for table pg_authid",
        ),
        (
            {"auth_query": "SELECT nothing"},
            "bouncer config error",
            'S: error in auth_query: ERROR: column "nothing" does not exist',
        ),
        (
            {"auth_query": "SELECT NULL::text, $1::text"},
            "bouncer config error",
            "auth_query response contained null user name",
        ),
        (
            {"auth_query": "SELECT $1::text, generate_series(1, 1000000)::text"},
            "bouncer config error",
            "auth_query returned 100 rows or more",
        ),
        (
            {"auth_query": "SELECT $1::text, repeat('x', 1000000)"},
            "bouncer config error",
            "the answer of auth_query can't be read",
        ),
        (
            {"auth_dbname": "nowhere"},
            "bouncer config error",
            'authentication database "nowhere" is not configured.',
        ),
        (
            {"auth_user": "scram_user"},  # whose password auth_file doesn't have
            'password authentication failed for user "scram_user"',
            'password authentication failed for user "scram_user" (auth_query as "scram_user" in',
        ),
    ],
)
def test_a_lookup_that_fails_tells_the_client_little_and_the_log_why(
    pooler: MakePooler, changes: dict[str, object], told: str, logged: str
) -> None:
    asking = pooler(users=ASKER, databases={"aq": "dbname=aq"}, settings=SETTINGS | changes)
    assert refusal(asking, "md5_user", "md5pw") == told
    assert logged in asking.log()
    assert whoami(asking, "postgres", "postgres") == "postgres"
    assert "SCRAM-SHA-256$" not in asking.log()


def test_while_the_auth_database_is_down_others_are_served(pooler: MakePooler) -> None:
    asking = pooler(
        users=ASKER,
        databases={"*": "", "down": "host=127.0.0.1 port=1"},
        settings=SETTINGS | {"client_login_timeout": 3, "server_login_retry": 60},
    )
    told = refusal(asking, "scram_user", "scrampw", "down")
    assert told == "client_login_timeout"
    told = refusal(asking, "scram_user", "scrampw", "down")
    assert told.startswith("server login has been failing, cached error: connect failed")
    assert whoami(asking, "scram_user", "scrampw") == "scram_user"
