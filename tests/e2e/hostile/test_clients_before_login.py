"""Clients that have not logged in and never should: each is refused alone, soon and cheaply.

The CVE numbers are PgBouncer's. CVE-2025-12819 (search_path in StartupMessage taking effect on
auth_query's connection) is tested in protocol/test_auth_query.py.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from pgmux.auth.scram import MECHANISM
from pgmux.wire import build, codes
from tests.e2e.hostile.conftest import Others
from tests.fixtures.ends import ConnectionClosed, HostileClient, memory_bounded
from tests.fixtures.pooler import MakePooler, Pooler

LOGIN_TIMEOUT = 1.0  # seconds; the janitor comes three times a second
MEGABYTE = 1 << 20

Connect = Callable[[], HostileClient]


@pytest.fixture(scope="module")
def strict(module_pooler: MakePooler) -> Pooler:
    """SCRAM for everybody, and not much time for it."""
    return module_pooler(
        settings={
            "auth_type": "scram-sha-256",
            "client_login_timeout": LOGIN_TIMEOUT,
            "ignore_startup_parameters": "extra_float_digits",
            "stats_users": "reader",
            "max_client_conn": 4000,
            # Who finds it full is offered again seconds later, and minutes later still.
            "listen_backlog": 2048,
        },
        users={"reader": "secret", "ordinary": "secret"},
    )


@pytest.fixture(params=["tcp", "unix"])
def connect(request: pytest.FixtureRequest, strict: Pooler) -> Iterator[Connect]:
    """`connect()` is a fresh connection, over TCP or the Unix socket."""
    with ExitStack() as stack:

        def connect() -> HostileClient:
            return stack.enter_context(HostileClient(address_of(strict, request.param)))

        yield connect


def address_of(pooler: Pooler, kind: str) -> tuple[str, int] | str:
    if kind == "tcp":
        return pooler.host, pooler.port
    return str(pooler.socket_dir / f".s.PGSQL.{pooler.port}")


def packet(body: bytes, length: int | None = None) -> bytes:
    """A packet without type byte, whose length may be a lie."""
    return struct.pack(">I", len(body) + 4 if length is None else length) + body


def message(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    return kind + packet(body, length)


STARTUP = build.build_startup_message({"user": "postgres", "database": "postgres"})
VERSION = struct.pack(">I", codes.PROTOCOL_3_0)

REFUSED_AT_ONCE = {
    "garbage": (b"GET / HTTP/1.1\r\n\r\n", "bad packet header: '474554202f204854'"),
    "a length of 0": (packet(VERSION, 0), "bad packet header: '0000000000030000'"),
    "a length of 3": (packet(VERSION, 3), "bad packet header: '0000000300030000'"),
    # CVE-2026-107348 and CVE-2026-6668: lengths that are negative as an int
    "a length of 2^31": (packet(VERSION, 2**31), "bad packet header: '8000000000030000'"),
    "a length of 2^32-1": (packet(VERSION, 2**32 - 1), "bad packet header: 'ffffffff00030000'"),
    "protocol 2": (packet(struct.pack(">I", 0x20000)), "old V2 protocol not supported"),
    "protocol 4": (packet(struct.pack(">I", 0x40000)), "bad packet header: '0000000800040000'"),
    "a password first": (
        build.build_password_message("x"),
        "client password pkt before startup packet",
    ),
    "no terminator": (
        packet(VERSION + b"user\0postgres\0"),
        "invalid startup packet layout: expected terminator as last byte",
    ),
    "no user": (packet(VERSION + b"database\0postgres\0\0"), "no username supplied"),
    "an unfinished string": (
        packet(VERSION + b"user\0postgres\0database\0post"),
        "invalid startup packet layout: expected terminator as last byte",
    ),
    "10,000 parameters": (
        packet(VERSION + b"user\0u\0" + b"".join(b"%d\0\0" % i for i in range(10_000)) + b"\0"),
        "unsupported startup parameter: 0",
    ),
    "a user of 60,000 bytes": (
        build.build_startup_message({"user": "u" * 60_000}),
        "username too long",
    ),
    "a startup packet over 64 kB": (
        build.build_startup_message({"user": "u" * 65_536}),
        "bad packet header: '0001000f00030000'",
    ),
    # CVE-2026-107349: an empty name, and ignore_startup_parameters without `options`
    "an empty name in options": (
        build.build_startup_message({"user": "postgres", "options": "-c="}),
        "unsupported options startup parameter: only '-c config=val' and '--config=val' "
        "are allowed",
    ),
    "data behind SSLRequest": (
        build.build_ssl_request() + STARTUP,
        "received unencrypted data after SSL request",
    ),
    "data behind GSSENCRequest": (
        build.build_gssenc_request() + STARTUP,
        "received unencrypted data after GSSAPI encryption request",
    ),
}


@pytest.mark.parametrize("name", REFUSED_AT_ONCE)
def test_a_bad_first_packet_is_refused_in_pgbouncers_words(name: str, connect: Connect) -> None:
    sent, text = REFUSED_AT_ONCE[name]
    client = connect()
    client.send_what_it_takes(sent)
    assert client.read_fatal() == f"08P01 {text}"


# One by one nothing comes behind a request; and 60,000 of them prove nothing more.
@pytest.mark.parametrize(
    "name", [n for n, (sent, _) in REFUSED_AT_ONCE.items() if len(sent) < 60 and "behind" not in n]
)
def test_a_bad_first_packet_is_refused_also_in_single_bytes(name: str, strict: Pooler) -> None:
    sent, text = REFUSED_AT_ONCE[name]
    with HostileClient(address_of(strict, "tcp")) as client, suppress(ConnectionClosed):
        for byte in sent:
            client.send(bytes([byte]))
        said = client.read_fatal()
        if sent[0] != 0 and "header" in text:  # refused by 5 bytes, shown as far as they had come
            assert re.fullmatch(r"08P01 bad packet header: '[0-9a-f]{10,16}'", said)
            text = text[: len(said) - len("08P01 '")] + "'"
        assert said == f"08P01 {text}"


CANCELS = {
    "an unknown key": build.build_cancel_request(1, b"none"),
    "a key too short": packet(struct.pack(">II", codes.CANCEL_REQUEST, 1) + b"abc"),
    "no key": packet(struct.pack(">I", codes.CANCEL_REQUEST)),
    "a key too long": build.build_cancel_request(1, b"k" * 257),
    "data behind it": build.build_cancel_request(1, b"none") + STARTUP * 100,
}


@pytest.mark.parametrize("name", CANCELS)
def test_a_cancel_request_for_nobody_is_closed_without_a_word(name: str, connect: Connect) -> None:
    client = connect()
    client.send(CANCELS[name])
    assert client.read_to_the_end() == []


# ---- in the middle of SCRAM


def challenged(client: HostileClient) -> bytes:
    """Log in as far as the server's challenge."""
    client.start("postgres", "postgres")
    client.read()
    client.send(build.build_sasl_initial_response(MECHANISM, b"n,,n=,r=clientsnonce"))
    kind, body = client.read()
    assert kind == codes.AUTHENTICATION_REQUEST
    return body[4:]


