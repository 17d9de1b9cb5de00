"""Idle servers go before a statement that needs their database for itself."""

from __future__ import annotations

import pytest

from pgmux.config import Database, PoolMode
from pgmux.pool.states import SV_ACTIVE, SV_IDLE
from pgmux.session.database_ddl import GRACE, freed_database
from pgmux.wire import build
from tests.unit.session.rig import ClientEnd, Rig, ServerEnd, idle, linked, with_databases

TWO = with_databases(
    Database("app", "app"), Database("other", "Shop"), Database("far", "Shop", port=5)
)


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("DROP DATABASE shop", "shop"),
        ("drop database Shop;", "shop"),
        ('DROP DATABASE "Shop"', "Shop"),
        ('DROP DATABASE "a""b" WITH (FORCE)', 'a"b'),
        ("DROP DATABASE IF EXISTS shop (FORCE)", "shop"),
        ("  \n-- now\n/* it goes */ drop/**/database shop", "shop"),
        (f"DROP DATABASE {'x' * 70}", "x" * 63),
        ("CREATE DATABASE a TEMPLATE shop", "shop"),
        ("CREATE DATABASE a WITH OWNER = bob TEMPLATE = 'shop'", "shop"),
        ('CREATE DATABASE "template" TEMPLATE "Shop" STRATEGY file_copy', "Shop"),
        ("CREATE DATABASE a", "template1"),
        ("CREATE DATABASE a TEMPLATE DEFAULT", "template1"),
        ("ALTER DATABASE shop RENAME TO other", "shop"),
        ("ALTER DATABASE shop SET TABLESPACE fast", "shop"),
        ("ALTER DATABASE shop SET timezone = 'UTC'", None),
        ("ALTER DATABASE shop OWNER TO bob", None),
        ("DROP TABLE database", None),
        ("DROP DATABASE", None),
        ("CREATE DATABASE", None),
        ("", None),
    ],
)
def test_a_statement_needs_a_database_for_itself(statement: str, name: str | None) -> None:
    assert freed_database(statement) == name


def other(rig: Rig, database: str = "other") -> tuple[ClientEnd, ServerEnd]:
    """A client between transactions and an idle server of another database."""
    client = rig.enter(database=database)
    client.query()
    server = rig.log_in(rig.pending()[-1])
    server.answer()
    server.messages()
    return client, server


@pytest.mark.parametrize(
    "message",
    [
        build.build_query('DROP DATABASE "Shop"'),
        build.build_query('\n  /* a /* b */ c */ -- d\n;alter DATABASE "Shop" rename to s'),
        build.build_parse("", 'CREATE DATABASE a TEMPLATE "Shop"'),
        build.build_parse("named", 'drop database "Shop"'),
    ],
)
def test_idle_servers_of_the_database_go_first(message: bytes) -> None:
    rig = Rig(TWO)
    client, server = idle(rig)
    _, unused = other(rig)
    _, far = other(rig, "far")
    client.send(message)
    assert unused.is_closed
    assert not server.is_closed
    assert not far.is_closed  # another port is another server
    assert rig.servers(SV_ACTIVE) == [server.relay]


@pytest.mark.parametrize("sql", ["SELECT 1", "DROP TABLE x", "CREATE DATABASES", "DR", "/* DROP"])
def test_other_statements_leave_them_alone(sql: str) -> None:
    rig = Rig(TWO)
    client, _ = idle(rig)
    _, unused = other(rig)
    client.query(sql)
    assert not unused.is_closed


def test_a_server_at_work_is_not_kept_while_postgresql_waits() -> None:
    rig = Rig(TWO)
    client, _ = idle(rig)
    user, server = other(rig)
    user.query()
    client.query('DROP DATABASE "Shop"')
    assert not server.is_closed
    server.answer()
    assert server.is_closed
    assert not user.is_closed


def test_afterwards_servers_are_kept_again() -> None:
    rig = Rig(TWO)
    client, _ = idle(rig)
    user, server = other(rig)
    user.query()
    client.query('DROP DATABASE "Shop"')
    rig.pass_time(GRACE + 1)
    server.answer()
    assert rig.servers(SV_IDLE, "other") == [server.relay]


def test_one_that_is_being_reset_goes_once_it_is() -> None:
    config = with_databases(
        Database("app", "app"), Database("other", "Shop", pool_mode=PoolMode.SESSION)
    )
    rig = Rig(config)
    client, _ = linked(rig)
    user, server = other(rig)
    user.send(build.build_terminate())
    assert server.asked() == ["DISCARD ALL"]
    client.query('DROP DATABASE "Shop"')
    server.answer("DISCARD ALL")
    assert server.is_closed


def test_min_pool_size_waits_till_it_is_over() -> None:
    rig = Rig(with_databases(Database("app", "app"), Database("other", "Shop", min_pool_size=1)))
    client, _ = idle(rig)
    _, server = other(rig)
    client.query('DROP DATABASE "Shop"')
    assert server.is_closed
    rig.pass_time(1)
    assert rig.pending() == []
    rig.pass_time(GRACE)
    assert len(rig.pending()) == 1
