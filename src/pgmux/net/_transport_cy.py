"""HOT: sockets with nothing between: one epoll, and one read and one write a chunk.

`Poller` is the event loop's selector (`net.loop.Loop`). A socket that a `Transport` has is read and
written right inside `select`, which goes back to the loop only when the loop itself has something
to do: a callback, a timer, a descriptor of its own. `Transport` has asyncio's methods, as far as
pgmux's protocols use them; what is written is on the wire before `write` returns, or in `_backlog`.

Source: epoll(7), level-triggered; asyncio's Transport and Protocol; docs/decisions/0005.
Errors: what goes wrong with a socket ends that socket, `connection_lost(error)`; what a protocol
raises goes to `Poller.on_error`, and its connection ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgmux import _cython as cython
    from pgmux._cython import (
        EAGAIN,
        ECONNABORTED,
        EINTR,
        accept4,
        epoll_event,
        epoll_wait,
        errno,
        recv,
        send,
    )
else:
    try:
        import cython
    except ModuleNotFoundError:
        from pgmux import _cython as cython
    if cython.compiled:
        from cython.cimports.libc.errno import EAGAIN, ECONNABORTED, EINTR, errno
        from cython.cimports.pgmux.net._system import (
            accept4,
            epoll_event,
            epoll_wait,
            recv,
            send,
        )

CHUNK_LEN = cython.declare(cython.int, 65536)  # of one read; the buffer below has that length
HIGH_WATER = cython.declare(cython.int, 65536)  # unsent bytes, from which on the writer is paused
LOW_WATER = cython.declare(cython.int, 16384)  # and until when
MAX_EVENTS = cython.declare(cython.int, 64)  # of one turn: as many logins take 5 ms
IN = cython.declare(cython.int, 0x001)  # EPOLLIN; EPOLLERR and EPOLLHUP always come with it
OUT = cython.declare(cython.int, 0x004)  # EPOLLOUT
ADDRESS_LEN = cython.declare(cython.uint, 128)  # struct sockaddr_storage
MAX_TIMEOUT = cython.declare(cython.double, 86400.0)  # seconds of one poll
CLOSE_TIMEOUT = 10.0  # seconds that a closed connection has to take what is still unsent


@cython.cclass
class Poller:
    """A selector (`selectors.BaseSelector`) that serves transports itself.

    `wake` is set by the loop when it has a callback to run or a new timer.
    """

    wake = cython.declare(cython.bint, visibility="public")
    on_error = cython.declare(object, visibility="public")
    epoll: select.epoll
    keys: dict[int, selectors.SelectorKey]
    transports: list[Transport | None]  # by descriptor
    readers: dict[int, Callable[[], object]]
    ended: list[Transport]  # whose protocols are still to be told
    fresh: set[int]  # watched since the last poll: what that said of the number was another's
    found: list[tuple[selectors.SelectorKey, int]]  # the loop's own that are ready
    if cython.compiled:
        fd = cython.declare(cython.int)
        buffer = cython.declare(cython.char[65536])
        events = cython.declare(epoll_event[64])

    def __init__(self, on_error: Callable[[Any, Exception], None]) -> None:
        self.epoll = select.epoll()
        if cython.compiled:
            self.fd = self.epoll.fileno()
        self.keys = {}
        self.transports = []
        self.found = []
        self.readers = {}
        self.ended = []
        self.fresh = set()
        self.wake = False
        self.on_error = on_error

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch a descriptor for the loop. Raises: KeyError if it is watched already."""
        fd = _fileno(fileobj)
        if fd in self.keys:
            raise KeyError(f"{fileobj!r} is registered already")
        self.epoll.register(fd, _mask(events))
        self._expect(fd)
        self.keys[fd] = key = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Watch it no more. Raises: KeyError."""
        key = self.keys.pop(_fileno(fileobj))
        with contextlib.suppress(OSError):  # closed before it was unregistered
            self.epoll.unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch it for something else. Raises: KeyError."""
        fd = self.keys[_fileno(fileobj)].fd
        self.epoll.modify(fd, _mask(events))
        self.keys[fd] = key = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def add_reader(self, sock: socket.socket, callback: Callable[[], object]) -> None:
        """Call this, right inside `select`, whenever the socket is readable. Raises: OSError."""
        fd = sock.fileno()
        self.epoll.register(fd, IN)
        self._expect(fd)
        self.readers[fd] = callback

    def remove_reader(self, sock: socket.socket) -> None:
        """Don't any more; a socket that isn't watched is left alone."""
        fd = sock.fileno()
        if self.readers.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """The loop's own descriptors."""
        return _Keys(self.keys)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Raises: KeyError."""
        return self.keys[_fileno(fileobj)]

    def close(self) -> None:
        self.epoll.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve transports until the loop has something to do, for `timeout` seconds at most."""
        left: cython.double = -1.0 if timeout is None else max(0.0, timeout)
        deadline: cython.double = 0.0 if left <= 0 else monotonic() + left
        self.wake = False
        while True:
            if self.ended:
                self._tell_ends()
            if self.wake:
                left = 0
            if self.fresh:
                self.fresh.clear()
            if cython.compiled:
                self._poll(left)
            else:
                for fd, mask in self.epoll.poll(left, MAX_EVENTS):
                    self._dispatch(fd, mask)
            if self.found or self.wake or left == 0:
                break
            if timeout is not None:
                left = deadline - monotonic()
                if left <= 0:
                    break
        found, self.found = self.found, []
        # A transport's protocol may have removed or changed what was found before.
        return [each for each in found if self.keys.get(each[0].fd) is each[0]]

    @cython.cfunc
    def _poll(self, timeout: cython.double) -> None:
        """Serve what is ready, or becomes so within `timeout` seconds; -1 is without end."""
        if not cython.compiled:
            return
        # Up to the next millisecond: a timer must not be polled for till it is due.
        most: cython.int = -1 if timeout < 0 else int(min(timeout, MAX_TIMEOUT) * 1000 + 0.999)
        n: cython.int
        number: cython.int
        with cython.nogil:
            n = epoll_wait(self.fd, self.events, MAX_EVENTS, most)
            number = errno
        if n < 0:
            if number != EINTR:
                raise OSError(number, os.strerror(number))
            self.wake = True  # Python calls its handlers of signals outside of here
        i: cython.int
        for i in range(n):
            self._dispatch(self.events[i].data.fd, self.events[i].events)

    @cython.cfunc
    def _dispatch(self, fd: cython.int, mask: cython.int) -> None:
        """A descriptor is ready: serve it, or note it for the loop."""
        if self.fresh and fd in self.fresh:
            return
        transport: Transport | None = self.transports[fd]
        if transport is None:
            if fd in self.readers:
                self._call(self.readers[fd])
            elif fd in self.keys:
                key = self.keys[fd]
                self.found.append((key, _events(mask) & key.events))
            return
        try:
            if mask & ~OUT and transport.mask & IN:
                transport._receive()
            if mask & ~IN and transport.mask & OUT:
                transport._flush()
        except Exception as error:
            transport._fail(error)

    @cython.cfunc
    def _expect(self, fd: cython.int) -> None:
        """It is watched from the next poll on."""
        missing: cython.int = fd + 1 - len(self.transports)
        if missing > 0:
            self.transports.extend([None] * missing)
        self.fresh.add(fd)

    @cython.cfunc
    def _tell_ends(self) -> None:
        """Close what has ended since the last time, and tell the protocols."""
        ended, self.ended = self.ended, []
        for transport in ended:
            transport._lost(transport.error)

    @cython.cfunc
    def _call(self, reader: Callable[[], object]) -> None:
        try:
            reader()
        except Exception as error:
            self.on_error(reader, error)


