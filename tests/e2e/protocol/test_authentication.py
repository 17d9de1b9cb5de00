"""Passwords on both sides: every auth_type, every stored secret, every method of the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from pgmux.auth.md5 import md5_secret
from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.wire import build
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, error_of

PASSWORD = "sécret, 'quoted' \\"
AUTH_TYPES = ("trust", "plain", "md5", "scram-sha-256")
STORED = ("plaintext", "md5", "scram")
# The method of pg_hba.conf, and what the role's secret is there.
METHODS = {
    "trust": ("trust", "scram-sha-256"),
    "password": ("password", "scram-sha-256"),
    "md5": ("md5", "md5"),
    "md5_scram": ("md5", "scram-sha-256"),
    "scram": ("scram-sha-256", "scram-sha-256"),
}


def user_of(stored: str, method: str) -> str:
    return f"{stored}_{method}"


USERS = {user_of(stored, method): (stored, method) for stored in STORED for method in METHODS}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that asks each of USERS for its password in a way of its own."""
    hba = [f"host all {user} all {METHODS[method][0]}" for user, (_, method) in USERS.items()]
    hba += ["local all all scram-sha-256", "host all all all scram-sha-256"]
    with EmbeddedPostgres(hba=hba, max_connections=200) as postgres:
        password = PASSWORD.replace("'", "''")
        for user, (_, method) in USERS.items():
            postgres.psql(
                f"SET password_encryption = '{METHODS[method][1]}';"
                f"CREATE ROLE {user} LOGIN PASSWORD '{password}'"
            )
        yield postgres


@pytest.fixture(scope="module")
def users(server: EmbeddedPostgres) -> dict[str, str]:
    """userlist.txt: SCRAM secrets are the server's own, where it has one."""
    rows = server.psql("SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin")
    on_server = dict(row.split("|", 1) for row in rows.splitlines())
    copied = on_server[user_of("scram", "scram")]
    secrets = {}
    for user, (stored, _) in USERS.items():
        scram = on_server[user] if on_server[user].startswith("SCRAM") else copied
        md5 = md5_secret(PASSWORD.encode(), user.encode()).decode()
        secrets[user] = {"plaintext": PASSWORD, "md5": md5, "scram": scram}[stored]
    return secrets


@pytest.fixture(scope="module")
def poolers(
    module_pooler: MakePooler, server: EmbeddedPostgres, users: dict[str, str]
) -> dict[str, Pooler]:
    return {
        auth_type: module_pooler(
            postgres=server, users=users, settings={"auth_type": auth_type, "default_pool_size": 1}
        )
        for auth_type in AUTH_TYPES
    }


def whoami(dsn: str) -> str:
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        row = connection.execute("SELECT current_user").fetchone()
    assert row is not None
    return str(row[0])


def may_enter(auth_type: str, stored: str) -> bool:
    """Whether a client with the right password gets past pgmux itself."""
    return not (auth_type == "scram-sha-256" and stored == "md5")


def may_log_in(auth_type: str, stored: str, method: str) -> bool:
    """Whether the stored secret, or the keys of the client's own login, satisfy the server."""
    if method == "trust" or stored == "plaintext":
        return True
    if stored == "md5":
        return method == "md5"
    keys = auth_type in ("md5", "scram-sha-256")
    return method in ("scram", "md5_scram") and keys


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("auth_type", AUTH_TYPES)
def test_the_right_password(
    poolers: dict[str, Pooler], auth_type: str, stored: str, method: str
) -> None:
    user = user_of(stored, method)
    dsn = poolers[auth_type].dsn(user=user, password=PASSWORD)
    if may_enter(auth_type, stored) and may_log_in(auth_type, stored, method):
        assert [whoami(dsn) for _ in range(2)] == [user, user]
    else:
        failed = "wrong password type" if may_enter(auth_type, stored) else "authentication failed"
        with pytest.raises(psycopg.OperationalError, match=failed):
            whoami(dsn)


@pytest.mark.parametrize("auth_type", AUTH_TYPES[1:])
@pytest.mark.parametrize("stored", STORED)
def test_a_wrong_and_an_empty_password_are_refused(
    poolers: dict[str, Pooler], auth_type: str, stored: str
) -> None:
    user = user_of(stored, "scram")
    for password in ("wrong", PASSWORD.upper(), PASSWORD[:-1]):
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            whoami(poolers[auth_type].dsn(user=user, password=password))
    with pytest.raises(psycopg.OperationalError):
        whoami(poolers[auth_type].dsn(user=user, password="") + "?password=")


@pytest.mark.parametrize("auth_type", AUTH_TYPES)
def test_an_unknown_user_is_told_what_a_wrong_password_is_told(
    poolers: dict[str, Pooler], auth_type: str
) -> None:
    messages = set()
    stored = "plaintext" if auth_type != "md5" else "md5"
    tries = ["nobody"] if auth_type == "trust" else ["nobody", user_of(stored, "scram")]
    for user in tries:
        with pytest.raises(psycopg.OperationalError) as failure:
            whoami(poolers[auth_type].dsn(user=user, password="wrong"))
        messages.add(str(failure.value).partition("FATAL")[2].strip())
    assert len(messages) == 1
    (message,) = messages
    assert "authentication failed" in message


def test_any_lets_everybody_in_as_the_forced_user(
    pooler: MakePooler, server: EmbeddedPostgres
) -> None:
    user, password = user_of("plaintext", "scram"), PASSWORD.replace("'", "''")
    anyone = pooler(
        postgres=server,
        databases={"own": f"dbname=postgres user={user} password='{password}'", "postgres": ""},
        settings={"auth_type": "any"},
    )
    assert whoami(anyone.dsn("own", "whoever", "whatever")) == user
    with pytest.raises(psycopg.OperationalError, match="bouncer config error"):
        whoami(anyone.dsn("postgres", "whoever"))


