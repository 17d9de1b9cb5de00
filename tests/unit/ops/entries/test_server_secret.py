"""The secret is learnt only from a server that has proved to know it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgmux.config import load_config
from pgmux.ops.entries.server_secret import SecretError, ServerPlace, learn_secret

SALT = "c2FsdHNhbHRzYWx0c2FsdA=="


def authentication(code: int, data: bytes = b"") -> bytes:
    return b"R" + (8 + len(data)).to_bytes(4, "big") + code.to_bytes(4, "big") + data


@pytest.fixture
def impostor() -> Iterator[ServerPlace]:
    """It asks for SCRAM with a salt of its own, and lets everybody in without its signature."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(8)
            connection.sendall(b"N")
            connection.recv(1000)
            connection.sendall(authentication(10, b"SCRAM-SHA-256\0\0"))
            nonce = connection.recv(1000).partition(b"r=")[2]
            connection.sendall(authentication(11, b"r=%sx,s=%s,i=1" % (nonce, SALT.encode())))
            connection.recv(1000)
            connection.sendall(authentication(0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield ServerPlace("127.0.0.1", listener.getsockname()[1], "app")
        thread.join(5)


def test_a_server_without_a_signature_teaches_nothing(
    impostor: ServerPlace, tmp_path: Path
) -> None:
    settings = load_config("x.ini", lambda _: "[pgbouncer]\n").settings
    with pytest.raises(SecretError, match="no PostgreSQL that can be logged in to"):
        learn_secret(impostor, "ada", "pw", settings)
