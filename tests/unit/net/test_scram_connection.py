"""A client that is asked for SCRAM before there is a login for it: told what others are told."""

from __future__ import annotations

from typing import Any

import pytest

from pgmux.config import AuthType, Config, Database, Settings
from pgmux.config.model import PoolMode, SslMode
from pgmux.net import _client_connection_cy
from pgmux.net._client_connection_cy import ClientConnection
from pgmux.net.door import Admission, Door
from pgmux.session.client import LoginContext
from pgmux.wire.messages import MessageReader
from tests.unit.session.rig import FakeTransport, Rig
from tests.unit.session.test_client_login import QUERY, SSL, startup
from tests.unit.session.test_usual_scram import (
    CHALLENGE,
    FINALS,
    FIRSTS,
    WRONG_KEYS,
    final,
    initial,
    verifier,
)


class Transport(FakeTransport):
    """That of a TCP connection."""

    protocol: Any = None

    def get_extra_info(self, name: str) -> Any:
        return ("10.0.0.9", 4711) if name == "peername" else None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Hall:
    """A pooler with a server and its door; `familiar`: others have come in by SCRAM before."""

    def __init__(self, *, is_familiar: bool = True, **settings: Any) -> None:
        settings = {"log_connections": False} | settings
        self.rig = Rig(
            Config(
                settings=Settings(auth_type=AuthType.SCRAM_SHA_256, **settings),
                databases={"app": Database("app", "app")},
                userlist={"bob": verifier()},
            )
        )
        self.rig.log.is_debug = False
        pooler = self.rig.pooler
        context = LoginContext(
            config=lambda: pooler.config,
            random=lambda size: b"r" * size,
            connection_count=lambda: pooler.client_count + len(self.door.logins),
            own_uid=1000,
            tls_mode=lambda: SslMode.DISABLE,
            os_user=lambda uid: None,
            mock_key=b"k" * 32,
        )
        nobody: Any = None
        self.door = Door(pooler, context, nobody, nobody, nobody, lambda: None)
        self.say(startup(), initial(), final(CHALLENGE))
        self.rig.log_in()
        if is_familiar:
            for _ in range(2):
                self.say(startup(), initial(), final(CHALLENGE))
        else:
            context.startups._startups.clear()

    def come(self, *chunks: bytes) -> tuple[ClientConnection, Transport]:
        transport = Transport()
        connection = ClientConnection(self.door)
        connection.connection_made(transport)
        for chunk in chunks:
            (transport.protocol or connection).data_received(chunk)
        return connection, transport

    def say(self, *chunks: bytes) -> list[tuple[str, bytes]]:
        """What a client is told; without the key, which is each client's own."""
        _, transport = self.come(*chunks)
        told = MessageReader(1 << 20, "server").feed(bytes(transport.written))
        return [(chr(kind), b"" if kind == ord("K") else body) for kind, body in told]


def test_the_usual_client_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall(pool_mode=PoolMode.TRANSACTION)
    monkeypatch.setattr(_client_connection_cy, "ClientLogin", None)
    _, transport = hall.come(startup(), initial(), final(CHALLENGE))
    assert transport.protocol is not None
    assert transport.written.endswith(b"Z\0\0\0\x05I")


@pytest.mark.parametrize("mode", [PoolMode.SESSION, PoolMode.TRANSACTION])
@pytest.mark.parametrize("first", FIRSTS)
def test_an_initial_response_is_answered_as_ever(first: bytes, mode: PoolMode) -> None:
    said = startup(), first, final(CHALLENGE)
    careful = Hall(is_familiar=False, pool_mode=mode)
    assert Hall(pool_mode=mode).say(*said) == careful.say(*said)


@pytest.mark.parametrize("mode", [PoolMode.SESSION, PoolMode.TRANSACTION])
@pytest.mark.parametrize("last", FINALS)
def test_a_response_is_answered_as_ever(last: bytes, mode: PoolMode) -> None:
    said = startup(), initial(), last
    careful = Hall(is_familiar=False, pool_mode=mode)
    assert Hall(pool_mode=mode).say(*said) == careful.say(*said)


def test_a_wrong_password_is_told_the_log_as_ever() -> None:
    logs = []
    for is_familiar in (True, False):
        hall = Hall(is_familiar=is_familiar)
        before = len(hall.rig.log.lines)
        hall.say(startup(), initial(), final(CHALLENGE, keys=WRONG_KEYS))
        logs.append([line.partition(" ")[2] for line in hall.rig.log.lines[before:]])
    assert any("password authentication failed" in line for line in logs[0])
    assert logs[0] == logs[1]


def test_a_client_that_was_declined_encryption_is_asked_and_let_in() -> None:
    _, transport = Hall().come(SSL, startup(), initial(), final(CHALLENGE))
    assert transport.protocol is not None and transport.written.startswith(b"NR")


def test_a_client_that_is_asked_has_a_name_already() -> None:
    connection, _ = Hall().come(startup())
    row = connection.row()
    assert (row.user, row.database, row.state) == ("bob", "app", "login")


def test_who_is_looked_at_meanwhile_comes_in_all_the_same() -> None:
    hall = Hall()
    connection, transport = hall.come(startup())
    connection.row()
    connection.data_received(initial())
    connection.row()
    connection.data_received(final(CHALLENGE))
    assert transport.protocol is not None


def test_a_query_right_behind_the_proof_is_the_relays() -> None:
    _, transport = Hall().come(startup(), initial(), final(CHALLENGE) + QUERY)
    assert transport.protocol is not None


def test_a_shutdown_during_the_exchange_refuses_the_client() -> None:
    hall = Hall()
    connection, transport = hall.come(startup(), initial())
    hall.door.admission = Admission.SHUT
    connection.data_received(final(CHALLENGE))
    assert b"pooler is shutting down" in transport.written and transport.is_closed


def test_one_client_too_many_is_not_asked() -> None:
    hall = Hall(max_client_conn=3)
    assert hall.say(startup())[0][0] == "E"


@pytest.mark.parametrize("is_logged", [0, 1])
def test_an_attempt_is_logged_where_it_is_to_be(is_logged: int) -> None:
    hall = Hall(log_connections=bool(is_logged))
    before = len(hall.rig.log.lines)
    _, transport = hall.come(startup(), initial(), final(CHALLENGE))
    said = "".join(hall.rig.log.lines[before:])
    assert said.count("login attempt: db=app user=bob") == is_logged
    assert transport.protocol is not None
