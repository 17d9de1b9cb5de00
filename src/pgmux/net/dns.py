"""One look-up of a name: /etc/hosts, search domains, DNS, as c-ares does it, without a thread.

Each look-up has a channel of its own. So nothing is remembered here: c-ares would keep answers for
as long as their records live, whatever dns_max_ttl says, and the resolv.conf of the day it was
made. A channel costs some 100 µs; names are looked up every few seconds at most.

aiodns drives the channel. Three things are done otherwise than there: no event thread, no thread
that destroys channels (while a process has more than one thread, each of its system calls on a
file descriptor costs more), and a socket that c-ares no longer writes to is no longer watched.

Errors: LookupFailed.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from typing import Any

import aiodns
import pycares

from pgmux.net.resolv_conf import ChannelOptions, read_resolv_conf
from pgmux.net.resolver import Answer, LookupFailed
from pgmux.net.sockets import Address, SockAddr

# The answer is that there is nothing. All others mean that there was no answer.
_NOTHING = (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA, aiodns.error.ARES_EBADNAME)

_MOST_ADDRESSES = 64  # more would be tried, and logged, one after the other


async def look_up(
    loop: asyncio.AbstractEventLoop, name: str, resolv_conf: str, timeout: float
) -> Answer:
    """The addresses of a host. `resolv_conf` is a path, "" the system's; `timeout` 0 is none.

    Raises: LookupFailed.
    """
    async with _open_channel(loop, resolv_conf) as channel:
        try:
            async with asyncio.timeout(timeout or None):
                found = await channel.getaddrinfo(name, type=socket.SOCK_STREAM)
        except (aiodns.error.DNSError, UnicodeError) as error:
            raise _failure(error) from None
        except TimeoutError:
            raise LookupFailed("no answer from DNS", is_final=False) from None
        return _read_answer(found)


async def look_up_serial(
    loop: asyncio.AbstractEventLoop, zone: str, resolv_conf: str, timeout: float
) -> int | None:
    """The serial number of a zone; None where nobody says."""
    try:
        async with _open_channel(loop, resolv_conf) as channel, asyncio.timeout(timeout or None):
            found = await channel.query_dns(zone, "SOA")
    except (aiodns.error.DNSError, UnicodeError, TimeoutError, LookupFailed):
        return None
    for record in found.answer:
        if isinstance(record.data, pycares.SOARecordData):
            return record.data.serial
    return None


def _open_channel(loop: asyncio.AbstractEventLoop, resolv_conf: str) -> _Channel:
    options = ChannelOptions()
    try:
        if resolv_conf:
            options = read_resolv_conf(resolv_conf)
        return _Channel(loop, options)
    except OSError as error:
        why = f"cannot read resolv_conf {resolv_conf!r}: {error.strerror}"
        raise LookupFailed(why, is_final=False) from None
    except pycares.AresError as error:
        raise LookupFailed(f"c-ares: {error}", is_final=False) from None


def _failure(error: Exception) -> LookupFailed:
    if isinstance(error, UnicodeError):
        return LookupFailed("not a host name", is_final=True)
    number, text = error.args
    return LookupFailed(text, is_final=number in _NOTHING)


def _read_answer(found: pycares.AddrInfoResult) -> Answer:
    nodes = found.nodes[:_MOST_ADDRESSES]
    addresses = tuple(_read_address(node.family, node.addr) for node in nodes)
    if not addresses:
        raise LookupFailed("it has no address", is_final=True)
    lives = [node.ttl for node in found.nodes] + [cname.ttl for cname in found.cnames]
    return Answer(addresses, float(min((ttl for ttl in lives if ttl > 0), default=0)))


def _read_address(family: int, found: tuple[Any, ...]) -> Address:
    host = found[0].decode()
    rest: tuple[int, ...] = found[2:]  # of IPv6: flow and scope
    sockaddr: SockAddr = (host, 0) if not rest else (host, 0, rest[0], rest[1])
    return Address(int(family), host, 0, sockaddr)


class _Channel(aiodns.DNSResolver):
    """See the module."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: ChannelOptions) -> None:
        super().__init__(loop=loop, **options)

    def _make_channel(self, **kwargs: Any) -> tuple[bool, pycares.Channel]:
        weak = weakref.ref(self)  # the channel must not keep what closes it

        def on_socket(fd: int, readable: bool, writable: bool) -> None:
            channel = weak()
            if channel is not None:
                channel._sock_state_cb(fd, readable, writable)

        _Destroyer.install()
        return False, pycares.Channel(sock_state_cb=on_socket, timeout=self._timeout, **kwargs)

    def _sock_state_cb(self, fd: int, readable: bool, writable: bool) -> None:
        super()._sock_state_cb(fd, readable, writable)
        if readable and not writable and fd in self._write_fds:
            # Else a connected TCP socket, which always can be written to, keeps the loop busy.
            self._write_fds.discard(fd)
            self.loop.remove_writer(fd)


class _Destroyer:
    """Stands where pycares has a thread that destroys channels, as that can't be done within their
    callbacks. Ours are closed outside of them, with no query left.
    """

    def __init__(self, destroy: Any) -> None:
        self._destroy = destroy

    @classmethod
    def install(cls) -> None:
        """A pycares that is built otherwise keeps its thread."""
        library: Any = pycares
        destroy = getattr(getattr(library, "_lib", None), "ares_destroy", None)
        manager = getattr(library, "_shutdown_manager", None)
        if destroy is not None and manager is not None and not isinstance(manager, cls):
            library._shutdown_manager = cls(destroy)

    def start(self) -> None:
        """No thread."""

    def destroy_channel(self, channel: Any, sock_state_cb_handle: object) -> None:
        """Free it now. The handle is what its last callbacks go through."""
        self._destroy(channel[0])
