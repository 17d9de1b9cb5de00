"""A client of the pooler's own: it asks a server of a pool one thing, and is itself the transport
that the answer comes to.

It is given a server, queues and fails as any other client of that pool. What it does with the
answer is its subclass's: `write` and `close`, and `_finished` in a turn of its own, for an answer
comes in the middle of a server's work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pgmux.session._relay_cy import ClientRelay
from pgmux.session.control import PoolControl
from pgmux.session.identity import LookupInfo

if TYPE_CHECKING:
    from pgmux.session.pooler import Pooler

Soon = Callable[[Callable[[], None]], object]  # calls it in a turn of its own


class OwnClient:
    """See the module; `relay` is there until it has finished."""

    __slots__ = ("__weakref__", "_control", "_is_over", "_soon", "relay")

    def __init__(self, control: PoolControl, info: LookupInfo, soon: Soon) -> None:
        self._control = control
        self._soon = soon
        self._is_over = False
        self.relay = ClientRelay(control.relay, self, info)

    def _ask(self, application: str, message: bytes) -> None:
        """Send that, or queue for a server; SHOW APPS counts it under the name."""
        self._control.pool.lists.add_client(self.relay)
        self.relay.count_as(self._control.apps.find(self._control.pool.key.user, application))
        self.relay.data_received(message)

    def _stop_server(self, pooler: Pooler) -> None:
        """Have it stop working on this: closing the connection alone would not."""
        server = self.relay.linked_server
        if server is not None:
            pooler.cancel_query(self._control, server, lambda reason: None)

    def _be_over(self) -> None:
        """What comes from now on doesn't count."""
        self._is_over = True
        self._soon(self._finish)

    def _finish(self) -> None:
        self._control.dismiss(self.relay)
        del self.relay  # which has us as its transport: no cycle stays behind
        self._finished()

    def _finished(self) -> None:
        """It is no client any more."""
        raise NotImplementedError

    # ---- as a transport

    def write(self, data: bytes) -> None:
        """From the server; or the pooler's last words."""
        raise NotImplementedError

    def close(self) -> None:
        """The pooler has closed the client, or its server is gone."""
        raise NotImplementedError

    def abort(self) -> None:
        """The same."""
        self.close()

    def get_write_buffer_size(self) -> int:
        """Nothing is kept."""
        return 0

    def pause_reading(self) -> None:
        """There is nothing to read: the question went out in one piece."""

    def resume_reading(self) -> None:
        """See above."""
