"""Servers that misbehave: their client gets an ErrorResponse, and the pool works when they do."""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest

from pgmux.wire import build, codes
from pgmux.wire.messages import MessageReader
from tests.e2e.hostile.conftest import Others, busy_pools
from tests.fixtures.ends import (
    ConnectionClosed,
    FakeServer,
    FakeSession,
    HostileClient,
    Script,
    echo,
    memory_bounded,
    row,
    rows_of,
)
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

MEGABYTE = 1 << 20
RETRY = 0.2  # server_login_retry, seconds


@pytest.fixture(scope="module")
def fake_server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(module_pooler: MakePooler, fake_server: FakeServer) -> Pooler:
    """Pools of two servers: `postgres` is real, every other database is the fake server's."""
    return module_pooler(
        databases={"postgres": "", "*": f"host=127.0.0.1 port={fake_server.port}"},
        settings={
            "default_pool_size": 2,
            "server_login_retry": RETRY,
            "server_connect_timeout": 1,
            "query_timeout": 3,
            "client_login_timeout": 4,
        },
    )


class Scene:
    """A database of the fake server that nobody has used yet, and its pooler."""

    def __init__(self, server: FakeServer, pooler: Pooler) -> None:
        self.server = server
        self.pooler = pooler
        self.database = f"fake_{uuid.uuid4().hex[:8]}"

    def open(self) -> HostileClient:
        """A client that has sent its StartupMessage."""
        client = HostileClient((self.pooler.host, self.pooler.port))
        client.start("postgres", self.database)
        return client

    def connect(self) -> HostileClient:
        """A client that has logged in."""
        client = self.open()
        client.finish_login()
        return client

    def login_error(self) -> str:
        """What a client is told that can't be let in."""
        with self.open() as client:
            return client.read_fatal()

    def server_count(self) -> int:
        rows = self.pooler.console("SHOW SERVERS")
        return sum(row["database"] == self.database for row in rows)

    def is_busy(self) -> bool:
        return bool(busy_pools(self.pooler, self.database))

    def is_served(self) -> bool:
        try:
            with self.connect() as client:
                return client.query("are you well") == [["are you well"]]
        except (AssertionError, ConnectionClosed):
            return False

    def check_recovery(self) -> None:
        """Nothing is left of what was, and both places of the pool work."""
        self.server.script = echo
        wait_until(lambda: not self.is_busy())
        wait_until(self.is_served)
        with self.connect() as one, self.connect() as other:
            one.send(build.build_query("begin"))
            other.send(build.build_query("begin"))
            assert rows_of(one.read_until(codes.READY_FOR_QUERY)) == [["begin"]]
            assert rows_of(other.read_until(codes.READY_FOR_QUERY)) == [["begin"]]
        wait_until(lambda: not self.is_busy())
        self.pooler.console(f"RECONNECT {self.database}")
        wait_until(lambda: self.server_count() == 0)


@pytest.fixture
def scene(fake_server: FakeServer, proxy: Pooler, others_are_served: Others) -> Iterator[Scene]:
    """A fake server that is well so far; after the test its pool is as it was, and works."""
    fake_server.script = echo
    scene = Scene(fake_server, proxy)
    with others_are_served(proxy):
        yield scene
        scene.check_recovery()


def header(kind: bytes, length: int) -> bytes:
    return kind + struct.pack(">I", length)


# ---- at login


def refuse(answer: bytes) -> Script:
    """The script of a server that says only this to StartupMessage."""

    def script(session: FakeSession) -> None:
        session.read_startup()
        session.send(answer)
        say_nothing(session)

    return script


def say_nothing(session: FakeSession) -> None:
    """Stay until the pooler has closed."""
    session.drain()


def close_at_once(session: FakeSession) -> None:
    session.reset()


def close_after_startup(session: FakeSession) -> None:
    session.read_startup()


def close_in_the_middle(session: FakeSession) -> None:
    session.read_startup()
    session.send(session.welcome()[:-7])


def iterate_for_ever(session: FakeSession) -> None:
    session.read_startup()
    session.send(build.build_authentication_sasl(["SCRAM-SHA-256"]))
    nonce = session.read()[1].rsplit(b"r=", 1)[1]
    session.send(build.build_authentication_sasl_continue(b"r=%bx,s=QUFB,i=2147483648" % nonce))
    say_nothing(session)


