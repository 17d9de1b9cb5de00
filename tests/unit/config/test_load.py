"""Entries -> `Config`, its effective values and its warnings."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgmux.config import (
    AuthType,
    Config,
    Database,
    LoadBalanceHosts,
    Peer,
    PoolMode,
    User,
    load_config,
)
from pgmux.errors import ConfigError
from tests.unit.config.helpers import load, problems_of, reader, warnings_of

MAIN = "[pgbouncer]\n"
DEPLOYMENTS = Path(__file__).with_name("deployments")


def load_deployment(name: str) -> Config:
    """The file as it stands, and its userlist where there is one."""
    userlist = DEPLOYMENTS / f"{name}.userlist.txt"

    def read(path: str) -> str:
        is_userlist = path == "/etc/pgbouncer/userlist.txt"
        return (userlist if is_userlist else DEPLOYMENTS / path).read_text()

    return load_config(f"{name}.ini", read)


def test_the_profcomff_deployment_loads() -> None:
    config = load_deployment("profcomff")
    assert config.warnings == ()
    assert config.settings.listen_addr == ("*",)
    assert config.settings.ignore_startup_parameters == ("extra_float_digits",)
    assert config.databases["db"] == Database(
        "db", "postgres", host="localhost", hosts=("localhost",), port=5432
    )
    assert config.userlist == {"admin": "password123", "user": "password"}


def test_the_mt5_trading_deployment_loads() -> None:
    config = load_deployment("mt5-trading")
    assert config.warnings == ()
    assert config.settings.so_reuseport is True
    assert config.settings.verbose == 3


def test_the_django_crm_deployment_loads() -> None:
    config = load_deployment("django-crm")
    assert config.settings.auth_type is AuthType.TRUST
    assert config.settings.ignore_startup_parameters == ("options", "extra_float_digits")
    assert config.userlist == {"postgres": ""}


def test_the_timescale_stack_deployment_loads() -> None:
    config = load_deployment("timescale-stack")
    session = config.databases["tracksolid_db_session"]
    assert config.pool_mode(session) is PoolMode.SESSION
    assert config.pool_mode(config.databases["tracksolid_db"]) is PoolMode.TRANSACTION
    assert config.auth_user(session) == "pgbouncer_auth"


def test_the_timescale_airflow_deployment_loads_though_its_auth_file_is_missing() -> None:
    config = load_deployment("timescale-airflow")
    assert config.settings.auth_type is AuthType.SCRAM_SHA_256
    assert [problem.file for problem in config.warnings] == ["/etc/pgbouncer/userlist.txt"]


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """[databases]
a = host=x poolsize=3 pool_mode=tx port=0
pgbouncer = host=x
b = host=
[pgbouncer]
pool_mod = session
pool_mode = tx
listen_port = six
query_timeout = -1
auth_dbname = pgbouncer
[users]
u = pool_size
"""
    assert problems_of(text) == [
        'a.ini:2: unrecognized connection parameter: poolsize (did you mean "pool_size"?)',
        "a.ini:2: invalid pool mode: tx"
        " (one of these is expected: session, transaction, statement)",
        "a.ini:2: invalid port: 0 (a port from 1 to 65535 is expected)",
        'a.ini:3: database name "pgbouncer" is reserved (choose another name)',
        "a.ini:4: syntax error in connection string (host has no value)",
        'a.ini:6: unknown parameter: pgbouncer/pool_mod (did you mean "pool_mode"?)',
        'a.ini:7: invalid value "tx" for parameter pool_mode in configuration (a.ini:7)'
        " (one of these is expected: session, transaction, statement)",
        'a.ini:8: invalid value "six" for parameter listen_port in configuration (a.ini:8)'
        " (an integer is expected)",
        'a.ini:9: invalid value "-1" for parameter query_timeout in configuration (a.ini:9)'
        " (seconds are expected, 0 or more)",
        'a.ini:10: invalid value "pgbouncer" for parameter auth_dbname in configuration (a.ini:10)'
        ' (cannot use the reserved "pgbouncer" database as an auth_dbname)',
        "a.ini:12: syntax error in user settings (key=value is expected)",
    ]


def test_a_database_has_every_key() -> None:
    text = MAIN + (
        "[databases]\n"
        "d = dbname=x host=a,b port=6000 user=u password='it''s' auth_user=au auth_query='select 1'"
        " auth_dbname=ad pool_size=1 min_pool_size=2 reserve_pool=3 max_db_connections=4"
        " max_db_client_connections=5 pool_mode=STATEMENT server_lifetime=6 query_wait_timeout=7"
        " load_balance_hosts=disable connect_query='set x = 1' client_encoding=UTF8 datestyle=ISO"
        " timezone=UTC application_name=app\n"
    )
    assert load(text).databases["d"] == Database(
        "d", "x", "a,b", ("a", "b"), 6000, "u", "it's", "au", "select 1", "ad", 1, 2, 3, 4, 5,
        PoolMode.STATEMENT, 6.0, 7.0, LoadBalanceHosts.DISABLE, "set x = 1", "UTF8", "ISO", "UTC",
        "app",
    )  # fmt: skip


def test_a_database_without_keys_is_the_unix_socket_s_of_that_name() -> None:
    assert load(MAIN + "[databases]\nd =\n").databases["d"] == Database("d", "d")


def test_a_later_entry_replaces_an_earlier_one_of_its_name() -> None:
    config = load(MAIN + "[databases]\nd = host=x pool_size=3\nd = host=y\n")
    assert config.databases["d"] == Database("d", "d", "y", ("y",))


def test_a_user_has_every_key() -> None:
    text = MAIN + (
        "[users]\nu = pool_mode=session pool_size=1 reserve_pool_size=2 max_user_connections=3"
        " max_user_client_connections=4 query_timeout=5 query_wait_timeout=6"
        " idle_transaction_timeout=7 transaction_timeout=8 client_idle_timeout=9\n"
    )
    assert load(text).users["u"] == User("u", PoolMode.SESSION, 1, 2, 3, 4, 5, 6, 7, 8, 9)


@pytest.mark.parametrize("name", ["0", "65536", "x", "-1", "9" * 5000, "٣"])
def test_a_peer_is_a_number_from_1_to_65535(name: str) -> None:
    assert "ids of peers must be" in problems_of(MAIN + f"[peers]\n'{name}' = host=x\n")[0]


def test_a_peer_needs_a_host() -> None:
    assert load(MAIN + "[peers]\n7 = host=x\n").peers == {7: Peer(7, "x", 6432, None)}
    assert "host was not provided for peer 7" in problems_of(MAIN + "[peers]\n7 = port=1")[0]


def test_the_star_entry_serves_names_that_have_no_other_but_not_the_console_s() -> None:
    config = load(MAIN + "[databases]\n* = host=x pool_size=3\nd = host=y\n")
    assert config.find_database("any") == Database("any", "any", "x", ("x",), pool_size=3)
    assert config.find_database("d") == config.databases["d"]
    assert config.find_database("pgbouncer") is None
    assert list(config.databases) == ["d"]
    assert load(MAIN).find_database("any") is None


def test_the_star_entry_s_dbname_is_kept() -> None:
    config = load(MAIN + "[databases]\n* = dbname=one\n")
    assert config.find_database("any") == Database("any", "one")


def test_sizes_come_from_the_user_then_the_database_then_the_settings() -> None:
    values = "pool_size={} reserve_pool_size={} pool_mode={} query_wait_timeout={}\n"
    config = load(
        "[databases]\nd = "
        + values.format(0, 2, "statement", 0)
        + "e =\n[users]\nu = "
        + values.format(7, 8, "session", 9)
        + MAIN
    )
    d, e = config.databases["d"], config.databases["e"]
    pools = [(d, "u"), (d, "x"), (e, "x"), (e, None)]
    assert [config.pool_size(*pool) for pool in pools] == [7, 0, 20, 20]
    assert [config.reserve_pool_size(*pool) for pool in pools] == [8, 2, 0, 0]
    modes = [config.pool_mode(*pool).value for pool in pools]
    assert modes == ["session", "statement", "session", "session"]
    assert [config.query_wait_timeout(*pool) for pool in pools] == [9, 0, 120, 120]


def test_limits_and_times_of_zero_in_an_entry_leave_the_setting_in_force() -> None:
    config = load(
        "[databases]\nd = max_db_connections=0 server_lifetime=0 min_pool_size=0\n"
        "[users]\nu = max_user_connections=0 query_timeout=0 client_idle_timeout=4\n"
        + MAIN
        + "max_db_connections=1\nserver_lifetime=2\nmin_pool_size=3\nmax_user_connections=4\n"
        "query_timeout=5\nclient_idle_timeout=6\nidle_transaction_timeout=7\n"
        "transaction_timeout=8\nmax_user_client_connections=9\nmax_db_client_connections=10\n"
    )
    d = config.databases["d"]
    assert config.max_db_connections(d) == 1
    assert config.max_db_client_connections(d) == 10
    assert config.server_lifetime(d) == 2
    assert config.min_pool_size(d) == 0
    assert config.max_user_connections("u") == 4
    assert config.max_user_client_connections("u") == 9
    assert config.query_timeout("u") == 5
    assert config.client_idle_timeout("u") == 4
    assert config.idle_transaction_timeout("u") == 7
    assert config.transaction_timeout("u") == 8


def test_a_setting_at_its_default_is_not_warned_about() -> None:
    text = MAIN + "reserve_pool_size=0\nsyslog=0\nauth_query=" + Config().settings.auth_query
    assert warnings_of(text) == []


def test_peers_without_a_number_of_ones_own_are_said_once() -> None:
    peers = "[peers]\n1 = host=x\n2 = host=y\n"
    assert warnings_of(MAIN + peers) == [
        "a.ini:3: without peer_id nothing is passed on to peers (set peer_id)"
    ]
    assert warnings_of(MAIN + "peer_id=1\n" + peers) == []


@pytest.mark.parametrize("number", [1, 2])
def test_a_peer_that_is_ones_own_unix_socket_is_said_unless_it_is_meant(number: int) -> None:
    settings = "peer_id=1\nunix_socket_dir=/run/p1\nlisten_port=6000\n"
    found = warnings_of(MAIN + settings + f"[peers]\n{number} = host=/run/p1 port=6000\n")
    assert [" own Unix socket (" in warning for warning in found] == [True] * (number == 2)


@pytest.mark.parametrize("peer_id", [-1, 65536])
def test_a_peer_id_that_no_cancel_key_has_room_for_is_said(peer_id: int) -> None:
    (warning,) = warnings_of(MAIN + f"peer_id={peer_id}\n")
    assert f"peer_id = {peer_id}: there is no peering" in warning


def test_a_key_s_number_with_something_after_it_is_said() -> None:
    assert warnings_of(MAIN + "[databases]\nd = port=5432,5433 pool_size=ten\n") == [
        "a.ini:3: d: port=5432,5433 is read as 5432 (a number is expected)",
        "a.ini:3: d: pool_size=ten is read as 0 (a number is expected)",
    ]


def test_an_auth_file_that_is_missing_or_broken_is_a_warning_as_there() -> None:
    config = load(MAIN + "auth_file=u.txt", u_txt='"a" "b"\nc\n')
    assert config.userlist == {"a": "b"}
    assert "u.txt:2: broken auth file" in str(config.warnings[0])
    assert config.files == ("a.ini", "u.txt")
    assert warnings_of(MAIN + "auth_file=u.txt") == [
        "u.txt: could not open auth_file u.txt: No such file or directory"
    ]


@pytest.mark.parametrize("auth_type", ["any", "pam"])
def test_auth_types_without_secrets_read_no_auth_file(auth_type: str) -> None:
    config = load(MAIN + f"auth_type={auth_type}\nauth_file=u.txt", u_txt='"a" "b"')
    assert config.userlist == {}


def test_secrets_stay_out_of_what_is_printed() -> None:
    config = load(MAIN + "auth_file=u\n[databases]\nd = user=x password=hush\n", u='"a" "hush"')
    assert "hush" not in repr(config)


def test_conffile_is_the_file_itself_unless_it_says_otherwise() -> None:
    assert load(MAIN).settings.conffile == "a.ini"
    assert load(MAIN + "conffile=b.ini").settings.conffile == "b.ini"


def test_a_file_that_cannot_be_decoded_is_a_problem_of_that_file() -> None:
    def read(path: str) -> str:
        return b"\xff".decode()

    with pytest.raises(ConfigError, match=r'a\.ini: could not load file "a\.ini": .*utf-8'):
        load_config("a.ini", read)


def test_a_missing_main_file_is_the_only_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("a.ini", reader({}))
    assert str(caught.value) == 'a.ini: could not load file "a.ini": No such file or directory'