def first(data: bytes, mechanism: str = MECHANISM) -> bytes:
    return build.build_sasl_initial_response(mechanism, data)


def sasl_initial(length: int) -> bytes:
    """A SASLInitialResponse that lies about its data's length."""
    return message(b"p", MECHANISM.encode() + b"\0" + struct.pack(">I", length) + b"n,,n=,r=a")


SASL_FAILED = "SASL authentication failed"
BAD_FIRST = {
    "garbage": (first(b"\xff" * 50), SASL_FAILED),
    "nothing": (first(b""), SASL_FAILED),
    "no message at all": (build.build_password_message(""), SASL_FAILED),
    "channel binding": (first(b"p=tls-unique,,n=,r=abc"), SASL_FAILED),
    "another mechanism": (
        first(b"n,,n=,r=a", "PLAIN"),
        "client selected an invalid SASL authentication mechanism",
    ),
    # CVE-2026-6664: a SASL length that overflows
    "a length of 2^31-1": (sasl_initial(2**31 - 1), SASL_FAILED),
    "a length of 2^32-2": (sasl_initial(2**32 - 2), SASL_FAILED),
    "a nonce of 60,000 bytes": (first(b"n,,n=,r=" + b"x" * 60_000), SASL_FAILED),
    "commas": (first(b"," * 1000), SASL_FAILED),
    "a message of 2^31-1 bytes": (
        message(b"p", b"x", 2**31 - 1),
        "bad packet header: '707fffffff78'",
    ),
    "a message of 3 bytes": (message(b"p", b"abc", 3), "bad packet header: '7000000003616263'"),
    "a million bytes": (
        message(b"p", b"x" * 1_000_000),
        "bad packet header: '70000f4244787878'",
    ),
    # CVE-2026-107350: would log in as the second user, of a database that does not exist
    "a second StartupMessage": (
        build.build_startup_message({"user": "admin", "database": "nowhere"}),
        "client re-sent startup pkt",
    ),
}


