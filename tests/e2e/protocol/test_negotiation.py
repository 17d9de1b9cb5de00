"""Protocol versions, extensions, and requests for encryption that is not there."""

from __future__ import annotations

import socket

import psycopg
import pytest
from psycopg import pq

from pgmux.wire import build, codes
from pgmux.wire.parse import parse_backend_key_data, parse_negotiate_protocol_version
from tests.fixtures.pooler import Pooler
from tests.fixtures.raw import Message, RawClient, error_of

LOGIN = {"user": "postgres", "database": "postgres"}
libpq_18 = pytest.mark.skipif(pq.version() < 180000, reason="max_protocol_version is libpq 18's")


def protocol(minor: int) -> int:
    return codes.PROTOCOL_3_0 + minor


def login(pooler: Pooler, minor: int, **more: str) -> list[Message]:
    with RawClient(pooler) as client:
        return client.exchange(build.build_startup_message(LOGIN | more, protocol(minor)))


def key_len(answer: list[Message]) -> int:
    return len(parse_backend_key_data(next(body for kind, body in answer if kind == "K")).key)


@pytest.mark.parametrize(("minor", "length"), [(0, 4), (2, 32)])
def test_a_version_that_we_speak_is_not_negotiated(
    rotating: Pooler, minor: int, length: int
) -> None:
    answer = login(rotating, minor)
    assert "v" not in [kind for kind, _ in answer]
    assert key_len(answer) == length


@pytest.mark.parametrize(("minor", "offered", "length"), [(1, 0, 4), (3, 2, 32), (9999, 2, 32)])
def test_a_version_that_we_don_t_speak_is_negotiated(
    rotating: Pooler, minor: int, offered: int, length: int
) -> None:
    answer = login(rotating, minor)
    assert answer[0][0] == "v"
    negotiated = parse_negotiate_protocol_version(answer[0][1])
    assert (negotiated.minor, negotiated.options) == (offered, ())
    assert answer[-1] == ("Z", b"I")
    assert key_len(answer) == length


def test_protocol_extensions_are_named_as_unknown(rotating: Pooler) -> None:
    options = {"_pq_.first": "1", "_pq_.second": ""}
    answer = login(rotating, 0, **options)
    assert parse_negotiate_protocol_version(answer[0][1]).options == tuple(options)
    assert answer[-1] == ("Z", b"I")


@pytest.mark.parametrize(
    ("version", "message"),
    [(2 << 16, "old V2 protocol not supported"), (4 << 16, "bad packet header: '")],
)
def test_other_protocols_are_refused(rotating: Pooler, version: int, message: str) -> None:
    with RawClient(rotating) as client:
        answer = client.exchange(build.build_startup_message(LOGIN, version))
        assert error_of(answer).message.startswith(message)
        assert answer[-1][0] == ""


@libpq_18
@pytest.mark.parametrize("version", ["3.0", "3.2", "latest"])
def test_libpq_connects_and_cancels_with_every_version(rotating: Pooler, version: str) -> None:
    dsn = rotating.dsn(max_protocol_version=version)
    with psycopg.connect(dsn, autocommit=True) as connection:
        expected = 30000 if version == "3.0" else 30002
        assert connection.pgconn.full_protocol_version == expected
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("request_", [build.build_ssl_request(), build.build_gssenc_request()])
def test_a_request_for_encryption_is_answered_n_and_may_be_followed_by_a_login(
    rotating: Pooler, request_: bytes
) -> None:
    with RawClient(rotating) as client:
        for _ in range(2):
            client.send(request_)
            assert client.socket.recv(1) == b"N"
        assert client.start().value("SELECT 1") == "1"


def test_both_requests_one_after_the_other(rotating: Pooler) -> None:
    with RawClient(rotating) as client:
        for request in (build.build_gssenc_request(), build.build_ssl_request()):
            client.send(request)
            assert client.socket.recv(1) == b"N"
        assert client.start().value("SELECT 1") == "1"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_sslmode_up_to_prefer_connects(rotating: Pooler, mode: str) -> None:
    with psycopg.connect(rotating.dsn(sslmode=mode)) as connection:
        assert not connection.pgconn.ssl_in_use


def test_sslmode_require_fails_with_a_clear_reason(rotating: Pooler) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
        psycopg.connect(rotating.dsn(sslmode="require"))


def test_over_a_unix_socket_too(rotating: Pooler) -> None:
    with psycopg.connect(rotating.dsn(unix_socket=True)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    path = rotating.socket_dir / f".s.PGSQL.{rotating.port}"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(path))
        raw.sendall(build.build_ssl_request())
        assert raw.recv(1) == b"N"
