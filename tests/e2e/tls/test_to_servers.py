"""TLS between the pooler and PostgreSQL."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import copy

import psycopg
import pytest

from pgmux.ops.account import unprivileged_account
from pgmux.ops.installation import give_to
from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.certificates import Authority, Certificate
from tests.fixtures.pooler import MakePooler, Pooler
from tests.fixtures.waiting import wait_until

HBA = (
    "local all all scram-sha-256",
    "hostssl all by_certificate all cert",
    "hostssl all by_tls all scram-sha-256",
    "host all all all scram-sha-256",
)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def show(server: EmbeddedPostgres, certificate: Certificate) -> None:
    """Have the server use this certificate from now on."""
    for source, name in ((certificate.cert_file, "server.crt"), (certificate.key_file, "key")):
        target = server.directory / name
        copy(source, target)
        target.chmod(0o600)
        give_to(unprivileged_account(), target)
    server.settings |= {
        "ssl": True,
        "ssl_cert_file": server.directory / "server.crt",
        "ssl_key_file": server.directory / "key",
    }
    server.reload()


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL with TLS whose certificate is for localhost, and not for its address."""
    with EmbeddedPostgres(hba=HBA, settings={"ssl_ca_file": authority.ca_file}) as server:
        server.psql("create role by_certificate login")
        server.psql("create role by_tls login password 'secret'")
        show(server, authority.issue("localhost"))
        yield server


MakeTlsPooler = Callable[..., Pooler]


