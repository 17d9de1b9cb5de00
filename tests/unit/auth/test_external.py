"""cert and peer: whom a certificate or the kernel vouches for."""

from __future__ import annotations

import pytest

from pgmux.auth.credentials import Credentials
from pgmux.auth.external import check_certificate, check_peer
from pgmux.auth.secrets import parse_secret
from pgmux.auth.steps import AuthenticationFailed
from pgmux.auth.tls_info import TlsInfo
from pgmux.config.hba import IdentMap, Mapping

STAFF = IdentMap(
    "staff", (Mapping("ada", "postgres"), Mapping("ada", "bob"), Mapping("root", None))
)


def known(user: str) -> Credentials:
    return Credentials(user, parse_secret("x"))


def tls(*names: str, subject: str | None = "/CN=x") -> TlsInfo:
    return TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", subject, names)


def cert_refusal(login: Credentials, info: TlsInfo | None, ident: IdentMap | None = None) -> str:
    with pytest.raises(AuthenticationFailed) as caught:
        check_certificate(login, info, ident)
    assert caught.value.message == "certificate authentication failed"
    return caught.value.reason


def peer_refusal(login: Credentials, os_user: str | None, ident: IdentMap | None = None) -> str:
    with pytest.raises(AuthenticationFailed) as caught:
        check_peer(login, os_user, ident)
    assert caught.value.message == "unix socket login rejected"
    return caught.value.reason


@pytest.mark.parametrize("names", [("bob",), ("db.example.com", "bob"), ("BOB",)])
def test_one_of_the_certificates_names_is_the_user(names: tuple[str, ...]) -> None:
    check_certificate(known("bob"), tls(*names), None)


@pytest.mark.parametrize(
    ("user", "name"), [("bob", "bobby"), ("k", "\N{KELVIN SIGN}"), ("ß", "SS"), ("bob", "")]
)
def test_another_name_is_not(user: str, name: str) -> None:
    assert cert_refusal(known(user), tls(name)) == "TLS certificate name mismatch: it is /CN=x"


@pytest.mark.parametrize("user", ["a.example.com", "*.example.com"])
def test_a_name_with_a_star_is_no_users(user: str) -> None:
    assert "name mismatch" in cert_refusal(known(user), tls("*.example.com"))


def test_there_must_be_tls_and_a_certificate() -> None:
    assert cert_refusal(known("bob"), None) == "TLS connection required"
    assert cert_refusal(known("bob"), tls(subject=None)) == "TLS client certificate required"


def test_a_certificate_makes_no_user_known() -> None:
    assert cert_refusal(Credentials("bob"), tls("bob")) == "certificate authentication failed"


@pytest.mark.parametrize(
    ("name", "user"), [("ada", "postgres"), ("ADA", "bob"), ("root", "whoever")]
)
def test_a_map_leads_from_a_certificates_name_to_a_user(name: str, user: str) -> None:
    check_certificate(known(user), tls(name), STAFF)


def test_with_a_map_the_name_itself_does_not_count() -> None:
    reason = cert_refusal(known("ada"), tls("ada"), STAFF)
    assert reason == "ident map: staff does not have a match for /CN=x"


def test_peer_is_the_operating_systems_user() -> None:
    check_peer(known("bob"), "bob", None)


@pytest.mark.parametrize("os_user", ["eve", "BOB", ""])
def test_another_user_of_the_system_is_not(os_user: str) -> None:
    reason = peer_refusal(known("bob"), os_user)
    assert reason == f"peer: the operating system's user is {os_user}"


def test_who_is_unknown_to_the_system_is_nobody() -> None:
    assert peer_refusal(known("bob"), None).endswith("user is not known")


def test_the_system_makes_no_user_known() -> None:
    assert peer_refusal(Credentials("bob"), "bob") == "unix socket login rejected"


@pytest.mark.parametrize(("name", "user"), [("ada", "postgres"), ("ada", "bob"), ("root", "x")])
def test_a_map_leads_from_the_systems_user_to_a_user(name: str, user: str) -> None:
    check_peer(known(user), name, STAFF)


def test_a_user_that_the_map_does_not_lead_to_is_refused() -> None:
    reason = peer_refusal(known("ada"), "ada", STAFF)
    assert reason == "ident map staff cannot be matched for ada"
