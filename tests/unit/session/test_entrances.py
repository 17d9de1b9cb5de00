"""What is found once for all clients of one database and user is found anew once it has changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgmux.auth.credentials import Credentials
from pgmux.auth.scram import ScramKeys
from pgmux.auth.secrets import parse_secret
from pgmux.config import Database, PoolMode
from pgmux.config.model import User
from pgmux.errors import PoolerError
from pgmux.pool.pool import PoolKey
from pgmux.session._entry_cy import ClientInfo
from pgmux.session.pooler import MAX_ENTRANCES
from tests.unit.session.rig import FakeEnds, FakeTransport, Rig, configure, idle

KEYS = ScramKeys(b"client", b"server", b"salt", 4096)


def test_a_lower_limit_of_a_database_holds_for_the_next_client() -> None:
    rig = Rig()
    rig.enter()
    rig.reload(max_db_client_connections=1)
    with pytest.raises(PoolerError, match="max_db_client_connections"):
        rig.enter()


def test_a_lower_limit_of_a_user_holds_for_the_next_client() -> None:
    rig = Rig()
    rig.enter()
    rig.pooler.use_config(replace(rig.pooler.config, users={"bob": User("bob")}))
    rig.enter()
    limited = {"bob": User("bob", max_user_client_connections=2)}
    rig.pooler.use_config(replace(rig.pooler.config, users=limited))
    with pytest.raises(PoolerError, match="max_user_client_connections"):
        rig.enter()
    rig.enter(user="eve")


def test_a_database_that_is_disabled_lets_nobody_in_any_more() -> None:
    rig = Rig()
    rig.enter()
    rig.pooler.databases["app"].disabled = True
    with pytest.raises(PoolerError, match='database "app" is disabled'):
        rig.enter()


def test_a_database_that_a_reload_drops_and_another_brings_back_is_a_new_one() -> None:
    rig = Rig()
    rig.enter()
    rig.reload(databases={})
    with pytest.raises(PoolerError, match="no such database: app"):
        rig.enter()
    rig.reload(databases={"app": Database("app", "app")})
    client = rig.enter()
    assert client.relay.pool_relay is rig.control().relay


def test_a_forced_user_that_a_reload_brings_gets_the_next_clients() -> None:
    rig = Rig()
    rig.enter()
    rig.reload(databases={"app": Database("app", "app", user="owner")})
    assert rig.enter().relay.pool_relay is rig.control(user="owner").relay


def test_a_pool_mode_that_a_reload_brings_holds_for_the_next_client() -> None:
    rig = Rig()
    _, server = idle(rig)
    rig.reload(pool_mode=PoolMode.SESSION)
    client = rig.enter()
    client.query()
    server.answer()
    assert client.relay.linked_server is server.relay


def test_a_pool_that_has_gone_is_made_anew() -> None:
    rig = Rig()
    client = rig.enter()
    rig.refuse()
    client.lose()
    before = rig.control()
    rig.pooler.drop_pool(before)
    again = rig.enter()
    assert again.relay.pool_relay is rig.control().relay is not before.relay


def test_the_names_of_a_forced_users_clients_are_not_kept_for_ever() -> None:
    rig = Rig(configure(database={"user": "owner"}))
    for i in range(MAX_ENTRANCES + 10):
        rig.enter(user=f"u{i}")
    assert len(rig.pooler.databases["app"].entrances) <= MAX_ENTRANCES


# What the pool's servers log in with


def enter(rig: Rig, credentials: Credentials, keys: ScramKeys | None = None) -> None:
    info = ClientInfo(next(rig.pooler.ids), "app", credentials.user, FakeEnds(), {})
    rig.pooler.enter(FakeTransport(), info, credentials, keys, long_key=False)


def test_keys_that_a_later_client_shows_are_learned() -> None:
    rig = Rig()
    stored = rig.pooler.config.userlist["bob"]
    bob = Credentials("bob", parse_secret(stored))
    enter(rig, bob)
    assert rig.pooler.server_login(rig.control()).scram_keys is None
    enter(rig, bob, KEYS)
    assert rig.pooler.server_login(rig.control()).scram_keys == KEYS
    enter(rig, bob)
    assert rig.pooler.server_login(rig.control()).scram_keys == KEYS


def test_a_secret_that_a_reload_brings_counts_for_the_servers_too() -> None:
    rig = Rig()
    enter(rig, Credentials("bob", parse_secret("pw")))
    rig.reload(userlist={"bob": "new"})
    enter(rig, Credentials("bob", parse_secret("new")))
    assert rig.pooler.logins[PoolKey("app", "bob")].secret == parse_secret("new")


def test_a_client_that_began_before_the_reload_brings_back_no_old_secret() -> None:
    rig = Rig()
    bob = Credentials("bob", parse_secret("pw"))
    enter(rig, bob)
    rig.reload(userlist={"bob": "new"})
    enter(rig, bob)
    assert rig.pooler.logins[PoolKey("app", "bob")].secret == parse_secret("new")