@pytest.mark.parametrize("name", BAD_FIRST)
def test_a_bad_answer_to_sasl_ends_the_login(name: str, connect: Connect) -> None:
    sent, text = BAD_FIRST[name]
    client = connect()
    client.start("postgres", "postgres")
    assert client.read()[0] == codes.AUTHENTICATION_REQUEST
    client.send_what_it_takes(sent)
    assert client.read_fatal() == f"08P01 {text}"


def test_a_query_instead_of_the_password_is_closed_without_a_word(connect: Connect) -> None:
    client = connect()
    client.start("postgres", "postgres")
    assert client.read()[0] == codes.AUTHENTICATION_REQUEST
    client.send(build.build_query("select 1"))
    assert client.read_fatal() == ""


PROOF = b",p=" + b"QUFB" * 11
BAD_FINAL = {
    "garbage": lambda nonce: b"\x00\xff" * 20,
    "nothing": lambda nonce: b"",
    "a wrong nonce": lambda nonce: b"c=biws,r=" + nonce[:-1] + b"!" + PROOF,
    "the client's nonce alone": lambda nonce: b"c=biws,r=clientsnonce" + PROOF,
    "a wrong proof": lambda nonce: b"c=biws,r=" + nonce + b",p=" + b"A" * 43 + b"=",
    # CVE-2026-6665: an attribute longer than the buffer for it
    "a proof of 60,000 bytes": lambda nonce: b"c=biws,r=" + nonce + b",p=" + b"QUFB" * 15_000,
    "an overlong nonce": lambda nonce: b"c=biws,r=" + nonce + b"x" * 60_000 + PROOF,
    "no base64": lambda nonce: b"c=biws,r=" + nonce + b",p=!!!!",
    "no proof": lambda nonce: b"c=biws,r=" + nonce,
}


@pytest.mark.parametrize("name", BAD_FINAL)
def test_a_bad_proof_ends_the_login(name: str, connect: Connect) -> None:
    client = connect()
    nonce = challenged(client).split(b",")[0][2:]
    client.send(build.build_sasl_response(BAD_FINAL[name](nonce)))
    assert client.read_fatal() == f"08P01 {SASL_FAILED}"


def test_a_second_startup_message_behind_the_challenge_is_refused(connect: Connect) -> None:
    client = connect()
    challenged(client)
    client.send(build.build_startup_message({"user": "ordinary", "database": "nowhere"}))
    assert client.read_fatal() == "08P01 client re-sent startup pkt"


def test_an_unknown_user_is_challenged_as_a_known_one_is(connect: Connect) -> None:
    client = connect()
    with pytest.raises(AssertionError, match=f"08P01 {SASL_FAILED}"):
        client.login("nobody", "postgres", "secret")


def test_a_password_before_it_is_asked_for_is_of_no_use(connect: Connect) -> None:
    client = connect()
    client.send(STARTUP, build.build_password_message("postgres"))
    assert client.read_fatal() == f"08P01 {SASL_FAILED}"


def test_messages_behind_an_unanswered_key_derivation_end_the_login(
    module_pooler: MakePooler,
) -> None:
    pooler = module_pooler(settings={"auth_type": "plain"}, users={"x": "secret"})
    with HostileClient(address_of(pooler, "tcp")) as client:
        client.start("x", "postgres")
        client.send(build.build_password_message("wrong") * 50)
        assert client.read_fatal() == "08P01 password authentication failed"
    with HostileClient(address_of(pooler, "tcp")) as client:
        client.start("x", "postgres")
        client.send_what_it_takes(build.build_password_message("x" * 1_000_000))
        assert client.read_fatal() == "08P01 bad packet header: '70000f4245787878'"
    with HostileClient(address_of(pooler, "tcp")) as client:
        client.start("x", "postgres")
        client.send(build.build_password_message(""))
        assert client.read_fatal() == "08P01 empty password returned by client"


