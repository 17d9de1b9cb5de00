"""What TLS says of a connection and of who is at its other end; start_tls for either side."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from pgmux.auth.tls_info import TlsInfo
from pgmux.net.tls import start_tls, tls_info
from tests.fixtures.certificates import Authority
from tests.fixtures.tls_peer import TlsPeer
from tests.forms.test_tls import Protocol, Wire


def shake_hands(wire: Wire, peer: TlsPeer, transport: Any, flight: bytes) -> None:
    while flight:
        transport.data_received(flight)
        flight = peer.feed(wire.take())


def connected(
    authority: Authority, *names: str, common_name: str | None = None, shows: bool = True
) -> TlsInfo:
    """What is known of a client with such a certificate."""
    server = authority.server_context()
    server.verify_mode = ssl.CERT_OPTIONAL
    authority.ca.configure_trust(server)
    client = authority.client_context()
    if shows:
        issued = authority.ca.issue_cert(
            *names, common_name=common_name, organization_name="Example"
        )
        issued.configure_cert(client)
    wire, peer = Wire(), TlsPeer(client)
    transport = start_tls(wire, Protocol(), server, server_side=True, received=peer.feed(b""))
    shake_hands(wire, peer, transport, peer.feed(wire.take()))
    return tls_info(transport)


def test_a_client_without_certificate(authority: Authority) -> None:
    info = connected(authority, shows=False)
    assert info == TlsInfo("TLSv1.3", info.cipher)
    assert str(info) == f"TLSv1.3/{info.cipher}"


def test_the_names_in_a_client_s_certificate(authority: Authority) -> None:
    info = connected(
        authority,
        "bob.example.com",
        "*.example.org",
        "10.0.0.1",
        "b@example.com",
        common_name="bob",
    )
    assert info.names == ("bob", "bob.example.com", "*.example.org", "10.0.0.1")
    assert info.subject is not None and info.subject.endswith("/CN=bob")
    assert "/O=Example" in info.subject


def test_as_a_client_it_speaks_first_and_checks_who_answers(authority: Authority) -> None:
    wire, protocol = Wire(), Protocol()
    server = authority.server_context()
    transport = start_tls(
        wire,
        protocol,
        authority.client_context(),
        server_side=False,
        server_hostname="localhost",
    )
    peer = TlsPeer(server, server_side=True)
    shake_hands(wire, peer, transport, peer.feed(wire.take()))
    assert protocol.events == ["made"]
    transport.write(b"hello")
    peer.feed(wire.take())
    assert peer.received == b"hello"
    assert "localhost" in tls_info(transport).names


def test_as_a_client_it_refuses_another_host(authority: Authority) -> None:
    wire, protocol = Wire(), Protocol()
    transport = start_tls(
        wire,
        protocol,
        authority.client_context(),
        server_side=False,
        server_hostname="elsewhere",
    )
    peer = TlsPeer(authority.server_context(), server_side=True)
    transport.data_received(peer.feed(wire.take()))
    assert protocol.events == []
    wire.lose()
    assert str(protocol.error).startswith(
        "handshake failed: certificate verify failed: Hostname mismatch"
    )


@pytest.mark.parametrize("server_side", [True, False])
def test_nothing_is_called_before_it_returns(authority: Authority, server_side: bool) -> None:
    wire, protocol = Wire(), Protocol()
    context = authority.server_context() if server_side else authority.client_context()
    start_tls(
        wire,
        protocol,
        context,
        server_side=server_side,
        server_hostname=None if server_side else "localhost",
        received=b"garbage that fails at once",
    )
    assert protocol.events == []
    wire.lose()
    assert protocol.events == ["lost"]
