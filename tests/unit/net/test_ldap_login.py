"""What a login makes of LDAP servers that behave as none should."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

pytest.importorskip("ldap", reason="the extra ldap isn't installed")

from pgmux.auth.outside import LdapLogin
from pgmux.config.ldap_options import parse_ldap_options
from pgmux.net import ldap_login
from pgmux.net.ldap_order import Order

BIND, SEARCH, EXTENDED = 0x60, 0x63, 0x77  # requests; their answers are one more, at the end
TLS = 0x16  # what a ClientHello begins with
SUCCESS, REFERRAL = b"\0", b"\x0a"
SIMPLE = 'ldapprefix="uid=" ldapsuffix=",dc=x"'
LOOKED_UP = 'ldapbasedn="dc=x"'
Answer = Callable[[int, bytes], bytes]  # of the request's kind and message id


def element(tag: int, body: bytes) -> bytes:
    """BER, of a short length."""
    assert len(body) < 128
    return bytes((tag, len(body))) + body


def result(kind: int, number: bytes, code: bytes, referral: bytes = b"") -> bytes:
    """An LDAPResult to a request."""
    answer = {BIND: 0x61, SEARCH: 0x65, EXTENDED: 0x78}[kind]
    body = element(0x0A, code) + element(4, b"") + element(4, b"")
    if referral:
        body += element(0xA3, element(4, referral))
    return element(0x30, element(2, number) + element(answer, body))


class FakeServer:
    """Answers each request as it is told to; b"" closes the connection."""

    def __init__(self, answer: Answer, hello: bytes | None = None) -> None:
        self._answer = answer
        self._hello = hello  # what it answers to TLS; None is nothing
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.clients: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with suppress(OSError):  # the pooler, or the test, has broken it off
            self._answer_all(client)
        client.close()

    def _answer_all(self, client: socket.socket) -> None:
        while request := client.recv(1000):
            self.requests.append(request)
            answer: bytes | None = None
            if request[0] == TLS:
                answer = self._hello
            elif request[5] in (BIND, SEARCH, EXTENDED):
                answer = self._answer(request[5], request[4:5])
            if answer == b"":
                break
            client.sendall(answer or b"")

    def close(self) -> None:
        self._listener.close()
        for client in self.clients:
            client.close()


Fake = Callable[..., FakeServer]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """`fake(answer, hello)`: a server; what is known of others is forgotten."""
    monkeypatch.setattr(ldap_login, "ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr(ldap_login, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(ldap_login, "DEADLINE", 0.4)
    monkeypatch.setattr(ldap_login, "_order", Order(time.monotonic))
    servers: list[FakeServer] = []

    def make(answer: Answer, hello: bytes | None = None) -> FakeServer:
        servers.append(FakeServer(answer, hello))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def ask(server: FakeServer, options: str, *, hosts: str = "127.0.0.1") -> str:
    text = f'ldapserver="{hosts}" ldapport={server.port} {options}'
    return ldap_login.verify_by_ldap(LdapLogin(parse_ldap_options(text), "bob", b"s3cret"))


def test_a_referral_is_not_followed(fake: Fake) -> None:
    other = fake(lambda kind, number: result(kind, number, SUCCESS))
    url = b"ldap://127.0.0.1:%d/" % other.port
    refers_all = fake(lambda kind, number: result(kind, number, REFERRAL, url))
    refers_searches = fake(
        lambda kind, number: (
            result(kind, number, SUCCESS) if kind == BIND else result(kind, number, REFERRAL, url)
        )
    )
    assert ask(refers_all, SIMPLE).startswith("LDAP login failed for user uid=bob,dc=x")
    assert ask(refers_all, LOOKED_UP).startswith("could not perform initial LDAP bind")
    assert ask(refers_searches, LOOKED_UP).startswith("could not search LDAP")
    assert other.requests == []


def test_a_password_is_in_no_text(fake: Fake) -> None:
    server = fake(lambda kind, number: result(kind, number, REFERRAL, b"ldap://s/\nline 2"))
    problem = ask(server, SIMPLE)
    assert "s3cret" not in problem
    assert "\n" not in problem


@pytest.mark.parametrize("options", [SIMPLE, LOOKED_UP, f"{SIMPLE} ldaptls=1"])
@pytest.mark.parametrize("answer", [b"", b"\x30", b"\x30\x84\x7f\xff\xff\xff", b"HTTP/1.1 400\r\n"])
def test_what_is_no_answer_is_a_failed_login(fake: Fake, options: str, answer: bytes) -> None:
    """Also where the server keeps silent in the middle of it."""
    assert ask(fake(lambda kind, number: answer), options).startswith("no answer from LDAP server")


@pytest.mark.parametrize("hello", [None, b"", b"\x16\x03\x03", b"no TLS at all"])
def test_a_server_that_stops_in_the_middle_of_tls_is_a_failed_login(
    fake: Fake, hello: bytes | None
) -> None:
    """None: it keeps silent; b"": it closes."""
    server = fake(lambda kind, number: result(kind, number, SUCCESS), hello)
    assert ask(server, f"{SIMPLE} ldaptls=1").startswith("no answer from LDAP server")


def test_a_server_that_hangs_costs_one_login_its_time(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have one port, and the first never answers."""
    server = fake(lambda kind, number: result(kind, number, SUCCESS))
    with socket.create_server(("127.0.0.2", server.port)) as silent:
        answers = [ask(server, SIMPLE, hosts="127.0.0.2 127.0.0.1") for _ in range(3)]
        assert answers == ["", "", ""]
        silent.settimeout(5)
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()
