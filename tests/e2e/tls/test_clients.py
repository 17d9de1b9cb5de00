"""Drivers and tools that come to the pooler over TLS, and what SHOW and the log say of them."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg import pq

from pgmux.wire import build
from tests.fixtures.certificates import Authority
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.raw import RawClient, error_of
from tests.fixtures.tools import require_tool
from tests.fixtures.waiting import wait_until

libpq_17 = pytest.mark.skipif(pq.version() < 170000, reason="sslnegotiation is libpq 17's")
NEGOTIATIONS = [
    "postgres",
    pytest.param("direct", marks=libpq_17),
]
TLS = re.compile(r"TLSv1\.3/TLS_\w+")


def dsn(pooler: Pooler, authority: Authority, **parameters: object) -> str:
    """With TLS and the whole check of who answers."""
    given = {"sslmode": "verify-full", "sslrootcert": authority.ca_file} | parameters
    return pooler.dsn(**given)


# ---- what goes through


@pytest.mark.parametrize("negotiation", NEGOTIATIONS)
def test_psycopg(offering: Pooler, authority: Authority, negotiation: str) -> None:
    more = {} if negotiation == "postgres" else {"sslnegotiation": negotiation}
    with psycopg.connect(dsn(offering, authority, **more), autocommit=True) as connection:
        assert connection.pgconn.ssl_in_use
        for number in range(20):  # long enough to be prepared
            row = connection.execute("select %s::int, repeat('x', 300)", [number]).fetchone()
            assert row == (number, "x" * 300)


def test_asyncpg(offering: Pooler, authority: Authority) -> None:
    async def case() -> None:
        context = authority.client_context()
        connection = await asyncpg.connect(
            host="localhost", port=offering.port, user="postgres", database="postgres", ssl=context
        )
        async with connection.transaction():
            assert await connection.fetchval("select $1::int", 7) == 7
            rows = await connection.fetch("select repeat('y', 5000) from generate_series(1, 500)")
        assert {row[0] for row in rows} == {"y" * 5000}
        await connection.close()

    asyncio.run(case())


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-full"])
def test_psql(offering: Pooler, authority: Authority, mode: str) -> None:
    command = [str(require_tool("psql")), dsn(offering, authority, sslmode=mode), "-XAtc"]
    done = subprocess.run(
        [*command, r"\conninfo", "-c", "select 1"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "SSL connection (protocol: TLSv1.3" in done.stdout
    assert done.stdout.endswith("1\n")


def test_copy_both_ways_and_a_row_larger_than_all_buffers(
    offering: Pooler, authority: Authority
) -> None:
    text = "z" * 10_000
    with psycopg.connect(dsn(offering, authority)) as connection:
        connection.execute("create temporary table copied (line text)")
        with connection.cursor().copy("copy copied from stdin") as copy:
            for _ in range(1000):
                copy.write(text + "\n")
        with connection.cursor().copy("copy copied to stdout") as copy:
            received = b"".join(bytes(block) for block in copy)
        assert received == (text + "\n").encode() * 1000
        (large,) = connection.execute("select repeat('0123456789abcdef', 4000000)").fetchone() or ""
        assert large == "0123456789abcdef" * 4_000_000


def test_many_at_once_get_their_own_answers(offering: Pooler, authority: Authority) -> None:
    wrong: list[object] = []

    def work(name: int) -> None:
        with psycopg.connect(dsn(offering, authority), autocommit=True) as connection:
            for number in range(50):
                size = (name * 7919 + number * 104729) % 70_000
                sql = "select %s::text || '/' || %s || '/' || repeat('x', %s)"
                row = connection.execute(sql, [str(name), number, size]).fetchone()
                if row != (f"{name}/{number}/" + "x" * size,):
                    wrong.append((name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@libpq_17
def test_a_query_is_cancelled_by_a_request_over_tls(offering: Pooler, authority: Authority) -> None:
    with psycopg.connect(dsn(offering, authority), autocommit=True) as connection:
        before = len(offering.log())
        is_over = threading.Event()

        def cancel() -> None:
            # Again and again: one that overtakes its query has nothing to cancel.
            while not is_over.wait(0.1):
                connection.cancel_safe()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(20)")
        is_over.set()
        canceller.join()
        assert "TLS handshake error" not in offering.log()[before:]


def test_a_cancel_request_inside_tls_needs_no_login(offering: Pooler, authority: Authority) -> None:
    with RawClient(offering) as client:
        client.start_tls(authority.client_context())
        client.send(build.build_cancel_request(1, b"none"))
        assert client.read() == ("", b"")


# ---- who may come


MODES = {
    "disable": {"plain": True, "tls": False},
    "allow": {"plain": True, "tls": True},
    "prefer": {"plain": True, "tls": True},
    "require": {"plain": False, "tls": True},
}


@pytest.mark.parametrize("mode", MODES)
def test_what_a_mode_lets_in(
    pooler: MakePooler, client_tls: dict[str, object], authority: Authority, mode: str
) -> None:
    made = pooler(settings=client_tls | {"client_tls_sslmode": mode})
    for way, sslmode, problem in (
        ("plain", "disable", "SSL required"),
        ("tls", "require", "server does not support SSL"),
    ):
        if MODES[mode][way]:
            psycopg.connect(made.dsn(sslmode=sslmode)).close()
        else:
            with pytest.raises(psycopg.OperationalError, match=problem):
                psycopg.connect(made.dsn(sslmode=sslmode))
    psycopg.connect(made.dsn(unix_socket=True)).close()


def test_a_unix_socket_never_has_tls(offering: Pooler) -> None:
    with psycopg.connect(offering.dsn(unix_socket=True, sslmode="prefer")) as connection:
        assert not connection.pgconn.ssl_in_use


@pytest.fixture(scope="module")
def verifying(module_pooler: MakePooler, client_tls: dict[str, object]) -> Pooler:
    return module_pooler(settings=client_tls | {"client_tls_sslmode": "verify-ca"})


def test_a_client_shows_its_certificate(verifying: Pooler, authority: Authority) -> None:
    own = authority.issue("bob", common_name="bob")
    own.key_file.chmod(0o600)
    with psycopg.connect(
        dsn(verifying, authority, sslcert=own.cert_file, sslkey=own.key_file)
    ) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def issue(authority: Authority, kind: str) -> dict[str, object]:
    """A certificate that should not be taken."""
    if kind == "none":
        return {"sslcert": "/nowhere"}
    now = datetime.now(UTC)
    if kind == "expired":
        bad = authority.issue("bob", not_before=now - timedelta(9), not_after=now - timedelta(1))
    else:
        bad = authority.issue("bob", by_a_stranger=True)
    bad.key_file.chmod(0o600)
    return {"sslcert": bad.cert_file, "sslkey": bad.key_file}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("none", "peer did not return a certificate"),
        ("expired", "certificate verify failed: certificate has expired"),
        ("unknown", "certificate verify failed: unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_is_not_taken_is_named_in_the_log(
    verifying: Pooler, authority: Authority, kind: str, reason: str
) -> None:
    before = len(verifying.log())
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn(verifying, authority, **issue(authority, kind)))
    expected = f"TLS handshake error: handshake failed: {reason}"
    wait_until(lambda: expected in verifying.log()[before:])
    wait_until(lambda: "closing because: client unexpected eof" in verifying.log()[before:])


def test_a_certificate_that_nobody_demands_must_be_good_as_well(
    offering: Pooler, authority: Authority
) -> None:
    before = len(offering.log())
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn(offering, authority, **issue(authority, "expired")))
    wait_until(lambda: "certificate has expired" in offering.log()[before:])


# ---- requests


def test_data_behind_a_request_for_encryption_is_refused(offering: Pooler) -> None:
    for request, name in (
        (build.build_ssl_request(), "SSL"),
        (build.build_gssenc_request(), "GSSAPI encryption"),
    ):
        with RawClient(offering) as client:
            client.send(request, b"\x16\x03\x01")
            answer = client.read_until()
            assert error_of(answer).message == f"received unencrypted data after {name} request"


def test_gssapi_encryption_is_refused_before_and_inside_tls(
    offering: Pooler, authority: Authority
) -> None:
    with RawClient(offering) as client:
        client.send(build.build_gssenc_request())
        assert client.socket.recv(1) == b"N"
        client.start_tls(authority.client_context())
        client.send(build.build_gssenc_request())
        assert client.socket.recv(1) == b"N"
        assert client.start().value("select 1") == "1"


def test_tls_inside_tls_ends_the_connection(offering: Pooler, authority: Authority) -> None:
    before = len(offering.log())
    with RawClient(offering) as client:
        client.start_tls(authority.client_context())
        client.send(build.build_ssl_request())
        assert client.socket.recv(1) == b""
    wait_until(lambda: "closing because: SSL req inside SSL" in offering.log()[before:])


@pytest.mark.parametrize("is_direct", [True, False])
@pytest.mark.parametrize("protocols", [[], ["postgresql"], ["http/1.1", "postgresql"]])
def test_application_protocols(
    offering: Pooler, authority: Authority, protocols: list[str], is_direct: bool
) -> None:
    context = authority.client_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    with RawClient(offering) as client:
        client.start_tls(context, is_direct=is_direct)
        chosen: Any = client.socket
        assert chosen.selected_alpn_protocol() == ("postgresql" if protocols else None)
        assert client.start().value("select 1") == "1"


@pytest.mark.parametrize("is_direct", [True, False])
def test_another_application_protocol_is_refused(
    offering: Pooler, authority: Authority, is_direct: bool
) -> None:
    before = len(offering.log())
    context = authority.client_context()
    context.set_alpn_protocols(["http/1.1"])
    with RawClient(offering) as client, pytest.raises(OSError, match="no application protocol"):
        client.start_tls(context, is_direct=is_direct)
    text = "TLS handshake error: handshake failed: no application protocol"
    wait_until(lambda: text in offering.log()[before:])


# ---- what is said of them


def clients(pooler: Pooler) -> list[dict[str, Any]]:
    rows = pooler.console("SHOW CLIENTS")
    return [row for row in rows if row["database"] == "postgres"]


def test_show_and_the_log_name_version_and_cipher(offering: Pooler, authority: Authority) -> None:
    before = len(offering.log())
    with psycopg.connect(dsn(offering, authority, application_name="shown")):
        (row,) = (r for r in clients(offering) if r["application_name"] == "shown")
        assert TLS.fullmatch(row["tls"])
        (socket,) = (r for r in offering.console("SHOW SOCKETS") if r["ptr"] == row["ptr"])
        assert socket["tls"] == row["tls"]
    line = f"login attempt: db=postgres user=postgres tls={row['tls']} replication=no"
    assert line in offering.log()[before:]
    with psycopg.connect(offering.dsn(sslmode="disable", application_name="plain")):
        (row,) = (r for r in clients(offering) if r["application_name"] == "plain")
        assert row["tls"] == ""
    assert "login attempt: db=postgres user=postgres tls=no" in offering.log()[before:]


def test_a_client_that_logs_in_is_shown_with_it(offering: Pooler, authority: Authority) -> None:
    with RawClient(offering) as client:
        client.start_tls(authority.client_context())
        wait_until(
            lambda: any(
                row["state"] == "cl_login" and TLS.fullmatch(row["tls"])
                for row in offering.console("SHOW SOCKETS")
            )
        )


def test_the_console_has_tls_too(offering: Pooler, authority: Authority) -> None:
    with psycopg.connect(dsn(offering, authority, db="pgbouncer"), autocommit=True) as console:
        cursor = console.execute("SHOW CLIENTS")
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
        (own,) = (row for row in rows if row["database"] == "pgbouncer")
        assert TLS.fullmatch(own["tls"])