# ---- the console


def console_refusal(pooler: Pooler, user: str, query: str) -> str:
    with HostileClient(address_of(pooler, "tcp")) as client:
        client.login(user, "pgbouncer", "secret")
        kind, body = client.ask(build.build_query(query))[0]
        assert kind == codes.ERROR_RESPONSE
        return body.split(b"\0M")[1].split(b"\0")[0].decode()


# CVE-2026-6667: KILL_CLIENT lacked the check
@pytest.mark.parametrize(
    "command", ["KILL_CLIENT 1", "KILL", "PAUSE", "SHUTDOWN", "RELOAD", "SET verbose = 1"]
)
def test_a_stats_user_may_not_change_anything(command: str, strict: Pooler) -> None:
    assert console_refusal(strict, "reader", command) == "admin access needed"


def test_an_ordinary_user_is_not_let_into_the_console(strict: Pooler) -> None:
    with (
        HostileClient(address_of(strict, "tcp")) as client,
        pytest.raises(AssertionError, match="08P01 not allowed"),
    ):
        client.login("ordinary", "pgbouncer", "secret")


# ---- those that take their time


def test_whoever_does_not_finish_the_login_is_closed_in_time(
    strict: Pooler, others_are_served: Others
) -> None:
    slow = {
        "nothing": b"",
        "half a length": STARTUP[:3],
        "a length": STARTUP[:4],
        "half a packet": STARTUP[:-5],
        "most of a large packet": packet(VERSION + b"user\0" + b"x" * 50_000, 65_535),
        "SSLRequest": build.build_ssl_request(),
        "StartupMessage": STARTUP,
        "half a password": STARTUP + b"p\0\0\0\x50SCRAM",
    }
    with ExitStack() as stack, others_are_served(strict):
        began = time.monotonic()
        clients = {}
        for kind in ("tcp", "unix"):
            for name, sent in slow.items():
                client = stack.enter_context(HostileClient(address_of(strict, kind)))
                client.send(sent)
                clients[kind, name] = client
        for which, client in clients.items():
            if which[1] == "SSLRequest":
                assert client.sock.recv(1) == b"N"
            assert client.read_fatal() == "08P01 client_login_timeout", which
        took = time.monotonic() - began
    assert LOGIN_TIMEOUT <= took < LOGIN_TIMEOUT + 2


def test_a_byte_now_and_then_buys_no_more_time(strict: Pooler) -> None:
    with HostileClient(address_of(strict, "tcp")) as client:
        began = time.monotonic()
        client.sock.settimeout(0.05)
        received = b""
        for byte in packet(VERSION + b"user\0" + b"x" * 60_000):
            with suppress(ConnectionClosed):
                client.send(bytes([byte]))
            with suppress(TimeoutError):
                received = client.sock.recv(1000)
                break
        assert b"client_login_timeout" in received
        assert time.monotonic() - began < LOGIN_TIMEOUT + 2


def test_a_thousand_connections_that_say_nothing_are_in_nobodys_way(
    strict: Pooler, others_are_served: Others
) -> None:
    with (
        memory_bounded(strict.pid, 16 * MEGABYTE),
        others_are_served(strict),
        ExitStack() as stack,
    ):
        silent = [
            stack.enter_context(HostileClient(address_of(strict, "tcp"))) for _ in range(1000)
        ]
        for client in silent:
            client.sock.settimeout(60)  # TCP_DEFER_ACCEPT: they are offered seconds later
        # Nobody is told more than the timeout, nobody is forgotten.
        assert {client.read_fatal() for client in silent} == {"08P01 client_login_timeout"}
    lists = {row["list"]: row["items"] for row in strict.console("SHOW LISTS")}
    assert lists["login_clients"] == 0


def test_what_hostile_clients_send_is_not_kept(strict: Pooler, others_are_served: Others) -> None:
    with others_are_served(strict), memory_bounded(strict.pid, 32 * MEGABYTE):
        for _ in range(20):
            for sent in (
                STARTUP + message(b"p", b"x" * MEGABYTE),
                packet(VERSION + b"x" * MEGABYTE),
                b"\0" * MEGABYTE,
                b"\xff" * MEGABYTE,
            ):
                with HostileClient(address_of(strict, "tcp")) as client:
                    client.send_what_it_takes(sent)
                    client.read_to_the_end()
