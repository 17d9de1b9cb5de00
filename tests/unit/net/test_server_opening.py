"""How connections to servers begin: SSLRequest, its answer, TLS with the right name, or none."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pgmux.config.model import Settings, SslMode
from pgmux.net.server_opening import is_tls_agreed, server_tls
from pgmux.net.sockets import numeric_addresses
from pgmux.net.tls_context import Tls, TlsInForce, TlsSide, load_tls
from pgmux.session.server import ServerLoginFailed
from pgmux.wire import build
from tests.fixtures.certificates import Authority
from tests.unit.net.conftest import RecordingLog, Run
from tests.unit.net.test_connector import WELCOME, Client, Script, read_packet, saying, tcp_server

SSL_REQUEST = build.build_ssl_request()[4:]


def tls(mode: str = "require", **settings: Any) -> TlsInForce:
    return TlsInForce(load_tls(Settings(server_tls_sslmode=SslMode(mode), **settings)))


def answering(answer: bytes) -> Script:
    """A server that answers SSLRequest with that, and then waits for the other's end."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await read_packet(reader) == SSL_REQUEST
        writer.write(answer)
        await reader.read()

    return script


def encrypting(authority: Authority, then: Script, names: list[str | None] | None = None) -> Script:
    """A server with TLS; `names` are those that it was asked for."""
    context = authority.server_context()
    if names is not None:
        context.sni_callback = lambda _, name, __: names.append(name)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await read_packet(reader) == SSL_REQUEST
        writer.write(b"S")
        with suppress(ssl.SSLError):
            await writer.start_tls(context)
            await then(reader, writer)

    return script


# ---- the answer


@pytest.mark.parametrize("mode", SslMode)
def test_s_is_tls_and_n_is_none_where_none_is_needed(mode: SslMode) -> None:
    assert is_tls_agreed(b"S", mode)
    if mode in (SslMode.ALLOW, SslMode.PREFER):
        assert not is_tls_agreed(b"N", mode)


@pytest.mark.parametrize(
    ("answer", "mode", "reason"),
    [
        (b"N", "require", "server refused SSL"),
        (b"N", "verify-ca", "server refused SSL"),
        (b"N", "verify-full", "server refused SSL"),
        (b"E", "prefer", "bad sslreq answer"),
        (b"\x16\x03", "prefer", "bad sslreq answer"),
        (b"SE", "prefer", "received unencrypted data after SSL response"),
        (b"S" + WELCOME, "require", "received unencrypted data after SSL response"),
        (b"N" + WELCOME, "prefer", "received unencrypted data after SSL response"),
    ],
)
def test_other_answers_end_the_connection(answer: bytes, mode: str, reason: str) -> None:
    with pytest.raises(ServerLoginFailed) as failed:
        is_tls_agreed(answer, SslMode(mode))
    assert failed.value.reason == reason
    assert failed.value.is_transient


def test_what_a_server_says_before_tls_is_not_repeated() -> None:
    with pytest.raises(ServerLoginFailed) as failed:
        is_tls_agreed(b"E\0\0\0\x20SFATAL\0Mgive me your password", SslMode.PREFER)
    assert "password" not in failed.value.detail + failed.value.message


# ---- which name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("db.example.com", "db.example.com"),
        ("db.example.com.", "db.example.com"),
        ("pg_primary", "pg_primary"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        (".example.com", None),
        ("a..b", None),
        ("x" * 64, None),
    ],
)
def test_the_name_in_tls_is_that_of_the_host(host: str, name: str | None) -> None:
    found = server_tls(tls().server, host)
    assert found is not None and found.name == name


@pytest.mark.parametrize("host", [None, "/run/postgresql", "@abstract"])
def test_a_unix_socket_has_no_tls(host: str | None) -> None:
    assert server_tls(tls("verify-full").server, host) is None


def test_disable_is_no_tls() -> None:
    assert server_tls(TlsSide(), "db") is None


# ---- connections


def test_a_login_goes_through_tls_under_the_hosts_name(
    run: Run, log: RecordingLog, authority: Authority
) -> None:
    names: list[str | None] = []

    async def scenario() -> None:
        script = encrypting(authority, saying(WELCOME), names)
        async with tcp_server(script) as server:
            client = Client(log, tls=tls("verify-full", server_tls_ca_file=str(authority.ca_file)))
            client.names["localhost"] = ["127.0.0.1"]
            attempt = client.start(server, "localhost")
            assert (await client.logged_in()).cancel_pid == 4711
            assert attempt.tls is not None
            client.transport.abort()
        assert names == ["localhost"]
        assert any("SSL established: TLSv1.3/TLS_" in text for _, text in log.lines)

    run(scenario())


def test_a_server_without_tls_is_logged_in_to_where_that_is_enough(
    run: Run, log: RecordingLog
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await read_packet(reader) == SSL_REQUEST
        writer.write(b"N")
        await saying(WELCOME)(reader, writer)

    async def scenario() -> None:
        async with tcp_server(script) as server:
            client = Client(log, tls=tls("prefer"))
            attempt = client.start(server, "127.0.0.1")
            await client.logged_in()
            assert attempt.tls is None
            client.transport.abort()

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"N", "server refused SSL"),
        (b"E", "bad sslreq answer"),
        (b"S" + WELCOME, "received unencrypted data after SSL response"),
    ],
)
def test_a_server_that_answers_otherwise_is_left_for_the_next(
    run: Run, log: RecordingLog, answer: bytes, reason: str
) -> None:
    async def scenario() -> None:
        async with tcp_server(answering(answer)) as server:
            client = Client(log, tls=tls())
            client.start(server, "127.0.0.1")
            failure = await client.failure()
            assert (failure.reason, failure.is_transient) == (reason, True)

    run(scenario())