def parameters_without_end(session: FakeSession) -> None:
    session.read_startup()
    session.send(session.welcome())
    while True:
        session.send(build.build_parameter_status("x" * 100, "y" * 1000) * 100)


LAST_ERROR = "08P01 server login has been failing, cached error: {} (server_login_retry)"

# Script, and what the pooler's log says of the server's end.
BAD_LOGINS: dict[str, tuple[Script, str]] = {
    "dies at accept": (close_at_once, "server conn crashed?"),
    "dies after the startup packet": (close_after_startup, "server conn crashed?"),
    "dies in the middle": (close_in_the_middle, "server conn crashed?"),
    "garbage": (refuse(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "bad packet header"),
    "zeroes": (refuse(b"\0" * 100), "bad packet header"),
    "a length of 2^32-1": (refuse(header(b"R", 2**32 - 1)), "bad packet header"),
    "a length of 2^31": (refuse(header(b"S", 2**31)), "bad packet header"),
    "a length of 0": (refuse(header(b"R", 0)), "bad packet header"),
    "a notice of 2 GB": (refuse(header(b"N", 2**31 - 1)), "bad packet header"),
    "an unknown message": (refuse(header(b"?", 4)), "unknown pkt from server"),
    "ReadyForQuery without AuthenticationOk": (
        refuse(build.build_ready_for_query()),
        "unknown pkt from server",
    ),
    "an unknown authentication": (refuse(b"R\0\0\0\x08\0\0\0\x63"), "failed to answer authreq"),
    "half an authentication": (refuse(b"R\0\0\0\x05\0"), "AuthenticationRequest"),
    "parameters without end": (parameters_without_end, "failed to store ParameterStatus"),
    "2^31 iterations": (iterate_for_ever, "failed to answer authreq"),
}


# No waiting heals these, so everybody is told at once.
HOPELESS = {
    "an unknown authentication": "08P01 unknown/unsupported auth method: 99",
    "half an authentication": "08P01 server login failed: broken AuthenticationRequest packet",
    "2^31 iterations": "08P01 server login failed: SCRAM iteration count 2147483648 is not within "
    "1..10000000",
}


@pytest.mark.parametrize("name", BAD_LOGINS)
def test_a_server_that_fails_at_login_is_given_up_and_tried_again(name: str, scene: Scene) -> None:
    scene.server.script, reason = BAD_LOGINS[name]
    with memory_bounded(scene.pooler.pid, 16 * MEGABYTE), scene.open() as client:
        wait_until(lambda: f"{scene.database}/" in scene.pooler.log())
        wait_until(lambda: reason in log_of_servers(scene))
        scene.server.script = echo
        if name in HOPELESS:
            assert client.read_fatal() == HOPELESS[name]
        else:
            client.finish_login()
            assert client.query("hello") == [["hello"]]


@pytest.mark.parametrize("name", ["dies at accept", "garbage", "2^31 iterations"])
def test_a_query_waits_for_a_server_that_fails_at_login(name: str, scene: Scene) -> None:
    with scene.connect() as client:
        scene.server.script, reason = BAD_LOGINS[name]
        scene.pooler.console(f"RECONNECT {scene.database}")
        client.send(build.build_query("hello"))
        wait_until(lambda: reason in log_of_servers(scene))
        scene.server.script = echo
        if name in HOPELESS:
            assert client.read_fatal() == HOPELESS[name]
        else:
            assert rows_of(client.read_until(codes.READY_FOR_QUERY)) == [["hello"]]


def log_of_servers(scene: Scene) -> str:
    lines = scene.pooler.log().splitlines()
    return "\n".join(line for line in lines if " S-" in line and f" {scene.database}/" in line)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([("S", "FATAL"), ("C", "3D000"), ("M", "no such thing")], "3D000 no such thing"),
        # CVE-2026-6666: no SQLSTATE
        ([("S", "FATAL"), ("M", "no code")], "08P01 no code"),
        ([("S", "FATAL"), ("C", "28P01")], "28P01 server login failed"),
        ([], "08P01 server login failed"),
    ],
    ids=["whole", "without SQLSTATE", "without a text", "empty"],
)
def test_a_servers_refusal_reaches_its_client_whatever_it_lacks(
    fields: list[tuple[str, str]], text: str, scene: Scene
) -> None:
    body = b"".join(k.encode() + v.encode() + b"\0" for k, v in fields) + b"\0"
    scene.server.script = refuse(header(b"E", len(body) + 4) + body)
    assert scene.login_error() == text


