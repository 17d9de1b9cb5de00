"""SCRAM-SHA-256-PLUS: the login is bound to the certificate that both sides see, or fails."""

from __future__ import annotations

import base64

import pytest

from pgmux.auth.client_auth import ClientAuth, start_client_auth
from pgmux.auth.scram import ScramError, ScramProver, ScramVerifier
from pgmux.auth.secrets import Secret, parse_secret
from pgmux.auth.server_auth import ServerAuth
from pgmux.auth.steps import AuthenticationFailed, Compute, Done, Send, Step
from pgmux.wire import build

HERE, ELSEWHERE = b"a hash of the certificate", b"a hash of another one"
PASSWORD = parse_secret("pencil")
FIRST = b"n=,r=abc"


def verifying(end_point: bytes, secret: Secret = PASSWORD) -> ClientAuth:
    """Our side towards a client."""
    return start_client_auth(
        "scram-sha-256",
        "alice",
        secret,
        scram_iterations=1,
        salt=b"s" * 16,
        nonce="server",
        mock_key=b"k" * 32,
        scram_cache={},
        end_point=end_point,
    )


def proving(end_point: bytes) -> ServerAuth:
    """Our side towards a server."""
    auth = ServerAuth("alice", PASSWORD, None, "client")
    auth.end_point = end_point
    return auth


def computed(auth: ClientAuth | ServerAuth, step: Step) -> bytes:
    """What is sent, with nothing left to compute."""
    if isinstance(step, Compute):
        step = auth.on_computed(step.job.run())
    assert isinstance(step, Send)
    return step.data


def log_in(prover: ServerAuth, verifier: ClientAuth) -> bytes:
    """Both of our sides with each other; returns what the prover says first. Raises:
    AuthenticationFailed.
    """
    data = computed(verifier, verifier.first())  # type: ignore[arg-type]
    first = computed(prover, prover.on_authentication(data[5:]))
    data = computed(verifier, verifier.on_password_message(first[5:]))  # type: ignore[arg-type]
    final = computed(prover, prover.on_authentication(data[5:]))
    done = verifier.on_password_message(final[5:])
    assert isinstance(done, Done) and done.send is not None
    prover.on_authentication(done.send[5:])
    return first


def initial(mechanism: str, data: bytes) -> bytes:
    return build.build_sasl_initial_response(mechanism, data)[5:]


def reason(verifier: ClientAuth, mechanism: str, data: bytes) -> str:
    verifier.first()
    with pytest.raises(AuthenticationFailed) as failed:
        verifier.on_password_message(initial(mechanism, data))
    return failed.value.reason


def test_who_sees_the_same_certificate_binds_to_it() -> None:
    first = log_in(proving(HERE), verifying(HERE))
    assert b"SCRAM-SHA-256-PLUS\0" in first
    assert b"p=tls-server-end-point,," in first


def test_who_sees_another_certificate_is_refused() -> None:
    with pytest.raises(AuthenticationFailed) as failed:
        log_in(proving(ELSEWHERE), verifying(HERE))
    assert failed.value.message == "SASL authentication failed"
    assert "channel binding check failed" in failed.value.reason


def test_without_tls_nothing_is_bound_nor_offered() -> None:
    assert b"SCRAM-SHA-256\0" in (first := log_in(proving(b""), verifying(b"")))
    assert b"n,,n=" in first


def test_a_server_that_does_not_offer_it_is_told_that_we_could() -> None:
    assert b"y,,n=" in log_in(proving(HERE), verifying(b""))


def test_a_client_that_cannot_bind_may_go_without() -> None:
    assert b"n,,n=" in log_in(proving(b""), verifying(HERE))


def test_a_client_from_whom_our_offer_was_hidden_is_refused() -> None:
    text = reason(verifying(HERE), "SCRAM-SHA-256", b"y,," + FIRST)
    assert "channel binding negotiation error" in text


@pytest.mark.parametrize(
    ("mechanism", "data", "expected"),
    [
        ("SCRAM-SHA-256-PLUS", b"n,,", "without channel binding data"),
        ("SCRAM-SHA-256-PLUS", b"y,,", "without channel binding data"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-unique,,", 'channel-binding type "tls-unique"'),
        ("SCRAM-SHA-256", b"p=tls-server-end-point,,", "requires SCRAM channel binding"),
    ],
)
def test_a_client_whose_words_do_not_fit_its_choice_is_refused(
    mechanism: str, data: bytes, expected: str
) -> None:
    assert expected in reason(verifying(HERE), mechanism, data + FIRST)


def test_plus_cannot_be_chosen_where_it_was_not_offered() -> None:
    text = reason(verifying(b""), "SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,," + FIRST)
    assert "invalid SASL authentication mechanism" in text


def test_a_server_that_offers_plus_alone_is_no_use_without_tls() -> None:
    offer = build.build_authentication_sasl(["SCRAM-SHA-256-PLUS"])[5:]
    with pytest.raises(AuthenticationFailed, match="none of the server's SASL"):
        proving(b"").on_authentication(offer)
    assert b"PLUS" in computed(proving(HERE), proving(HERE).on_authentication(offer))


def test_the_binding_is_header_and_hash() -> None:
    prover = ScramProver("abc")
    assert prover.client_first(is_plus=True, end_point=HERE) == b"p=tls-server-end-point,," + FIRST
    verifier = ScramVerifier(
        "xyz", b"p=tls-server-end-point,," + FIRST, is_plus=True, end_point=HERE
    )
    secret = parse_secret(
        "SCRAM-SHA-256$1:c2FsdA==$" + ":".join([base64.b64encode(b"k" * 32).decode()] * 2)
    )
    assert secret.scram is not None
    challenge = prover.on_server_first(verifier.challenge(secret.scram))
    assert challenge.nonce == b"abcxyz"
    bound = base64.b64encode(b"p=tls-server-end-point,," + HERE)
    with pytest.raises(ScramError, match="password authentication failed"):
        verifier.verify(b"c=" + bound + b",r=abcxyz,p=" + base64.b64encode(b"x" * 32))
    with pytest.raises(ScramError, match="channel binding check failed"):
        verifier.verify(b"c=" + bound[:-4] + b",r=abcxyz,p=" + base64.b64encode(b"x" * 32))
