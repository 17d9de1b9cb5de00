"""What the TLS settings ask for, and what of them can't be, without a look at any file."""

from __future__ import annotations

import pytest

from pgmux.config import apply_set
from pgmux.config.tls import TlsVersion, client_side, parse_protocols, server_side, tls_problems
from tests.unit.config.helpers import load

OLD, OLDER, TWO, THREE = TlsVersion.TLSV1_1, TlsVersion.TLSV1_0, TlsVersion.TLSV1_2, 0x0304


def problems(text: str) -> list[str]:
    return [str(problem) for problem in tls_problems(load("[pgbouncer]\n" + text).settings)]


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("", {TWO, THREE}),
        ("secure", {TWO, THREE}),
        ("Default", {TWO, THREE}),
        ("all", {OLDER, OLD, TWO, THREE}),
        ("tlsv1", {OLDER, OLD, TWO, THREE}),
        ("tlsv1.2,tlsv1.3", {TWO, THREE}),
        ("tlsv1.0: \ttlsv1.3", {OLDER, THREE}),
        ("!tlsv1.0", {OLD, TWO, THREE}),
        ("all,!tlsv1.3", {OLDER, OLD, TWO}),
        ("TLSv1.2", {TWO}),
    ],
)
def test_protocols_are_a_list_of_versions_and_words_for_several(
    text: str, versions: set[int]
) -> None:
    assert parse_protocols(text) == versions


@pytest.mark.parametrize("text", ["tlsv1.4", "sslv3", "tlsv1.2,", "tlsv1.2 ,tlsv1.3", "all,!all"])
def test_protocols_that_are_none_or_leave_none_are_refused_with_the_words_there_are(
    text: str,
) -> None:
    assert problems(f"server_tls_protocols = {text}\n") == [
        f"a.ini:2: invalid server_tls_protocols: {text} (a list of tlsv1.0, tlsv1.1, tlsv1.2 and"
        " tlsv1.3 is expected, or secure, or all)"
    ]


@pytest.mark.parametrize("word", ["default", "secure", "fast", "NORMAL", ""])
def test_four_words_stand_for_openssls_own_ciphers(word: str) -> None:
    settings = load(f"[pgbouncer]\nserver_tls_ciphers = {word}\n").settings
    assert server_side(settings).ciphers == ""


def test_all_ciphers_are_what_openssl_calls_so() -> None:
    settings = load("[pgbouncer]\nclient_tls_ciphers = all\n").settings
    assert client_side(settings).ciphers == "ALL"


def test_clients_tls_takes_a_certificate_and_a_key() -> None:
    assert problems("client_tls_key_file = /k\nclient_tls_sslmode = allow\n") == [
        "a.ini:3: To allow TLS connections from clients, client_tls_key_file and"
        " client_tls_cert_file must be set."
    ]


def test_verify_full_of_clients_takes_a_ca_and_verify_ca_does_with_the_systems() -> None:
    files = "client_tls_key_file = /k\nclient_tls_cert_file = /c\n"
    assert problems(files + "client_tls_sslmode = verify-ca\n") == []
    (problem,) = problems(files + "client_tls_sslmode = verify-full\n")
    assert problem.startswith("a.ini:4: client_tls_sslmode requires client_tls_ca_file")


def test_auth_type_cert_takes_verify_full() -> None:
    (problem,) = problems("auth_type = cert\n")
    assert problem.startswith(
        "a.ini:2: auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL"
    )


def test_dheparams_other_than_auto_and_none_are_refused() -> None:
    text = "client_tls_key_file = /k\nclient_tls_cert_file = /c\nclient_tls_sslmode = allow\n"
    assert problems(text + "client_tls_dheparams = legacy\n") == [
        "a.ini:5: invalid client_tls_dheparams: legacy (write auto or none)"
    ]


def test_a_key_towards_servers_takes_a_certificate() -> None:
    (problem,) = problems("server_tls_key_file = /k\n")
    assert "server_tls_key_file is set and server_tls_cert_file isn't" in problem


def test_nothing_is_wrong_with_what_a_side_without_tls_says() -> None:
    assert problems("server_tls_sslmode = disable\nserver_tls_protocols = nonsense\n") == []


def test_what_set_has_changed_stands_in_no_file() -> None:
    config = load("[pgbouncer]\nserver_tls_protocols = secure\n")
    config = apply_set(config, "server_tls_protocols", "nonsense")
    (problem,) = tls_problems(config.settings)
    assert (problem.file, problem.line) == ("", 0)
