"""SCRAM-SHA-256: the RFC's example, both roles against each other, and hostile messages."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgmux.auth import scram
from pgmux.auth.scram import (
    MAX_ITERATIONS,
    BadServerSignature,
    Pbkdf2,
    ScramError,
    ScramProver,
    ScramSecret,
    ScramVerifier,
    derive_keys,
    derive_secret,
    parse_client_final,
    parse_client_first,
    parse_server_final,
    parse_server_first,
)

# RFC 7677, section 3 (user "user", password "pencil").
CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
SALTED = Pbkdf2(b"pencil", SALT, 4096).run()
SECRET = derive_secret(SALTED, SALT, 4096)
KEYS = derive_keys(SALTED, SALT, 4096)


def challenged(client_first: bytes = CLIENT_FIRST, secret: ScramSecret = SECRET) -> ScramVerifier:
    verifier = ScramVerifier(SERVER_NONCE, client_first)
    verifier.challenge(secret)
    return verifier


def test_the_verifier_says_what_the_rfc_says() -> None:
    verifier = ScramVerifier(SERVER_NONCE, CLIENT_FIRST)
    assert verifier.challenge(SECRET) == SERVER_FIRST
    server_final, keys = verifier.verify(CLIENT_FINAL)
    assert server_final == SERVER_FINAL
    assert keys == KEYS


def test_the_prover_makes_a_proof_that_the_verifier_takes() -> None:
    prover = ScramProver(CLIENT_NONCE)
    # PostgreSQL's clients leave the user name out, so the RFC's signatures differ from these.
    assert prover.client_first() == b"n,,n=,r=rOprNGfwEbeRWgbNEkqO"
    verifier = ScramVerifier(SERVER_NONCE, prover.client_first())
    challenge = prover.on_server_first(verifier.challenge(SECRET))
    assert (challenge.salt, challenge.iterations) == (SALT, 4096)
    server_final, keys = verifier.verify(prover.prove(KEYS))
    assert keys == KEYS
    prover.on_server_final(server_final)


def test_keys_shown_by_one_login_serve_for_another() -> None:
    _, shown = challenged().verify(CLIENT_FINAL)
    prover = ScramProver("another")
    verifier = ScramVerifier("random", prover.client_first())
    prover.on_server_first(verifier.challenge(SECRET))
    server_final, _ = verifier.verify(prover.prove(shown))
    prover.on_server_final(server_final)


def test_a_server_that_does_not_know_the_secret_is_found_out() -> None:
    prover = ScramProver(CLIENT_NONCE)
    prover.on_server_first(SERVER_FIRST)
    prover.prove(KEYS)
    with pytest.raises(BadServerSignature, match="invalid server signature"):
        prover.on_server_final(SERVER_FINAL)


def test_the_wrong_proof_is_refused() -> None:
    proof = base64.b64encode(b"p" * 32)
    with pytest.raises(ScramError, match="password authentication failed"):
        challenged().verify(CLIENT_FINAL[: CLIENT_FINAL.rindex(b"p=")] + b"p=" + proof)


def test_extensions_are_ignored_but_proven() -> None:
    verifier = ScramVerifier(SERVER_NONCE, b"n,,n=,r=abc,x=1")
    verifier.challenge(SECRET)
    with pytest.raises(ScramError, match="password authentication failed"):
        verifier.verify(b"c=biws,r=abc" + SERVER_NONCE.encode() + b",x=1,p=" + b"A" * 43 + b"=")


def test_a_salt_of_32_bytes_works() -> None:
    salt = bytes(range(32))
    salted = Pbkdf2(b"pencil", salt, 2).run()
    prover = ScramProver("c")
    verifier = ScramVerifier("s", prover.client_first())
    assert prover.on_server_first(verifier.challenge(derive_secret(salted, salt, 2))).salt == salt
    server_final, _ = verifier.verify(prover.prove(derive_keys(salted, salt, 2)))
    prover.on_server_final(server_final)


def test_the_flag_y_needs_its_own_channel_binding_value() -> None:
    first = b"y" + CLIENT_FIRST[1:]
    with pytest.raises(ScramError, match="unexpected SCRAM channel-binding attribute"):
        challenged(first).verify(CLIENT_FINAL)
    with pytest.raises(ScramError, match="password authentication failed"):
        challenged(first).verify(CLIENT_FINAL.replace(b"biws", b"eSws"))
    with pytest.raises(ScramError, match="unexpected SCRAM channel-binding attribute"):
        challenged().verify(CLIENT_FINAL.replace(b"biws", b"eSws"))


@pytest.mark.parametrize(
    "nonce",
    [
        SERVER_NONCE,
        CLIENT_NONCE,
        CLIENT_NONCE + SERVER_NONCE + "x",
        CLIENT_NONCE + SERVER_NONCE[:-1],
        "",
    ],
)
def test_another_nonce_is_refused(nonce: str) -> None:
    nonces = (CLIENT_NONCE + SERVER_NONCE).encode()
    with pytest.raises(ScramError, match="nonce does not match"):
        challenged().verify(CLIENT_FINAL.replace(nonces, nonce.encode()))


def test_a_proof_without_a_challenge_is_refused() -> None:
    with pytest.raises(ScramError, match="before the challenge"):
        ScramVerifier(SERVER_NONCE, CLIENT_FIRST).verify(CLIENT_FINAL)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"", "comma expected"),
        (b"n", "comma expected"),
        (b"n,", "comma expected"),
        (b"n,,", "attribute expected"),
        (b"p=tls-unique,,n=,r=abc", "unsupported SCRAM channel-binding type"),
        (b"p,,n=,r=abc", "unexpected channel-binding flag"),
        (b"x,,n=,r=abc", "unexpected channel-binding flag"),
        (b",,n=,r=abc", "unexpected channel-binding flag"),
        (b"nn,,n=,r=abc", "unexpected channel-binding flag"),
        (b"n,a=bob,n=,r=abc", "authorization identity"),
        (b"n,b=bob,n=,r=abc", "unexpected attribute"),
        (b"n,,m=x,n=,r=abc", "unsupported SCRAM extension"),
        (b"n,,n=", 'attribute "r" expected'),
        (b"n,,r=abc", 'attribute "n" expected'),
        (b"n,,n=,r=", "nonce"),
        (b"n,,n=,r=a b", "nonce"),
        (b"n,,n=,r=a\xc3\xa9", "nonce"),
        (b"n,,n=,r=abc\0", "length mismatch"),
        (b"n,,n=,r=abc,", "attribute expected"),
        (b"n,,n=,r=abc,xy", "attribute expected"),
        (b"n,,n=,r=abc,1=2", "attribute expected"),
    ],
)
def test_a_malformed_client_first_is_refused(message: bytes, problem: str) -> None:
    with pytest.raises(ScramError, match=problem):
        parse_client_first(message)


def test_a_user_name_in_client_first_is_ignored_whatever_its_bytes() -> None:
    assert parse_client_first(b"n,,n=\xff=2C,r=abc").nonce == b"abc"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"", "attribute expected"),
        (b"c=biws", 'attribute "r" expected'),
        (b"c=biws,r=x", 'attribute "p" expected'),
        (b"r=x,c=biws,p=", 'attribute "c" expected'),
        (b"c=biws,r=x,p=", "malformed proof"),
        (b"c=biws,r=x,p=AAAA", "malformed proof"),
        (b"c=biws,r=x,p=" + base64.b64encode(b"x" * 33), "malformed proof"),
        (b"c=biws,r=x,p=" + base64.b64encode(b"x" * 32)[:-1], "malformed proof"),
        (b"c=biws,r=x,p= " + base64.b64encode(b"x" * 32), "malformed proof"),
        (b"c=biws,r=x,p=" + base64.b64encode(b"x" * 32) + b"=", "malformed proof"),
        (b"c=biws,r=x,p=" + b"\xff" * 44, "malformed proof"),
        (b"c=biws,r=x,p=" + base64.b64encode(b"x" * 32) + b",", "attribute expected"),
        (b"c=biws,r=x,p=" + base64.b64encode(b"x" * 32) + b",x=1", 'attribute "p" expected'),
    ],
)
def test_a_malformed_client_final_is_refused(message: bytes, problem: str) -> None:
    with pytest.raises(ScramError, match=problem):
        parse_client_final(message)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"", "attribute expected"),
        (b"r=x", 'attribute "s" expected'),
        (b"r=x,s=AAAA", 'attribute "i" expected'),
        (b"r=x,s=AA A,i=1", "invalid salt"),
        (b"r=x,s=AAA,i=1", "invalid salt"),
        (b"r=x,s=AAAA,i=", "invalid iteration count"),
        (b"r=x,s=AAAA,i=0", "invalid iteration count"),
        (b"r=x,s=AAAA,i=-1", "invalid iteration count"),
        (b"r=x,s=AAAA,i=1e3", "invalid iteration count"),
        (b"r=x,s=AAAA,i=" + b"9" * 1900, "invalid iteration count"),
        (b"r=x,s=AAAA,i=\xd9\xa1", "invalid iteration count"),
        (b"r=x,s=AAAA,i=1,x=1", "garbage at end"),
    ],
)
def test_a_malformed_server_first_is_refused(message: bytes, problem: str) -> None:
    with pytest.raises(ScramError, match=problem):
        parse_server_first(message)


def test_a_server_first_with_another_client_nonce_is_refused() -> None:
    with pytest.raises(ScramError, match="nonce mismatch"):
        ScramProver("other").on_server_first(SERVER_FIRST)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"", "attribute expected"),
        (b"e=invalid-proof", "error received from server in SCRAM exchange: invalid-proof"),
        (b"e=\xff\n", r"exchange: \\xff"),
        (b"v=", "malformed server signature"),
        (b"v=AAAA", "malformed server signature"),
        (SERVER_FINAL + b",x=1", "garbage at end"),
    ],
)
def test_a_malformed_server_final_is_refused(message: bytes, problem: str) -> None:
    with pytest.raises(ScramError, match=problem):
        parse_server_final(message)


@pytest.mark.parametrize("iterations", [0, -1, MAX_ITERATIONS + 1, 2**31 - 1])
def test_an_iteration_count_out_of_bounds_is_never_computed(iterations: int) -> None:
    with pytest.raises(ScramError, match="iteration count"):
        Pbkdf2(b"pencil", SALT, iterations)


def test_neither_password_nor_keys_are_in_a_repr() -> None:
    shown = repr(Pbkdf2(b"pencil", SALT, 1)) + repr(KEYS) + repr(SECRET)
    for hidden in (b"pencil", KEYS.client_key, KEYS.server_key, SECRET.stored_key):
        assert repr(hidden)[2:-1] not in shown


PARSERS = (parse_client_first, parse_client_final, parse_server_first, parse_server_final)
WORDS = (b"n", b"y", b"p", b",", b"=", b"c=biws", b"r=", b"s=", b"i=", b"v=", b"e=", b"\0", b"\xff")


@given(
    st.sampled_from(PARSERS),
    st.binary(max_size=300) | st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join),
)
@example(parse_client_final, b"c=biws,r=" + b"x" * 100_000)
@example(parse_client_first, b"," * 100_000)
def test_hostile_bytes_raise_nothing_but_scram_errors(
    parser: Callable[[bytes], object], message: bytes
) -> None:
    with suppress(ScramError):
        parser(message)


# The last digit but one has two bits that base64 doesn't use.
@given(st.integers(0, len(CLIENT_FINAL) - 3), st.integers(0, 255))
def test_no_changed_byte_of_a_proof_message_logs_in(position: int, byte: int) -> None:
    changed = bytearray(CLIENT_FINAL)
    changed[position] = byte
    if bytes(changed) == CLIENT_FINAL:
        return
    with pytest.raises(ScramError):
        challenged().verify(bytes(changed))


ATTRIBUTE = st.sampled_from(
    [b"n=", b"r=abc", b"c=biws", b"p=AAAA", b"x=1", b"r=a\xff", b"r=", b"a"]
)


@given(
    st.sampled_from([parse_client_first, parse_client_final]),
    st.sampled_from([b"", b"n,,", b"y,,", b"n,a=x,", b"p=tls-server-end-point,,", b"z,,"]),
    st.lists(ATTRIBUTE, max_size=5),
    st.sampled_from([b"", b"\0", b"\n"]),
)
def test_a_usual_message_is_taken_for_what_it_is_part_by_part(
    parse: Callable[[bytes], object], head: bytes, attributes: list[bytes], tail: bytes
) -> None:
    message = head + b",".join(attributes) + tail

    def outcome() -> object:
        try:
            return parse(message)
        except ScramError as error:
            return str(error)

    at_once = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scram, "_USUAL_CLIENT_FIRST", lambda data: None)
        patch.setattr(scram, "_USUAL_CLIENT_FINAL", lambda data: None)
        assert outcome() == at_once
