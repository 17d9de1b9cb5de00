"""What is told without asking anybody: servers, logins, calls, secrets, bytes from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgmux.ops.check.facts.outside import Asks
from pgmux.ops.check.facts.server import Match
from pgmux.ops.check.gather.lookups import Call, calls_at, find_call, schemas_of
from pgmux.ops.check.gather.roles import compare
from pgmux.ops.check.gather.targets import find_same, find_targets, is_pooler
from pgmux.ops.check.outside import OutsideError, hear, parse_place
from pgmux.wire import build
from tests.unit.ops.check.cases.case import config_of
from tests.unit.ops.check.cases.live import console, database

INI = """[databases]
shop = host=db1,db2 auth_user=auther
crm = host=db1 user=crm password=hush
old = port=5433
[pgbouncer]
auth_file = userlist.txt
auth_query = SELECT * FROM look.up($1)
server_tls_sslmode = require
"""
VERIFIER = (  # of "pencil", from RFC 7677
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


def test_every_host_of_an_entry_is_a_server_with_the_logins_that_the_pooler_has() -> None:
    targets = {target.name: target for target in find_targets(config_of(INI, '"auther" "x"\n'))}
    assert list(targets) == ["db1:5432", "db2:5432", "local socket:5433"]
    logins = [(each["user"], each["password"]) for each in targets["db1:5432"].logins]
    assert logins == [("auther", "x"), ("crm", "hush")]
    assert targets["db1:5432"].logins[0]["sslmode"] == "require"
    assert targets["local socket:5433"].logins == ({"port": "5433", "dbname": "old"},)


def test_a_verifier_is_nothing_to_log_in_with() -> None:
    (target, *_) = find_targets(config_of(INI, f'"auther" "{VERIFIER}"\n'))
    assert "password" not in next(each for each in target.logins if each["user"] == "auther")
    assert "hush" not in repr(target)


def test_a_server_by_another_name_is_the_only_one_there_is() -> None:
    places = [("db", 5432)]
    assert find_same(("localhost", 15432), ("localhost", 15432), places) == {("db", 5432)}
    both = [("db", 5432), ("localhost", 5433)]
    assert find_same(("::1", 5433), ("::1", 5433), both) == {("localhost", 5433)}
    assert find_same(("elsewhere", 5432), ("elsewhere", 5432), both) == frozenset()


@pytest.mark.parametrize(
    ("query", "call"),
    [
        ("SELECT usename, passwd FROM pgbouncer.user_lookup($1)", ("pgbouncer", "user_lookup")),
        ("SELECT * FROM Look( $1 )", ("", "look")),
        ('SELECT * FROM "My Schema"."F""n"($1::text)', ("My Schema", 'F"n')),
        ("SELECT rolname, rolpassword FROM pg_authid WHERE rolname=$1", None),
        ("SELECT usename, passwd FROM pg_shadow WHERE usename IN ($1)", None),
        ("SELECT rolname, rolpassword FROM pg_authid WHERE rolname = CAST($1 AS name)", None),
        ("SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE NOT usesuper AND ($1 = 1)", None),
        ("SELECT usename, passwd FROM pg_shadow WHERE usename = pg_catalog.lower($1)", None),
    ],
)
def test_the_function_that_an_auth_query_calls(query: str, call: tuple[str, str] | None) -> None:
    assert find_call(query) == call


def test_a_function_is_looked_for_where_it_is_called() -> None:
    config = config_of(INI, '"auther" "x"\n')
    assert calls_at(config, [("db2", 5432)]) == [Call("shop", "look", "up", "auther")]
    assert calls_at(config, [("", 5433)]) == []


def test_a_search_path_is_its_schemas() -> None:
    assert schemas_of('"$user", pg_catalog,pg_temp') == ["$user", "pg_catalog", "pg_temp"]
    assert schemas_of('""') == []


@pytest.mark.parametrize(
    ("ours", "theirs", "match"),
    [
        ("pencil", VERIFIER, Match.SAME),
        ("pen", VERIFIER, Match.OTHER),
        (VERIFIER, VERIFIER, Match.SAME),
        ("pencil", "md5a2e2a4ee8a9d49e9b1a9a5c5a8ad7c5d", Match.OTHER),
        ("md5a2e2a4ee8a9d49e9b1a9a5c5a8ad7c5d", VERIFIER, Match.UNUSABLE),
        ("", VERIFIER, Match.UNKNOWN),
        ("pencil", None, Match.UNKNOWN),
        ("pencil", VERIFIER.replace("4096", "2000000000"), Match.UNKNOWN),
    ],
)
def test_a_secret_against_the_roles(ours: str, theirs: str | None, match: Match) -> None:
    assert compare("user", ours, theirs) is match


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("db:5432", ("db", 5432)),
        ("db", ("db", 6432)),
        ("[::1]:5432", ("::1", 5432)),
        ("::1", ("::1", 6432)),
        ("[fe80::1]", ("fe80::1", 6432)),
    ],
)
def test_a_place_with_and_without_a_port(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", ":", "db:", "db:0", "db:65536", "db:５", "/tmp:5432", "db:x"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(OutsideError, match="not HOST:PORT"):
        parse_place(text)


def test_what_a_login_hears() -> None:
    negotiation = build.build_negotiate_protocol_version(2)
    scram = build.build_authentication_sasl(["SCRAM-SHA-256"])
    heard = hear(negotiation + scram)
    assert (heard.asks, heard.minor) == (Asks.SCRAM, 2)
    refusal = build.build_error_response("FATAL", "08P01", "no")
    assert hear(refusal).asks is Asks.REFUSED


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 400", b"R\x00\x00", b"\x00" * 99, b"R\xff" * 50])
def test_bytes_that_are_no_answer_say_nothing(data: bytes) -> None:
    heard = hear(data)
    assert (heard.asks, heard.error) == (None, "")


def test_where_the_pooler_listens_is_no_postgresql() -> None:
    config = config_of(INI, '"auther" "x"\n')
    assert is_pooler(("127.0.0.1", 6432), config)
    assert not is_pooler(("127.0.0.1", 5432), config)
    assert not is_pooler(("elsewhere", 6432), config)


def test_the_poolers_servers_are_known_at_each_host_of_an_entry() -> None:
    rows = [database(host="db1,db2"), database("crm", host="db3")]
    facts = replace(
        console(databases=rows),
        server_pids={"shop": frozenset((7, 8)), "crm": frozenset((9,))},
    )
    assert facts.pids_at(frozenset((("db2", 5432),))) == {7, 8}
    assert facts.pids_at(frozenset((("db3", 5432), ("db1", 5432)))) == {7, 8, 9}
    assert facts.pids_at(frozenset((("db3", 5433),))) == frozenset()
