"""Logins by certificate, as auth_type and as an HBA line, with libpq on the other side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from pgmux.ops.postgres import EmbeddedPostgres
from tests.fixtures.certificates import Authority
from tests.fixtures.pooler import MakePooler, Pooler

Shown = Callable[..., dict[str, object]]


@pytest.fixture
def shown(authority: Authority, tmp_path: Path) -> Shown:
    """`shown(common_name="bob")`: libpq's parameters of a client with that certificate; without a
    name, of one without a certificate.
    """

    def make(*names: str, common_name: str | None = None) -> dict[str, object]:
        base: dict[str, object] = {"sslmode": "require", "sslcert": tmp_path / "none"}
        if not names and common_name is None:
            return base
        made = authority.issue(*names, common_name=common_name)
        key = tmp_path / made.key_file.name
        key.write_bytes(made.key_file.read_bytes())
        key.chmod(0o600)  # else libpq won't have it
        return base | {"sslcert": made.cert_file, "sslkey": key}

    return make


def tls_settings(authority: Authority, mode: str) -> dict[str, object]:
    own = authority.issue("localhost")
    return {
        "client_tls_sslmode": mode,
        "client_tls_ca_file": authority.ca_file,
        "client_tls_cert_file": own.cert_file,
        "client_tls_key_file": own.key_file,
    }


def make_pooler(
    pooler: MakePooler, postgres: EmbeddedPostgres, settings: dict[str, object], **files: str
) -> Pooler:
    return pooler(
        databases={"app": f"dbname=postgres user=postgres password={postgres.password}"},
        users={"bob": "pw", "eve": "pw"},
        settings=settings,
        **files,
    )


def enter(made: Pooler, user: str, parameters: dict[str, object]) -> bool:
    with psycopg.connect(made.dsn("app", user, "", **parameters)) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def refusal(made: Pooler, user: str, parameters: dict[str, object]) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        enter(made, user, parameters)
    return str(caught.value)


def test_auth_type_cert_is_the_certificates_name(
    pooler: MakePooler, postgres: EmbeddedPostgres, authority: Authority, shown: Shown
) -> None:
    settings = tls_settings(authority, "verify-full")
    made = make_pooler(pooler, postgres, settings | {"auth_type": "cert"})
    assert enter(made, "bob", shown(common_name="bob"))
    assert enter(made, "bob", shown("db.example.com", "bob"))
    assert "certificate authentication failed" in refusal(made, "eve", shown(common_name="bob"))
    assert "TLS certificate name mismatch: it is " in made.log()
    assert "zoe" not in made.users
    assert "certificate authentication failed" in refusal(made, "zoe", shown(common_name="zoe"))


def test_a_line_may_ask_for_a_certificate(
    pooler: MakePooler, postgres: EmbeddedPostgres, authority: Authority, shown: Shown
) -> None:
    made = make_pooler(
        pooler,
        postgres,
        tls_settings(authority, "prefer"),
        hba="hostssl all eve all cert map=staff\nhostssl all all all cert\nhost all all all md5\n",
        ident="staff ops.example.com eve\n",
    )
    assert enter(made, "bob", shown(common_name="bob"))
    assert enter(made, "eve", shown("ops.example.com"))
    for user, parameters in (
        ("bob", shown()),
        ("eve", shown(common_name="eve")),
        ("bob", shown("ops.example.com")),
    ):
        assert "certificate authentication failed" in refusal(made, user, parameters)
    log = made.log()
    assert f"TLS client certificate required (by {made.directory}/hba.conf:2)" in log
    assert "ident map: staff does not have a match for " in log
    # without TLS it is another line
    assert "fe_sendauth" in refusal(made, "bob", {"sslmode": "disable"})


def test_a_certificate_of_another_authority_is_none(
    pooler: MakePooler, postgres: EmbeddedPostgres, authority: Authority, tmp_path: Path
) -> None:
    settings = tls_settings(authority, "prefer")
    settings["verbose"] = 1
    made = make_pooler(pooler, postgres, settings, hba="hostssl all all all cert\n")
    strange = Authority(tmp_path).issue(common_name="bob")
    strange.key_file.chmod(0o600)
    parameters = {"sslmode": "require", "sslcert": strange.cert_file, "sslkey": strange.key_file}
    refused = refusal(made, "bob", parameters)
    assert "alert unknown ca" in refused or "closed the connection" in refused
    assert "is matched" not in made.log()
