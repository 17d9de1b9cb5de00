"""Which method a login gets by the HBA file, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgmux.auth.credentials import Credentials
from pgmux.auth.md5 import md5_response, md5_secret
from pgmux.auth.secrets import parse_secret
from pgmux.auth.steps import AuthenticationFailed
from pgmux.auth.tls_info import TlsInfo
from pgmux.config import AuthType, Config, PgmuxSettings
from pgmux.config.hba import IdentMap, Mapping
from pgmux.config.hba_file import HbaFile
from pgmux.config.hba_rules import HbaRules
from pgmux.session.client import ClientLogin, LoginContext
from pgmux.session.login_steps import (
    Answer,
    Attempted,
    EnterConsole,
    Judged,
    LoginStep,
    LookUp,
    Refuse,
    Unknown,
)
from pgmux.wire import build
from tests.unit.session.test_client_login import (
    OWN_UID,
    FakePeer,
    compute,
    config,
    entered,
    scram_secret,
    startup,
)

BOB_UID, PGBOUNCER_UID = 1001, 1002
STAFF = IdentMap("staff", (Mapping("bob", "root"),))
ASKS_MD5 = build.build_authentication_md5_password(b"rrrr")
ASKS_PASSWORD = build.build_authentication_cleartext_password()
ASKS_SCRAM = build.build_authentication_sasl(["SCRAM-SHA-256"])


def hba(text: str, **settings: object) -> Config:
    """auth_type = hba with these lines; there is a map `staff`."""
    file = HbaFile("/etc/hba", lambda path: "", {"staff": STAFF})
    file.load(text)
    base = config(AuthType.HBA, auth_hba_file="/etc/hba", **settings)
    return replace(base, hba=HbaRules(file.rules))


def start(
    configured: Config,
    host: str = "10.0.0.9",
    *,
    uid: int | None = None,
    certificate: str | None = None,
) -> ClientLogin:
    """A login from `host`, or with `uid` over the Unix socket; with TLS if it has a certificate."""
    context = LoginContext(
        config=lambda: configured,
        random=lambda size: b"r" * size,
        connection_count=lambda: 1,
        own_uid=OWN_UID,
        tls_mode=lambda: configured.settings.client_tls_sslmode,
        os_user={BOB_UID: "bob", PGBOUNCER_UID: "pgbouncer"}.get,
        mock_key=b"k" * 32,
    )
    login = ClientLogin(context, FakePeer(host, is_unix=uid is not None, uid=uid or -1))
    if certificate is not None:
        login.tls = TlsInfo("TLSv1.3", "x", f"/CN={certificate}", (certificate,))
    return login


def answer(login: ClientLogin, **parameters: str) -> bytes:
    """What the client is asked for; it must be asked for something."""
    step = login.feed(startup(**parameters))[-1]
    assert isinstance(step, Answer)
    return step.data


def refusal(login: ClientLogin, steps: list[LoginStep]) -> tuple[str, str]:
    """What the client is told, and what the log."""
    assert isinstance(steps[-1], Refuse)
    error = steps[-1].error
    assert isinstance(error, AuthenticationFailed)
    return error.message, login.explain(error)


# Each method


@pytest.mark.parametrize(
    ("method", "question"),
    [("md5", ASKS_MD5), ("password", ASKS_PASSWORD), ("scram-sha-256", ASKS_SCRAM)],
)
def test_a_line_says_what_is_asked_for(method: str, question: bytes) -> None:
    assert answer(start(hba(f"host all all all {method}"))) == question


def test_md5_becomes_scram_where_the_secret_is_one() -> None:
    configured = replace(hba("host all all all md5"), userlist={"bob": scram_secret()})
    assert answer(start(configured)) == ASKS_SCRAM


def test_lines_make_a_difference_between_logins() -> None:
    configured = hba("local all all trust\nhost app bob 10.0.0.0/8 md5\nhost all all all password")
    assert answer(start(configured)) == ASKS_MD5
    assert answer(start(configured, "11.0.0.9")) == ASKS_PASSWORD
    assert answer(start(configured), user="root") == ASKS_PASSWORD
    assert (
        entered(start(configured, uid=BOB_UID).feed(startup(user="root"))).startup.database == "app"
    )


def test_a_line_may_trust_a_known_user_and_no_other() -> None:
    configured = hba("host all all all trust")
    assert entered(start(configured).feed(startup())).credentials.user == "bob"
    login = start(configured)
    steps = login.feed(startup(user="eve"))
    assert Unknown("eve") in steps
    assert refusal(login, steps) == (
        '"trust" authentication failed',
        '"trust" authentication failed (by /etc/hba:1)',
    )


def test_a_line_may_reject() -> None:
    login = start(hba("\nhost all all all reject"))
    assert refusal(login, login.feed(startup())) == (
        "login rejected",
        "login rejected (by /etc/hba:2)",
    )


def test_who_no_line_is_for_is_refused() -> None:
    login = start(hba("local all all trust"), "10.0.0.9")
    assert refusal(login, login.feed(startup())) == (
        "no authentication method is found",
        "no authentication method is found"
        " (no line of /etc/hba is for it: hostnossl from 10.0.0.9)",
    )


def test_a_wrong_password_names_the_line() -> None:
    login = start(hba("host all all all password"))
    login.feed(startup())
    with pytest.raises(AuthenticationFailed, match="password authentication failed") as caught:
        compute(login, login.feed(build.build_password_message("pen")))
    assert login.explain(caught.value) == "password authentication failed (by /etc/hba:1)"


def test_the_line_is_told_before_the_exchange() -> None:
    steps = start(hba("host all all all md5")).feed(startup())
    assert steps == [Attempted(), Judged("/etc/hba:1", "md5"), Answer(ASKS_MD5)]


def test_tls_is_what_hostssl_is_for() -> None:
    configured = hba("hostssl all all all trust\nhost all all all reject")
    assert entered(start(configured, certificate="x").feed(startup())).startup.database == "app"
    login = start(configured)
    assert refusal(login, login.feed(startup()))[0] == "login rejected"


def test_physical_replication_needs_a_line_of_its_own() -> None:
    configured = hba("host all all all trust")
    login = start(configured)
    message, _ = refusal(login, login.feed(startup(replication="true")))
    assert message == "no authentication method is found"


# peer and cert


def test_peer_is_who_the_kernel_says() -> None:
    configured = hba("local all all peer")
    assert entered(start(configured, uid=BOB_UID).feed(startup())).credentials.user == "bob"
    login = start(configured, uid=BOB_UID)
    assert refusal(login, login.feed(startup(user="root"))) == (
        "unix socket login rejected",
        "peer: the operating system's user is bob (by /etc/hba:1)",
    )


def test_a_uid_without_a_name_is_nobody() -> None:
    login = start(hba("local all all peer"), uid=4711)
    assert refusal(login, login.feed(startup()))[0] == "unix socket login rejected"


def test_peer_over_tcp_lets_nobody_in() -> None:
    login = start(hba("host all all all peer"))
    assert refusal(login, login.feed(startup()))[0] == "unix socket login rejected"


def test_a_map_says_who_a_peer_may_be() -> None:
    configured = hba("local all all peer map=staff")
    assert entered(start(configured, uid=BOB_UID).feed(startup(user="root")))
    login = start(configured, uid=BOB_UID)
    assert refusal(login, login.feed(startup())) == (
        "unix socket login rejected",
        "ident map staff cannot be matched for bob (by /etc/hba:1)",
    )


def test_cert_is_who_the_certificate_says() -> None:
    configured = hba("hostssl all all all cert")
    assert entered(start(configured, certificate="bob").feed(startup())).credentials.user == "bob"
    login = start(configured, certificate="eve")
    assert refusal(login, login.feed(startup())) == (
        "certificate authentication failed",
        "TLS certificate name mismatch: it is /CN=eve (by /etc/hba:1)",
    )


def test_cert_is_an_auth_type_too() -> None:
    configured = config(AuthType.CERT)
    assert entered(start(configured, certificate="bob").feed(startup())).credentials.user == "bob"
    login = start(configured)
    assert refusal(login, login.feed(startup())) == (
        "certificate authentication failed",
        "TLS connection required",
    )


# Who is looked up


@pytest.mark.parametrize("method", ["trust", "md5", "scram-sha-256", "password", "cert"])
def test_an_unknown_user_is_looked_up_whatever_the_line_says(method: str) -> None:
    configured = hba(f"host all all all {method}", auth_user="root")
    steps = start(configured, certificate="eve").feed(startup(user="eve"))
    assert steps == [LookUp("app", "eve")]


def test_who_is_looked_up_goes_on_as_the_line_says() -> None:
    login = start(hba("host all eve all md5", auth_user="root"))
    login.feed(startup(user="eve"))
    steps = login.on_looked_up(Credentials("eve", parse_secret("pw"), 1))
    assert steps == [Attempted(), Judged("/etc/hba:1", "md5"), Answer(ASKS_MD5)]
    response = md5_response(md5_secret(b"pw", b"eve"), b"rrrr")
    assert entered(login.feed(build.build_password_message(response))).credentials.user == "eve"


def test_who_was_found_is_judged_not_who_it_said_it_was() -> None:
    login = start(hba("host all eve all trust\nhost all all all md5", auth_user="root"))
    login.feed(startup(user="eve"))
    steps = login.on_looked_up(Credentials("Eve", parse_secret("pw"), 1))
    assert steps[-1] == Answer(ASKS_MD5)


@pytest.mark.parametrize("method", ["trust", "cert"])
def test_who_is_not_found_is_told_where_no_password_is_asked_for(method: str) -> None:
    login = start(hba(f"host all all all {method}", auth_user="root"), certificate="eve")
    login.feed(startup(user="eve"))
    with pytest.raises(AuthenticationFailed, match="no such user"):
        login.on_looked_up(None)


def test_who_is_not_found_may_be_asked_for_a_password_where_one_is() -> None:
    configured = hba("host all all all scram-sha-256", auth_user="root")
    login = start(replace(configured, pgmux=PgmuxSettings(hide_unknown_users=True)))
    login.feed(startup(user="eve"))
    assert login.on_looked_up(None)[-1] == Answer(ASKS_SCRAM)


@pytest.mark.parametrize("text", ["local all all trust", "host all all all reject"])
def test_nobody_is_looked_up_who_would_be_refused_under_any_name(text: str) -> None:
    login = start(hba(text, auth_user="root"))
    assert isinstance(login.feed(startup(user="eve"))[-1], Refuse)


# The console


def console(configured: Config, *, uid: int | None = None, user: str = "pgbouncer") -> LoginStep:
    return start(configured, uid=uid).feed(startup(database="pgbouncer", user=user))[-1]


def test_the_own_user_of_the_process_needs_no_line() -> None:
    assert console(hba("local all all reject"), uid=OWN_UID) == EnterConsole("pgbouncer", True, "")


@pytest.mark.parametrize(
    "text",
    ["local all all trust", "local pgbouncer pgbouncer peer", "host all pgbouncer all trust"],
)
def test_a_line_lets_user_pgbouncer_in_without_an_entry_in_auth_file(text: str) -> None:
    configured = hba(text, admin_users=("pgbouncer",), auth_user="root")
    uid = PGBOUNCER_UID if text.startswith("local") else None
    assert console(configured, uid=uid) == EnterConsole("pgbouncer", True, "")


def test_a_line_that_trusts_the_whole_network_does_not() -> None:
    step = console(hba("host all all all trust", admin_users=("pgbouncer",)))
    assert isinstance(step, Refuse)
    assert str(step.error) == '"trust" authentication failed'


def test_a_password_is_not_made_up_for_it() -> None:
    configured = hba("local all all md5", admin_users=("pgbouncer",))
    login = start(configured, uid=BOB_UID)
    assert login.feed(startup(database="pgbouncer", user="pgbouncer"))[-1] == Answer(ASKS_MD5)
    with pytest.raises(AuthenticationFailed):
        response = md5_response(md5_secret(b"", b"pgbouncer"), b"rrrr")
        compute(login, login.feed(build.build_password_message(response)))


def test_peer_of_another_user_is_not_user_pgbouncer() -> None:
    step = console(hba("local all all peer", admin_users=("pgbouncer",)), uid=BOB_UID)
    assert isinstance(step, Refuse)
    assert str(step.error) == "unix socket login rejected"


def test_user_pgbouncer_on_another_database_is_a_user_as_any() -> None:
    configured = hba("local all all trust", admin_users=("pgbouncer",))
    login = start(configured, uid=BOB_UID)
    assert refusal(login, login.feed(startup(user="pgbouncer")))[0].startswith('"trust"')


def test_an_admin_comes_in_as_the_line_says() -> None:
    configured = hba("local pgbouncer bob peer", admin_users=("bob",))
    assert console(configured, uid=BOB_UID, user="bob") == EnterConsole("bob", True, "")


def test_without_being_one_of_its_users_nobody_gets_to_the_console() -> None:
    step = console(hba("local all all trust"), uid=BOB_UID, user="bob")
    assert isinstance(step, Refuse)
    assert str(step.error) == "not allowed"