@pytest.fixture
def other() -> Iterator[Authority]:
    """An authority that has signed nothing of the server's, in files that everybody can read."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield Authority(directory)


@pytest.fixture
def make(pooler: MakePooler, server: EmbeddedPostgres, authority: Authority) -> MakeTlsPooler:
    """A pooler in front of that server, at `host`, that trusts the authority.

    Database `eager` connects without any client.
    """

    def make(host: str = "localhost", **settings: object) -> Pooler:
        where = f"host={host} port={server.port} dbname=postgres"
        login = f"user={server.superuser} password={server.password}"
        return pooler(
            databases={"eager": f"{where} {login} min_pool_size=1", "*": where},
            settings={
                "server_login_retry": 0.1,
                "client_login_timeout": 10,
                "server_tls_ca_file": authority.ca_file,
                **settings,
            },
            users={"by_certificate": "", "by_tls": "secret"},
        )

    return make


def logs(pooler: Pooler, text: str) -> None:
    """Wait for it."""
    wait_until(lambda: text in pooler.log())


def is_encrypted(pooler: Pooler, user: str = "postgres") -> bool:
    """What PostgreSQL says of the connection."""
    query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    with psycopg.connect(pooler.dsn(user=user), autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return bool(row[0])


def pids(pooler: Pooler) -> set[int]:
    return {row["remote_pid"] for row in pooler.console("SHOW SERVERS") if row["remote_pid"]}


def first_pid(pooler: Pooler) -> int:
    wait_until(lambda: pids(pooler))
    (pid,) = pids(pooler)
    return pid


# ---- modes


@pytest.mark.parametrize(
    ("mode", "encrypted"),
    [
        ("disable", False),
        ("allow", True),
        ("prefer", True),
        ("require", True),
        ("verify-ca", True),
        ("verify-full", True),
    ],
)
def test_a_server_with_tls_is_reached_by_tls_unless_that_is_disabled(
    make: MakeTlsPooler, mode: str, encrypted: bool
) -> None:
    pooler = make(server_tls_sslmode=mode)
    assert is_encrypted(pooler) is encrypted
    row = pooler.console("SHOW SERVERS")[0]
    assert row["tls"].startswith("TLSv1.3/TLS_") is encrypted
    assert ("SSL established: TLSv1.3/TLS_" in pooler.log()) is encrypted


def test_a_server_without_tls_is_reached_where_that_is_enough(pooler: MakePooler) -> None:
    assert is_encrypted(pooler(settings={"server_tls_sslmode": "prefer"})) is False


def test_a_server_without_tls_is_refused_where_it_is_required(
    pooler: MakePooler, postgres: EmbeddedPostgres
) -> None:
    entry = f"dbname=postgres user={postgres.superuser} min_pool_size=1"
    logs(
        pooler(databases={"eager": entry}, settings={"server_tls_sslmode": "require"}),
        "closing because: server refused SSL",
    )


def test_a_unix_socket_has_no_tls_whatever_the_mode(
    make: MakeTlsPooler, server: EmbeddedPostgres
) -> None:
    assert is_encrypted(make(str(server.socket_dir), server_tls_sslmode="verify-full")) is False


# ---- certificates


def test_a_certificate_for_another_host_is_refused(make: MakeTlsPooler) -> None:
    pooler = make("127.0.0.1", server_tls_sslmode="verify-full")
    logs(pooler, "TLS handshake error: handshake failed: certificate verify failed: IP address")
    logs(pooler, "closing because: TLS startup failed")


def test_verify_ca_does_not_look_at_the_host(make: MakeTlsPooler) -> None:
    assert is_encrypted(make("127.0.0.1", server_tls_sslmode="verify-ca"))


def test_a_certificate_of_an_unknown_authority_is_refused(
    make: MakeTlsPooler, other: Authority
) -> None:
    pooler = make(server_tls_sslmode="verify-ca", server_tls_ca_file=other.ca_file)
    logs(pooler, "certificate verify failed: self-signed certificate in certificate chain")


def test_the_next_host_serves_where_one_has_the_wrong_certificate(make: MakeTlsPooler) -> None:
    assert is_encrypted(make("127.0.0.1,localhost", server_tls_sslmode="verify-full"))


def test_an_expired_certificate_is_refused_and_a_renewed_one_is_not(
    make: MakeTlsPooler, server: EmbeddedPostgres, authority: Authority
) -> None:
    expired = authority.issue("localhost", not_before=LONG_AGO, not_after=LONG_AGO)
    show(server, expired)
    pooler = make(server_tls_sslmode="verify-full")
    logs(pooler, "certificate verify failed: certificate has expired")
    show(server, authority.issue("localhost"))
    first_pid(pooler)


def test_our_certificate_logs_in_where_the_server_wants_one(
    make: MakeTlsPooler, authority: Authority
) -> None:
    ours = authority.issue(common_name="by_certificate")
    pooler = make(
        server_tls_sslmode="require",
        server_tls_cert_file=ours.cert_file,
        server_tls_key_file=ours.key_file,
    )
    assert is_encrypted(pooler, "by_certificate")


def test_a_server_that_wants_a_certificate_refuses_us_without(make: MakeTlsPooler) -> None:
    pooler = make(server_tls_sslmode="require")
    with pytest.raises(psycopg.Error, match="certificate"):
        is_encrypted(pooler, "by_certificate")


# ---- changes


def test_reload_without_a_change_keeps_servers(make: MakeTlsPooler) -> None:
    pooler = make(server_tls_sslmode="verify-full")
    pid = first_pid(pooler)
    pooler.reload()
    assert pids(pooler) == {pid}


def test_reload_of_a_ca_file_of_other_content_retires_servers(
    make: MakeTlsPooler, authority: Authority, other: Authority
) -> None:
    path = other.ca_file.with_name("changing.pem")
    path.write_bytes(authority.ca_file.read_bytes())
    pooler = make(server_tls_sslmode="verify-full", server_tls_ca_file=path)
    pid = first_pid(pooler)
    path.write_bytes(authority.ca_file.read_bytes() + other.ca_file.read_bytes())
    pooler.reload()
    logs(pooler, "closing because: database configuration changed")
    wait_until(lambda: pids(pooler) and pid not in pids(pooler))


def test_a_server_in_use_is_retired_when_it_is_released(make: MakeTlsPooler) -> None:
    pooler = make(server_tls_sslmode="disable")
    with psycopg.connect(pooler.dsn()) as client:
        pid = client.execute("select pg_backend_pid()").fetchone()
        pooler.console("SET server_tls_sslmode = 'require'")
        assert client.execute("select pg_backend_pid()").fetchone() == pid
        client.commit()
        assert client.execute(
            "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        ).fetchone() == (True,)


def test_reload_of_what_is_bad_says_why_and_changes_nothing(make: MakeTlsPooler) -> None:
    pooler = make(server_tls_sslmode="verify-full")
    pid = first_pid(pooler)
    pooler.settings |= {"server_tls_ca_file": "/nonexistent", "default_pool_size": 7}
    with pytest.raises(psycopg.Error, match="RELOAD failed") as failed:
        pooler.reload()
    assert "server_tls_ca_file: cannot read /nonexistent" in (
        failed.value.diag.message_detail or ""
    )
    logs(pooler, "ERROR TLS configuration could not be reloaded, keeping old configuration")
    (why,) = [line for line in pooler.log().splitlines() if "ERROR TLS setup failed: " in line]
    assert "cannot read /nonexistent: No such file or directory" in why
    assert pids(pooler) == {pid}
    (size,) = (r["value"] for r in pooler.console("SHOW CONFIG") if r["key"] == "default_pool_size")
    assert size == "20"


def test_set_of_what_is_bad_is_a_notice_and_what_was_good_goes_on(make: MakeTlsPooler) -> None:
    pooler = make(server_tls_sslmode="verify-full")
    pid = first_pid(pooler)
    notices: list[str | None] = []
    with psycopg.connect(pooler.dsn("pgbouncer"), autocommit=True) as console:
        console.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))
        console.execute("SET server_tls_ca_file = '/nonexistent'")
        assert notices == ["TLS settings could not be applied, still using old configuration"]
        assert pids(pooler) == {pid}
        console.execute("SET server_tls_sslmode = 'require'")
    wait_until(lambda: pids(pooler) and pid not in pids(pooler))


# ---- what goes over it


@pytest.mark.parametrize("mode", ["prefer", "verify-full"])
def test_a_query_is_cancelled(make: MakeTlsPooler, mode: str) -> None:
    pooler = make(server_tls_sslmode=mode)
    with psycopg.connect(pooler.dsn(), autocommit=True) as client:
        client.execute("select 1")
        timer = threading.Timer(0.1, client.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("select pg_sleep(60)")
        timer.join()
    logs(pooler, "successfully sent cancel request")


def test_a_password_logs_in_by_scram_bound_to_the_certificate(make: MakeTlsPooler) -> None:
    # PostgreSQL offers SCRAM-SHA-256-PLUS, and we take it; a wrong binding would be refused.
    assert is_encrypted(make(server_tls_sslmode="require"), "by_tls")


def test_large_rows_and_copy_pass(make: MakeTlsPooler) -> None:
    pooler = make(server_tls_sslmode="require")
    with psycopg.connect(pooler.dsn(), autocommit=True) as client:
        row = client.execute("select repeat('x', 10_000_000)").fetchone()
        assert row is not None and len(row[0]) == 10_000_000
        with client.cursor().copy("copy (select generate_series(1, 100000)) to stdout") as copied:
            assert sum(1 for _ in copied.rows()) == 100_000
