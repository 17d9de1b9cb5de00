"""A listening socket that shares its port gives way to the others, and loses no connection.

When a listening socket closes, the kernel resets what waits in its queue, and every handshake that
is under way there: each is a client that believes itself connected. So first the socket takes no
new handshake: a filter on it drops their first packet (SYN), and no other. The client's kernel
sends it again one second later, when this socket is gone and another one of the port answers. What
had begun by then comes to its end and is accepted as ever, for DRAIN seconds; then the queue is
empty, and closing resets nothing.

Source: socket(7), SO_ATTACH_FILTER, needs no privilege; net.ipv4.tcp_migrate_req does the same for
all programs of a machine. Errors: none.
"""

from __future__ import annotations

import array
import socket
import struct
import sys

# Longer than a handshake takes, also over an ocean; shorter than the second after which the SYN
# comes again, so that nobody's is dropped twice.
DRAIN = 0.5

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
