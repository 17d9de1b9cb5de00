"""Why connections end and clients are refused, as a bounded number of texts: what SHOW CONNECTS and
SHOW ERRORS count by, and with them the metrics.

The log line and the client's message are said in PgBouncer's words with names and values in them;
`find_reason` takes those out. Whatever isn't known here is somebody else's text: what a server
said. (A test holds that everything that pgmux says itself is known.)
Errors: none.
"""

from __future__ import annotations

import re
from typing import Final

# A client that says goodbye: most ends are this, so it is counted without a look-up.
CLOSE_REQUEST: Final = "client close request"
PROBE: Final = "probe"  # closed before it has said anything, as load balancers' checks are

# How a connection came in; what SHOW CONNECTS has as the reason of a connect.
LOGIN: Final = "login"
LOGIN_FAILED: Final = "login failed"
CANCEL_REQUEST: Final = "cancel request"

SERVER_REFUSED: Final = "server login failed"  # to a client: the server said why
COMMAND_REFUSED: Final = "console command refused"

# Texts that are counted as they are.
KNOWN: Final = frozenset(
    {
        # clients
        CLOSE_REQUEST,
        PROBE,
        "client unexpected eof",
        "client_idle_timeout",
        "client_login_timeout",
        "client_login_timeout (server down)",
        "query_timeout",
        "query_wait_timeout",
        "server shutting down",
        "pooler is shutting down",
        "admin forced disconnect",
        "database removed",
        "internal error",
        "bouncer resources exhaustion",
        "bouncer config error",
        "canceling statement due to user request",
        "PAUSE was ended by RESUME",
        # before they have logged in
        "no more connections allowed (max_client_conn)",
        "client connections exceeded (max_db_client_connections)",
        "client connections exceeded (max_user_client_connections)",
        "SSL required",
        "SSL req inside SSL",
        "failed to accept SSL",
        "received unencrypted data after SSL request",
        "received unencrypted data after GSSAPI encryption request",
        "client password pkt before startup packet",
        "client re-sent startup pkt",
        "old V2 protocol not supported",
        "invalid startup packet layout: expected terminator as last byte",
        "no username supplied",
        "username too long",
        "no such user",
        "not allowed",
        "password authentication failed",
        '"trust" authentication failed',
        "SASL authentication failed",
        "client selected an invalid SASL authentication mechanism",
        "empty password returned by client",
        "certificate authentication failed",
        "unix socket login rejected",
        "LDAP authentication failed",
        "PAM authentication failed",
        "auth_ldap_options is null",
        "no authentication method is found",
        "login rejected",
        # what is wrong with what they send
        "unknown pkt",
        "bad packet",
        "incomplete pkt",
        "incomplete query",
        "PQexec disallowed",
        "failed to parse packet",
        "too many outstanding requests",
        # cancel requests
        "bad cancel request",
        "failed cancel request",
        "cancel request for idle client",
        "cancel request for console client",
        "cancel request already on its way",
        "canceled a waiting client",
        "successfully sent cancel request",
        "cancel_wait_timeout",
        "could not find peer to forward request to",
        "failed to forward cancel request because its TTL was exhausted",
        "failed to forward cancel request",
        "too many cancel requests for this peer",
        "peer removed",
        # servers
        "close_needed",
        "database configuration changed",
        "database is to be dropped, copied or moved",
        "evicted",
        "idle server got dirty",
        "SV_IDLE server got dirty",
        "SV_USED server got dirty",
        "idle transaction timeout",
        "invalid server parameter",
        "obsolete connection",
        "password changed",
        "pause mode",
        "query timeout",
        "replication client disconnected",
        "replication client was closed",
        "reset query failed",
        "test query failed",
        "server idle timeout",
        "server lifetime over",
        "too many servers in the pool",
        "transaction blocks not allowed in statement pooling mode",
        "transaction timeout",
        "client disconnect while server was not ready",
        "client disconnect before everything was sent to the server",
        "client disconnected with query in progress",
        # before they have logged in
        "TLS startup failed",
        "cannot connect",
        "connect failed",
        "connect timeout",
        "connect_query left a transaction open",
        "failed to answer authreq",
        LOGIN_FAILED,
        "received unencrypted data after SSL response",
        "server DNS lookup failed",
        "server refused SSL",
        "unknown pkt from server",
        # what is wrong with what they send
        "bad pkt header",
        "failed to store ParameterStatus",
    }
)

# With names and values; the first that fits.
_PATTERNS: Final = tuple(
    (re.compile(pattern, re.DOTALL), reason)
    for pattern, reason in (
        (r"no such database: ", "no such database"),
        (r"no such user: ", "no such user"),
        (r'database ".*" is disabled\Z', "database is disabled"),
        (r'authentication database ".*" is disabled\Z', "authentication database is disabled"),
        (r"unsupported options startup parameter: ", "unsupported options startup parameter"),
        (r"unsupported startup parameter: ", "unsupported startup parameter"),
        (
            r"unsupported startup parameter in options: ",
            "unsupported startup parameter in options",
        ),
        (r'invalid value for parameter "replication": ', "invalid replication parameter"),
        (r"bad packet header: ", "bad packet header"),
        (r"broken \S+ packet\Z", "broken packet"),
        (r"unsupported packet type for admin console: ", "unsupported packet type"),
        (
            r"server login has been failing, cached error: .* \(server_login_retry\)\Z",
            "server login has been failing (server_login_retry)",
        ),
        (r"unknown/unsupported auth method: ", "unknown/unsupported auth method"),
        (r"server login failed: ", SERVER_REFUSED),
        (r"login failed: ", LOGIN_FAILED),
        # what came of the connection for a cancel request
        (r"cannot connect to ", "cannot connect"),
        (r"TLS (?:handshake|connect) error", "TLS startup failed"),
        (r"bad sslreq answer", "bad sslreq answer"),
        (r"server conn crashed\?", "server conn crashed?"),
        (r"\d+ password computations are waiting already", "bouncer resources exhaustion"),
    )
)


def find_reason(text: str, otherwise: str) -> str:
    """The reason that this text gives, without names and values; `otherwise` where it isn't of
    ours.
    """
    if text in KNOWN:
        return text
    for pattern, reason in _PATTERNS:
        if pattern.match(text):
            return reason
    return otherwise