def test_a_server_that_never_answers_is_given_up(scene: Scene) -> None:
    scene.server.script = say_nothing
    with scene.open() as client:
        wait_until(lambda: "closing because: connect timeout" in log_of_servers(scene))
        scene.server.script = echo
        client.finish_login()
        assert client.query("hello") == [["hello"]]


def test_nobody_waits_longer_than_client_login_timeout_for_a_server(scene: Scene) -> None:
    scene.server.script = close_after_startup
    scene.pooler.console("SET client_login_timeout = 1")
    try:
        with scene.open() as client:
            assert client.read_fatal() == "08P01 client_login_timeout (server down)"
    finally:
        scene.pooler.console("SET client_login_timeout = 4")


def test_whoever_comes_while_the_server_is_known_to_be_down_is_told_why(scene: Scene) -> None:
    with scene.connect() as early:
        scene.pooler.console("SET server_login_retry = 60")
        try:
            scene.server.script = close_after_startup
            scene.pooler.console(f"RECONNECT {scene.database}")
            early.send(build.build_query("hello"))
            wait_until(lambda: "server conn crashed?" in log_of_servers(scene))
            with scene.connect() as late:
                late.send(build.build_query("hello"))
                assert late.read_fatal() == LAST_ERROR.format("server conn crashed?")
        finally:
            scene.pooler.console(f"SET server_login_retry = '{RETRY}'")


def test_a_server_that_refuses_connections_is_found_again(scene: Scene) -> None:
    scene.server.stop_listening()
    try:
        with scene.open() as client:
            wait_until(lambda: "connect failed" in scene.pooler.log())
            scene.server.listen()
            client.finish_login()
    finally:
        scene.server.stop_listening()
        scene.server.listen()


# ---- in a query


def bad_answer(*answers: bytes, reset: bool = False, stay: bool = False) -> Script:
    """The script of a server that is well, but answers "bad" with these bytes, and dies."""

    def script(session: FakeSession) -> None:
        session.login()
        while (query := session.read_query()) != "bad":
            session.answer(query)
        session.send(*answers)
        if stay:
            say_nothing(session)
        if reset:
            session.reset()

    return script


ERROR = build.build_error_response("ERROR", "XX000", "no", with_v=True)
HALF_ROW = row("x" * 1000)[:-500]
CRASHED = "08P01 server conn crashed?"
NOTHING = ""  # within a message: it would be taken for the rest of that
BAD_HEADER = "08P01 bad pkt header"

