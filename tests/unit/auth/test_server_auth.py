"""Our login to PostgreSQL: what each request is answered with, and what servers may not do."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.auth.client_auth import start_client_auth
from pgmux.auth.md5 import md5_response, md5_secret
from pgmux.auth.scram import (
    MAX_ITERATIONS,
    Pbkdf2,
    ScramKeys,
    ScramVerifier,
    derive_keys,
    derive_secret,
)
from pgmux.auth.secrets import Secret, parse_secret
from pgmux.auth.server_auth import MAX_SALTED_CACHE, SaltedCache, ServerAuth
from pgmux.auth.steps import AuthenticationFailed, Compute, Done, Send, Step
from pgmux.errors import LocalProtocolError, PoolerError

USER = "alice"
PASSWORD = b"pencil"
SALT = b"0123456789abcdef"
NONCE = "clientnonce"
ITERATIONS = 5
SALTED = Pbkdf2(PASSWORD, SALT, ITERATIONS).run()
SECRET = derive_secret(SALTED, SALT, ITERATIONS)
KEYS = derive_keys(SALTED, SALT, ITERATIONS)

PLAINTEXT = parse_secret(PASSWORD.decode())
MD5 = parse_secret(md5_secret(PASSWORD, USER.encode()).decode())
_PARTS = [base64.b64encode(part).decode() for part in (SALT, SECRET.stored_key, SECRET.server_key)]
SCRAM = parse_secret("SCRAM-SHA-256$5:{}${}:{}".format(*_PARTS))

OK = b"\0\0\0\0"
CLEARTEXT = b"\0\0\0\x03"
MD5_REQUEST = b"\0\0\0\x05abcd"
SASL = b"\0\0\0\x0aSCRAM-SHA-256\0\0"
CONTINUE = b"\0\0\0\x0b"
FINAL = b"\0\0\0\x0c"


def start(
    secret: Secret | None,
    keys: ScramKeys | None = None,
    cache: SaltedCache | None = None,
) -> ServerAuth:
    return ServerAuth(USER, secret, keys, NONCE, cache)


def body_of(step: Step) -> bytes:
    """The body of the 'p' message that a Send has, its length checked."""
    assert isinstance(step, Send)
    assert step.data[:1] == b"p"
    assert int.from_bytes(step.data[1:5], "big") == len(step.data) - 1
    return step.data[5:]


class ScramServer:
    """A PostgreSQL that knows SECRET."""

    def __init__(self, auth: ServerAuth) -> None:
        self.auth = auth
        self.computed = 0

    def challenge(self) -> Step:
        body = body_of(self.auth.on_authentication(SASL))
        mechanism, _, rest = body.partition(b"\0")
        assert mechanism == b"SCRAM-SHA-256"
        assert int.from_bytes(rest[:4], "big") == len(rest) - 4
        self.verifier = ScramVerifier("servernonce", rest[4:])
        return self.auth.on_authentication(CONTINUE + self.verifier.challenge(SECRET))

    def login(self) -> Step:
        step = self.challenge()
        if isinstance(step, Compute):
            self.computed += 1
            step = self.auth.on_computed(step.job.run())
        server_final, _ = self.verifier.verify(body_of(step))
        assert self.auth.on_authentication(FINAL + server_final) == Send(b"")
        return self.auth.on_authentication(OK)


def failure(auth: ServerAuth, *bodies: bytes) -> AuthenticationFailed:
    """What the last of these messages is refused with."""
    for body in bodies[:-1]:
        auth.on_authentication(body)
    with pytest.raises(AuthenticationFailed) as failed:
        auth.on_authentication(bodies[-1])
    return failed.value


# Logins that succeed


def test_a_server_that_trusts_us_is_logged_in_to_at_once() -> None:
    assert start(None).on_authentication(OK) == Done()


def test_a_password_is_sent_in_clear_where_asked_for() -> None:
    auth = start(PLAINTEXT)
    assert body_of(auth.on_authentication(CLEARTEXT)) == b"pencil\0"
    assert auth.on_authentication(OK) == Done()


@pytest.mark.parametrize("secret", [PLAINTEXT, MD5], ids=repr)
def test_md5_is_answered_from_a_password_and_from_an_md5_secret(secret: Secret) -> None:
    auth = start(secret)
    expected = md5_response(md5_secret(PASSWORD, USER.encode()), b"abcd")
    assert body_of(auth.on_authentication(MD5_REQUEST)) == expected + b"\0"
    assert auth.on_authentication(OK) == Done()


def test_scram_logs_in_with_a_password() -> None:
    server = ScramServer(start(PLAINTEXT))
    assert server.login() == Done()
    assert server.computed == 1


def test_scram_logs_in_with_the_keys_of_a_client_and_computes_nothing() -> None:
    server = ScramServer(start(SCRAM, KEYS))
    assert server.login() == Done()
    assert server.computed == 0


def test_the_keys_that_a_client_login_captures_log_in_to_the_server() -> None:
    client = start_client_auth(
        "scram-sha-256",
        USER,
        SCRAM,
        scram_iterations=4096,
        salt=SALT,
        nonce="poolernonce",
        mock_key=b"k",
        scram_cache={},
    )
    client.first()
    to_us = start(PLAINTEXT)  # plays the client, with the password
    challenge = client.on_password_message(body_of(to_us.on_authentication(SASL)))
    assert isinstance(challenge, Send)
    step = to_us.on_authentication(challenge.data[5:])
    assert isinstance(step, Compute)
    done = client.on_password_message(body_of(to_us.on_computed(step.job.run())))
    assert isinstance(done, Done)
    to_us.on_authentication(done.send[5:])
    assert to_us.on_authentication(OK) == Done()
    assert ScramServer(start(SCRAM, done.scram_keys)).login() == Done()


def test_a_password_is_normalised_for_scram() -> None:
    auth = start(parse_secret("\u2168"))
    body_of(auth.on_authentication(SASL))
    step = auth.on_authentication(CONTINUE + b"r=clientnoncex,s=AAAA,i=1")
    assert step == Compute(Pbkdf2(b"IX", b"\0\0\0", 1))


def test_scram_is_picked_among_other_mechanisms() -> None:
    auth = start(PLAINTEXT)
    offer = b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0OAUTHBEARER\0SCRAM-SHA-256\0\0"
    assert body_of(auth.on_authentication(offer)).startswith(b"SCRAM-SHA-256\0")


def test_the_next_connection_computes_nothing() -> None:
    cache: SaltedCache = {}
    first, second = (
        ScramServer(start(PLAINTEXT, cache=cache)),
        ScramServer(start(PLAINTEXT, cache=cache)),
    )
    assert (first.login(), second.login()) == (Done(), Done())
    assert (first.computed, second.computed) == (1, 0)
    assert ScramServer(start(parse_secret("crayon"), cache=cache)).challenge() != Send(b"")
    assert len(cache) == 1


def test_a_server_with_ever_new_salts_does_not_grow_the_cache() -> None:
    cache: SaltedCache = {}
    for number in range(MAX_SALTED_CACHE + 10):
        auth = start(PLAINTEXT, cache=cache)
        auth.on_authentication(SASL)
        salt = base64.b64encode(number.to_bytes(16, "big"))
        auth.on_authentication(CONTINUE + b"r=clientnoncex,s=%b,i=1" % salt)
        auth.on_computed(b"x" * 32)
    assert len(cache) <= MAX_SALTED_CACHE


def test_a_missing_password_is_sent_as_an_empty_one_for_the_server_to_refuse() -> None:
    assert body_of(start(None).on_authentication(CLEARTEXT)) == b"\0"
    expected = md5_response(md5_secret(b"", USER.encode()), b"abcd")
    assert body_of(start(None).on_authentication(MD5_REQUEST)) == expected + b"\0"
    step = ScramServer(start(None)).challenge()
    assert step == Compute(Pbkdf2(b"", SALT, ITERATIONS))


def test_keys_go_before_an_empty_password_and_a_password_before_keys() -> None:
    assert isinstance(ScramServer(start(None, KEYS)).challenge(), Send)
    assert isinstance(ScramServer(start(parse_secret(""), KEYS)).challenge(), Send)
    assert isinstance(ScramServer(start(PLAINTEXT, KEYS)).challenge(), Compute)


# Logins that can't succeed

WRONG_TYPE = "server login failed: wrong password type"


def test_a_scram_secret_without_keys_is_no_password_for_scram() -> None:
    error = failure(start(SCRAM), SASL)
    assert error.message == WRONG_TYPE
    assert error.reason == (
        "cannot do SCRAM authentication: password is SCRAM secret but client authentication "
        "did not provide SCRAM keys"
    )


def test_an_md5_secret_is_no_password_for_scram() -> None:
    error = failure(start(MD5), SASL)
    assert error.message == WRONG_TYPE
    assert error.reason == "cannot do SCRAM authentication: wrong password type"


def test_a_scram_secret_is_no_password_for_md5() -> None:
    error = failure(start(SCRAM, KEYS), MD5_REQUEST)
    assert error.message == WRONG_TYPE
    assert error.reason == "cannot do MD5 authentication: wrong password type"


@pytest.mark.parametrize("secret", [MD5, SCRAM], ids=repr)
def test_a_stored_hash_is_never_sent_in_clear(secret: Secret) -> None:
    assert failure(start(secret, KEYS), CLEARTEXT).message == WRONG_TYPE


@pytest.mark.parametrize(
    "keys",
    [
        ScramKeys(KEYS.client_key, KEYS.server_key, b"another salt", ITERATIONS),
        ScramKeys(KEYS.client_key, KEYS.server_key, SALT, ITERATIONS + 1),
    ],
)
def test_keys_of_another_secret_than_the_servers_are_not_used(keys: ScramKeys) -> None:
    with pytest.raises(AuthenticationFailed) as failed:
        ScramServer(start(SCRAM, keys)).challenge()
    assert failed.value.message == WRONG_TYPE
    assert "salt or iteration count" in failed.value.reason


def test_a_server_without_our_mechanism_is_named() -> None:
    error = failure(start(PLAINTEXT), b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0")
    assert error.message == (
        "server login failed: none of the server's SASL authentication mechanisms are supported"
    )


@pytest.mark.parametrize("code", [2, 6, 7, 8, 9, 13, 2**31, 2**32 - 1])
def test_other_methods_are_named_by_their_number(code: int) -> None:
    error = failure(start(PLAINTEXT), code.to_bytes(4, "big"))
    assert error.message == f"unknown/unsupported auth method: {code}"


def test_a_password_with_a_nul_byte_is_not_sent() -> None:
    assert failure(start(parse_secret("pen\0cil")), CLEARTEXT).message == WRONG_TYPE


# Servers that lie


def test_a_wrong_signature_is_refused() -> None:
    server = ScramServer(start(SCRAM, KEYS))
    server.challenge()
    error = failure(server.auth, FINAL + b"v=" + base64.b64encode(b"x" * 32))
    assert error.message == "server login failed: invalid server signature"
    assert error.reason == "invalid server signature"


@pytest.mark.parametrize("final", [b"", b"v=", b"v=AAAA", b"e=other-error", b"v=\xff"])
def test_a_malformed_signature_is_refused(final: bytes) -> None:
    server = ScramServer(start(SCRAM, KEYS))
    server.challenge()
    error = failure(server.auth, FINAL + final)
    assert error.message == "server login failed: failed to verify server signature"


def test_a_server_that_skips_its_signature_is_refused() -> None:
    assert "protocol error" in failure(start(PLAINTEXT), SASL, OK).message
    server = ScramServer(start(SCRAM, KEYS))
    server.challenge()
    assert "protocol error" in failure(server.auth, OK).message


@pytest.mark.parametrize(
    "bodies",
    [
        (CLEARTEXT, CLEARTEXT),
        (MD5_REQUEST, MD5_REQUEST),
        (MD5_REQUEST, CLEARTEXT),
        (SASL, SASL),
        (SASL, CLEARTEXT),
        (SASL, FINAL + b"v="),
        (CONTINUE + b"r=",),
        (FINAL + b"v=",),
        (OK, OK),
    ],
)
def test_requests_out_of_turn_are_refused(bodies: tuple[bytes, ...]) -> None:
    assert "protocol error" in failure(start(PLAINTEXT), *bodies).reason


def test_a_request_while_computing_is_refused() -> None:
    server = ScramServer(start(PLAINTEXT))
    assert isinstance(server.challenge(), Compute)
    failure(server.auth, OK)


def test_an_iteration_count_beyond_the_bound_is_not_computed() -> None:
    challenge = CONTINUE + b"r=clientnoncex,s=AAAA,i=%d" % (MAX_ITERATIONS + 1)
    error = failure(start(PLAINTEXT), SASL, challenge)
    assert error.message.startswith("server login failed: SCRAM iteration count")


def test_another_nonce_than_ours_is_refused() -> None:
    error = failure(start(PLAINTEXT), SASL, CONTINUE + b"r=clientnonc,s=AAAA,i=1")
    assert error.reason == "invalid SCRAM response (nonce mismatch)"


def test_an_overlong_challenge_is_refused() -> None:
    challenge = CONTINUE + b"r=clientnonce" + b"x" * 2000 + b",s=AAAA,i=1"
    assert "protocol error" in failure(start(PLAINTEXT), SASL, challenge).reason


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0", b"\0\0\0\x05abc", b"\0\0\0\x05abcde"])
def test_a_malformed_request_is_refused(body: bytes) -> None:
    failure(start(PLAINTEXT), body)


@pytest.mark.parametrize("offer", [b"", b"SCRAM-SHA-256", b"SCRAM-SHA-256\0", b"\0\0"])
def test_a_malformed_list_of_mechanisms_is_refused(offer: bytes) -> None:
    failure(start(PLAINTEXT), b"\0\0\0\x0a" + offer)


def test_an_unasked_computation_is_the_callers_bug() -> None:
    with pytest.raises(LocalProtocolError):
        start(PLAINTEXT).on_computed(b"x" * 32)


PIECES = st.sampled_from(
    (
        *(SASL, CONTINUE, FINAL, OK, CLEARTEXT, MD5_REQUEST),
        *(b"r=clientnoncex", b",s=AAAA", b",i=1", b",i=99999999999", b"v=", b"e="),
        *(b"A" * 43 + b"=", b"\0", b"\xff"),
    )
)
BODIES = st.binary(max_size=100) | st.lists(PIECES, max_size=5).map(b"".join)
SECRETS = st.sampled_from([PLAINTEXT, MD5, SCRAM, None])


@given(SECRETS, st.sampled_from([KEYS, None]), st.lists(BODIES, min_size=1, max_size=5))
def test_hostile_bodies_raise_only_pooler_errors(
    secret: Secret | None, keys: ScramKeys | None, bodies: list[bytes]
) -> None:
    auth = start(secret, keys)
    for body in bodies:
        try:
            step = auth.on_authentication(body)
            if isinstance(step, Compute):
                step = auth.on_computed(step.job.run())
        except PoolerError:
            continue
        assert isinstance(step, Send | Done)