def test_a_forced_user_s_password_is_its_own_and_not_the_client_s(
    pooler: MakePooler, server: EmbeddedPostgres
) -> None:
    user = user_of("plaintext", "scram")
    forced = pooler(
        postgres=server,
        databases={"d": f"dbname=postgres user={user}"},
        users={user: PASSWORD, "client": "other"},
        settings={"auth_type": "scram-sha-256"},
    )
    assert whoami(forced.dsn("d", "client", "other")) == user
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        whoami(forced.dsn("d", "client", PASSWORD))


def all_at_once(dsn: str, count: int = 6) -> tuple[list[str], float]:
    """What so many clients that connect at the same time are told; seconds until the last."""
    told: list[str] = []

    def attempt() -> None:
        try:
            told.append(whoami(dsn))
        except psycopg.OperationalError as error:
            told.append(str(error).partition("FATAL:")[2].strip())

    begin = time.monotonic()
    threads = [threading.Thread(target=attempt) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told, time.monotonic() - begin


def test_the_server_s_own_refusal_reaches_every_client_at_once(
    pooler: MakePooler, server: EmbeddedPostgres
) -> None:
    server.psql("CREATE ROLE closed NOLOGIN PASSWORD 'x'; CREATE ROLE opened LOGIN PASSWORD 'y'")
    refusing = pooler(postgres=server, users={"closed": "x", "opened": "wrong"})
    cases = {
        refusing.dsn("missing"): 'database "missing" does not exist',
        refusing.dsn(user="closed"): 'role "closed" is not permitted to log in',
        refusing.dsn(user="opened"): 'password authentication failed for user "opened"',
    }
    for dsn, message in cases.items():
        for _ in range(2):
            told, seconds = all_at_once(dsn)
            assert told == [message] * 6
            assert seconds < 3  # far less than server_login_retry


@pytest.mark.parametrize(
    ("database", "user", "sqlstate"),
    [("missing", "postgres", "3D000"), ("postgres", "opened_too", "28P01")],
)
def test_the_refusal_keeps_its_sqlstate(
    pooler: MakePooler, server: EmbeddedPostgres, database: str, user: str, sqlstate: str
) -> None:
    server.psql("DROP ROLE IF EXISTS opened_too; CREATE ROLE opened_too LOGIN PASSWORD 'y'")
    refusing = pooler(postgres=server, users={"opened_too": "wrong"})
    for _ in range(2):
        with RawClient(refusing) as client:
            start = build.build_startup_message({"user": user, "database": database})
            answer = client.exchange(start)
            assert error_of(answer).sqlstate == sqlstate
            assert answer[-1][0] == ""


def test_a_password_changed_on_the_server_is_noticed_and_healed_by_reload(
    pooler: MakePooler, server: EmbeddedPostgres
) -> None:
    server.psql("CREATE ROLE changing LOGIN PASSWORD 'old'")
    changing = pooler(
        postgres=server, users={"changing": "old"}, settings={"auth_type": "scram-sha-256"}
    )
    assert whoami(changing.dsn(user="changing")) == "changing"
    server.psql("ALTER ROLE changing PASSWORD 'new'")
    assert whoami(changing.dsn(user="changing")) == "changing"  # by the connection that is open
    changing.console("RECONNECT")
    with pytest.raises(psycopg.OperationalError, match='failed for user "changing"'):
        whoami(changing.dsn(user="changing"))
    changing.users["changing"] = "new"
    changing.reload()
    assert whoami(changing.dsn(user="changing")) == "changing"


def test_a_scram_secret_changed_on_both_sides_needs_the_clients_new_keys(
    pooler: MakePooler, server: EmbeddedPostgres
) -> None:
    def secret() -> str:
        return server.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'passing'")

    server.psql("CREATE ROLE passing LOGIN PASSWORD 'old'")
    passing = pooler(
        postgres=server, users={"passing": secret()}, settings={"auth_type": "scram-sha-256"}
    )
    assert whoami(passing.dsn(user="passing", password="old")) == "passing"
    server.psql("ALTER ROLE passing PASSWORD 'new'")
    passing.users["passing"] = secret()
    passing.reload()
    passing.console("RECONNECT")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        whoami(passing.dsn(user="passing", password="old"))
    assert whoami(passing.dsn(user="passing", password="new")) == "passing"


def test_a_user_taken_off_the_userlist_may_not_enter_any_more(
    pooler: MakePooler, server: EmbeddedPostgres
) -> None:
    user = user_of("plaintext", "scram")
    leaving = pooler(
        postgres=server, users={user: PASSWORD}, settings={"auth_type": "scram-sha-256"}
    )
    assert whoami(leaving.dsn(user=user)) == user
    del leaving.users[user]
    leaving.reload()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        whoami(leaving.dsn(user=user, password=PASSWORD))


def test_many_clients_log_in_by_scram_at_the_same_time(poolers: dict[str, Pooler]) -> None:
    user = user_of("scram", "scram")
    told, _ = all_at_once(poolers["scram-sha-256"].dsn(user=user, password=PASSWORD), 30)
    assert told == [user] * 30


def test_a_database_that_is_not_configured_is_refused_after_the_password(
    pooler: MakePooler, server: EmbeddedPostgres
) -> None:
    user = user_of("plaintext", "scram")
    only = pooler(
        postgres=server,
        databases={"postgres": ""},
        users={user: PASSWORD},
        settings={"auth_type": "scram-sha-256"},
    )
    with pytest.raises(psycopg.OperationalError, match="no such database: other"):
        whoami(only.dsn("other", user))
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        whoami(only.dsn("other", user, "wrong"))
