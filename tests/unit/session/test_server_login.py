"""Our login to a server: streams cut anywhere, every way to log in, and what servers may not do."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.auth import credentials
from pgmux.auth.scram import Pbkdf2, ScramVerifier, derive_secret
from pgmux.auth.secrets import parse_secret
from pgmux.auth.steps import Compute, Send
from pgmux.config.model import Database
from pgmux.errors import LocalProtocolError
from pgmux.session.server import (
    MAX_MESSAGE_LEN,
    MAX_PARAMETER_BYTES,
    LoggedIn,
    LoginStep,
    ServerLogin,
    ServerLoginFailed,
    startup_parameters,
)
from pgmux.wire import build, codes, parse
from pgmux.wire.startup import StartupMessage, parse_startup

SALT, ITERATIONS = b"0123456789abcdef", 5
SECRET = derive_secret(Pbkdf2(b"pencil", SALT, ITERATIONS).run(), SALT, ITERATIONS)

AUTH_OK = build.build_authentication_ok()
KEY = build.build_backend_key_data(4711, b"\x01\x02\x03\x04")
READY = build.build_ready_for_query()
PARAMETERS = build.build_parameter_status("server_version", "17.2") + build.build_parameter_status(
    "TimeZone", "UTC"
)
WELCOME = AUTH_OK + PARAMETERS + KEY + READY
REST = b"S\0\0"

# A server: yields what it says, is sent what the pooler answers.
Talk = Generator[bytes, bytes, None]


def start(
    password: str | None = "pencil",
    connect_query: str | None = None,
    parameters: dict[str, str] | None = None,
    max_packet_size: int = 2147483647,
) -> ServerLogin:
    secret = None if password is None else parse_secret(password)
    login = credentials.ServerLogin("alice", secret)
    return ServerLogin(login, parameters or {}, "db", "nonce", {}, connect_query, max_packet_size)


def logged_in(steps: list[LoginStep]) -> LoggedIn:
    assert isinstance(steps[-1], LoggedIn)
    return steps[-1]


def fail(data: bytes, login: ServerLogin | None = None) -> ServerLoginFailed:
    with pytest.raises(ServerLoginFailed) as caught:
        (login or start()).feed(data)
    return caught.value


def error_response(**fields: str) -> bytes:
    body = b"".join(f"{name}{text}".encode() + b"\0" for name, text in fields.items()) + b"\0"
    return b"E" + (4 + len(body)).to_bytes(4, "big") + body


# Whole conversations


def trust_server() -> Talk:
    yield WELCOME + REST


def md5_server() -> Talk:
    yield build.build_authentication_md5_password(b"abcd")
    yield WELCOME + REST


def scram_server() -> Talk:
    response = yield build.build_authentication_sasl(["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])
    initial = parse.parse_sasl_initial_response(response[5:])
    verifier = ScramVerifier("servernonce", initial.data or b"")
    response = yield build.build_authentication_sasl_continue(verifier.challenge(SECRET))
    server_final, _ = verifier.verify(response[5:])
    yield build.build_authentication_sasl_final(server_final) + WELCOME + REST


def connect_query_server() -> Talk:
    query = yield WELCOME
    assert query == build.build_query("select 1")
    rows = build.build_data_row([b"1"]) + build.build_command_complete("SELECT 1")
    yield build.build_row_description([parse.Column("a", 23, 4)]) + rows + READY + REST


SERVERS = (trust_server, md5_server, scram_server, connect_query_server)


def converse(server: Talk, login: ServerLogin, cut: Callable[[bytes], list[bytes]]) -> LoggedIn:
    """Let `login` and `server` talk, each of the server's answers in pieces, till logged in."""
    said = b""
    answer = next(server)
    while True:
        steps: list[LoginStep] = []
        for piece in cut(answer):
            assert not any(isinstance(step, LoggedIn) for step in steps), "fed after the end"
            steps += login.feed(piece)
        while steps:
            step = steps.pop(0)
            if isinstance(step, LoggedIn):
                return step
            if isinstance(step, Compute):
                steps = login.on_computed(step.job.run()) + steps
            else:
                said += step.data
        answer = server.send(said)
        said = b""


@pytest.mark.parametrize("server", SERVERS)
def test_a_login_ends_with_what_the_server_said(server: Callable[[], Talk]) -> None:
    login = start(connect_query="select 1" if server is connect_query_server else None)
    end = converse(server(), login, lambda data: [data])
    assert list(end.parameters.items()) == [("server_version", "17.2"), ("TimeZone", "UTC")]
    assert (end.cancel_pid, end.cancel_key) == (4711, b"\x01\x02\x03\x04")
    assert end.rest == REST
    assert end.warning == ""


@pytest.mark.parametrize("server", SERVERS)
def test_a_stream_may_be_cut_everywhere(server: Callable[[], Talk]) -> None:
    query = "select 1" if server is connect_query_server else None
    for at in range(400):
        # What is behind ReadyForQuery may not have come yet; it is the relay's then.
        end = converse(server(), start(connect_query=query), partial(_cut, at=at))
        assert REST.startswith(end.rest)
        assert end.cancel_pid == 4711


