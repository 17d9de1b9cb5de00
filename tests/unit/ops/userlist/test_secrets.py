"""Secrets made of passwords."""

from __future__ import annotations

import pytest

from pgmux.auth.secrets import SecretKind, parse_secret
from pgmux.ops.userlist.secrets import is_password_of, is_plain, make_secret, random_password

# RFC 7677's example, as PostgreSQL stores it.
PENCIL = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


@pytest.mark.parametrize("kind", SecretKind)
@pytest.mark.parametrize("password", ["pencil", "sp ace", "ä\u00ad\u2168", "x" * 300, "\udcff"])
def test_a_secret_is_of_its_kind_and_of_its_password(kind: SecretKind, password: str) -> None:
    secret = make_secret("ada", password, kind)
    assert parse_secret(secret).kind is kind
    assert is_password_of(secret, "ada", password)
    assert not is_password_of(secret, "ada", password + "x")


def test_a_verifier_of_postgresql_is_recognised() -> None:
    assert is_password_of(PENCIL, "anybody", "pencil")
    assert not is_password_of(PENCIL, "anybody", "Pencil")


def test_two_verifiers_of_a_password_differ() -> None:
    assert make_secret("a", "b", SecretKind.SCRAM) != make_secret("a", "b", SecretKind.SCRAM)
    assert random_password() != random_password()


def test_what_looks_like_a_verifier_is_no_password_in_clear() -> None:
    assert is_plain("md5 or so")
    assert not is_plain("")
    assert not is_plain(PENCIL)
    with pytest.raises(ValueError, match="looks like a verifier"):
        make_secret("a", "md5" + "0" * 32, SecretKind.PLAINTEXT)


def test_no_secret_is_of_no_password() -> None:
    assert not is_password_of("", "a", "")
    expensive = PENCIL.replace("$4096", "$2000000000")
    assert not is_password_of(expensive, "a", "pencil")