def test_a_certificate_for_another_name_says_so(
    run: Run, log: RecordingLog, authority: Authority
) -> None:
    async def scenario() -> None:
        async with tcp_server(encrypting(authority, saying(WELCOME))) as server:
            client = Client(log, tls=tls("verify-full", server_tls_ca_file=str(authority.ca_file)))
            client.names["other.test"] = ["127.0.0.1"]
            client.start(server, "other.test")
            failure = await client.failure()
            assert failure.reason == "TLS startup failed"
            assert "certificate verify failed: Hostname mismatch" in failure.detail

    run(scenario())


def test_a_name_that_no_certificate_can_have_fails_verify_full(
    run: Run, log: RecordingLog, authority: Authority
) -> None:
    async def scenario() -> None:
        async with tcp_server(answering(b"S")) as server:
            client = Client(log, tls=tls("verify-full", server_tls_ca_file=str(authority.ca_file)))
            client.names["a..b"] = ["127.0.0.1"]
            client.start(server, "a..b")
            failure = await client.failure()
            assert failure.reason == "TLS startup failed"
            assert "TLS connect error: " in failure.detail

    run(scenario())


def test_a_server_that_talks_no_tls_after_its_s_fails_the_handshake(
    run: Run, log: RecordingLog
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_packet(reader)
        writer.write(b"S")
        await reader.readexactly(1)
        writer.write(WELCOME)
        await reader.read()

    async def scenario() -> None:
        async with tcp_server(script) as server:
            client = Client(log, tls=tls())
            client.start(server, "127.0.0.1")
            failure = await client.failure()
            assert failure.detail.startswith("TLS handshake error: handshake failed: ")

    run(scenario())


def test_a_handshake_that_never_ends_keeps_no_other_host_waiting(
    run: Run, log: RecordingLog, authority: Authority
) -> None:
    async def scenario() -> None:
        async with tcp_server(answering(b"S")) as silent:
            port = silent.sock.getsockname()[1]
            script = encrypting(authority, saying(WELCOME))
            async with tcp_server(script, "127.0.0.2", port):
                client = Client(log, tls=tls())
                settings = replace(Settings(), server_connect_timeout=0.4)
                client.start(silent, "127.0.0.1", "127.0.0.2", settings=settings)
                await client.logged_in()
                client.transport.abort()
                await silent.ended.wait()

    run(scenario())


def test_giving_up_during_the_handshake_closes_the_connection(run: Run, log: RecordingLog) -> None:
    async def scenario() -> None:
        async with tcp_server(answering(b"S")) as server:
            client = Client(log, tls=tls())
            attempt = client.start(server, "127.0.0.1")
            while server.connections == 0:
                await asyncio.sleep(0)
            attempt.cancel("enough")
            await server.ended.wait()
            assert client.ends.empty()

    run(scenario())


# ---- cancel requests


def cancelled(run: Run, log: RecordingLog, script: Script, in_force: TlsInForce) -> str:
    """How a cancel request goes whose server was connected to as `in_force` says."""
    ends: list[str] = []

    async def scenario() -> None:
        async with tcp_server(script) as server:
            (address,) = numeric_addresses(*server.sock.getsockname())
            done: asyncio.Queue[str] = asyncio.Queue()
            connector = Client(log).connector
            opening = server_tls(in_force.server, "localhost")
            connector.send_cancel(address, 4711, b"abcd", done.put_nowait, opening)
            ends.append(await done.get())

    run(scenario())
    return ends[0]


def test_a_cancel_request_goes_over_tls_where_its_server_has_it(
    run: Run, log: RecordingLog, authority: Authority
) -> None:
    packets: list[bytes] = []

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets.append(await read_packet(reader))

    in_force = tls("verify-full", server_tls_ca_file=str(authority.ca_file))
    assert cancelled(run, log, encrypting(authority, then), in_force) == ""
    assert packets == [build.build_cancel_request(4711, b"abcd")[4:]]


def test_a_cancel_request_is_not_sent_in_clear_where_tls_is_required(
    run: Run, log: RecordingLog
) -> None:
    assert cancelled(run, log, answering(b"N"), tls()) == "server refused SSL"


def test_a_cancel_request_whose_handshake_fails_says_why(
    run: Run, log: RecordingLog, authority: Authority, tmp_path: Path
) -> None:
    strange = tls("verify-ca", server_tls_ca_file=str(Authority(tmp_path).ca_file))
    end = cancelled(run, log, encrypting(authority, saying(b"")), strange)
    assert "certificate verify failed" in end


def test_nothing_is_asked_for_where_nothing_is_in_force() -> None:
    assert server_tls(TlsInForce(Tls()).server, "localhost") is None
    assert isinstance(tls("prefer").server.context, ssl.SSLContext)
