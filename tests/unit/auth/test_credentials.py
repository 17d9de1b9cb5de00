"""Whose secret applies to a client and to its server."""

from __future__ import annotations

import pytest

from pgmux.auth.credentials import (
    Credentials,
    ServerLogin,
    find_client_login,
    find_server_login,
)
from pgmux.auth.scram import ScramKeys
from pgmux.auth.secrets import parse_secret
from pgmux.auth.steps import AuthenticationFailed
from pgmux.config.model import Database

USERLIST = {"alice": "alice's", "bob": "bob's", "blank": ""}
ALICE = Credentials("alice", parse_secret("alice's"))
UNFORCED = Database("db", "db")
FORCED = Database("db", "db", user="bob", password="forced")
KEYS = ScramKeys(b"c", b"s", b"salt", 1)


@pytest.mark.parametrize("database", [UNFORCED, FORCED])
def test_a_client_logs_in_with_the_secret_of_the_userlist(database: Database) -> None:
    assert find_client_login("md5", "alice", database, USERLIST) == ALICE


def test_a_user_that_is_not_in_the_userlist_is_unknown() -> None:
    assert find_client_login("trust", "carol", UNFORCED, USERLIST) == Credentials("carol", None)


def test_a_user_without_a_password_is_known() -> None:
    login = find_client_login("trust", "blank", UNFORCED, USERLIST)
    assert login.secret is not None
    assert login.secret.is_empty


def test_any_takes_the_forced_user_whatever_the_client_says() -> None:
    login = find_client_login("any", "carol", FORCED, USERLIST)
    assert login == Credentials("bob", parse_secret("forced"))


def test_any_needs_a_forced_user() -> None:
    with pytest.raises(AuthenticationFailed) as failed:
        find_client_login("any", "alice", UNFORCED, USERLIST)
    assert failed.value.message == "bouncer config error"
    assert failed.value.reason == "auth_type=any requires forced user"


def test_a_server_login_is_the_clients_own_with_its_keys() -> None:
    expected = ServerLogin("alice", ALICE.secret, KEYS)
    assert find_server_login(ALICE, KEYS, UNFORCED, USERLIST) == expected


def test_a_forced_user_logs_in_with_its_password_and_nobodys_keys() -> None:
    expected = ServerLogin("bob", parse_secret("forced"))
    assert find_server_login(ALICE, KEYS, FORCED, USERLIST) == expected


@pytest.mark.parametrize("password", [None, ""])
def test_a_forced_user_without_a_password_has_that_of_the_userlist(password: str | None) -> None:
    database = Database("db", "db", user="bob", password=password)
    expected = ServerLogin("bob", parse_secret("bob's"))
    assert find_server_login(ALICE, None, database, USERLIST) == expected


def test_a_forced_user_that_nobody_knows_has_no_password() -> None:
    database = Database("db", "db", user="carol")
    assert find_server_login(ALICE, None, database, USERLIST) == ServerLogin("carol", None)


def test_a_password_without_a_forced_user_is_ignored() -> None:
    database = Database("db", "db", password="stray")
    expected = ServerLogin("alice", ALICE.secret)
    assert find_server_login(ALICE, None, database, USERLIST) == expected


def test_no_secret_is_in_a_repr() -> None:
    shown = repr(ServerLogin("alice", ALICE.secret, ScramKeys(b"xyzzy", b"plugh", b"salt", 1)))
    for hidden in ("alice's", "xyzzy", "plugh"):
        assert hidden not in shown
