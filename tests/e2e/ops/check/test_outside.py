"""`pgmux check --from`: PostgreSQL, poolers, and whatever else may answer at a port."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import pytest

from pgmux.ops.account import unprivileged_account
from pgmux.ops.check.facts import OutsideFacts
from pgmux.ops.check.facts.outside import Answers, Asks
from pgmux.ops.check.outside import look
from pgmux.ops.installation import give_to
from pgmux.ops.pooler import PoolerProcess
from pgmux.ops.postgres import EmbeddedPostgres, find_free_port
from pgmux.wire import build
from tests.fixtures.blackhole import blackhole
from tests.fixtures.certificates import Authority
from tests.fixtures.pooler import MakePooler
from tests.fixtures.tools import require_tool

Serve = Callable[[socket.socket], None]
CHECK = (sys.executable, "-P", "-m", "pgmux", "check", "--from")
SHORT = 0.6  # seconds, where silence is what is tested


@contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """A port at which each connection is given to `serve`."""
    stopped = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with suppress(OSError):
                while not stopped.is_set():
                    connection, _ = listener.accept()
                    Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        Thread(target=run, daemon=True).start()
        yield listener.getsockname()[1]
        stopped.set()


def look_at(serve: Serve) -> OutsideFacts:
    with serving(serve) as port:
        return look(f"127.0.0.1:{port}", patience=SHORT)


def test_a_pgmux_that_trusts_is_named_and_condemned(pooler: MakePooler) -> None:
    place = f"127.0.0.1:{pooler().port}"
    done = subprocess.run((*CHECK, place, "--json"), capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert told["outside"]["answers"] == "pgmux"
    assert told["outside"]["asks"] == "nothing"
    assert [finding["rule"] for finding in told["findings"]] == ["OUT001"]
    assert done.returncode == 1  # at a loopback address; an error elsewhere


def test_a_pgbouncer_is_told_from_pgmux(postgres: EmbeddedPostgres) -> None:
    with PoolerProcess(
        port=find_free_port(),
        databases={"postgres": f"host={postgres.host} port={postgres.port}"},
        users={"postgres": "secret"},
        settings={"auth_type": "md5"},
        command=(str(require_tool("pgbouncer")),),
    ) as pgbouncer:
        facts = look(f"127.0.0.1:{pgbouncer.port}")
    assert (facts.answers, facts.asks) == (Answers.PGBOUNCER, Asks.MD5)
    assert not facts.has_tls


def test_postgresql_itself_is_told_from_a_pooler(postgres: EmbeddedPostgres) -> None:
    facts = look(f"{postgres.host}:{postgres.port}")
    assert facts.answers is Answers.POSTGRESQL
    assert facts.asks is Asks.SCRAM
    assert facts.connections == 2


@pytest.mark.parametrize("sslmode", ["allow", "require"])
def test_whether_a_pooler_insists_on_tls(
    pooler: MakePooler, authority: Authority, sslmode: str
) -> None:
    certificate = authority.issue("elsewhere.example")
    made = pooler(
        settings={
            "auth_type": "scram-sha-256",
            "client_tls_sslmode": sslmode,
            "client_tls_cert_file": certificate.cert_file,
            "client_tls_key_file": certificate.key_file,
        }
    )
    facts = look(f"127.0.0.1:{made.port}")
    assert facts.answers is Answers.PGMUX
    assert (facts.has_tls, facts.tls_version) == (True, "TLSv1.3")
    assert facts.insists_on_tls is (sslmode == "require")
    assert facts.asks is Asks.SCRAM
    assert facts.certificate is not None
    assert facts.certificate.fault
    assert facts.certificate.days_left is not None


def test_a_postgresql_that_wants_tls_insists_on_it(authority: Authority) -> None:
    certificate = authority.issue("127.0.0.1")
    hba = ("local all all trust", "hostssl all all all scram-sha-256")
    with EmbeddedPostgres(hba=hba) as server:
        for name, file in (("crt", certificate.cert_file), ("key", certificate.key_file)):
            place = server.directory / name
            place.write_bytes(file.read_bytes())
            place.chmod(0o600)
            give_to(unprivileged_account(), place)
        server.settings |= {
            "ssl": True,
            "ssl_cert_file": server.directory / "crt",
            "ssl_key_file": server.directory / "key",
        }
        server.restart()
        facts = look(f"127.0.0.1:{server.port}")
    assert facts.answers is Answers.POSTGRESQL
    assert facts.insists_on_tls
    assert facts.asks is Asks.SCRAM


def test_tls_from_the_first_byte_on_is_found(authority: Authority) -> None:
    context = authority.server_context()

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(1024)
            encrypted.sendall(build.build_authentication_sasl(["SCRAM-SHA-256"]))
            encrypted.recv(1024)

    facts = look_at(serve)
    assert facts.is_direct_tls
    assert facts.insists_on_tls
    assert facts.asks is Asks.SCRAM


def test_an_https_server_is_none_of_ours(authority: Authority) -> None:
    context = authority.server_context()

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(1024)
            encrypted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    facts = look_at(serve)
    assert facts.answers is Answers.ELSE
    assert "HTTP" in facts.detail


@pytest.mark.parametrize(
    ("banner", "name"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server"),
        (b"\x1b[2J\x00\xff" * 99, "'\\x1b[2J"),
    ],
)
def test_what_else_answers_is_named_or_shown(banner: bytes, name: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(banner)
        connection.recv(1024)

    facts = look_at(serve)
    assert facts.answers is Answers.ELSE
    assert facts.detail.startswith(name)


def test_a_port_that_keeps_silent_is_left() -> None:
    facts = look_at(lambda connection: Event().wait(3 * SHORT) and None)
    assert facts.answers is Answers.SILENT


def test_a_port_that_never_stops_talking_is_left() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(8)
        connection.sendall(b"N")
        connection.recv(1024)
        while True:
            connection.sendall(build.build_parameter_status("a", "b" * 500))

    assert look_at(serve).answers is Answers.UNKNOWN


def test_a_port_that_drips_is_left() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(8)
        connection.sendall(b"N")
        while True:
            connection.sendall(b"R")
            Event().wait(SHORT / 10)

    assert look_at(serve).asks is None


def test_tls_that_doesnt_come_after_it_was_promised_is_said() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(8)
        connection.sendall(b"S")
        connection.recv(1024)
        connection.sendall(b"no TLS at all")

    facts = look_at(serve)
    assert facts.detail.startswith("TLS fails")


def test_a_closed_port_is_told_from_one_that_is_filtered() -> None:
    assert look(f"127.0.0.1:{find_free_port()}").answers is Answers.CLOSED
    with blackhole() as port:
        assert look(f"127.0.0.1:{port}", patience=SHORT).answers is Answers.FILTERED


@pytest.mark.parametrize("place", ["", "db:", "db:x", "db:70000", "/tmp:5432"])
def test_what_is_no_place_is_refused(place: str) -> None:
    done = subprocess.run((*CHECK, place), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not HOST:PORT" in done.stderr


def test_a_closed_port_is_no_finding() -> None:
    place = f"127.0.0.1:{find_free_port()}"
    done = subprocess.run((*CHECK, place), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "the port is closed" in done.stdout
