"""The states of clients and servers, which are the lists of a pool.

A connection's state is the list that it is in (`Pool._move`). The names are those of PgBouncer's
SHOW CLIENTS and SHOW SERVERS. Plain integers, because they are compared for every transaction;
`CLIENT_STATES` and `SERVER_STATES` give the names.
"""

from __future__ import annotations

from typing import Final

# A client is in one of these lists of its pool from the end of its login to its end.
CL_ACTIVE: Final = 0  # linked to a server, or idle between transactions
CL_WAITING: Final = 1  # has sent something and waits for a server
CL_GONE: Final = 2  # in no list any more

# A server is in one of these lists of its pool from the start of the connect to its end.
SV_LOGIN: Final = 0  # connecting or logging in
SV_IDLE: Final = 1  # may be linked at once
SV_ACTIVE: Final = 2  # linked to a client
SV_USED: Final = 3  # idle for longer than server_check_delay: needs the check query first
SV_TESTED: Final = 4  # runs the reset query or the check query
SV_BEING_CANCELED: Final = 5  # released, but a cancel request for it is still on its way
SV_GONE: Final = 6  # in no list any more

CLIENT_STATES: Final = ("active", "waiting", "gone")
SERVER_STATES: Final = ("login", "idle", "active", "used", "tested", "being_canceled", "gone")
