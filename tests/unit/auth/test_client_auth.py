"""Our exchange with a client that logs in: every auth_type with every kind of secret."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.auth.client_auth import ClientAuth, ScramCache, start_client_auth
from pgmux.auth.md5 import md5_response, md5_secret
from pgmux.auth.scram import (
    MAX_ITERATIONS,
    Pbkdf2,
    ScramKeys,
    ScramProver,
    derive_keys,
    derive_secret,
    parse_server_first,
)
from pgmux.auth.secrets import Secret, parse_secret
from pgmux.auth.steps import AuthenticationFailed, Compute, Done, Send, Step
from pgmux.errors import LocalProtocolError, PoolerError

USER = "alice"
PASSWORD = b"pencil"
SALT = b"0123456789abcdef"
STORED_SALT = b"fedcba9876543210"
NONCE = "servernonce"
MOCK_KEY = b"k" * 32
ITERATIONS = 7
STORED_ITERATIONS = 5

PLAINTEXT = parse_secret(PASSWORD.decode())
MD5 = parse_secret(md5_secret(PASSWORD, USER.encode()).decode())
EMPTY = parse_secret("")
SALTED = Pbkdf2(PASSWORD, STORED_SALT, STORED_ITERATIONS).run()


def scram_text(iterations: int = STORED_ITERATIONS) -> str:
    secret = derive_secret(SALTED, STORED_SALT, iterations)
    salt, stored, server = (
        base64.b64encode(part).decode()
        for part in (secret.salt, secret.stored_key, secret.server_key)
    )
    return f"SCRAM-SHA-256${iterations}:{salt}${stored}:{server}"


SCRAM = parse_secret(scram_text())
PASSWORD_TYPES = ("plain", "md5", "scram-sha-256")


def start(
    auth_type: str,
    secret: Secret | None,
    *,
    user: str = USER,
    cache: ScramCache | None = None,
    iterations: int = ITERATIONS,
    mock_key: bytes = MOCK_KEY,
) -> ClientAuth:
    return start_client_auth(
        auth_type,
        user,
        secret,
        scram_iterations=iterations,
        salt=SALT,
        nonce=NONCE,
        mock_key=mock_key,
        scram_cache={} if cache is None else cache,
    )


def compute(auth: ClientAuth, step: Step) -> Step:
    """Run the job of a Compute; other steps are as they are."""
    return auth.on_computed(step.job.run()) if isinstance(step, Compute) else step


def body_of(step: Step, message_type: bytes = b"R") -> bytes:
    """The body of the one message that a Send has, its length checked."""
    assert isinstance(step, Send)
    assert step.data[:1] == message_type
    assert int.from_bytes(step.data[1:5], "big") == len(step.data) - 1
    return step.data[5:]


def initial_response(data: bytes, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
    return mechanism + b"\0" + len(data).to_bytes(4, "big") + data


class ScramClient:
    """A client that logs in with a password, or with keys, and keeps what it has seen."""

    def __init__(self, auth: ClientAuth, password: bytes = PASSWORD) -> None:
        self.auth = auth
        self.password = password
        self.challenge = b""

    def login(self, keys: ScramKeys | None = None) -> Done:
        assert body_of(self.auth.first()) == b"\0\0\0\x0aSCRAM-SHA-256\0\0"
        prover = ScramProver("clientnonce")
        first = self.auth.on_password_message(initial_response(prover.client_first()))
        body = body_of(compute(self.auth, first))
        assert body[:4] == b"\0\0\0\x0b"
        self.challenge = body[4:]
        challenge = prover.on_server_first(self.challenge)
        if keys is None:
            salted = Pbkdf2(self.password, challenge.salt, challenge.iterations).run()
            keys = derive_keys(salted, challenge.salt, challenge.iterations)
        done = self.auth.on_password_message(prover.prove(keys))
        assert isinstance(done, Done)
        final = body_of(Send(done.send))
        assert final[:4] == b"\0\0\0\x0c"
        prover.on_server_final(final[4:])
        return done


def login(auth_type: str, secret: Secret | None, password: bytes = PASSWORD) -> Done:
    """A whole login by a client that answers whatever it is asked."""
    auth = start(auth_type, secret)
    body = body_of(auth.first())
    if body[:4] == b"\0\0\0\x0a":
        return ScramClient(start(auth_type, secret), password).login()
    if body[:4] == b"\0\0\0\x05":
        assert body[4:] == SALT[:4]
        password = md5_response(md5_secret(password, USER.encode()), body[4:])
    else:
        assert body == b"\0\0\0\x03"
    done = compute(auth, auth.on_password_message(password + b"\0"))
    assert isinstance(done, Done)
    return done


def refusal(auth_type: str, secret: Secret | None, password: bytes = PASSWORD) -> str:
    """The text of a login that fails."""
    with pytest.raises(AuthenticationFailed) as failed:
        login(auth_type, secret, password)
    assert failed.value.fatal
    assert failed.value.sqlstate == "08P01"
    return failed.value.message


FAILED = "password authentication failed"
SASL_FAILED = "SASL authentication failed"


# any and trust


@pytest.mark.parametrize("secret", [PLAINTEXT, MD5, SCRAM, EMPTY, None], ids=repr)
def test_any_lets_everybody_in_unasked(secret: Secret | None) -> None:
    assert start("any", secret).first() == Done()


@pytest.mark.parametrize("secret", [PLAINTEXT, MD5, SCRAM, EMPTY], ids=repr)
def test_trust_lets_a_known_user_in_unasked(secret: Secret) -> None:
    assert start("trust", secret).first() == Done()


def test_trust_refuses_an_unknown_user() -> None:
    with pytest.raises(AuthenticationFailed) as failed:
        start("trust", None).first()
    assert failed.value.message == '"trust" authentication failed'


def test_an_auth_type_without_a_password_exchange_is_a_bug() -> None:
    with pytest.raises(LocalProtocolError, match="cert"):
        start("cert", PLAINTEXT)


# Who gets in


@pytest.mark.parametrize("secret", [PLAINTEXT, MD5, SCRAM], ids=repr)
def test_plain_takes_the_password_for_any_kind_of_secret_and_knows_it_then(secret: Secret) -> None:
    assert login("plain", secret) == Done(password="pencil")


@pytest.mark.parametrize("secret", [PLAINTEXT, MD5], ids=repr)
def test_md5_takes_the_password_for_plaintext_and_md5_secrets(secret: Secret) -> None:
    assert login("md5", secret) == Done()


def test_md5_becomes_scram_where_the_secret_is_one() -> None:
    assert body_of(start("md5", SCRAM).first()) == b"\0\0\0\x0aSCRAM-SHA-256\0\0"
    assert login("md5", SCRAM).scram_keys is not None


def test_scram_captures_the_keys_of_a_scram_secret() -> None:
    keys = login("scram-sha-256", SCRAM).scram_keys
    assert keys == derive_keys(SALTED, STORED_SALT, STORED_ITERATIONS)


def test_scram_with_a_plaintext_secret_has_no_keys_worth_keeping() -> None:
    assert login("scram-sha-256", PLAINTEXT).scram_keys is None


def test_a_client_may_log_in_with_keys_and_without_the_password() -> None:
    keys = derive_keys(SALTED, STORED_SALT, STORED_ITERATIONS)
    done = ScramClient(start("scram-sha-256", SCRAM), b"unknown").login(keys)
    assert done.scram_keys == keys


def test_scram_with_an_md5_secret_fails_as_with_pgbouncer() -> None:
    with pytest.raises(AuthenticationFailed) as failed:
        login("scram-sha-256", MD5)
    assert failed.value.message == SASL_FAILED
    assert failed.value.reason == "SCRAM authentication failed: user has MD5 secret"


def test_a_password_is_normalised_on_both_sides_of_scram() -> None:
    secret = parse_secret("\u2168\u00aa")
    assert ScramClient(start("scram-sha-256", secret), b"IXa").login().scram_keys is None


def test_plain_normalises_the_password_for_a_scram_secret() -> None:
    salted = Pbkdf2(b"IX", STORED_SALT, 3).run()
    made = derive_secret(salted, STORED_SALT, 3)
    parts = (base64.b64encode(part).decode() for part in (made.stored_key, made.server_key))
    salt = base64.b64encode(STORED_SALT).decode()
    secret = parse_secret(f"SCRAM-SHA-256$3:{salt}${':'.join(parts)}")
    assert login("plain", secret, "\u2168".encode()) == Done(password="\u2168")


def test_a_password_that_is_not_utf8_works() -> None:
    secret = parse_secret(b"caf\xe9".decode("utf-8", "surrogateescape"))
    for auth_type in PASSWORD_TYPES:
        login(auth_type, secret, b"caf\xe9")


# Who doesn't


@pytest.mark.parametrize("secret", [PLAINTEXT, MD5, SCRAM, EMPTY, None], ids=repr)
@pytest.mark.parametrize("auth_type", PASSWORD_TYPES)
def test_the_wrong_password_is_refused(auth_type: str, secret: Secret | None) -> None:
    is_sasl = auth_type == "scram-sha-256" or (auth_type == "md5" and secret is SCRAM)
    assert refusal(auth_type, secret, b"crayon") == (SASL_FAILED if is_sasl else FAILED)


@pytest.mark.parametrize("password", [PASSWORD, b"md5", b"x"])
@pytest.mark.parametrize("auth_type", PASSWORD_TYPES)
def test_no_password_opens_an_empty_secret_or_an_unknown_user(
    auth_type: str, password: bytes
) -> None:
    text = SASL_FAILED if auth_type == "scram-sha-256" else FAILED
    assert refusal(auth_type, EMPTY, password) == text
    assert refusal(auth_type, None, password) == text


def test_an_empty_password_does_not_open_an_empty_secret_by_scram_or_md5() -> None:
    assert refusal("scram-sha-256", EMPTY, b"") == SASL_FAILED
    assert refusal("md5", EMPTY, b"") == FAILED


@pytest.mark.parametrize("secret", [PLAINTEXT, EMPTY, None], ids=repr)
@pytest.mark.parametrize("auth_type", ["plain", "md5"])
def test_an_empty_answer_is_refused_by_name(auth_type: str, secret: Secret | None) -> None:
    auth = start(auth_type, secret)
    auth.first()
    with pytest.raises(AuthenticationFailed) as failed:
        auth.on_password_message(b"\0")
    assert failed.value.message == "empty password returned by client"


def test_the_stored_hash_is_no_password() -> None:
    assert refusal("plain", MD5, MD5.text) == FAILED
    assert refusal("plain", SCRAM, SCRAM.text) == FAILED


def test_a_server_key_alone_does_not_log_in() -> None:
    keys = derive_keys(SALTED, STORED_SALT, STORED_ITERATIONS)
    stolen = ScramKeys(keys.server_key, keys.server_key, keys.salt, keys.iterations)
    with pytest.raises(AuthenticationFailed):
        ScramClient(start("scram-sha-256", SCRAM)).login(stolen)


def test_a_stored_iteration_count_beyond_the_bound_is_not_computed() -> None:
    auth = start("plain", parse_secret(scram_text(MAX_ITERATIONS + 1)))
    auth.first()
    with pytest.raises(AuthenticationFailed) as failed:
        auth.on_password_message(b"pencil\0")
    assert failed.value.message == FAILED
    assert "iteration count" in failed.value.reason


# What a refusal gives away


def test_plain_computes_once_for_every_refusal() -> None:
    for secret in (PLAINTEXT, MD5, SCRAM, EMPTY, None):
        auth = start("plain", secret)
        auth.first()
        assert isinstance(auth.on_password_message(b"crayon\0"), Compute)


def mock_challenge(user: str, secret: Secret | None, mock_key: bytes = MOCK_KEY) -> bytes:
    client = ScramClient(start("scram-sha-256", secret, user=user, mock_key=mock_key), b"crayon")
    with pytest.raises(AuthenticationFailed) as failed:
        client.login()
    assert failed.value.message == SASL_FAILED
    assert failed.value.reason == FAILED
    return client.challenge


def test_an_unknown_user_gets_the_same_salt_every_time() -> None:
    assert mock_challenge("nobody", None) == mock_challenge("nobody", None)
    assert mock_challenge("nobody", None) != mock_challenge("somebody", None)
    assert mock_challenge("nobody", None) != mock_challenge("nobody", None, b"another process")


def test_unknown_users_and_plaintext_secrets_get_the_same_challenge() -> None:
    challenge = parse_server_first(mock_challenge("nobody", None))
    assert (len(challenge.salt), challenge.iterations) == (16, ITERATIONS)
    assert mock_challenge("nobody", PLAINTEXT) == mock_challenge("nobody", None)
    assert mock_challenge("nobody", EMPTY) == mock_challenge("nobody", None)


def test_unknown_users_do_not_fill_the_cache() -> None:
    cache: ScramCache = {}
    with pytest.raises(AuthenticationFailed):
        ScramClient(start("scram-sha-256", None, cache=cache)).login()
    assert cache == {}


# The work for plaintext secrets


def first_response(auth: ClientAuth) -> Step:
    auth.first()
    return auth.on_password_message(initial_response(b"n,,n=,r=abc"))


def test_a_plaintext_secret_is_computed_once_for_all_logins() -> None:
    cache: ScramCache = {}
    ScramClient(start("scram-sha-256", PLAINTEXT, cache=cache)).login()
    auth = start("scram-sha-256", PLAINTEXT, cache=cache)
    assert isinstance(first_response(auth), Send)
    ScramClient(start("scram-sha-256", PLAINTEXT, cache=cache)).login()


def test_logins_of_one_user_ask_for_equal_jobs() -> None:
    first, second = (first_response(start("scram-sha-256", PLAINTEXT)) for _ in range(2))
    assert first == second
    assert first != first_response(start("scram-sha-256", PLAINTEXT, user="bob"))


def test_a_changed_password_or_iteration_count_is_computed_anew() -> None:
    cache: ScramCache = {}
    ScramClient(start("scram-sha-256", PLAINTEXT, cache=cache)).login()
    changed = parse_secret("crayon")
    assert isinstance(first_response(start("scram-sha-256", changed, cache=cache)), Compute)
    with pytest.raises(AuthenticationFailed):
        ScramClient(start("scram-sha-256", changed, cache=cache)).login()
    ScramClient(start("scram-sha-256", changed, cache=cache), b"crayon").login()
    auth = start("scram-sha-256", changed, cache=cache, iterations=ITERATIONS + 1)
    assert isinstance(first_response(auth), Compute)


# Malformed messages, and messages out of turn


@pytest.mark.parametrize("auth_type", ["plain", "md5"])
@pytest.mark.parametrize(
    "body", [b"", b"pencil", b"pen\0cil\0", b"pencil\0\0", b"x" * 65535 + b"\0"]
)
def test_a_malformed_password_message_is_refused(auth_type: str, body: bytes) -> None:
    auth = start(auth_type, PLAINTEXT)
    auth.first()
    with pytest.raises(AuthenticationFailed) as failed:
        auth.on_password_message(body)
    assert failed.value.message == FAILED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"SCRAM-SHA-256",
        b"SCRAM-SHA-256\0",
        b"SCRAM-SHA-256\0\0\0\0",
        b"SCRAM-SHA-256\0\xff\xff\xff\xff",
        b"SCRAM-SHA-256\0\x80\0\0\0",
        b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,n=,r=abc",
        b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=ab",
        b"SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=abc",
        initial_response(b""),
        initial_response(b"n,,n=,r=" + b"x" * 1024),
    ],
)
def test_a_malformed_sasl_initial_response_is_refused(body: bytes) -> None:
    auth = start("scram-sha-256", SCRAM)
    auth.first()
    with pytest.raises(AuthenticationFailed) as failed:
        auth.on_password_message(body)
    assert failed.value.message == SASL_FAILED


@pytest.mark.parametrize("mechanism", [b"SCRAM-SHA-256-PLUS", b"scram-sha-256", b"", b"\xff"])
def test_another_mechanism_is_refused_by_name(mechanism: bytes) -> None:
    auth = start("scram-sha-256", SCRAM)
    auth.first()
    with pytest.raises(AuthenticationFailed) as failed:
        auth.on_password_message(initial_response(b"n,,n=,r=abc", mechanism))
    assert failed.value.message == "client selected an invalid SASL authentication mechanism"


def test_required_channel_binding_is_named_in_the_log_only() -> None:
    auth = start("scram-sha-256", SCRAM)
    auth.first()
    with pytest.raises(AuthenticationFailed) as failed:
        auth.on_password_message(initial_response(b"p=tls-unique,,n=,r=abc"))
    assert failed.value.message == SASL_FAILED
    assert failed.value.reason == 'unsupported SCRAM channel-binding type "tls-unique"'


def test_an_overlong_nonce_in_the_proof_is_refused() -> None:
    auth = start("scram-sha-256", SCRAM)
    first_response(auth)
    with pytest.raises(AuthenticationFailed) as failed:
        auth.on_password_message(b"c=biws,r=abc" + b"x" * 100_000 + b",p=AAAA")
    assert failed.value.message == SASL_FAILED


def test_a_second_password_message_while_computing_is_refused() -> None:
    auth = start("scram-sha-256", PLAINTEXT)
    assert isinstance(first_response(auth), Compute)
    with pytest.raises(AuthenticationFailed):
        auth.on_password_message(initial_response(b"n,,n=,r=abc"))
    auth = start("plain", SCRAM)
    auth.on_password_message(b"pencil\0")
    with pytest.raises(AuthenticationFailed):
        auth.on_password_message(b"pencil\0")


def test_a_failed_exchange_can_not_be_gone_on_with() -> None:
    auth = start("scram-sha-256", SCRAM)
    auth.first()
    for body in (b"", initial_response(b"n,,n=,r=abc")):
        with pytest.raises(AuthenticationFailed):
            auth.on_password_message(body)


def test_an_unasked_password_message_is_the_callers_bug() -> None:
    for auth_type in ("any", "trust"):
        with pytest.raises(LocalProtocolError):
            start(auth_type, PLAINTEXT).on_password_message(b"pencil\0")


@pytest.mark.parametrize("auth_type", ["any", "trust", *PASSWORD_TYPES])
def test_an_unasked_computation_is_the_callers_bug(auth_type: str) -> None:
    with pytest.raises(LocalProtocolError):
        start(auth_type, PLAINTEXT).on_computed(b"x" * 32)


SECRETS = st.sampled_from([PLAINTEXT, MD5, SCRAM, EMPTY, None])
PIECES = st.sampled_from(
    (
        *(b"SCRAM-SHA-256\0", b"\0\0\0\x0b", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"),
        *(b"n,,n=,r=abc", b"c=biws", b",r=abcservernonce", b",p=", b"A" * 43 + b"=", b"\0"),
    )
)
BODIES = st.binary(max_size=100) | st.lists(PIECES, max_size=8).map(b"".join)


@given(st.sampled_from(PASSWORD_TYPES), SECRETS, st.lists(BODIES, min_size=1, max_size=4))
def test_hostile_bodies_never_log_in_and_raise_only_pooler_errors(
    auth_type: str, secret: Secret | None, bodies: list[bytes]
) -> None:
    auth = start(auth_type, secret)
    auth.first()
    for body in bodies:
        try:
            step = compute(auth, auth.on_password_message(body))
        except PoolerError:
            continue
        assert isinstance(step, Send)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_every_user_with_every_password_logs_in(user: str, password: str) -> None:
    raw = password.replace("\0", "0").encode()
    secret = parse_secret(raw.decode())
    for auth_type in ("plain", "md5"):
        auth = start(auth_type, secret, user=user)
        body = body_of(auth.first())
        answer = raw
        if auth_type == "md5":
            answer = md5_response(md5_secret(raw, user.encode()), body[4:])
        assert isinstance(auth.on_password_message(answer + b"\0"), Done)
