"""A connection to whoever may answer: bounded in time and bytes, whatever comes.

Errors: `LineError`, whose `why` says which kind; nothing that arrives is in it but as `printable`.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from enum import Enum
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Self

MOST_BYTES = 16 * 1024  # of one connection
MOST_ADDRESSES = 4
ALPN = "postgresql"

Address = tuple[socket.AddressFamily, tuple[str, int]]


class Why(Enum):
    """Why a line is no use (any more)."""

    REFUSED = "refused"
    NO_ANSWER = "no answer in time"
    UNREACHABLE = "unreachable"
    ENDED = "closed"
    TOO_MUCH = "too much"
    TLS = "TLS"


class LineError(Exception):
    """See the module."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


def resolve(host: str, port: int, timeout: float) -> list[Address]:
    """The addresses of a name, a few at most. Raises: LineError."""
    queue: SimpleQueue[list[Address] | OSError] = SimpleQueue()

    def run() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            queue.put([(each[0], (str(each[4][0]), int(each[4][1]))) for each in found])
        except OSError as error:
            queue.put(error)
        except UnicodeError:
            queue.put(OSError(0, "that is no host name"))

    Thread(target=run, daemon=True).start()  # libc's resolver can't be told when to give up
    try:
        found = queue.get(timeout=timeout)
    except Empty:
        raise LineError(Why.UNREACHABLE, "the name wasn't resolved in time") from None
    if isinstance(found, OSError):
        raise LineError(Why.UNREACHABLE, found.strerror or str(found)) from found
    return found[:MOST_ADDRESSES]


class Line:
    """One connection, in the clear at first. All it does ends within `timeout` seconds."""

    def __init__(self, address: Address, timeout: float) -> None:
        """Connects. Raises: LineError."""
        self._ends_at = time.monotonic() + timeout
        self._received = 0
        self._socket: socket.socket = socket.socket(address[0], socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(address[1])
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise _connect_error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Raises: LineError."""
        while data:
            try:
                data = data[self._socket.send(data) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(is_write=True)
            except ssl.SSLWantReadError:
                self._wait(is_write=False)
            except OSError as error:
                raise _broken(error) from error

    def receive(self) -> bytes:
        """What comes next, b"" at the end. Raises: LineError."""
        if self._received >= MOST_BYTES:
            raise LineError(Why.TOO_MUCH, f"more than {MOST_BYTES} bytes came")
        while True:
            try:
                data = self._socket.recv(4096)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(is_write=False)
            except ssl.SSLWantWriteError:
                self._wait(is_write=True)
            except ConnectionResetError:
                return b""
            except OSError as error:
                raise _broken(error) from error
            else:
                self._received += len(data)
                return data

    def start_tls(self, server_name: str, *, verify: bool) -> None:
        """Raises: LineError, with OpenSSL's reason where it is the certificate."""
        context = _context(verify)
        try:
            self._socket = context.wrap_socket(
                self._socket, server_hostname=server_name, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:
            raise LineError(Why.TLS, str(error)) from error
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(is_write=False)
            except ssl.SSLWantWriteError:
                self._wait(is_write=True)
            except ssl.SSLCertVerificationError as error:
                raise LineError(Why.TLS, error.verify_message) from error
            except OSError as error:
                raise _broken(error) from error
            else:
                return

    @property
    def _tls(self) -> ssl.SSLSocket:
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket

    @property
    def tls_version(self) -> str:
        """As `TLSv1.3`."""
        return self._tls.version() or ""

    @property
    def certificate(self) -> bytes:
        """The other side's, as DER."""
        return self._tls.getpeercert(binary_form=True) or b""

    def _wait(self, *, is_write: bool) -> None:
        """Until the socket can go on. Raises: LineError."""
        left = self._ends_at - time.monotonic()
        to_read, to_write = ([], [self._socket]) if is_write else ([self._socket], [])
        if left <= 0 or not any(select.select(to_read, to_write, [], left)):
            raise LineError(Why.NO_ANSWER, "no answer in time")


def _context(verify: bool) -> ssl.SSLContext:
    """As a careful client's; else one that takes whatever is offered, to tell what that is."""
    context = ssl.create_default_context()
    context.set_alpn_protocols([ALPN])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _connect_error(error: OSError) -> LineError:
    if isinstance(error, TimeoutError):
        return LineError(Why.NO_ANSWER, "no answer in time")
    if isinstance(error, ConnectionRefusedError):
        return LineError(Why.REFUSED, "refused")
    return LineError(Why.UNREACHABLE, error.strerror or str(error))


def _broken(error: OSError) -> LineError:
    if isinstance(error, ssl.SSLError):
        return LineError(Why.TLS, error.reason or str(error))
    return LineError(Why.ENDED, error.strerror or str(error))


def is_loopback(address: str) -> bool:
    """Whether it is this machine by a loopback address."""
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
