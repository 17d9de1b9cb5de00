"""SASLprep, against secrets that PostgreSQL 17 stored for the same passwords."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.auth.saslprep import MAX_NORMALIZED_LEN, saslprep
from pgmux.auth.scram import Pbkdf2, derive_secret
from pgmux.auth.secrets import parse_secret

# fmt: off
STORED_BY_POSTGRESQL = {
    "pencil": "SCRAM-SHA-256$4096:yS+H/0+6MYHELyCdrVquDQ==$Uy+cpwzK3JTtXibQvYygmLmlA9Fatvf9Gr+64rsA5Co=:MEyoBuSnADv/SqDL7/c55TEXmyX5Q/JuV+QgStuBjiE=",  # noqa: E501
    "\u2168\u00aa\u00c5ngstro\u0308m": "SCRAM-SHA-256$4096:ckWwBJkov62/L+Rqo1XriA==$lzKkB7tVLo8HSrG8LemKfMoqY2UAb/TPgp9hzVY4Bp4=:Tiv9M173q3hjHfL0XMVD579nTZfcDGrmd1RdEQTqzmU=",  # noqa: E501
    "a\u00a0b\u00adc": "SCRAM-SHA-256$4096:SOyDxzWinSwiFlNQBhsa/Q==$t6mF61j4k6Za43idNrs+Qv6Qef9uOxK8qe6Eoyk9oeM=:aQYAG6bpzWkslNUxzfcI6NOjQKB4K5G9yWlLW5iTEck=",  # noqa: E501
    "x\u200by\u00e9": "SCRAM-SHA-256$4096:JuKJIkUlWpUYsMv1j8eZjg==$1TllSfOMlpohiNWQn3wxfTj9eu1dN1M9i83FWjgR56I=:hrfIixlTiJVQsyP9UphIOnJzdtdabL2SsouHLUbIcYk=",  # noqa: E501
    "a\u0007\u00e9": "SCRAM-SHA-256$4096:4Zeyha+uHPzxOQzWmL/low==$fFxWBJYx2UxdLSbuIoAaaNsBM+9WJqQRRuCNd6y6Pak=:TQMoCK9WyC5tcmV20eWON09JvvJ/OdSNxX6Xyn3fALU=",  # noqa: E501
    "\u06271": "SCRAM-SHA-256$4096:A7oNKfNoIbl29wa/3xAEyQ==$d2oB/viCJEzQefz6gpnf/Kr6gudDT3lxOxiKG5hwDm0=:zDDp+7i4DeChU8OEUxx7GWna4M+dzmXKkjUuqiWHJqY=",  # noqa: E501
    "\u0627\u0628": "SCRAM-SHA-256$4096:oCIFSzrFYpzPpk3941rVOg==$LJ3I1k7qHnNjJpahonYSPSw55Cy+x4qsAqVfwLZYJKE=:A9LB/zMrFRaymSowgUcARQ9ncTvWTTNDRfdoz4bRiLM=",  # noqa: E501
    "\u0221\u00e9": "SCRAM-SHA-256$4096:rO/u3CVpuvOZ94N8OgloEQ==$neErZwJTP5BTh93UicSeucd3VXQRLxuSGsO+EIxJY8k=:eDgf4HUGSvRG8L60p2oAPmUeQMD0gmM9WU4hEYLjcY4=",  # noqa: E501
    "\u00ad": "SCRAM-SHA-256$4096:0GJ6Wmw5e51MyZ3WNSfyAw==$c3+5dFHmQ/CiOEfk2ckyrZPUB8wlbQ323XK91SXI+W8=:cZftm/35oSQBa4Y/mBWtSx2jESM/CmiLUQqAnnDvVE0=",  # noqa: E501
    "n\u0340\u00e9": "SCRAM-SHA-256$4096:tKcXT2JOrcaN4UKcp8lIIw==$2wHbL0uXGZlduY8sH72TCgHeGBIezbnk7uSCuQxGMnI=:ORbuqd9JTUBMf9+BzrLlThMX56Rxx8gwLCS2lOVfgFc=",  # noqa: E501
}
# fmt: on


@pytest.mark.parametrize(("password", "stored"), STORED_BY_POSTGRESQL.items(), ids=ascii)
def test_a_password_leads_to_the_secret_that_postgresql_stored(password: str, stored: str) -> None:
    secret = parse_secret(stored).scram
    assert secret is not None
    salted = Pbkdf2(saslprep(password.encode()), secret.salt, secret.iterations).run()
    assert derive_secret(salted, secret.salt, secret.iterations) == secret


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", "IX"),  # RFC 4013, section 3
        ("user", "user"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u1680b", "a b"),
        ("\u0007", "\u0007"),  # prohibited, but ASCII isn't looked at
        ("\u06271", "\u06271"),  # not bidirectional text: as it is
        ("\u0627a\u0628", "\u0627a\u0628"),
        ("\ue000\u2168", "\ue000\u2168"),  # private use
    ],
    ids=ascii,
)
def test_a_password_is_mapped_normalised_or_left_alone(password: str, prepared: str) -> None:
    assert saslprep(password.encode()) == prepared.encode()


def test_bytes_that_are_not_utf8_are_left_alone() -> None:
    assert saslprep(b"caf\xe9") == b"caf\xe9"
    assert saslprep("\ud800".encode("utf-8", "surrogatepass")) == b"\xed\xa0\x80"


def test_a_long_run_of_combining_characters_is_not_normalised() -> None:
    hostile = ("a" + "\u0301\u0323" * 16_000).encode()
    assert saslprep(hostile) == hostile
    assert saslprep(b"\xc2\xaa" * (MAX_NORMALIZED_LEN // 2)) == b"a" * (MAX_NORMALIZED_LEN // 2)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_give_a_password_that_is_not_empty_unless_they_were(password: bytes) -> None:
    assert bool(saslprep(password)) == bool(password)
