"""A client's login: packets cut anywhere, what its parameters may be, and who is let in where."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pgmux.auth.credentials import Credentials
from pgmux.auth.md5 import md5_response, md5_secret
from pgmux.auth.scram import Pbkdf2, ScramProver, derive_keys, derive_secret
from pgmux.auth.secrets import parse_secret
from pgmux.config import AuthType, Config, Database, Settings
from pgmux.config.model import PgmuxSettings, SessionLink, SslMode, User
from pgmux.errors import PoolerError, ProtocolViolation
from pgmux.session.client import MAX_PASSWORD_LEN, UNTOLD, ClientLogin, LoginContext
from pgmux.session.login_steps import (
    Answer,
    Attempted,
    Cancel,
    Derive,
    Enter,
    EnterConsole,
    LoginStep,
    LookUp,
    Refuse,
    Unknown,
)
from pgmux.wire import build, codes, parse
from pgmux.wire.messages import MessageReader
from pgmux.wire.replication import Replication

OWN_UID = 1000
QUERY = build.build_query("SELECT 1")
SSL = build.build_ssl_request()
GSSENC = build.build_gssenc_request()


@dataclass(frozen=True)
class FakePeer:
    host: str = "10.0.0.9"
    is_unix: bool = False
    uid: int = -1

    def __str__(self) -> str:
        return f"{self.host}:4711"


def config(
    auth_type: AuthType = AuthType.TRUST,
    *,
    secret: str = "pencil",
    hide: bool = False,
    **settings: Any,
) -> Config:
    return Config(
        settings=Settings(auth_type=auth_type, scram_iterations=5, **settings),
        pgmux=PgmuxSettings(session_link=SessionLink.QUERY, hide_unknown_users=hide),
        databases={"app": Database("app", "app")},
        userlist={"bob": secret, "root": "secret", "viewer": "glasses"},
    )


def start(
    configured: Config, *, connections: int = 1, is_unix: bool = False, uid: int = 0
) -> ClientLogin:
    context = LoginContext(
        config=lambda: configured,
        random=lambda size: b"r" * size,
        connection_count=lambda: connections,
        own_uid=OWN_UID,
        tls_mode=lambda: configured.settings.client_tls_sslmode,
        os_user={1001: "bob", 1002: "pgbouncer"}.get,
        mock_key=b"k" * 32,
    )
    return ClientLogin(context, FakePeer(is_unix=is_unix, uid=uid))


def startup(minor: int = 0, /, **parameters: str) -> bytes:
    named = {"user": "bob", "database": "app"} | parameters
    return build.build_startup_message(named, codes.PROTOCOL_3_0 | minor)


def run(login: ClientLogin, chunks: Iterable[bytes]) -> list[LoginStep]:
    """All steps, computing what is to be computed, till it is done; then bytes are only kept."""
    steps: list[LoginStep] = []
    for chunk in chunks:
        steps += compute(login, login.feed(chunk))
    return steps


def compute(login: ClientLogin, steps: list[LoginStep]) -> list[LoginStep]:
    while steps and isinstance(steps[-1], Derive):
        steps = steps[:-1] + login.on_computed(steps[-1].job.run())
    if steps and isinstance(steps[-1], Refuse):
        raise steps[-1].error
    return steps


def answered(steps: list[LoginStep]) -> bytes:
    written = [step.data for step in steps if isinstance(step, Answer)]
    return b"".join(written + [step.answer for step in steps if isinstance(step, Enter)])


def entered(steps: list[LoginStep]) -> Enter:
    assert isinstance(steps[-1], Enter)
    return steps[-1]


def log_in(configured: Config, data: bytes) -> Enter:
    return entered(start(configured).feed(data))


def refusal(configured: Config, *chunks: bytes, connections: int = 1) -> str:
    with pytest.raises(PoolerError) as caught:
        run(start(configured, connections=connections), chunks)
    return caught.value.message


# Packets, cut anywhere


def test_a_trusted_client_enters() -> None:
    login = start(config())
    steps = login.feed(startup())
    assert [type(step) for step in steps] == [Attempted, Enter]
    enter = entered(steps)
    assert (enter.startup.database, enter.credentials.user, enter.startup.long_key) == (
        "app",
        "bob",
        False,
    )
    assert (login.user, login.database, login.is_done) == ("bob", "app", True)


@pytest.mark.parametrize("before", [b"", SSL, GSSENC, GSSENC + SSL])
def test_a_login_cut_anywhere_is_the_same(before: bytes) -> None:
    whole = before + startup(application_name="psql")
    first = len(before)
    for at in range(len(whole) + 1):
        login = start(config())
        # what follows a request for encryption may not come with it
        cuts = sorted({0, 8, first, at, len(whole)} if before else {0, at, len(whole)})
        steps = run(login, [whole[a:b] for a, b in itertools.pairwise(cuts)])
        assert entered(steps).startup.parameters == {"application_name": "psql"}
        assert answered(steps) == b"N" * (len(before) // 8)


def test_a_login_comes_byte_by_byte() -> None:
    login = start(config())
    data = startup() + QUERY
    steps = run(login, [data[i : i + 1] for i in range(len(data))])
    assert entered(steps).startup.database == "app"
    assert login.rest() == QUERY


@pytest.mark.parametrize("tail", [QUERY, QUERY + build.build_sync(), b"Q", b"p\0\0\0\4"])
def test_requests_behind_the_login_are_the_relays(tail: bytes) -> None:
    login = start(config())
    assert entered(login.feed(startup() + tail)).startup.database == "app"
    assert login.rest() == tail


def test_a_large_request_behind_the_login_is_not_the_logins_business() -> None:
    login = start(config())
    head = b"Q" + (10**8).to_bytes(4, "big")
    assert entered(login.feed(startup() + head)).startup.database == "app"
    assert login.rest() == head


def test_encryption_is_declined() -> None:
    login = start(config())
    assert login.feed(SSL) == [Answer(b"N")]
    assert login.feed(GSSENC) == [Answer(b"N")]
    assert entered(login.feed(startup())).startup.database == "app"


@pytest.mark.parametrize("request_", [SSL, GSSENC])
def test_plain_bytes_behind_a_request_for_encryption_are_refused(request_: bytes) -> None:
    assert refusal(config(), request_ + startup()).startswith("received unencrypted data after")


@pytest.mark.parametrize("key", [b"KEY!", b"k" * 32])
def test_a_cancel_request_is_a_step(key: bytes) -> None:
    assert start(config()).feed(build.build_cancel_request(4711, key)) == [Cancel(4711, key)]


def test_a_cancel_request_may_follow_a_request_for_encryption() -> None:
    login = start(config())
    steps = login.feed(SSL) + login.feed(build.build_cancel_request(7, b"KEY!"))
    assert steps == [Answer(b"N"), Cancel(7, b"KEY!")]


def test_a_cancel_request_without_a_key_is_not_answered() -> None:
    with pytest.raises(ProtocolViolation, match="bad cancel request"):
        start(config()).feed(build.build_cancel_request(7, b""))


def test_a_second_startup_message_is_refused() -> None:
    login = start(config(AuthType.PLAIN))
    login.feed(startup())
    with pytest.raises(ProtocolViolation, match="client re-sent startup pkt"):
        run(login, [startup()])


def test_a_startup_message_within_scram_is_refused() -> None:
    login = start(config(AuthType.SCRAM_SHA_256))
    login.feed(startup())
    first = ScramProver("nonce").client_first()
    compute(login, login.feed(build.build_sasl_initial_response("SCRAM-SHA-256", first)))
    with pytest.raises(ProtocolViolation, match="client re-sent startup pkt"):
        run(login, [startup()])


def test_a_query_instead_of_the_password_ends_the_login_without_a_word() -> None:
    with pytest.raises(ProtocolViolation, match="bad packet") as caught:
        run(start(config(AuthType.PLAIN)), [startup(), QUERY])
    assert caught.value.message in UNTOLD


def test_a_password_of_a_million_bytes_is_refused_by_its_length() -> None:
    login = start(config(AuthType.PLAIN))
    login.feed(startup())
    with pytest.raises(ProtocolViolation, match="bad packet header"):
        run(login, [b"p" + (10**6).to_bytes(4, "big")])


def test_a_password_message_is_bounded() -> None:
    login = start(config(AuthType.PLAIN))
    login.feed(startup())
    with pytest.raises(ProtocolViolation, match="bad packet header"):
        run(login, [b"p" + MAX_PASSWORD_LEN.to_bytes(4, "big")])


# Protocol versions


def negotiated(minor: int, /, **parameters: str) -> tuple[int, tuple[str, ...]] | None:
    steps = start(config()).feed(startup(minor, **parameters))
    messages = list(MessageReader(1000, "server").feed(answered(steps)))
    if not messages:
        return None
    ((kind, body),) = messages
    assert kind == codes.NEGOTIATE_PROTOCOL_VERSION
    answer = parse.parse_negotiate_protocol_version(body)
    return answer.minor, tuple(answer.options)


@pytest.mark.parametrize("minor", [0, 2])
def test_known_versions_need_no_negotiation(minor: int) -> None:
    assert negotiated(minor) is None


@pytest.mark.parametrize(("minor", "offered"), [(1, 0), (3, 2), (9999, 2)])
def test_other_versions_are_offered_the_next_lower_one(minor: int, offered: int) -> None:
    assert negotiated(minor) == (offered, ())


@pytest.mark.parametrize(("minor", "offered"), [(0, 0), (2, 2)])
def test_extensions_are_refused_by_name(minor: int, offered: int) -> None:
    answer = negotiated(minor, **{"_pq_.compression": "zstd", "_pq_.x": "1"})
    assert answer == (offered, ("_pq_.compression", "_pq_.x"))


@pytest.mark.parametrize(("minor", "long_key"), [(0, False), (1, False), (2, True), (3, True)])
def test_long_cancel_keys_are_for_3_2(minor: int, long_key: bool) -> None:
    assert log_in(config(), startup(minor)).startup.long_key is long_key


def test_the_negotiation_comes_before_the_password() -> None:
    steps = start(config(AuthType.PLAIN)).feed(startup(3))
    kinds = [kind for kind, _ in MessageReader(1000, "server").feed(answered(steps))]
    assert kinds == [codes.NEGOTIATE_PROTOCOL_VERSION, ord("R")]


# Startup parameters


def found(configured: Config | None = None, /, **parameters: str) -> dict[str, str]:
    return log_in(configured or config(), startup(**parameters)).startup.parameters


def test_reported_parameters_follow_the_client_as_the_server_spells_them() -> None:
    assert found(timezone="CET", DATESTYLE="German", application_name="psql") == {
        "TimeZone": "CET",
        "DateStyle": "German",
        "application_name": "psql",
    }


def test_parameters_of_pgmux_ini_follow_the_client() -> None:
    assert found(Statement_Timeout="5s") == {"statement_timeout": "5s"}


def test_a_database_has_its_own_startup_parameters() -> None:
    own = Database("app", "app", startup_parameters=("work_mem",))
    configured = replace(config(), databases={"app": own})
    assert found(configured, work_mem="1MB") == {"work_mem": "1MB"}
    message = refusal(configured, startup(statement_timeout="5s"))
    assert message == "unsupported startup parameter: statement_timeout"


def test_track_extra_parameters_follow_the_client() -> None:
    configured = config(track_extra_parameters=("Foo.Bar",))
    assert found(configured, **{"foo.bar": "1"}) == {"Foo.Bar": "1"}


def test_an_unsupported_parameter_is_refused() -> None:
    message = refusal(config(), startup(extra_float_digits="3"))
    assert message == "unsupported startup parameter: extra_float_digits"


@pytest.mark.parametrize(
    "parameters", [{"work_mem": "7MB"}, {"options": "-c work_mem=7MB -c extra_float_digits=3"}]
)
def test_who_gets_its_server_at_login_may_set_what_that_takes(parameters: dict[str, str]) -> None:
    configured = config(ignore_startup_parameters=("extra_float_digits",))
    configured = replace(
        configured, pgmux=replace(configured.pgmux, session_link=SessionLink.LOGIN)
    )
    assert found(configured, **parameters) == {"work_mem": "7MB"}


def test_an_ignored_parameter_is_ignored() -> None:
    configured = config(ignore_startup_parameters=("extra_float_digits",))
    assert found(configured, EXTRA_FLOAT_DIGITS="3") == {}


def test_a_tracked_parameter_is_not_ignored() -> None:
    configured = config(ignore_startup_parameters=("timezone",))
    assert found(configured, TimeZone="CET") == {"TimeZone": "CET"}


@pytest.mark.parametrize(
    "options", ["-c timezone=CET", "-ctimezone=CET", "--timezone=CET", "  -c  TimeZone=CET "]
)
def test_parameters_in_options_follow_the_client(options: str) -> None:
    assert found(options=options) == {"TimeZone": "CET"}


def test_an_unsupported_parameter_in_options_is_refused() -> None:
    message = refusal(config(), startup(options="-c geqo=off"))
    assert message == "unsupported startup parameter in options: geqo"


@pytest.mark.parametrize("ignored", ["geqo", "options", "Geqo"])
def test_an_ignored_parameter_in_options_is_ignored(ignored: str) -> None:
    configured = config(ignore_startup_parameters=(ignored,))
    assert found(configured, options="-c geqo=off -c timezone=CET") == {"TimeZone": "CET"}


@pytest.mark.parametrize("options", ["-c=", "-c", "-d 5", "timezone=CET", "--", "-c =x"])
def test_options_of_another_form_are_refused(options: str) -> None:
    assert refusal(config(), startup(options=options)) == (
        "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
    )


def test_the_host_is_added_to_the_application_name() -> None:
    configured = config(application_name_add_host=True)
    assert found(configured)["application_name"] == "app - 10.0.0.9:4711"
    named = found(configured, application_name="psql")
    assert named == {"application_name": "psql - 10.0.0.9:4711"}


def test_ten_thousand_parameters_are_too_long_for_a_startup_packet() -> None:
    many = startup(0, **{f"parameter{i}": "x" for i in range(10_000)})
    assert refusal(config(), many).startswith("bad packet header")


def test_a_plain_connection_says_so_of_replication() -> None:
    assert found(replication="off") == {}


def test_what_a_replication_client_sets_is_for_its_server_to_judge() -> None:
    configured = config(ignore_startup_parameters=("jit",))
    asked = {"options": "-c geqo=off -d 5", "extra_float_digits": "3", "timezone": "CET"}
    entered = log_in(configured, startup(replication="database", jit="off", **asked))
    assert entered.startup.replication is Replication.LOGICAL
    assert entered.startup.parameters == {
        "options": "-c geqo=off -d 5",
        "extra_float_digits": "3",
        "TimeZone": "CET",
    }


def test_a_kind_of_replication_that_does_not_exist_is_refused_as_postgresql_does() -> None:
    message = refusal(config(), startup(replication="maybe"))
    assert message == 'invalid value for parameter "replication": "maybe"'


# Limits


@pytest.mark.parametrize(("length", "refused"), [(127, False), (128, True)])
def test_a_username_has_at_most_127_bytes(length: int, refused: bool) -> None:
    data = startup(user="u" * length)
    message = refusal(config(), data)
    assert (message == "username too long") is refused


def test_a_username_is_measured_in_bytes() -> None:
    assert refusal(config(), startup(user="ü" * 64)) == "username too long"


def test_more_than_max_client_conn_are_turned_away() -> None:
    configured = config(max_client_conn=10)
    assert entered(start(configured, connections=10).feed(startup())).startup.database == "app"
    message = refusal(configured, startup(), connections=11)
    assert message == "no more connections allowed (max_client_conn)"


def test_the_console_is_open_beyond_max_client_conn() -> None:
    login = start(config(max_client_conn=1, admin_users=("bob",)), connections=50)
    assert isinstance(login.feed(startup(database="pgbouncer"))[-1], EnterConsole)


@pytest.mark.parametrize("mode", [SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
def test_where_tls_is_required_nobody_comes_in_over_tcp(mode: SslMode) -> None:
    configured = config(client_tls_sslmode=mode)
    assert refusal(configured, startup()) == "SSL required"
    assert entered(start(configured, is_unix=True).feed(startup())).startup.database == "app"


# Authentication


def test_an_unknown_user_is_not_trusted() -> None:
    assert refusal(config(), startup(user="eve")) == '"trust" authentication failed'


def test_any_takes_the_forced_user() -> None:
    forced = Database("app", "app", user="owner", password="pw")
    configured = replace(config(AuthType.ANY), databases={"app": forced})
    assert log_in(configured, startup(user="eve")).credentials.user == "owner"


def test_any_without_a_forced_user_is_a_configuration_error() -> None:
    assert refusal(config(AuthType.ANY), startup()) == "bouncer config error"


def test_a_plain_password_lets_in() -> None:
    login = start(config(AuthType.PLAIN))
    steps = run(login, [startup(), build.build_password_message("pencil") + QUERY])
    assert answered(steps) == build.build_authentication_cleartext_password()
    assert entered(steps).credentials.user == "bob"
    assert login.rest() == QUERY


def test_a_wrong_plain_password_does_not() -> None:
    chunks = [startup(), build.build_password_message("pen")]
    assert refusal(config(AuthType.PLAIN), *chunks) == "password authentication failed"


def test_an_md5_password_lets_in() -> None:
    salt = b"rrrr"
    response = md5_response(md5_secret(b"pencil", b"bob"), salt)
    steps = run(start(config(AuthType.MD5)), [startup(), build.build_password_message(response)])
    assert answered(steps) == build.build_authentication_md5_password(salt)
    assert entered(steps).credentials.user == "bob"


def scram_secret() -> str:
    secret = derive_secret(Pbkdf2(b"pencil", b"salt", 5).run(), b"salt", 5)
    salt, stored, server = (
        base64.b64encode(part).decode()
        for part in (secret.salt, secret.stored_key, secret.server_key)
    )
    return f"SCRAM-SHA-256$5:{salt}${stored}:{server}"


def test_scram_lets_in_and_keeps_the_keys_for_the_server() -> None:
    login = start(config(AuthType.SCRAM_SHA_256, secret=scram_secret()))
    prover = ScramProver("nonce")
    run(login, [startup()])
    first = build.build_sasl_initial_response("SCRAM-SHA-256", prover.client_first())
    challenge = prover.on_server_first(answered(run(login, [first]))[9:])
    salted = Pbkdf2(b"pencil", challenge.salt, challenge.iterations).run()
    keys = derive_keys(salted, challenge.salt, challenge.iterations)
    steps = run(login, [build.build_sasl_response(prover.prove(keys)) + QUERY])
    prover.on_server_final(answered(steps)[9:])
    assert entered(steps).scram_keys == keys
    assert login.rest() == QUERY


def test_what_comes_while_keys_are_derived_waits() -> None:
    login = start(config(AuthType.PLAIN, secret=scram_secret()))
    login.feed(startup())
    steps = login.feed(build.build_password_message("pencil") + QUERY)
    assert isinstance(steps[-1], Derive)
    assert login.feed(QUERY) == []
    assert entered(login.on_computed(steps[-1].job.run())).credentials.user == "bob"
    assert login.rest() == QUERY + QUERY


@pytest.mark.parametrize("auth_type", [AuthType.PLAIN, AuthType.MD5, AuthType.SCRAM_SHA_256])
def test_a_client_of_an_unknown_database_is_asked_for_its_password_first(
    auth_type: AuthType,
) -> None:
    steps = start(config(auth_type)).feed(startup(database="nowhere"))
    assert isinstance(steps[-1], Answer)


# The console


def console(configured: Config, user: str, *, is_unix: bool = False, uid: int = 0) -> EnterConsole:
    login = start(configured, is_unix=is_unix, uid=uid)
    data = startup(user=user, database="pgbouncer", application_name="psql")
    step = login.feed(data)[-1]
    assert isinstance(step, EnterConsole)
    return step


ACCESS: dict[str, Any] = {"admin_users": ("root",), "stats_users": ("viewer",)}


def test_who_runs_the_pooler_is_admin_over_its_unix_socket() -> None:
    entered_as = console(config(AuthType.MD5), "pgbouncer", is_unix=True, uid=OWN_UID)
    assert entered_as == EnterConsole("pgbouncer", is_admin=True, application_name="psql")


@pytest.mark.parametrize(
    ("user", "is_unix", "uid"),
    [("pgbouncer", False, OWN_UID), ("pgbouncer", True, OWN_UID + 1), ("bob", True, OWN_UID)],
)
def test_nobody_else_is(user: str, is_unix: bool, uid: int) -> None:
    login = start(config(), is_unix=is_unix, uid=uid)
    with pytest.raises(PoolerError):
        run(login, [startup(user=user, database="pgbouncer")])


def test_admin_users_may_do_everything_and_stats_users_look() -> None:
    assert console(config(**ACCESS), "root").is_admin
    assert not console(config(**ACCESS), "viewer").is_admin


def test_others_are_not_allowed() -> None:
    message = refusal(config(**ACCESS), startup(database="pgbouncer"))
    assert message == "not allowed"


def test_with_any_everybody_may_look_and_admin_users_do() -> None:
    assert console(config(AuthType.ANY, **ACCESS), "root").is_admin
    assert not console(config(AuthType.ANY, **ACCESS), "eve").is_admin


def test_an_admin_needs_its_password() -> None:
    login = start(config(AuthType.PLAIN, **ACCESS))
    login.feed(startup(user="root", database="pgbouncer"))
    step = login.feed(build.build_password_message("secret"))[-1]
    assert step == EnterConsole("root", is_admin=True, application_name="")


def test_who_may_not_use_the_console_learns_it_after_the_password() -> None:
    login = start(config(AuthType.PLAIN, **ACCESS))
    steps = login.feed(startup(database="pgbouncer"))
    assert answered(steps) == build.build_authentication_cleartext_password()
    with pytest.raises(PoolerError, match=r"^not allowed$"):
        run(login, [build.build_password_message("pencil")])


def test_a_console_query_may_come_with_the_startup_packet() -> None:
    login = start(config(), is_unix=True, uid=OWN_UID)
    steps = login.feed(startup(user="pgbouncer", database="pgbouncer") + QUERY)
    assert isinstance(steps[-1], EnterConsole)
    assert login.rest() == QUERY


# auth_query


def looked_up(user: str, secret: str = "pencil") -> Credentials:
    return Credentials(user, parse_secret(secret), as_of=1)


@pytest.mark.parametrize(
    "auth_type", [AuthType.TRUST, AuthType.PLAIN, AuthType.MD5, AuthType.SCRAM_SHA_256]
)
def test_who_is_not_in_auth_file_is_looked_up(auth_type: AuthType) -> None:
    login = start(config(auth_type, auth_user="ask"))
    assert login.feed(startup(user="carol")) == [LookUp("app", "carol")]
    assert not login.is_done


def test_who_is_in_auth_file_is_not_looked_up() -> None:
    assert isinstance(start(config(auth_user="bob")).feed(startup())[-1], Enter)


def test_who_is_in_section_users_only_is_looked_up() -> None:
    configured = replace(config(auth_user="ask"), users={"carol": User("carol")})
    assert start(configured).feed(startup(user="carol")) == [LookUp("app", "carol")]


@pytest.mark.parametrize("auth_user", [None, ""])
def test_without_auth_user_nobody_is_looked_up(auth_user: str | None) -> None:
    message = refusal(config(auth_user=auth_user), startup(user="carol"))
    assert message == '"trust" authentication failed'


def test_a_databases_own_auth_user_is_enough() -> None:
    own = replace(config(), databases={"app": Database("app", "app", auth_user="ask")})
    assert start(own).feed(startup(user="carol")) == [LookUp("app", "carol")]


def test_with_any_nobody_is_looked_up() -> None:
    configured = config(AuthType.ANY, auth_user="ask")
    configured = replace(configured, databases={"app": Database("app", "app", user="boss")})
    assert log_in(configured, startup(user="carol")).credentials.user == "boss"


def test_nobody_is_looked_up_for_a_database_that_is_not_there() -> None:
    login = start(config(AuthType.PLAIN, auth_user="ask"))
    steps = login.feed(startup(user="carol", database="nowhere"))
    assert isinstance(steps[-1], Answer)


def test_who_is_found_logs_in_with_the_secret_that_was_found() -> None:
    login = start(config(AuthType.PLAIN, auth_user="ask"))
    login.feed(startup(user="carol"))
    steps = login.on_looked_up(looked_up("carol"))
    assert [type(step) for step in steps] == [Attempted, Answer]
    enter = entered(run(login, [build.build_password_message("pencil")]))
    assert (enter.credentials.user, enter.credentials.as_of) == ("carol", 1)


@pytest.mark.parametrize("secret", ["eraser", ""])
def test_who_is_found_with_another_secret_or_none_is_refused(secret: str) -> None:
    login = start(config(AuthType.PLAIN, auth_user="ask"))
    login.feed(startup(user="carol"))
    login.on_looked_up(looked_up("carol", secret))
    with pytest.raises(PoolerError, match=r"^password authentication failed$"):
        run(login, [build.build_password_message("pencil")])


@pytest.mark.parametrize("auth_type", [AuthType.PLAIN, AuthType.MD5, AuthType.SCRAM_SHA_256])
def test_who_is_not_found_may_be_asked_for_a_password_like_anybody(auth_type: AuthType) -> None:
    login = start(config(auth_type, auth_user="ask", hide=True))
    login.feed(startup(user="carol"))
    steps = login.on_looked_up(None)
    assert steps[0] == Unknown("carol")
    unknown = start(config(auth_type)).feed(startup(user="carol"))
    assert steps == unknown


@pytest.mark.parametrize(
    ("auth_type", "hide"),
    [(AuthType.TRUST, True), (AuthType.MD5, False), (AuthType.SCRAM_SHA_256, False)],
)
def test_who_is_not_found_is_told_so(auth_type: AuthType, hide: bool) -> None:
    login = start(config(auth_type, auth_user="ask", hide=hide))
    login.feed(startup(user="carol"))
    with pytest.raises(PoolerError, match=r"^no such user$"):
        login.on_looked_up(None)


def test_what_comes_while_a_user_is_looked_up_waits() -> None:
    login = start(config(AuthType.PLAIN, auth_user="ask"))
    password = build.build_password_message("pencil")
    assert login.feed(startup(user="carol") + password) == [LookUp("app", "carol")]
    assert login.feed(QUERY) == []
    assert entered(login.on_looked_up(looked_up("carol"))).credentials.user == "carol"
    assert login.rest() == QUERY


def test_who_is_found_under_another_name_is_that_user() -> None:
    login = start(config(AuthType.PLAIN, auth_user="ask", admin_users=("carol",)))
    login.feed(startup(user="carol", database="pgbouncer"))
    login.on_looked_up(looked_up("nobody"))
    assert login.user == "nobody"
    with pytest.raises(PoolerError, match=r"^not allowed$"):
        run(login, [build.build_password_message("pencil")])


def test_an_admin_may_come_from_auth_query() -> None:
    login = start(config(AuthType.PLAIN, auth_user="ask", admin_users=("carol",)))
    steps = login.feed(startup(user="carol", database="pgbouncer"))
    assert steps == [LookUp("pgbouncer", "carol")]
    login.on_looked_up(looked_up("carol"))
    step = run(login, [build.build_password_message("pencil")])[-1]
    assert isinstance(step, EnterConsole)
    assert step.is_admin


def test_a_refusal_at_once_comes_behind_what_the_log_is_to_tell() -> None:
    steps = start(config()).feed(startup(user="eve"))
    assert [type(step) for step in steps] == [Unknown, Attempted, Refuse]


def test_what_a_client_sends_too_early_is_refused_after_what_it_was_due() -> None:
    login = start(config("md5"))
    steps = login.feed(startup() + QUERY)
    assert [type(step) for step in steps] == [Attempted, Answer, Refuse]
