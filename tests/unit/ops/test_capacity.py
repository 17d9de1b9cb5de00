"""How many server connections a configuration can open: a pool a database and user."""

from __future__ import annotations

import math

from pgmux.ops.capacity import capacities
from tests.unit.ops.check.cases.case import config_of

MAIN = "[pgbouncer]\ndefault_pool_size = 20\nreserve_pool_size = 5\n"


def most(ini: str, *users: str) -> dict[tuple[str, int], float]:
    return {each.place: each.most for each in capacities(config_of(ini), lambda _: users)}


def test_each_user_of_a_database_has_a_pool_and_a_reserve() -> None:
    assert most("[databases]\napp = host=db1\n" + MAIN, "a", "b", "c") == {("db1", 5432): 75}


def test_a_database_that_forces_a_user_has_one_pool() -> None:
    assert most("[databases]\napp = host=db1 user=x\n" + MAIN, "a", "b") == {("db1", 5432): 25}


def test_servers_are_told_apart_by_host_and_port() -> None:
    ini = "[databases]\na = host=db1\nb = host=db1\nc = host=db1 port=5433\nd =\n" + MAIN
    assert most(ini) == {("db1", 5432): 50, ("db1", 5433): 25, ("", 5432): 25}


def test_limits_of_databases_and_users_cut_it_off() -> None:
    databases = "[databases]\na = host=db1\nb = host=db1\n"
    assert most(databases + MAIN + "max_db_connections = 30\n", "x", "y") == {("db1", 5432): 60}
    assert most(databases + MAIN + "max_user_connections = 10\n", "x", "y") == {("db1", 5432): 20}


def test_limits_of_databases_and_of_users_hold_together() -> None:
    ini = (
        "[databases]\na = host=db1 max_db_connections=10\nb = host=db1\n"
        "[users]\nu = max_user_connections=5\n[pgbouncer]\ndefault_pool_size = 20\n"
    )
    assert most(ini, "u", "v") == {("db1", 5432): 10 + (5 + 20)}  # of a; of b


def test_no_reserve_is_opened_where_nobody_can_wait_for_it() -> None:
    ini = "[databases]\na = host=db1\n" + MAIN + "reserve_pool_timeout = 0\n"
    assert most(ini, "u") == {("db1", 5432): 20}


def test_a_pool_without_a_limit_has_none() -> None:
    ini = "[databases]\na = host=db1 pool_size=0\n" + MAIN
    assert most(ini) == {("db1", 5432): math.inf}
    assert most(ini + "max_db_connections = 7\n") == {("db1", 5432): 7}