def _cut(data: bytes, at: int) -> list[bytes]:
    """In two, unless the second would come after the end of the login."""
    end = len(data) - len(REST) if data.endswith(REST) else len(data)
    return [data[:at], data[at:]] if at < end else [data]


@pytest.mark.parametrize("server", SERVERS)
def test_a_stream_may_come_byte_by_byte(server: Callable[[], Talk]) -> None:
    query = "select 1" if server is connect_query_server else None

    def bytewise(data: bytes) -> list[bytes]:
        return [bytes([each]) for each in data.removesuffix(REST)]

    end = converse(server(), start(connect_query=query), bytewise)
    assert (end.cancel_pid, end.rest) == (4711, b"")


# StartupMessage


def test_startup_message_has_user_and_database_first_and_speaks_3_0() -> None:
    packet = parse_startup(start(parameters={"client_encoding": "UTF8"}).first())
    assert isinstance(packet, StartupMessage)
    assert (packet.major, packet.minor) == (3, 0)
    assert list(packet.parameters.items()) == [
        ("user", "alice"),
        ("database", "db"),
        ("client_encoding", "UTF8"),
    ]


def test_startup_parameters_are_those_that_the_database_entry_sets() -> None:
    database = Database("a", "a", client_encoding="LATIN1", timezone="UTC", application_name="")
    assert startup_parameters(database) == {
        "client_encoding": "LATIN1",
        "timezone": "UTC",
        "application_name": "",
    }


# The end of a login


def test_a_server_without_cancel_key_logs_in() -> None:
    end = logged_in(start().feed(AUTH_OK + READY))
    assert (end.cancel_pid, end.cancel_key, end.parameters) == (0, b"", {})


def test_a_parameter_reported_twice_has_the_last_value() -> None:
    again = build.build_parameter_status("server_version", "18")
    end = logged_in(start().feed(AUTH_OK + PARAMETERS + again + READY))
    assert list(end.parameters.items()) == [("server_version", "18"), ("TimeZone", "UTC")]


def test_notices_are_passed_over() -> None:
    notice = build.build_notice_response("WARNING", "01000", "collation version mismatch")
    assert logged_in(start().feed(notice + AUTH_OK + notice + READY)).parameters == {}


def test_a_server_may_tell_its_protocol_version() -> None:
    newest = build.build_negotiate_protocol_version(0)
    assert logged_in(start().feed(newest + WELCOME)).cancel_pid == 4711


def test_computing_stops_the_reading_until_the_result_is_there() -> None:
    login, server = start(), scram_server()
    (first,) = login.feed(next(server))
    assert isinstance(first, Send)
    challenge = server.send(first.data)
    (compute,) = login.feed(challenge + error_response(S="FATAL", C="57P01", M="going down"))
    assert isinstance(compute, Compute)
    assert login.feed(b"") == []
    with pytest.raises(ServerLoginFailed, match="going down"):
        login.on_computed(compute.job.run())


# connect_query


def test_an_error_of_connect_query_is_a_warning() -> None:
    login = start(connect_query="select 1/0")
    (query,) = login.feed(WELCOME)
    assert query == Send(build.build_query("select 1/0"))
    error = error_response(S="ERROR", C="22012", M="division by zero")
    end = logged_in(login.feed(error + READY + REST))
    assert end.warning == "S: error while executing exec_on_query: ERROR: division by zero"
    assert end.rest == REST


def test_an_error_of_connect_query_without_text_is_a_warning() -> None:
    login = start(connect_query="select 1/0")
    login.feed(WELCOME)
    end = logged_in(login.feed(error_response() + READY))
    assert "partial error message, cannot log" in end.warning


def test_connect_query_may_change_what_was_reported() -> None:
    login = start(connect_query="set timezone to 'Asia/Tokyo'")
    login.feed(WELCOME)
    changed = build.build_parameter_status("TimeZone", "Asia/Tokyo")
    end = logged_in(login.feed(changed + build.build_command_complete("SET") + READY))
    assert end.parameters["TimeZone"] == "Asia/Tokyo"


@pytest.mark.parametrize("status", [codes.TRANSACTION_BLOCK, codes.TRANSACTION_FAILED])
def test_connect_query_may_not_leave_a_transaction_open(status: int) -> None:
    login = start(connect_query="begin")
    login.feed(WELCOME)
    failure = fail(build.build_ready_for_query(status), login)
    assert failure.reason == "connect_query left a transaction open"
    assert not failure.is_transient


# Refusals


def test_a_refusal_carries_the_servers_own_words() -> None:
    failure = fail(error_response(S="FATAL", C="3D000", M='database "db" does not exist'))
    assert failure.from_server
    assert (failure.sqlstate, failure.message) == ("3D000", 'database "db" does not exist')
    assert failure.reason == 'database "db" does not exist'
    assert failure.detail == 'server login failed: FATAL database "db" does not exist'
    assert not failure.is_transient


def test_a_refusal_after_authentication_is_the_same() -> None:
    message = error_response(S="FATAL", C="53300", M="sorry, too many clients already")
    failure = fail(AUTH_OK + PARAMETERS + message)
    assert (failure.sqlstate, failure.from_server) == ("53300", True)


