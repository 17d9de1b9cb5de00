"""Stored secrets: told apart as PgBouncer does, and never shown."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.auth.md5 import md5_response, md5_secret
from pgmux.auth.secrets import SecretKind, parse_secret

STORED_KEY = base64.b64encode(b"s" * 32).decode()
SERVER_KEY = base64.b64encode(b"v" * 32).decode()
SALT = base64.b64encode(b"0123456789abcdef").decode()
SCRAM = f"SCRAM-SHA-256$4096:{SALT}${STORED_KEY}:{SERVER_KEY}"


def test_a_scram_secret_is_taken_apart() -> None:
    secret = parse_secret(SCRAM)
    assert secret.kind is SecretKind.SCRAM
    assert secret.scram is not None
    assert (secret.scram.iterations, secret.scram.salt) == (4096, b"0123456789abcdef")
    assert (secret.scram.stored_key, secret.scram.server_key) == (b"s" * 32, b"v" * 32)


def test_a_salt_of_32_bytes_works() -> None:
    salt = base64.b64encode(bytes(range(32))).decode()
    secret = parse_secret(SCRAM.replace(SALT, salt))
    assert secret.scram is not None
    assert secret.scram.salt == bytes(range(32))


def test_md5_and_35_characters_is_an_md5_secret() -> None:
    assert parse_secret("md5" + "0123456789abcdef" * 2).kind is SecretKind.MD5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "md5",
        "md5" + "0" * 31,
        "md5" + "0" * 33,
        "md5" + "A" * 32,
        "SCRAM-SHA-256$",
        SCRAM.replace("4096", "0"),
        SCRAM.replace("4096", "-1"),
        SCRAM.replace("4096", "4096x"),
        SCRAM.replace("4096", "99999999999999999999"),
        SCRAM.replace("4096", "2147483648"),
        SCRAM.replace("SHA-256", "SHA-1"),
        SCRAM.replace(SALT, "!!!!"),
        SCRAM.replace(SALT, ""),
        SCRAM.replace(STORED_KEY, base64.b64encode(b"s" * 31).decode()),
        SCRAM.replace(SERVER_KEY, base64.b64encode(b"s" * 33).decode()),
        SCRAM.replace(SERVER_KEY, SERVER_KEY[:-1]),
        SCRAM + ":",
        SCRAM + "\n",
        SCRAM.replace(SALT, "äää="),
    ],
)
def test_anything_else_is_a_password(text: str) -> None:
    secret = parse_secret(text)
    assert secret.kind is SecretKind.PLAINTEXT
    assert secret.text == text.encode()
    assert secret.scram is None


@given(st.text())
def test_every_text_is_some_secret_and_keeps_its_bytes(text: str) -> None:
    assert parse_secret(text).text == text.encode()


def test_bytes_that_are_not_utf8_come_back_as_they_were() -> None:
    assert parse_secret(b"caf\xe9".decode("utf-8", "surrogateescape")).text == b"caf\xe9"


@pytest.mark.parametrize("text", ["hunter2", "md5" + "0123456789abcdef" * 2, SCRAM])
def test_a_secret_is_not_in_its_repr(text: str) -> None:
    shown = repr(parse_secret(text)) + str(parse_secret(text))
    for part in (text, "hunter2", "0123456789abcdef", STORED_KEY, "ssss", "vvvv"):
        assert part not in shown


def test_only_the_empty_secret_is_empty() -> None:
    assert parse_secret("").is_empty
    assert not parse_secret("md5").is_empty


def test_md5_is_what_postgresql_stores_and_libpq_sends() -> None:
    # ALTER ROLE u_md5 PASSWORD 'pencil' with password_encryption = md5 on PostgreSQL 17.
    stored = md5_secret(b"pencil", b"u_md5")
    assert stored == b"md56520b9e6d1360465923cccaa4a18e5f0"
    response = md5_response(stored, b"\x01\x02\x03\x04")
    assert response == b"md57e9b31d35ec4b9a238581e1a6109e467"
