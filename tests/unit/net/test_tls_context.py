"""Settings -> contexts, by what a handshake with them comes to; and each thing that is wrong."""

from __future__ import annotations

import os
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from pgmux.config.model import Settings, SslMode
from pgmux.errors import ConfigError
from pgmux.net.tls_context import TlsInForce, load_tls
from tests.fixtures.certificates import Authority, Certificate

EXPIRED = datetime(2020, 2, 29, 12, 30, 15, tzinfo=UTC)


class Files(NamedTuple):
    """A certificate's and a key's, which may not belong together."""

    cert_file: Path
    key_file: Path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The test's own: its files are changed."""
    return Authority(tmp_path)


def other_authority(tmp_path: Path) -> Authority:
    (tmp_path / "other").mkdir()
    return Authority(tmp_path / "other")


def pair_of(authority: Authority, *names: str, **dates: datetime) -> Certificate:
    pair = authority.issue(*names, **dates)
    pair.key_file.chmod(0o600)
    return pair


def for_clients(pair: Certificate | Files, mode: str = "require", **settings: Any) -> Settings:
    """Settings of the pooler as TLS server."""
    return Settings(
        client_tls_sslmode=SslMode(mode),
        client_tls_cert_file=str(pair.cert_file),
        client_tls_key_file=str(pair.key_file),
        server_tls_sslmode=SslMode.DISABLE,
        places={"client_tls_cert_file": ("a.ini", 7), "client_tls_key_file": ("a.ini", 8)},
        **settings,
    )


def for_servers(mode: str, **settings: Any) -> Settings:
    return Settings(server_tls_sslmode=SslMode(mode), **settings)


def client_side_context(settings: Settings) -> ssl.SSLContext | None:
    """The pooler as TLS server."""
    return load_tls(settings).client.context


def server_side_context(settings: Settings) -> ssl.SSLContext | None:
    """The pooler as TLS client."""
    return load_tls(settings).server.context