def test_a_server_that_is_starting_up_is_worth_waiting_for() -> None:
    failure = fail(error_response(S="FATAL", C="57P03", M="the database system is starting up"))
    assert failure.is_transient
    assert failure.sqlstate == "57P03"


def test_a_refusal_without_sqlstate_gets_one() -> None:
    failure = fail(error_response(S="FATAL", M="no"))
    assert (failure.sqlstate, failure.message, failure.is_transient) == ("08P01", "no", False)


def test_a_refusal_without_anything_is_still_a_refusal() -> None:
    failure = fail(error_response())
    assert (failure.sqlstate, failure.message) == ("08P01", "server login failed")
    assert failure.detail == "server login failed"


def test_a_wrong_type_of_secret_is_told_to_clients_in_pgbouncers_words() -> None:
    login = start("md5" + "0" * 32)
    failure = fail(build.build_authentication_sasl(["SCRAM-SHA-256"]), login)
    assert failure.message == "server login failed: wrong password type"
    assert failure.reason == "failed to answer authreq"
    assert failure.detail == "cannot do SCRAM authentication: wrong password type"
    assert not failure.from_server
    assert not failure.is_transient


def test_a_server_cannot_skip_its_own_proof() -> None:
    login, server = start(), scram_server()
    (first,) = login.feed(next(server))
    assert isinstance(first, Send)
    failure = fail(AUTH_OK + READY, login)
    assert failure.reason == "failed to answer authreq"


@pytest.mark.parametrize("message", [READY, KEY, PARAMETERS, build.build_command_complete("X")])
def test_nothing_but_authentication_comes_before_authentication_ok(message: bytes) -> None:
    failure = fail(message + AUTH_OK + READY)
    assert failure.reason == "unknown pkt from server"
    assert "before AuthenticationOk" in failure.detail


def test_authentication_is_not_repeated() -> None:
    assert fail(AUTH_OK + AUTH_OK).reason == "unknown pkt from server"


# Hostile servers


@pytest.mark.parametrize("length", [0, 3, 2**30, 2**31 - 1, 2**31, 2**32 - 1, MAX_MESSAGE_LEN])
def test_a_hostile_length_is_refused_from_its_header_on(length: int) -> None:
    failure = fail(b"R" + length.to_bytes(4, "big"))
    assert failure.reason.startswith("bad packet header")
    assert failure.is_transient


def test_max_packet_size_bounds_the_login_too() -> None:
    login = start(max_packet_size=100)
    assert fail(b"S" + (200).to_bytes(4, "big"), login).reason.startswith("bad packet header")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ParameterStatus", b"S\0\0\0\x06ab"),
        ("ReadyForQuery", b"Z\0\0\0\x04"),
        ("ReadyForQuery", b"Z\0\0\0\x05x"),
        ("BackendKeyData", b"K\0\0\0\x08\0\0\0\1"),
        ("ErrorResponse", b"E\0\0\0\x06Sx"),
    ],
)
def test_a_broken_message_ends_the_login(name: str, message: bytes) -> None:
    assert fail(AUTH_OK + message).reason == f"broken {name} packet"


def test_parameters_without_end_are_refused() -> None:
    login = start()
    login.feed(AUTH_OK)
    flood = [build.build_parameter_status(f"p{n}", "x" * 60_000) for n in range(10)]
    with pytest.raises(ServerLoginFailed, match="failed to store ParameterStatus"):
        for message in flood:
            login.feed(message)
    assert sum(map(len, flood)) > MAX_PARAMETER_BYTES


def test_a_failed_login_is_over() -> None:
    login = start()
    fail(READY, login)
    with pytest.raises(LocalProtocolError):
        login.feed(AUTH_OK)


def test_a_result_that_nobody_asked_for_is_a_bug() -> None:
    with pytest.raises(LocalProtocolError):
        start().on_computed(b"")


MESSAGES = st.sampled_from(
    [
        *(AUTH_OK, KEY, READY, PARAMETERS, error_response(S="FATAL", M="x"), b"N\0\0\0\x05\0"),
        build.build_authentication_md5_password(b"abcd"),
        build.build_authentication_cleartext_password(),
        build.build_authentication_sasl(["SCRAM-SHA-256"]),
        build.build_authentication_sasl_continue(b"r=nonceX,s=MDEy,i=4096"),
        build.build_negotiate_protocol_version(0, ["_pq_.x"]),
    ]
)


@given(st.lists(st.one_of(MESSAGES, st.binary(max_size=20)), max_size=12), st.integers(0, 30))
def test_whatever_a_server_sends_only_fails_the_login(pieces: list[bytes], at: int) -> None:
    data = b"".join(pieces)
    login = start(connect_query="select 1")
    try:
        for part in (data[:at], data[at:]):
            steps = login.feed(part)
            if steps and isinstance(steps[-1], LoggedIn):
                return
            if steps and isinstance(steps[-1], Compute):
                login.on_computed(bytes(32))
    except ServerLoginFailed as failure:
        assert failure.reason
        assert failure.message
        assert len(failure.sqlstate) == 5
