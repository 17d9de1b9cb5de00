"""PostgreSQL asked by a command: what can go wrong is said, and takes no longer than it may."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pgmux.auth.secrets import SecretKind, parse_secret
from pgmux.ops.postgres import EmbeddedPostgres
from pgmux.ops.server_connection import ServerConnection, ServerError, read_conninfo
from tests.fixtures.blackhole import blackhole
from tests.fixtures.pooler import MakePooler

Role = tuple[str, str]


def parameters(dsn: str, **changes: str) -> dict[str, str]:
    return {**read_conninfo(dsn), **changes}


def test_rows_come_by_name(postgres: EmbeddedPostgres) -> None:
    with ServerConnection(parameters(postgres.dsn())) as server:
        assert server.rows("SELECT %s::int AS a, 'x' AS b", (1,)) == [{"a": 1, "b": "x"}]
        assert server.one("SELECT 7") == 7
        assert server.one("SELECT 1 WHERE false") is None
        assert server.is_superuser()


def test_another_driver_is_told_what_libpq_found_out(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    monkeypatch.setenv("PGUSER", postgres.superuser)
    place = {"host": postgres.host, "port": str(postgres.port), "dbname": "template1"}
    with ServerConnection({**place, "options": "-c search_path=x"}) as server:
        login = server.login()
        assert server.address == postgres.host == "127.0.0.1"
    expected = {**place, "user": postgres.superuser, "password": postgres.password}
    assert expected.items() <= login.items()
    assert login["options"] == "-c search_path=x"


def test_an_error_says_where_and_keeps_the_connection(postgres: EmbeddedPostgres) -> None:
    with ServerConnection(parameters(postgres.dsn())) as server:
        with pytest.raises(ServerError, match=r':\d+: relation "nowhere" does not exist') as error:
            server.rows("SELECT * FROM nowhere")
        assert error.value.sqlstate == "42P01"
        assert server.one("SELECT 1") == 1


def test_a_transaction_that_fails_leaves_nothing(postgres: EmbeddedPostgres) -> None:
    with ServerConnection(parameters(postgres.dsn())) as server:
        with pytest.raises(ServerError, match="division by zero"), server.transaction():
            server.rows("CREATE TABLE half_done ()")
            server.rows("SELECT 1/0")
        assert server.one("SELECT to_regclass('half_done')") is None


def test_an_answer_that_does_not_come_is_cut_off(postgres: EmbeddedPostgres) -> None:
    with ServerConnection(parameters(postgres.dsn())) as server:
        with pytest.raises(ServerError, match=r"has not answered in 0\.2 s"):
            server.rows("SELECT pg_sleep(30)", timeout=0.2)
        with pytest.raises(ServerError, match="connection is closed"):
            server.rows("SELECT 1")


def test_a_host_that_keeps_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")  # libpq's least
    with blackhole() as port, pytest.raises(ServerError, match=r"timeout|timed out"):
        ServerConnection({"host": "127.0.0.1", "port": str(port), "user": "x"})


def test_a_wrong_password_is_told_without_it(
    postgres: EmbeddedPostgres, create_role: Callable[..., Role]
) -> None:
    name, _ = create_role()
    wrong = parameters(postgres.dsn(), user=name, password="not-the-secret")
    with pytest.raises(ServerError, match="password authentication failed") as error:
        ServerConnection(wrong)
    assert error.value.needs_password
    assert "not-the-secret" not in str(error.value)
    assert "~/.pgpass" in str(error.value)


def test_a_console_is_not_taken_for_postgresql(pooler: MakePooler) -> None:
    with pytest.raises(ServerError, match="is a pooler's console: PostgreSQL itself is needed"):
        ServerConnection(parameters(pooler().dsn("pgbouncer")))


def test_a_verifier_is_made_without_sending_the_password(
    postgres: EmbeddedPostgres, create_role: Callable[..., Role]
) -> None:
    name, _ = create_role()
    with ServerConnection(parameters(postgres.dsn())) as server:
        secret = server.scram_secret(name, "grüße 'x")
        assert parse_secret(secret).kind is SecretKind.SCRAM
        server.rows(f"ALTER ROLE {name} PASSWORD '{secret}'")
    with ServerConnection(parameters(postgres.dsn(), user=name, password="grüße 'x")) as again:
        assert again.user == name


def test_a_password_on_a_command_line_is_refused() -> None:
    with pytest.raises(ServerError, match="can be read by every user") as error:
        read_conninfo("postgresql://u:hidden@h/db", is_typed=True)
    assert "hidden" not in str(error.value)
    assert read_conninfo("host=a user=b", is_typed=True) == {"host": "a", "user": "b"}


def test_a_broken_connection_string_is_not_repeated() -> None:
    with pytest.raises(ServerError, match="not a connection string") as error:
        read_conninfo("postgresql://u:hid%den@h/db")
    assert "hid" not in str(error.value)
