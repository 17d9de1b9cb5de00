"""SCRAM with a user who has logged in before: the short way and the careful one say the same."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmux.auth.scram import Pbkdf2, ScramKeys, derive_keys, derive_secret
from pgmux.auth.scram_usual import HmacKey
from pgmux.auth.steps import AuthenticationFailed
from pgmux.config import AuthType, Config
from pgmux.session.client import ClientLogin, LoginContext
from pgmux.session.login_steps import Answer, Attempted, Derive, Enter, LoginStep, Refuse
from pgmux.wire import build
from tests.unit.session.test_client_login import (
    QUERY,
    FakePeer,
    answered,
    compute,
    config,
    entered,
    startup,
)

SALT = b"stored salt 0123"
ITERATIONS = 5
SALTED = Pbkdf2(b"pencil", SALT, ITERATIONS).run()
KEYS = derive_keys(SALTED, SALT, ITERATIONS)
WRONG_KEYS = derive_keys(Pbkdf2(b"crayon", SALT, ITERATIONS).run(), SALT, ITERATIONS)


def encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def verifier() -> str:
    secret = derive_secret(SALTED, SALT, ITERATIONS)
    keys = f"{encode(secret.stored_key)}:{encode(secret.server_key)}"
    return f"SCRAM-SHA-256${ITERATIONS}:{encode(SALT)}${keys}"


STORED = config(AuthType.SCRAM_SHA_256, secret=verifier())
IN_CLEAR = config(AuthType.SCRAM_SHA_256, secret="pencil")


class Process:
    """What logins share. The random part of each nonce is the same, so that answers can be
    compared.
    """

    def __init__(self, configured: Config = STORED) -> None:
        self.config = configured
        self.context = LoginContext(
            config=lambda: self.config,
            random=lambda size: b"r" * size,
            connection_count=lambda: 1,
            own_uid=1000,
            tls_mode=lambda: self.config.settings.client_tls_sslmode,
            os_user=lambda uid: None,
            mock_key=b"k" * 32,
        )

    def ask(self) -> ClientLogin:
        """A login that has been asked for SCRAM."""
        login = ClientLogin(self.context, FakePeer())
        asked, answer = login.feed(startup())
        assert isinstance(asked, Attempted) and isinstance(answer, Answer)
        return login

    def log_in(self, *chunks: bytes) -> list[LoginStep]:
        login, steps = self.ask(), list[LoginStep]()
        for chunk in chunks:
            steps += login.feed(chunk)
        return steps


def familiar(configured: Config = STORED) -> Process:
    """Where two have logged in before."""
    process = Process(configured)
    for _ in range(2):
        login = process.ask()
        challenge = answered(compute(login, login.feed(initial()))).partition(b"r=")[2]
        assert entered(login.feed(final(b"r=" + challenge, keys=keys_for(challenge))))
    return process


def keys_for(challenge: bytes) -> ScramKeys:
    """Those of the right password with the salt of this challenge."""
    salt = base64.b64decode(challenge.split(b",")[1][2:])
    return derive_keys(Pbkdf2(b"pencil", salt, ITERATIONS).run(), salt, ITERATIONS)


def initial(
    gs2: bytes = b"n,,", bare: bytes = b"n=,r=nonce", mechanism: str = "SCRAM-SHA-256"
) -> bytes:
    return build.build_sasl_initial_response(mechanism, gs2 + bare)


def final(
    challenge: bytes,
    *,
    binding: bytes = b"biws",
    bare: bytes = b"n=,r=nonce",
    keys: ScramKeys = KEYS,
    extra: bytes = b"",
    nonce: bytes = b"",
) -> bytes:
    """client-final with the proof that belongs to it."""
    nonce = nonce or challenge.split(b",")[0][2:]
    without_proof = b"c=%b,r=%b%b" % (binding, nonce, extra)
    message = b",".join((bare, challenge, without_proof))
    stored = hashlib.sha256(keys.client_key).digest()
    signature = hmac.digest(stored, message, "sha256")
    proof = bytes(a ^ b for a, b in zip(keys.client_key, signature, strict=True))
    return build.build_sasl_response(without_proof + b",p=" + base64.b64encode(proof))


CHALLENGE = b"r=nonce%b,s=%b,i=%d" % (b"72" * 18, encode(SALT).encode(), ITERATIONS)
FIRSTS = (
    initial(),
    initial(bare=b"n=bob,r=nonce"),
    initial(gs2=b"y,,"),
    initial(gs2=b"p=tls-server-end-point,,"),
    initial(gs2=b"p=tls-unique,,"),
    initial(gs2=b"n,a=root,"),
    initial(bare=b"m=x,n=,r=nonce"),
    initial(bare=b"n=,r=nonce,e=x"),
    initial(bare=b"n=,r="),
    initial(bare=b"n=,r=no nce"),
    initial(bare=b"n=\0,r=nonce"),
    initial(bare=b"n=,r=" + b"x" * 300),
    initial(bare=b"n=,r=" + b"x" * 2000),
    initial(mechanism="SCRAM-SHA-256-PLUS"),
    initial(mechanism="SCRAM-SHA-1"),
    initial()[:-1],
    initial()[:4] + bytes([initial()[4] + 1]) + initial()[5:],
    initial()[:22] + b"\x01" + initial()[23:],
    QUERY,
)
FINALS = (
    final(CHALLENGE),
    final(CHALLENGE, bare=b"n=bob,r=nonce"),
    final(CHALLENGE, keys=WRONG_KEYS),
    final(CHALLENGE, nonce=b"nonce" + b"73" * 18),
    final(CHALLENGE, nonce=b"nonce"),
    final(CHALLENGE, binding=b"eSws"),
    final(CHALLENGE, binding=b""),
    final(CHALLENGE, extra=b",x=y"),
    final(CHALLENGE)[:-1],
    final(CHALLENGE)[:-45],
    final(CHALLENGE)[:-2] + b"\n=",
    final(CHALLENGE)[:-1] + b"A",
    final(CHALLENGE) + QUERY,
    initial(),
    QUERY,
)


def told(steps: list[LoginStep]) -> tuple[object, ...]:
    """What the client sees of it, and what the log and the pool are told."""
    last = steps[-1] if steps else None
    error = last.error if isinstance(last, Refuse) else None
    reason = error.reason if isinstance(error, AuthenticationFailed) else ""
    is_in = isinstance(last, Enter)
    keys = last.scram_keys if isinstance(last, Enter) else None
    return answered(steps), type(error), str(error), reason, is_in, keys


MESSAGES = st.one_of(
    st.tuples(st.sampled_from(FIRSTS), st.sampled_from(FINALS)),
    st.tuples(st.just(FIRSTS[0]), st.binary(max_size=200)),
    st.tuples(st.binary(max_size=200), st.just(FINALS[0])),
)


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 400), max_size=3))
def test_the_short_way_says_what_the_careful_one_says(
    messages: tuple[bytes, bytes], cuts: list[int]
) -> None:
    whole = b"".join(messages)
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {len(messages[0]), len(whole)})
    chunks = [whole[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]
    short, careful = familiar().ask(), Process().ask()
    told_short = told([step for chunk in chunks for step in short.feed(chunk)])
    told_careful = told([step for chunk in chunks for step in careful.feed(chunk)])
    assert told_short == told_careful
    assert (short.is_done, short.rest()) == (careful.is_done, careful.rest())


@given(at=st.integers(0, len(FINALS[0]) * 8 - 1))
def test_no_bit_of_the_proof_may_be_wrong(at: int) -> None:
    broken = bytearray(FINALS[0])
    broken[at // 8] ^= 1 << at % 8
    steps = familiar().log_in(FIRSTS[0], bytes(broken))
    assert not any(isinstance(step, Enter) for step in steps)
    assert told(steps) == told(Process().log_in(FIRSTS[0], bytes(broken)))


@pytest.mark.parametrize("configured", [STORED, IN_CLEAR])
def test_who_comes_later_is_verified_without_the_exchange_of_the_first(configured: Config) -> None:
    login = familiar(configured).ask()
    assert login._usual is not None
    challenge = answered(login.feed(initial())).partition(b"r=")[2]
    last = entered(login.feed(final(b"r=" + challenge, keys=keys_for(challenge))))
    assert login.is_done and login._auth is None
    assert last.scram_keys == (KEYS if configured is STORED else None)
    assert last.answer


def test_a_stored_password_is_derived_for_the_first_client_alone() -> None:
    process = familiar(IN_CLEAR)
    process.context.scram_cache.clear()
    assert not any(isinstance(step, Derive) for step in process.log_in(initial()))


def test_a_wrong_password_for_a_stored_one_is_refused_though_its_keys_are_forgotten() -> None:
    process = familiar(IN_CLEAR)
    process.context.scram_cache.clear()
    login = process.ask()
    challenge = b"r=" + answered(login.feed(initial())).partition(b"r=")[2]
    (refused,) = login.feed(final(challenge, keys=WRONG_KEYS))
    assert isinstance(refused, Refuse) and refused.error.message == "SASL authentication failed"


def test_a_new_configuration_forgets_what_was_known_of_the_secret() -> None:
    process = familiar()
    process.config = replace(process.config)
    login = process.ask()
    assert login._usual is None and login._auth is not None


def test_a_client_that_cannot_prove_itself_leaves_nothing_behind() -> None:
    process = Process()
    process.log_in(initial(), final(CHALLENGE, keys=WRONG_KEYS))
    assert process.context.startups.find(startup(), process.config) is None


def test_a_secret_that_is_known_does_not_show() -> None:
    process = familiar()
    known = process.context.startups.find(startup(), process.config)
    assert known is not None
    shown = repr(known) + repr(known.ways) + repr(process.ask()._usual)
    for secret in (verifier(), repr(KEYS.client_key), repr(KEYS.server_key), "stored_key"):
        assert secret not in shown


@given(key=st.binary(min_size=32, max_size=32), messages=st.lists(st.binary(), max_size=3))
def test_a_key_hashed_once_signs_as_hmac_does(key: bytes, messages: list[bytes]) -> None:
    kept = HmacKey(key)
    for message in messages:
        assert kept.digest(message) == hmac.digest(key, message, "sha256")
