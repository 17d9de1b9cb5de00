"""Logins that LDAP or PAM decides: what is asked, when, and what the pool's servers log in with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgmux.auth.outside import LdapLogin, PamLogin
from pgmux.auth.secrets import SecretKind
from pgmux.auth.steps import AuthenticationFailed
from pgmux.config import AuthType, Config, Database
from pgmux.config.ldap_options import parse_ldap_options
from pgmux.errors import PoolerError
from pgmux.session._entry_cy import ClientInfo
from pgmux.session.client import ClientLogin
from pgmux.session.login_steps import (
    Answer,
    Attempted,
    Enter,
    EnterConsole,
    LoginStep,
    Refuse,
    Unknown,
    Verify,
)
from pgmux.wire import build
from tests.unit.session.rig import FakeEnds, FakeTransport, Rig
from tests.unit.session.test_client_login import config, refusal, start, startup

OPTIONS = parse_ldap_options("ldapserver=a ldapbasedn=o=x")
QUERY = build.build_query("SELECT 1")


def configured(auth_type: AuthType = AuthType.LDAP, **database: Any) -> Config:
    made = config(auth_type, auth_ldap_options=OPTIONS, admin_users=("ldapuser",))
    return replace(made, databases={"app": Database("app", "app", **database)})


def ask(
    login: ClientLogin, password: str = "s3cret", **parameters: str
) -> tuple[list[LoginStep], Verify]:
    """The steps up to the question, and the question."""
    steps = login.feed(startup(**({"user": "ldapuser"} | parameters)))
    assert not any(isinstance(step, Unknown) for step in steps)
    steps += login.feed(build.build_password_message(password))
    question = steps.pop()
    assert isinstance(question, Verify)
    return steps, question


def test_who_is_in_no_file_is_asked_for_the_password_and_ldap_about_it() -> None:
    steps, question = ask(start(configured()))
    assert [type(step) for step in steps] == [Attempted, Answer]
    assert steps[1] == Answer(build.build_authentication_cleartext_password())
    assert question.job == LdapLogin(OPTIONS, "ldapuser", b"s3cret")


def test_pam_is_told_where_the_client_comes_from() -> None:
    _, question = ask(start(configured(AuthType.PAM)))
    assert question.job == PamLogin("ldapuser", b"s3cret", "10.0.0.9")


def test_a_right_password_is_what_servers_are_logged_in_with() -> None:
    login = start(configured())
    ask(login)
    (enter,) = login.on_verified("")
    assert isinstance(enter, Enter)
    assert enter.credentials.user == "ldapuser"
    assert enter.credentials.secret is not None
    assert enter.credentials.secret.text == b"s3cret"
    assert "s3cret" not in repr(enter)


def test_a_password_that_looks_like_a_hash_is_a_password() -> None:
    login = start(configured())
    ask(login, "md5" + "a" * 32)
    (enter,) = login.on_verified("")
    assert isinstance(enter, Enter)
    assert enter.credentials.secret is not None
    assert enter.credentials.secret.kind is SecretKind.PLAINTEXT


@pytest.mark.parametrize("auth_type", [AuthType.LDAP, AuthType.PAM])
def test_a_wrong_password_is_told_without_its_reason(auth_type: AuthType) -> None:
    login = start(configured(auth_type))
    ask(login)
    with pytest.raises(AuthenticationFailed) as caught:
        login.on_verified("server a: Invalid credentials")
    assert caught.value.message == f"{auth_type.upper()} authentication failed"
    assert caught.value.reason == "server a: Invalid credentials"


def test_an_empty_password_is_asked_nobody_about() -> None:
    login = start(configured())
    login.feed(startup(user="ldapuser"))
    (step,) = login.feed(build.build_password_message(""))
    assert isinstance(step, Refuse)
    assert str(step.error) == "empty password returned by client"


def test_what_comes_while_ldap_is_asked_waits() -> None:
    login = start(configured())
    ask(login)
    assert login.feed(QUERY) == []
    assert isinstance(login.on_verified("")[0], Enter)
    assert login.rest() == QUERY


def test_a_second_password_does_not_replace_the_first() -> None:
    login = start(configured())
    _, question = ask(login)
    assert login.feed(build.build_password_message("other")) == []
    assert question.job.password == b"s3cret"
    (enter,) = login.on_verified("")
    assert isinstance(enter, Enter)
    assert enter.credentials.secret is not None
    assert enter.credentials.secret.text == b"s3cret"


def test_the_console_is_entered_the_same_way() -> None:
    login = start(configured())
    ask(login, database="pgbouncer")
    assert login.on_verified("") == [EnterConsole("ldapuser", True, "")]


def test_without_options_ldap_is_refused() -> None:
    assert refusal(config(AuthType.LDAP), startup()) == "auth_ldap_options is null"


@pytest.mark.parametrize("auth_type", [AuthType.LDAP, AuthType.PAM])
def test_a_database_that_looks_its_users_up_is_a_config_error(auth_type: AuthType) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        start(configured(auth_type, auth_user="lookup")).feed(startup())
    assert caught.value.message == "bouncer config error"
    used = f"{auth_type.upper()} can't be used together with database authentication"
    assert caught.value.reason == used


def test_a_general_auth_user_is_not_asked() -> None:
    made = configured()
    made = replace(made, settings=replace(made.settings, auth_user="lookup"))
    ask(start(made))


# What servers log in with


def enter(rig: Rig, made: Config, user: str, password: str) -> None:
    login = start(made)
    ask(login, password, user=user)
    (step,) = login.on_verified("")
    assert isinstance(step, Enter)
    info = ClientInfo(next(rig.pooler.ids), "app", user, FakeEnds(), {})
    rig.pooler.enter(FakeTransport(), info, step.credentials, step.scram_keys, long_key=False)


def server_secret(rig: Rig) -> bytes:
    (control,) = rig.pooler.pools.values()
    secret = rig.pooler.server_login(control).secret
    assert secret is not None
    return secret.text


@pytest.mark.parametrize(
    ("user", "database", "secret"),
    [
        ("ldapuser", {}, b"s3cret"),
        # PgBouncer, too, prefers the password that has just been proved to be right
        ("bob", {}, b"s3cret"),
        ("ldapuser", {"user": "forced", "password": "own"}, b"own"),
    ],
)
def test_servers_are_logged_in_with_the_clients_password_unless_a_user_is_forced(
    user: str, database: dict[str, str], secret: bytes
) -> None:
    made = configured(**database)
    rig = Rig(made)
    enter(rig, made, user, "s3cret")
    assert server_secret(rig) == secret


def test_a_changed_password_counts_for_the_next_servers() -> None:
    made = configured()
    rig = Rig(made)
    for password in ("old", "new"):
        enter(rig, made, "ldapuser", password)
    assert server_secret(rig) == b"new"


def test_a_pooler_error_has_no_password() -> None:
    login = start(configured())
    ask(login)
    with pytest.raises(PoolerError) as caught:
        login.on_verified("Invalid credentials")
    assert "s3cret" not in str(caught.value) + caught.value.message