BAD_ANSWERS: dict[str, tuple[Script, str]] = {
    "dies": (bad_answer(), CRASHED),
    "dies with RST": (bad_answer(reset=True), CRASHED),
    "dies in a DataRow": (bad_answer(HALF_ROW), NOTHING),
    "dies in a header": (bad_answer(row("x") + b"D\0\0"), CRASHED),
    "dies in COPY out": (bad_answer(build.build_copy_out_response([0]) + b"d\0\0\1\0xy"), NOTHING),
    "dies in COPY in": (bad_answer(build.build_copy_in_response([0])), CRASHED),
    "dies before ReadyForQuery": (
        bad_answer(row("x") + build.build_command_complete("SELECT 1")),
        CRASHED,
    ),
    "garbage": (bad_answer(b"\xff" * 100, stay=True), BAD_HEADER),
    "zeroes": (bad_answer(b"\0" * 100, stay=True), BAD_HEADER),
    "an unknown message": (bad_answer(header(b"?", 4), stay=True), "08P01 unknown pkt"),
    "AuthenticationOk": (
        bad_answer(build.build_authentication_ok(), stay=True),
        "08P01 unknown pkt",
    ),
    "a length of 0": (bad_answer(header(b"D", 0), stay=True), BAD_HEADER),
    "a length of 3": (bad_answer(header(b"C", 3), stay=True), BAD_HEADER),
    "a length of 2^31": (bad_answer(header(b"D", 2**31), stay=True), BAD_HEADER),
    "a length of 2^32-1": (bad_answer(header(b"T", 2**32 - 1), stay=True), BAD_HEADER),
    "ReadyForQuery of 2 GB": (bad_answer(header(b"Z", 2**31 - 2), stay=True), BAD_HEADER),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_server_that_fails_in_a_query_is_closed_and_its_client_told(
    name: str, scene: Scene
) -> None:
    scene.server.script, text = BAD_ANSWERS[name]
    with scene.connect() as client:
        assert client.query("good") == [["good"]]
        client.send(build.build_query("bad"))
        assert fatal_at_the_end(client.drain()) == text


def test_a_server_that_stops_in_a_query_is_closed_at_query_timeout(scene: Scene) -> None:
    scene.server.script = answering({"nothing": b"", "half a row": HALF_ROW})
    with scene.connect() as one, scene.connect() as other:
        one.send(build.build_query("nothing"))
        other.send(build.build_query("half a row"))
        assert fatal_at_the_end(one.drain()) == "08P01 query timeout"
        assert fatal_at_the_end(other.drain()) == NOTHING


def fatal_at_the_end(received: bytes) -> str:
    """The ErrorResponse that ends the stream; "" where that ends within a message."""
    reader = MessageReader(2**31, "server")
    *_, (_, body) = reader.feed(received)
    if reader.rest():
        return NOTHING
    fields = {field[:1]: field[1:].decode() for field in body.split(b"\0") if field}
    return f"{fields[b'C']} {fields[b'M']}"


@pytest.mark.parametrize(
    "answer",
    [
        # CVE-2026-6666: no SQLSTATE
        header(b"E", 4 + 10) + b"SERROR\0Mx\0"[:9] + b"\0",
        header(b"E", 5) + b"\0",
        header(b"E", 4),
        header(b"E", 4 + 3) + b"abc",
    ],
    ids=["without SQLSTATE", "without fields", "empty", "without an end"],
)
def test_an_error_that_lacks_what_it_should_have_is_passed_on(answer: bytes, scene: Scene) -> None:
    scene.server.script = answering({"bad": answer + build.build_ready_for_query()})
    with scene.connect() as client:
        messages = client.ask(build.build_query("bad"))
        assert [chr(kind) for kind, _ in messages] == ["E", "Z"]
        assert client.query("good") == [["good"]]


def answering(answers: dict[str, bytes]) -> Script:
    """The script of a server that is well, but answers some queries with given bytes."""

    def script(session: FakeSession) -> None:
        session.login()
        while True:
            query = session.read_query()
            if query in answers:
                session.send(answers[query])
            else:
                session.answer(query)

    return script


def test_a_huge_notice_passes_through_without_being_kept(scene: Scene) -> None:
    size = 64 * MEGABYTE

    def script(session: FakeSession) -> None:
        session.login()
        session.read_query()
        session.send(header(b"N", size + 4))
        for _ in range(size // MEGABYTE):
            session.send(b"x" * MEGABYTE)
        session.send(build.build_command_complete("SELECT 0"), build.build_ready_for_query())
        session.serve()

    scene.server.script = script
    with memory_bounded(scene.pooler.pid, 16 * MEGABYTE), scene.connect() as client:
        client.send(build.build_query("bad"))
        received = 0
        end = b""
        while not end.endswith(build.build_ready_for_query()):
            end = client.read_bytes()
            received += len(end)
        assert received > size


@pytest.mark.parametrize("kind", [b"S", b"C", b"E", b"N"])
def test_a_message_that_claims_2_gb_is_not_kept(kind: bytes, scene: Scene) -> None:
    def script(session: FakeSession) -> None:
        session.login()
        session.read_query()
        session.send(header(kind, 2**31 - 2))
        for _ in range(64):
            session.send(b"x" * MEGABYTE)

    scene.server.script = script
    with memory_bounded(scene.pooler.pid, 16 * MEGABYTE), scene.connect() as client:
        client.send(build.build_query("bad"))
        client.drain()


def test_parameters_without_end_in_a_query_are_not_kept(scene: Scene) -> None:
    def script(session: FakeSession) -> None:
        session.login()
        session.read_query()
        for number in range(20_000):
            session.send(build.build_parameter_status("application_name", f"{number:01000}"))
        session.answer("done")
        session.serve()

    scene.server.script = script
    with memory_bounded(scene.pooler.pid, 16 * MEGABYTE), scene.connect() as client:
        messages = client.ask(build.build_query("bad"))
        assert rows_of(messages) == [["done"]]


# ---- while idle


def when_idle(*answers: bytes, stay: bool = True) -> Script:
    """The script of a server that answers one query, and then says more, unasked."""

    def script(session: FakeSession) -> None:
        session.login()
        session.answer(session.read_query())
        session.send(*answers)
        if stay:
            session.serve()

    return script


FATAL = build.build_error_response("FATAL", "57P01", "terminating connection", with_v=True)
UNASKED: dict[str, Script] = {
    "ReadyForQuery": when_idle(build.build_ready_for_query()),
    "a row": when_idle(row("not yours")),
    "a whole answer": when_idle(
        row("not yours") + build.build_command_complete("SELECT 1") + build.build_ready_for_query()
    ),
    "garbage": when_idle(b"\xff" * 100),
    "a FATAL and then closed": when_idle(FATAL, stay=False),
    "closed": when_idle(stay=False),
    "an error": when_idle(ERROR),
}


@pytest.mark.parametrize("name", UNASKED)
def test_what_a_server_says_unasked_reaches_nobody(name: str, scene: Scene) -> None:
    scene.server.script = UNASKED[name]
    with scene.connect() as client:
        assert client.query("good") == [["good"]]
        scene.server.script = echo
        wait_until(lambda: scene.server_count() == 0)
        assert client.query("good again") == [["good again"]]


def test_notices_and_parameters_of_an_idle_server_do_no_harm(scene: Scene) -> None:
    notice = build.build_notice_response("WARNING", "01000", "x" * 10_000)
    notification = build.build_notification_response(1, "channel", "payload")
    parameter = build.build_parameter_status("application_name", "other")
    scene.server.script = when_idle((notice + notification + parameter) * 100)
    with scene.connect() as client:
        assert client.query("good") == [["good"]]
        client.ask(build.build_query("more"))  # what has come late is among the answers
        assert client.query("good") == [["good"]]


def test_a_server_that_forgets_one_clients_query_does_not_answer_the_next(scene: Scene) -> None:
    """What is left of a closed client's query goes with its server."""
    released = Gate()

    def script(session: FakeSession) -> None:
        session.login()
        query = session.read_query()
        if query == "slow":
            released.wait()
        session.answer(query)
        session.serve()

    scene.server.script = script
    with scene.connect() as one, scene.connect() as other:
        one.send(build.build_query("slow"))
        wait_until(lambda: scene.is_busy())
        one.close()
        wait_until(lambda: not scene.is_busy())
        released.open()
        assert other.query("mine") == [["mine"]]


class Gate:
    """What one thread waits for another to open."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.open: Callable[[], None] = self._event.set

    def wait(self) -> None:
        assert self._event.wait(10)


def test_a_wrong_answer_to_the_check_query_closes_the_server(scene: Scene) -> None:
    asked: list[list[str]] = []  # by connection

    def script(session: FakeSession) -> None:
        session.login()
        asked.append(queries := [])
        while True:
            query = session.read_query()
            queries.append(query)
            if query == "am I well":
                session.send(ERROR, build.build_ready_for_query())
            else:
                session.answer(query)

    scene.server.script = script
    scene.pooler.console("SET server_check_delay = 0")
    scene.pooler.console("SET server_check_query = 'am I well'")
    try:
        with scene.connect() as client:
            assert client.query("one") == [["one"]]
            assert client.query("two") == [["two"]]  # by a new server
        assert "am I well" in asked[0]
        assert all("am I well" not in queries[:-1] for queries in asked)  # it is the last
    finally:
        scene.pooler.console("SET server_check_delay = 30")
        scene.pooler.console("SET server_check_query = '<empty>'")


def test_ready_for_query_with_an_unknown_status_is_not_idle(scene: Scene) -> None:
    odd = row("x") + build.build_command_complete("SELECT 1") + header(b"Z", 5) + b"?"
    scene.server.script = answering({"odd": odd})
    with scene.connect() as client:
        client.ask(build.build_query("odd"))
        assert client.query("still mine") == [["still mine"]]