def a_client(authority: Authority, pair: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    if pair is not None:
        context.load_cert_chain(pair.cert_file, pair.key_file)
    return context


def a_server(pair: Certificate, ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_file, pair.key_file)
    if ca is not None:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def shake(
    server: ssl.SSLContext | None, client: ssl.SSLContext | None, name: str | None = "localhost"
) -> ssl.SSLObject:
    """A handshake in memory; returns the server's side. Raises: ssl.SSLError."""
    assert server is not None and client is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [theirs, ours]
    for _ in range(8):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return ours


def problems(settings: Settings) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_tls(settings)
    return [str(problem) for problem in caught.value.problems]


def warnings(settings: Settings) -> list[str]:
    return [str(problem) for problem in load_tls(settings).warnings]


# ---- the pooler as TLS server


def test_a_client_is_shown_the_certificate_and_gets_alpn_postgresql(authority: Authority) -> None:
    client = a_client(authority)
    client.set_alpn_protocols(["postgresql"])
    server = client_side_context(for_clients(pair_of(authority, "localhost")))
    link = shake(server, client)
    assert (link.version(), link.selected_alpn_protocol()) == ("TLSv1.3", "postgresql")


def test_no_context_is_made_where_tls_is_disabled(tmp_path: Path) -> None:
    assert client_side_context(Settings(client_tls_cert_file=str(tmp_path / "none"))) is None
    assert server_side_context(for_servers("disable")) is None


@pytest.mark.parametrize(
    ("protocols", "version"),
    [("tlsv1.2", "TLSv1.2"), ("tlsv1.3", "TLSv1.3"), ("tlsv1.1,tlsv1.3", "TLSv1.3")],
)
def test_the_versions_are_those_of_the_setting(
    authority: Authority, protocols: str, version: str
) -> None:
    settings = for_clients(pair_of(authority, "localhost"), client_tls_protocols=protocols)
    link = shake(client_side_context(settings), a_client(authority))
    assert link.version() == version


def test_a_version_inside_a_hole_of_the_list_is_refused(authority: Authority) -> None:
    settings = for_clients(pair_of(authority, "localhost"), client_tls_protocols="tlsv1.1,tlsv1.3")
    client = a_client(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(client_side_context(settings), client)


def test_the_cipher_is_of_the_list(authority: Authority) -> None:
    settings = for_clients(
        pair_of(authority, "localhost"),
        client_tls_protocols="tlsv1.2",
        client_tls_ciphers="ECDHE-ECDSA-AES256-GCM-SHA384",
    )
    link = shake(client_side_context(settings), a_client(authority))
    assert (link.cipher() or ("",))[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_by_default_the_ciphers_are_openssls_not_pythons_shorter_list(
    authority: Authority,
) -> None:
    context = client_side_context(for_clients(pair_of(authority, "localhost")))
    assert context is not None
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert "ECDHE-RSA-AES128-SHA" in names


def test_the_curve_is_the_settings(authority: Authority) -> None:
    pair = pair_of(authority, "localhost")
    settings = for_clients(pair, client_tls_ecdhcurve="secp384r1")
    client = a_client(authority)
    client.set_ecdh_curve("prime256v1")
    with pytest.raises(ssl.SSLError):
        shake(client_side_context(settings), client)
    client.set_ecdh_curve("secp384r1")
    shake(client_side_context(settings), client)


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_a_certificate_of_a_client_is_verified_where_it_shows_one(
    authority: Authority, tmp_path: Path, mode: str
) -> None:
    pair = pair_of(authority, "localhost")
    server = client_side_context(for_clients(pair, mode, client_tls_ca_file=str(authority.ca_file)))
    assert not shake(server, a_client(authority)).getpeercert()
    assert shake(server, a_client(authority, pair_of(authority, "bob"))).getpeercert()
    stranger = other_authority(tmp_path).issue("bob")
    with pytest.raises(ssl.SSLError):
        shake(server, a_client(authority, stranger))


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_without_a_ca_file_no_client_is_asked_and_the_systems_cas_are_left_alone(
    authority: Authority, mode: str
) -> None:
    server = client_side_context(for_clients(pair_of(authority, "localhost"), mode))
    assert server is not None
    assert server.cert_store_stats()["x509"] == 0
    assert shake(server, a_client(authority, pair_of(authority, "bob"))).getpeercert() is None


def test_no_session_tickets_are_sent(authority: Authority) -> None:
    server = client_side_context(for_clients(pair_of(authority, "localhost"), "require"))
    assert server is not None
    assert server.num_tickets == 0


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_client_without_certificate_is_refused_where_it_must_show_one(
    authority: Authority, mode: str
) -> None:
    pair = pair_of(authority, "localhost")
    server = client_side_context(for_clients(pair, mode, client_tls_ca_file=str(authority.ca_file)))
    with pytest.raises(ssl.SSLError):
        shake(server, a_client(authority))


# ---- the pooler as TLS client


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_a_servers_certificate_is_not_verified_unless_that_is_asked_for(
    authority: Authority, mode: str, tmp_path: Path
) -> None:
    settings = for_servers(mode, server_tls_ca_file=str(tmp_path / "isn't read"))
    shake(a_server(pair_of(authority, "db.example.com")), server_side_context(settings), "other")


def test_verify_ca_looks_at_the_ca_and_not_at_the_name(
    authority: Authority, tmp_path: Path
) -> None:
    context = server_side_context(
        for_servers("verify-ca", server_tls_ca_file=str(authority.ca_file))
    )
    shake(a_server(pair_of(authority, "db.example.com")), context, "other")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake(a_server(other_authority(tmp_path).issue("other")), context, "other")


@pytest.mark.parametrize(
    ("certificate", "host", "is_good"),
    [
        ("db.example.com", "db.example.com", True),
        ("db.example.com", "DB.example.com", True),
        ("*.example.com", "db.example.com", True),
        ("*.example.com", "a.db.example.com", False),
        ("db.example.com", "other.example.com", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::7", "fd00::7", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("db.example.com", "10.1.2.3", False),
    ],
)
def test_verify_full_looks_at_the_name_too(
    authority: Authority, certificate: str, host: str, is_good: bool
) -> None:
    settings = for_servers("verify-full", server_tls_ca_file=str(authority.ca_file))
    server, context = a_server(pair_of(authority, certificate)), server_side_context(settings)
    if is_good:
        shake(server, context, host)
        return
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, context, host)


def test_an_expired_certificate_of_a_server_is_refused(authority: Authority) -> None:
    context = server_side_context(
        for_servers("verify-ca", server_tls_ca_file=str(authority.ca_file))
    )
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(
            a_server(
                pair_of(authority, "db", not_before=EXPIRED - timedelta(days=9), not_after=EXPIRED)
            ),
            context,
            "db",
        )


def test_a_server_that_asks_for_a_certificate_is_shown_ours(authority: Authority) -> None:
    pair = pair_of(authority, "pooler")
    settings = for_servers(
        "require", server_tls_cert_file=str(pair.cert_file), server_tls_key_file=str(pair.key_file)
    )
    link = shake(
        a_server(pair_of(authority, "db"), authority.ca_file), server_side_context(settings), "db"
    )
    assert link.getpeercert()


# ---- what is in force


def test_servers_stay_while_nothing_of_their_tls_has_changed(authority: Authority) -> None:
    settings = for_servers("verify-ca", server_tls_ca_file=str(authority.ca_file))
    in_force = TlsInForce(load_tls(settings))
    assert in_force.use(load_tls(settings)) is False


def test_servers_go_when_only_a_files_content_has_changed(
    authority: Authority, tmp_path: Path
) -> None:
    settings = for_servers("verify-ca", server_tls_ca_file=str(authority.ca_file))
    in_force = TlsInForce(load_tls(settings))
    authority.ca_file.write_bytes(other_authority(tmp_path).ca_file.read_bytes())
    assert in_force.use(load_tls(settings)) is True


@pytest.mark.parametrize(
    "change",
    [
        {"server_tls_sslmode": SslMode.REQUIRE},
        {"server_tls_protocols": "tlsv1.2"},
        {"server_tls_ciphers": "HIGH"},
        {"server_tls_sslmode": SslMode.DISABLE},
    ],
)
def test_servers_go_when_a_setting_has_changed(change: dict[str, Any]) -> None:
    in_force = TlsInForce(load_tls(Settings()))
    assert in_force.use(load_tls(Settings(**change))) is True


def test_servers_stay_when_only_the_clients_side_has_changed(authority: Authority) -> None:
    in_force = TlsInForce(load_tls(Settings(server_tls_sslmode=SslMode.DISABLE)))
    assert in_force.use(load_tls(for_clients(pair_of(authority, "localhost")))) is False
    assert in_force.client.mode is SslMode.REQUIRE


# ---- what is wrong


def test_a_missing_file_is_named_with_its_setting_and_place(authority: Authority) -> None:
    pair = pair_of(authority, "localhost")
    pair.cert_file.unlink()
    assert problems(for_clients(pair)) == [
        f"a.ini:7: client_tls_cert_file: cannot read {pair.cert_file}: No such file or directory"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_says_who_may_not_read_it(authority: Authority) -> None:
    pair = pair_of(authority, "localhost")
    pair.key_file.chmod(0)
    (problem,) = problems(for_clients(pair))
    assert "Permission denied (it is read as user" in problem


def test_both_files_are_looked_at_and_both_are_told(tmp_path: Path) -> None:
    assert len(problems(for_clients(Files(tmp_path / "a", tmp_path / "b")))) == 2


def test_files_that_were_swapped_are_said_to_be(authority: Authority) -> None:
    pair = pair_of(authority, "localhost")
    first, second = problems(for_clients(Files(pair.key_file, pair.cert_file)))
    assert (
        first == f"a.ini:7: client_tls_cert_file: no certificate in {pair.key_file}"
        " (is it the private key?)"
    )
    assert second == (
        f"a.ini:8: client_tls_key_file: no private key in {pair.cert_file} (is it the certificate?)"
    )


@pytest.mark.parametrize("kind", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
def test_a_key_of_another_certificate_is_refused(
    authority: Authority, tmp_path: Path, kind: trustme.KeyType
) -> None:
    other = tmp_path / "other.key"
    authority.ca.issue_cert("other", key_type=kind).private_key_pem.write_to_path(str(other))
    (problem,) = problems(for_clients(Files(pair_of(authority, "one").cert_file, other)))
    assert "isn't that of the certificate" in problem
    assert "private/public key mismatch" in problem


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_passphrase(
    authority: Authority, tmp_path: Path
) -> None:
    pair, encrypted = pair_of(authority, "one"), tmp_path / "encrypted.key"
    args = ["-in", pair.key_file, "-aes256", "-passout", "pass:secret", "-out", encrypted]
    subprocess.run(["openssl", "pkey", *args], check=True)
    (problem,) = problems(for_clients(Files(pair.cert_file, encrypted)))
    assert f"a.ini:8: client_tls_key_file: the key in {encrypted} is encrypted" in problem


@pytest.mark.parametrize("length", [100, 200, -30])
def test_a_certificate_that_is_cut_off_cannot_be_loaded(authority: Authority, length: int) -> None:
    pair = pair_of(authority, "one")
    pair.cert_file.write_text(pair.cert_file.read_text()[:length])
    (problem,) = problems(for_clients(pair))
    assert f"cannot load {pair.cert_file} with {pair.key_file}: " in problem


def test_a_certificate_that_openssl_takes_and_we_do_not_is_a_warning(authority: Authority) -> None:
    pair = pair_of(authority, "one")
    command = ["openssl", "x509", "-in", pair.cert_file, "-trustout", "-out", pair.cert_file]
    subprocess.run(command, check=True)
    settings = for_clients(pair)
    (warning,) = warnings(settings)
    assert "isn't as RFC 5280 says" in warning
    shake(client_side_context(settings), a_client(authority), "one")


def test_a_key_that_is_cut_off_cannot_be_loaded(authority: Authority) -> None:
    pair = pair_of(authority, "one")
    pair.key_file.write_text(pair.key_file.read_text()[:100])
    (problem,) = problems(for_clients(pair))
    assert f"cannot load {pair.cert_file} with {pair.key_file}: " in problem


def test_an_expired_certificate_of_ours_is_a_warning(authority: Authority) -> None:
    pair = pair_of(authority, "one", not_before=EXPIRED - timedelta(days=9), not_after=EXPIRED)
    (warning,) = warnings(for_clients(pair))
    assert warning == (
        f"a.ini:7: client_tls_cert_file: the certificate in {pair.cert_file} expired on"
        " 2020-02-29 12:30:15 UTC (renew it, then RELOAD)"
    )


def test_a_certificate_of_tomorrow_is_a_warning(authority: Authority) -> None:
    pair = pair_of(authority, "one", not_before=datetime.now(UTC) + timedelta(days=1))
    (warning,) = warnings(for_clients(pair))
    assert "isn't valid before" in warning


def test_a_key_that_everybody_may_read_is_a_warning(authority: Authority) -> None:
    pair = pair_of(authority, "one")
    pair.key_file.chmod(0o644)
    (warning,) = warnings(for_clients(pair))
    assert f"{pair.key_file} is accessible to every user (mode 0644)" in warning


def test_a_ca_file_without_certificates_is_refused(authority: Authority, tmp_path: Path) -> None:
    empty = tmp_path / "empty.crt"
    empty.touch()
    assert problems(for_servers("verify-ca", server_tls_ca_file=str(empty))) == [
        f"server_tls_ca_file: no certificate in {empty} (a PEM file is expected)"
    ]


def test_a_broken_ca_file_is_refused(authority: Authority) -> None:
    authority.ca_file.write_text(authority.ca_file.read_text()[:200] + "CERTIFICATE-----\n")
    (problem,) = problems(for_servers("verify-ca", server_tls_ca_file=str(authority.ca_file)))
    assert f"server_tls_ca_file: failed to load CA {authority.ca_file}: " in problem


@pytest.mark.parametrize("ciphers", ["nonsense", "ALL:!ALL", "HIGH\0", "\udcff"])
def test_a_cipher_list_that_leaves_nothing_is_refused(ciphers: str) -> None:
    (problem,) = problems(for_servers("prefer", server_tls_ciphers=ciphers))
    assert problem.startswith("invalid server_tls_ciphers: ")
    assert "(no cipher is left" in problem


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"client_tls_ciphers": "ECDHE-RSA-AES128-GCM-SHA256"}, "no shared cipher"),
        ({"client_tls_ciphers": "aNULL"}, "no shared cipher"),
        ({"client_tls_protocols": "tlsv1.1"}, "no suitable signature algorithm"),
    ],
)
def test_settings_that_are_good_and_leave_nothing_together_are_a_warning(
    authority: Authority, change: dict[str, Any], why: str
) -> None:
    pair = pair_of(authority, "one")
    settings = for_clients(pair, **{"client_tls_protocols": "tlsv1.2"} | change)
    (warning,) = warnings(settings)
    assert f"no client can connect by TLS: handshake failed: {why} (" in warning


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("protocols", ["tlsv1.2", "tlsv1.3"])
def test_settings_that_let_somebody_in_are_not(
    authority: Authority, mode: str, protocols: str
) -> None:
    more = {"client_tls_ca_file": str(authority.ca_file), "client_tls_protocols": protocols}
    assert warnings(for_clients(pair_of(authority, "one"), mode, **more)) == []


def test_an_unknown_curve_is_refused(authority: Authority) -> None:
    settings = for_clients(pair_of(authority, "one"), client_tls_ecdhcurve="flat")
    (problem,) = problems(settings)
    assert problem.startswith("invalid client_tls_ecdhcurve: flat (")


@pytest.mark.skipif(hasattr(ssl.SSLContext, "set_ciphersuites"), reason="can be set here")
def test_suites_of_tls_1_3_are_refused_by_name_where_python_cannot_set_them() -> None:
    suites = "TLS_AES_256_GCM_SHA384"
    (problem,) = problems(for_servers("prefer", server_tls13_ciphers=suites))
    assert problem.startswith("server_tls13_ciphers can't be set before Python 3.15 (remove it")
    # Where there is no TLS 1.3 the setting has no meaning, nor has an empty one.
    old = for_servers("prefer", server_tls13_ciphers=suites, server_tls_protocols="tlsv1.2")
    assert load_tls(old).server.mode is SslMode.PREFER
    assert load_tls(for_servers("prefer", server_tls13_ciphers="")).server.context is not None
