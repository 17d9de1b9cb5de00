"""Each SHOW against what PgBouncer 1.25.2 sends."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from pgmux.admin.show import TABLES
from pgmux.admin.show_own import OWN_TABLES
from pgmux.config.ldap_options import parse_ldap_options
from pgmux.config.model import Config, Settings
from pgmux.metrics.snapshot import ConnectionRow
from pgmux.wire.parse import Column, parse_row_description
from tests.unit.admin.pooler import CLIENT, QUIET_SOCKET, FakePooler, FakeSnapshot
from tests.unit.admin.talk import READY, ask, messages, rows, tag, types

# One line of "name type" per column, the type a letter:
# s text, i int4, q int8, N numeric.
CONNECTIONS = """type s, user s, database s, replication s, state s, addr s, port i, local_addr s,
    local_port i, connect_time s, request_time s, wait i, wait_us i, close_needed i, ptr s, link s,
    remote_pid i, tls s, application_name s, prepared_statements i, id i"""
SOCKETS = f"""{CONNECTIONS}, recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i,
    pkt_avail i, send_avail i"""
EXPECTED = {
    "active_sockets": SOCKETS,
    "clients": CONNECTIONS,
    "config": "key s, value s, default s, changeable s",
    "databases": """name s, host s, port i, database s, force_user s, pool_size i, min_pool_size i,
        reserve_pool_size i, server_lifetime i, pool_mode s, load_balance_hosts s,
        max_connections i, current_connections i, max_client_connections i,
        current_client_connections i, paused i, disabled i""",
    "dns_hosts": "hostname s, ttl q, addrs s",
    "dns_zones": "zonename s, serial q, count i",
    "lists": "list s, items i",
    "mem": "name s, size i, used i, free i, memtotal i",
    "peer_pools": """peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i,
        sv_active_cancel i, sv_login i""",
    "peers": "peer_id i, host s, port i, pool_size i",
    "pools": """database s, user s, cl_active i, cl_waiting i, cl_active_cancel_req i,
        cl_waiting_cancel_req i, sv_active i, sv_active_cancel i, sv_being_canceled i, sv_idle i,
        sv_used i, sv_tested i, sv_login i, maxwait i, maxwait_us i, pool_mode s,
        load_balance_hosts s""",
    "servers": CONNECTIONS,
    "sockets": SOCKETS,
    "state": "key s, value s",
    "stats": """database s, total_server_assignment_count N, total_xact_count N,
        total_query_count N, total_received N, total_sent N, total_xact_time N, total_query_time N,
        total_wait_time N, total_client_parse_count N, total_server_parse_count N,
        total_bind_count N, total_client_login_count N, avg_server_assignment_count N,
        avg_xact_count N, avg_query_count N, avg_recv N, avg_sent N, avg_xact_time N,
        avg_query_time N, avg_wait_time N, avg_client_parse_count N, avg_server_parse_count N,
        avg_bind_count N, avg_client_login_count N""",
    "stats_averages": """database s, server_assignment_count N, xact_count N, query_count N,
        bytes_received N, bytes_sent N, xact_time N, query_time N, wait_time N,
        avg_client_parse_count N, avg_server_parse_count N, avg_bind_count N,
        avg_client_login_count N""",
    "stats_totals": """database s, server_assignment_count N, xact_count N, query_count N,
        bytes_received N, bytes_sent N, xact_time N, query_time N, wait_time N,
        client_parse_count N, server_parse_count N, bind_count N, client_login_count N""",
    "totals": "name s, value N",
    "users": """name s, pool_size s, reserve_pool_size s, pool_mode s, max_user_connections i,
        current_connections i, max_user_client_connections i, current_client_connections i""",
    "version": "version s",
    "client_encoding": "client_encoding s",
    "default_transaction_isolation": "default_transaction_isolation s",
    "standard_conforming_strings": "standard_conforming_strings s",
    "DateStyle": "datestyle s",
    "TimeZone": "timezone s",
}
TYPES = {"s": (25, -1), "i": (23, 4), "q": (20, 8), "N": (1700, -1)}


def expected_columns(text: str) -> tuple[Column, ...]:
    pairs = (column.split() for column in text.split(","))
    return tuple(Column(name, *TYPES[letter], 0, -1, 0, 0) for name, letter in pairs)


@pytest.mark.parametrize("name", EXPECTED)
def test_columns_are_pgbouncers_in_name_order_and_type(name: str) -> None:
    data = ask(f"SHOW {name}", is_admin=False).data
    message_type, body = messages(data)[0]
    assert message_type == "T"
    assert parse_row_description(body) == expected_columns(EXPECTED[name])
    assert tag(data) == "SHOW"
    assert data.endswith(READY)


def test_every_table_is_tested() -> None:
    assert set(TABLES) - set(OWN_TABLES) < {name.lower() for name in EXPECTED}


def test_version_is_pgbouncers() -> None:
    assert rows(ask("SHOW VERSION").data) == [("PgBouncer 1.25.2",)]


def test_select_is_show() -> None:
    assert ask("SELECT version").data == ask("SHOW VERSION").data


def test_databases() -> None:
    (row,) = rows(ask("SHOW DATABASES").data)
    assert row == (
        *("app", "db1,db2", "5432", "app_live", None, "20", "0", "3", "3600", None),
        *("round-robin", "0", "7", "0", "9", "0", "1"),
    )


def test_pools_split_maxwait_at_the_second() -> None:
    (row,) = rows(ask("SHOW POOLS").data)
    counts = [str(count) for count in range(1, 12)]
    assert row == ("app", "bob", *counts, "2", "3", "transaction", None)


def test_clients() -> None:
    (row,) = rows(ask("SHOW CLIENTS").data)
    assert row == (
        *("C", "bob", "app", "none", "active", "127.0.0.1", "40000", "127.0.0.1", "6432"),
        *("2026-11-20 08:22:05 UTC", "2026-11-20 08:22:06 UTC", "1", "500000", "0"),
        *("0x55e0", "0x55e8", "0", "", "psql", "2", "12"),
    )


def test_a_server_without_a_client_has_an_empty_link() -> None:
    (row,) = rows(ask("SHOW SERVERS").data)
    assert row[0] == "S" and row[13:17] == ("1", "0x55e0", "", "4711")


def test_a_client_that_waits_just_under_a_second_shows_no_second() -> None:
    pooler = FakePooler(snapshot=FakeSnapshot([replace(CLIENT, wait=0.9999999)]))
    (row,) = rows(ask("SHOW CLIENTS", pooler).data)
    assert row[11:13] == ("1", "0")  # to the nearest µs, and never 1000000 of them


def test_sockets_say_what_is_on_its_way() -> None:
    quiet, busy = rows(ask("SHOW SOCKETS").data)
    assert quiet[4] == "cl_active" and quiet[21:] == ("0",) * 7
    assert busy[4] == "sv_active"
    (server,) = rows(ask("SHOW SERVERS").data)
    assert busy[:21] == (*server[:4], "sv_active", *server[5:])
    assert busy[21:] == ("75", "70", "300", "0", "0", "5", "70")


def test_active_sockets_are_those_with_something_on_its_way() -> None:
    assert rows(ask("SHOW ACTIVE_SOCKETS").data) == rows(ask("SHOW SOCKETS").data)[1:]


@pytest.mark.parametrize("busy", ["pkt_remain", "pkt_avail", "send_avail"])
def test_whatever_is_on_its_way_makes_a_socket_active(busy: str) -> None:
    assert not QUIET_SOCKET.is_active
    assert replace(QUIET_SOCKET, **{busy: 1}).is_active


def test_peers_and_their_pools() -> None:
    assert rows(ask("SHOW PEERS").data) == [("2", "10.0.0.2", "6432", "20")]
    assert rows(ask("SHOW PEER_POOLS").data) == [("2", "1", "3", "4", "5")]


def test_mem_counts_objects_and_knows_no_sizes() -> None:
    assert rows(ask("SHOW MEM").data) == [
        ("user_cache", "0", "4", "0", "0"),
        ("client_cache", "0", "1000", "0", "0"),
    ]


def test_users_sizes_are_right_aligned_or_empty() -> None:
    (row,) = rows(ask("SHOW USERS").data)
    assert row == ("bob", "        5", "", None, "10", "1", "0", "2")


TOTALS = (
    "10",
    "20",
    "30",
    "12345678901",
    "50000",
    "2000000",
    "1500000",
    "12",
    "60",
    "70",
    "80",
    "90",
)
AVERAGES = ("5", "10", "15", "6172839450", "25000", "100000", "50000", "1", "30", "35", "40", "45")


def test_stats_are_totals_then_averages_with_times_in_microseconds() -> None:
    assert rows(ask("SHOW STATS").data) == [("app", *TOTALS, *AVERAGES)]
    assert rows(ask("SHOW STATS_TOTALS").data) == [("app", *TOTALS)]
    assert rows(ask("SHOW STATS_AVERAGES").data) == [("app", *AVERAGES)]


def test_totals_are_one_row_a_counter() -> None:
    names = (
        *("server_assignment_count", "xact_count", "query_count", "client_bytes", "server_bytes"),
        *("xact_time", "query_time", "wait_time"),
        *("ps_client_parse_count", "ps_server_parse_count", "ps_bind_count"),
        "client_login_count",
    )
    expected = [(f"total_{name}", value) for name, value in zip(names, TOTALS, strict=True)]
    expected += [(f"avg_{name}", value) for name, value in zip(names, AVERAGES, strict=True)]
    assert rows(ask("SHOW TOTALS").data) == expected


def test_lists() -> None:
    names = (
        "databases users peers pools peer_pools free_clients used_clients login_clients"
        " free_servers used_servers dns_names dns_zones dns_queries dns_pending"
    )
    expected = [(name, str(count)) for count, name in enumerate(names.split(), 1)]
    assert rows(ask("SHOW LISTS").data) == expected


def test_dns() -> None:
    assert rows(ask("SHOW DNS_HOSTS").data) == [("db1.internal", "15", "10.0.0.1:0,10.0.0.2:0")]
    assert rows(ask("SHOW DNS_ZONES").data) == [("internal", "2026112001", "3")]


def test_state_says_whether_pause_is_in_force() -> None:
    running, paused = FakePooler(), FakePooler(is_paused=True)
    assert rows(ask("SHOW STATE", running).data) == [
        ("active", "yes"),
        ("paused", "no"),
        ("suspended", "no"),
    ]
    assert rows(ask("SHOW STATE", paused).data)[:2] == [("active", "no"), ("paused", "yes")]


def test_config_shows_the_configuration_in_force() -> None:
    pooler = FakePooler(config=Config(settings=Settings(default_pool_size=7, stats_users=("a",))))
    shown = {row[0]: row[1:] for row in rows(ask("SHOW CONFIG", pooler).data)}
    assert shown["default_pool_size"] == ("7", "20", "yes")
    assert shown["auth_file"] == (None, None, "yes")
    assert shown["listen_port"] == ("6432", "6432", "no")


@pytest.mark.parametrize(
    "password",
    ['ldapbindpasswd="a b""c"', "ldapbindpasswd=abc", '"ldapbindpasswd=a b"', '"ldapbindpasswd"=a'],
)
def test_a_secret_inside_a_setting_is_not_shown(password: str) -> None:
    options = parse_ldap_options(f"{password} ldapserver=x ldapbasedn=o")
    pooler = FakePooler(config=Config(settings=Settings(auth_ldap_options=options)))
    shown = {row[0]: row[1] for row in rows(ask("SHOW CONFIG", pooler).data)}
    assert shown["auth_ldap_options"] == 'ldapbindpasswd="***" ldapserver=x ldapbasedn=o'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "UTF-8"),
        ("default_transaction_isolation", "read committed"),
        ("standard_conforming_strings", "on"),
        ("DATESTYLE", "ISO"),
        ("TimeZone", "GMT"),
    ],
)
def test_parameters_that_drivers_ask_for_are_faked(name: str, value: str) -> None:
    assert rows(ask(f"show {name}").data) == [(value,)]


def test_help_is_a_notice() -> None:
    data = ask("SHOW HELP").data
    assert types(data) == "NCZ"
    notice = messages(data)[0][1]
    assert notice.startswith(b"SNOTICE\0C00000\0MConsole usage\0D\n\tSHOW HELP|CONFIG|")
    assert notice.endswith(b"WAIT_CLOSE [<db>]\0\0")
    assert tag(data) == "SHOW"


def test_help_names_every_table() -> None:
    notice = messages(ask("SHOW HELP").data)[0][1].decode().lower()
    assert [name for name in TABLES if name not in notice] == []


def test_a_row_has_no_more_than_is_shown() -> None:
    # What isn't in a row can't be shown by mistake: a password, a cancel key.
    shown = {column.split()[0] for column in CONNECTIONS.split(",")} - {"wait_us"}
    assert {field.name for field in fields(ConnectionRow)} == shown
