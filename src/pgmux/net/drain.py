"""A listening socket that shares its port gives way to the others, and loses no connection.

When a listening socket closes, the kernel resets what waits in its queue, and every handshake that
is under way there: each is a client that believes itself connected. So first the socket takes no
new handshake: a filter on it drops their first packet (SYN), and no other. The client's kernel
sends it again one second later, when this socket is gone and another one of the port answers. What
had begun by then comes to its end and is accepted as ever, for DRAIN seconds; then the queue is
empty, and closing resets nothing.

Some kernels let only CAP_NET_ADMIN set filters (a 6.18 was seen to). Then new connects are accepted
to the end, but no longer wait for their first bytes (TCP_DEFER_ACCEPT) where closing would reset
them: what is lost is a handshake whose last packet is on the wire in the very moment of the end,
and the log says so. With net.ipv4.tcp_migrate_req the kernel itself gives what a closing socket has
to another one of the port, and none of this is needed.

Source: socket(7), tcp(7), the kernel's ip-sysctl. Errors: none.
"""

from __future__ import annotations

import array
import contextlib
import socket
import struct
import sys

# Longer than a handshake takes, also over an ocean; shorter than the second after which the SYN
# comes again, so that nobody's is dropped twice.
DRAIN = 0.5

MIGRATE = "/proc/sys/net/ipv4/tcp_migrate_req"
_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("HBBI")  # struct sock_filter: code, jump if true, if false, operand
_FLAGS_AT, _SYN, _ACK = 13, 0x02, 0x10  # in the TCP header, where a filter's packet begins
_DROP_SYN = (
    (0x30, 0, 0, _FLAGS_AT),  # load the byte
    (0x54, 0, 0, _SYN | _ACK),  # and
    (0x15, 0, 1, _SYN),  # is it SYN alone? else skip one
    (0x06, 0, 0, 0),  # keep 0 bytes: drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all
)


def kernel_migrates() -> bool:
    """Whether the kernel hands over what a closing socket still has."""
    try:
        with open(MIGRATE) as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def take_no_handshake(sock: socket.socket) -> bool:
    """Drop each SYN from now on; False where the system can't."""
    if sys.platform != "linux":
        return False
    code = array.array("B", b"".join(_INSTRUCTION.pack(*each) for each in _DROP_SYN))
    address, _ = code.buffer_info()
    program = struct.pack("HP", len(_DROP_SYN), address)  # struct sock_fprog
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def wait_for_no_bytes(sock: socket.socket) -> None:
    """Accept each connection as soon as its handshake is over."""
    option = getattr(socket, "TCP_DEFER_ACCEPT", None)
    if option is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, 0)