class _Keys(Mapping[Any, selectors.SelectorKey]):
    """By descriptor or by what has one, which is how asyncio looks them up since Python 3.13."""

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[_fileno(fileobj)]

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _fileno(fileobj: Any) -> int:
    fd: int = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    return fd


@cython.cfunc
def _mask(events: cython.int) -> cython.int:
    """The loop's EVENT_READ and EVENT_WRITE as epoll's bits."""
    return (IN if events & 1 else 0) | (OUT if events & 2 else 0)


@cython.cfunc
def _events(mask: cython.int) -> cython.int:
    """The reverse; an error or hang-up is both."""
    return (1 if mask & ~OUT else 0) | (2 if mask & ~IN else 0)


@cython.cclass
class Transport:
    """A connected, non-blocking socket, which it owns; calls `connection_made` at once.

    It is given the socket or, where that costs too much, its descriptor and the peer's address: a
    socket object is made for whoever asks for it.
    """

    fd: cython.int  # -1 once it is closed
    mask: cython.int  # what epoll watches it for
    closing: cython.bint
    paused: cython.bint  # the protocol was told to pause writing
    reading: cython.bint
    unsent_len: cython.Py_ssize_t
    sent_len: cython.Py_ssize_t  # of the backlog's first
    backlog: deque[bytes] | None
    receive: Callable[[bytes], None]
    sock: socket.socket | None
    peername: object  # as accept() told it, or None
    error: Exception | None  # that has ended it
    poller: Poller
    loop: Any
    protocol: Any
    __weakref__ = cython.declare(object)

    def __init__(
        self,
        poller: Poller,
        loop: Any,
        sock: socket.socket | None,
        protocol: Any,
        fd: cython.int = -1,
        peername: object = None,
    ) -> None:
        self.poller = poller
        self.loop = loop
        self.sock = sock
        self.fd = fd if sock is None else sock.fileno()
        self.peername = peername
        self.error = None
        self.mask = 0
        self.closing = self.paused = False
        self.reading = True
        self.unsent_len = self.sent_len = 0
        self.backlog = None
        self.set_protocol(protocol)
        poller._expect(self.fd)
        poller.transports[self.fd] = self
        self._watch()
        try:
            protocol.connection_made(self)
        except Exception as error:
            self._fail(error)

    # ---- asyncio's transport

    def set_protocol(self, protocol: Any) -> None:
        """What is received from now on goes to `protocol`."""
        self.protocol = protocol
        self.receive = protocol.data_received

    def get_protocol(self) -> Any:
        return self.protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The socket and, of an accepted one, the peer's address, under asyncio's names."""
        if name == "socket" and self.fd >= 0:
            if self.sock is None:
                self.sock = socket.socket(fileno=self.fd)
                self.sock.setblocking(False)  # it doesn't know
            return self.sock
        if name == "peername" and self.peername is not None:
            return _address(self.peername) if isinstance(self.peername, bytes) else self.peername
        return default

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return self.reading and not self.closing

    def pause_reading(self) -> None:
        self.reading = False
        self._watch()

    def resume_reading(self) -> None:
        self.reading = True
        self._watch()

    def get_write_buffer_size(self) -> int:
        """Bytes that are not on the wire yet."""
        return self.unsent_len

    def write(self, data: bytes) -> None:
        """Send; what the socket doesn't take now is kept and sent when it does."""
        if self.closing or not data:
            return
        sent: cython.Py_ssize_t = 0
        if self.backlog is None:
            sent = self._send(data, 0)
            if sent == len(data) or self.closing:
                return
            self.backlog = deque()
            self.sent_len = sent
        self.backlog.append(data)
        self.unsent_len += len(data) - sent
        self._watch()
        if self.unsent_len > HIGH_WATER and not self.paused:
            self.paused = True
            try:
                self.protocol.pause_writing()
            except Exception as error:  # whoever writes is another connection
                self._fail(error)

    def close(self) -> None:
        """Send what is unsent, within CLOSE_TIMEOUT, and close; `connection_lost` comes later."""
        if self.closing:
            return
        self.closing = True
        if self.backlog is None:
            self._end(None)
        else:
            self._watch()
            self.loop.call_later(CLOSE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Close without sending what is unsent; `connection_lost` comes later."""
        if self.protocol is not None:
            self._end(None)

    # ---- inside

    @cython.cfunc
    def _watch(self) -> None:
        """Tell epoll what to look for. Not watched at all while neither read nor written: a hang-up
        is reported whatever one asks for, again and again."""
        if self.fd < 0:
            return
        mask: cython.int = IN if self.reading and not self.closing else 0
        if self.backlog is not None:
            mask |= OUT
        if mask == self.mask:
            return
        was, self.mask = self.mask, mask
        try:
            if mask == 0:
                self.poller.epoll.unregister(self.fd)
            elif was == 0:
                self.poller.epoll.register(self.fd, mask)
            else:
                self.poller.epoll.modify(self.fd, mask)
        except OSError as error:  # a limit of the system's
            self._end(error)

    @cython.cfunc
    def _receive(self) -> None:
        if cython.compiled:
            n: cython.Py_ssize_t = recv(self.fd, self.poller.buffer, CHUNK_LEN, 0)
            number: cython.int = errno
            if n > 0:
                self.receive(self.poller.buffer[:n])
            elif n == 0:
                self._lost(None)
            elif number not in (EAGAIN, EINTR):
                self._lost(OSError(number, os.strerror(number)))
        else:
            try:
                data = os.read(self.fd, CHUNK_LEN)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
                return
            if data:
                self.receive(data)
            else:
                self._lost(None)

    @cython.cfunc
    def _send(self, data: bytes, start: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """How much of it, from `start` on, the socket took. A broken one ends."""
        if cython.compiled:
            first: cython.p_char = data
            n: cython.Py_ssize_t = send(self.fd, first + start, len(data) - start, 0)
            number: cython.int = errno
            if n >= 0:
                return n
            if number not in (EAGAIN, EINTR):
                self._end(OSError(number, os.strerror(number)))
        else:
            try:
                return os.write(self.fd, memoryview(data)[start:] if start else data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self._end(error)
        return 0

    @cython.cfunc
    def _flush(self) -> None:
        """The socket takes bytes again."""
        while self.backlog:
            data: bytes = self.backlog[0]
            sent: cython.Py_ssize_t = self._send(data, self.sent_len)
            if self.backlog is None:
                return  # it broke
            self.unsent_len -= sent
            self.sent_len += sent
            if self.sent_len < len(data):
                break
            self.backlog.popleft()
            self.sent_len = 0
        if not self.backlog:
            self.backlog = None
            if self.closing:
                self._lost(None)
                return
            self._watch()
        if self.paused and self.unsent_len <= LOW_WATER:
            self.paused = False
            self.protocol.resume_writing()

    @cython.cfunc
    def _fail(self, error: Exception) -> None:
        """The protocol has raised: that ends its connection, and no other."""
        self.poller.on_error(self.protocol, error)
        if self.protocol is not None:
            self._end(error)

    @cython.cfunc
    def _end(self, error: Exception | None) -> None:
        """Neither read nor send any more. The poller does the rest, not under the caller's feet,
        and before it waits for anything.
        """
        self.closing = True
        self.backlog = None
        self.unsent_len = 0
        self.mask = 0  # closing the socket ends epoll's interest in it
        self.error = self.error or error
        self.poller.ended.append(self)

    @cython.cfunc
    def _lost(self, error: Exception | None) -> None:
        """Tell the protocol, once, which may still ask for the socket; then close that."""
        protocol = self.protocol
        if protocol is None:
            return
        self.closing = True
        self.backlog = None
        self.unsent_len = self.mask = 0
        self.protocol = self.loop = self.error = None
        self.receive = _nobody
        try:
            protocol.connection_lost(error)
        except Exception as failure:
            self.poller.on_error(protocol, failure)
        self.poller.transports[self.fd] = None
        if self.sock is None:
            os.close(self.fd)
        else:
            self.sock.close()
            self.sock = None
        self.fd = -1


def _nobody(data: bytes) -> None:
    """Where bytes go that a closed connection still had."""


def accept(
    poller: Poller,
    loop: Any,
    sock: socket.socket,
    factory: Callable[[], Any],
    most: cython.int,
    has_spoken: cython.bint,
) -> None:
    """Accept the connections that wait, `most` of them at most; each gets a protocol and a
    transport. Who `has_spoken` is read at once. Raises: OSError.
    """
    while most > 0:
        most -= 1
        fd, peername = _accept_one(poller, sock)
        if fd == _NOBODY_WAITS:
            return
        if fd == _GONE_AGAIN:
            continue
        try:
            protocol = factory()
        except BaseException:
            os.close(fd)
            raise
        transport: Transport = Transport(poller, loop, None, protocol, fd, peername)
        if has_spoken and transport.mask & IN:
            try:
                transport._receive()
            except Exception as error:
                transport._fail(error)


_NOBODY_WAITS, _GONE_AGAIN = -1, -2


@cython.cfunc
def _accept_one(poller: Poller, sock: socket.socket) -> tuple[int, object]:
    """A new connection's descriptor, or one of the two above, and its peer's address."""
    if cython.compiled:
        size: cython.uint = ADDRESS_LEN
        fd: cython.int = accept4(sock.fileno(), poller.buffer, cython.address(size))
        number: cython.int = errno
        if fd >= 0:
            return fd, poller.buffer[:size]
        if number in (EAGAIN, EINTR):
            return _NOBODY_WAITS, None
        if number == ECONNABORTED:
            return _GONE_AGAIN, None
        raise OSError(number, os.strerror(number))
    try:
        # What socket.accept() is made of: no object is made for the connection.
        listening: Any = sock
        connection, peername = listening._accept()
        os.set_blocking(connection, False)
        return connection, peername
    except ConnectionAbortedError:
        return _GONE_AGAIN, None
    except (BlockingIOError, InterruptedError):
        return _NOBODY_WAITS, None


def _address(sockaddr: bytes) -> object:
    """What accept() has filled in, as Python has it: (host, port[, flow info, scope]), or ""."""
    family = int.from_bytes(sockaddr[:2], sys.byteorder)
    port = int.from_bytes(sockaddr[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(family, sockaddr[4:8]), port
    if family == socket.AF_INET6:
        flow_info = int.from_bytes(sockaddr[4:8], "big")
        scope = int.from_bytes(sockaddr[24:28], sys.byteorder)
        return socket.inet_ntop(family, sockaddr[8:24]), port, flow_info, scope
    return ""
