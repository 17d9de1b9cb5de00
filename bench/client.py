"""A client with as little of its own as can be: a blocking socket, and answers not looked into.

For loads that pgbench doesn't make. Source: PostgreSQL's chapter "Message Flow".
Errors: `BenchError` where the pooler closes or refuses.
"""

from __future__ import annotations

import gc
import resource
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from bench import BenchError
from bench.poolers import USER, Pooler, Setup
from pgmux.wire import build

READY = b"Z\0\0\0\5I"  # ReadyForQuery, the end of each answer
QUERY = build.build_query("SELECT abalance FROM pgbench_accounts WHERE aid = 4711;")
TIMEOUT = 60.0
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_BUFFER = 1 << 20
_DESCRIPTORS = 200  # for everything else that this process has open


class Client:
    """One that has logged in over TCP, or TLS; `with` closes it."""

    def __init__(self, pooler: Pooler, setup: Setup = Setup.TRUST) -> None:
        self._pooler = pooler
        where = (pooler.process.host, pooler.process.port)
        self.socket: socket.socket = socket.create_connection(where, timeout=TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self.socket.sendall
        if setup is Setup.TLS:
            self._start_tls()
        self.send(_startup_packet())
        self.receive()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Without a word, as clients mostly go."""
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    def say(self, messages: bytes) -> None:
        """What is answered up to a ReadyForQuery, and the answer; nothing at all is answered by
        nothing.
        """
        if messages:
            self.send(messages)
            self.receive()

    def receive(self, until: bytes = READY) -> bytes:
        """Drops what comes until it ends in `until`; its last bytes, a few dozen at least."""
        end = b""
        buffer = bytearray(_BUFFER)
        while not end.endswith(until):
            count = self.socket.recv_into(buffer)
            end = (end + buffer[max(0, count - 200) : count])[-200:]
            if not count:
                raise BenchError(f"{self._pooler.name} closed a client: {end!r}")
        return end

    def _start_tls(self) -> None:
        self.send(_SSL_REQUEST)
        self.socket.recv(1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)
        self.send = self.socket.sendall


@contextmanager
def no_collection() -> Iterator[None]:
    """This process's own garbage collector would be taken for the pooler's."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def make_room(clients: int) -> None:
    """Raises this process's limit of open files. Raises: BenchError where that is forbidden."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + _DESCRIPTORS
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise BenchError(f"{clients} clients need a limit of {needed} open files: `ulimit -n`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))


def _startup_packet() -> bytes:
    body = struct.pack("!I", 3 << 16) + f"user\0{USER}\0database\0tcp\0\0".encode()
    return struct.pack("!I", len(body) + 4) + body
