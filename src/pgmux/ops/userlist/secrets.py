"""Stored secrets made of passwords, here: PostgreSQL never sees the password.

Source: PostgreSQL's "SASL Authentication" and pg_authid; SASLprep as there (`auth.saslprep`).
"""

from __future__ import annotations

import binascii
import hmac
import secrets

from pgmux.auth.md5 import md5_secret
from pgmux.auth.saslprep import saslprep
from pgmux.auth.scram import Pbkdf2, ScramError, ScramSecret, derive_secret
from pgmux.auth.secrets import SecretKind, encode_text, parse_secret

ITERATIONS = 4096  # PostgreSQL's default of scram_iterations
SALT_LEN = 16
PASSWORD_BYTES = 24  # of which random passwords are made: 32 characters


def random_password() -> str:
    """Letters, digits, - and _: nothing that a file or a URL would have to escape."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def make_secret(user: str, password: str, kind: SecretKind) -> str:
    """What is stored for this password. Raises: ValueError for one that can't stand as it is."""
    if kind is SecretKind.SCRAM:
        return scram_text(_derive(password, secrets.token_bytes(SALT_LEN), ITERATIONS))
    if kind is SecretKind.MD5:
        return md5_secret(encode_text(password), encode_text(user)).decode()
    if not is_plain(password):
        raise ValueError("a password that looks like a verifier can't stand there in clear")
    return password


def is_plain(text: str) -> bool:
    """Whether a pooler takes this for a password in clear, and there is one."""
    return bool(text) and parse_secret(text).kind is SecretKind.PLAINTEXT


def scram_text(secret: ScramSecret) -> str:
    """As PostgreSQL stores it."""
    salt, stored, server = (
        binascii.b2a_base64(part, newline=False).decode()
        for part in (secret.salt, secret.stored_key, secret.server_key)
    )
    return f"SCRAM-SHA-256${secret.iterations}:{salt}${stored}:{server}"


def is_password_of(stored: str, user: str, password: str) -> bool:
    """Whether it is the password that this stored secret has been made of."""
    secret = parse_secret(stored)
    if secret.scram is not None:
        try:
            made = _derive(password, secret.scram.salt, secret.scram.iterations)
        except ScramError:  # more iterations than anybody would wait for
            return False
        return hmac.compare_digest(made.stored_key, secret.scram.stored_key)
    if secret.kind is SecretKind.MD5:
        return hmac.compare_digest(
            secret.text, md5_secret(encode_text(password), encode_text(user))
        )
    return not secret.is_empty and hmac.compare_digest(secret.text, encode_text(password))


def _derive(password: str, salt: bytes, iterations: int) -> ScramSecret:
    salted = Pbkdf2(saslprep(encode_text(password)), salt, iterations).run()
    return derive_secret(salted, salt, iterations)
