"""What a client is told at the end of its login.

AuthenticationOk, a ParameterStatus for all that the server reports (with the client's own values of
those that it set), BackendKeyData, a NoticeResponse if login_notify_message is set, ReadyForQuery:
one write.
Source: PostgreSQL protocol, "Start-up".
"""

from __future__ import annotations

from pgmux.errors import SQLSTATE_SUCCESSFUL_COMPLETION
from pgmux.wire.build import (
    build_authentication_ok,
    build_backend_key_data,
    build_notice_response,
    build_ready_for_query,
)


def build_welcome(
    statuses: bytes, key: tuple[int, bytes], notice: str, *, is_authenticated: bool = False
) -> bytes:
    """The welcome of a client that is told these ParameterStatus, and whose cancel key is `key`;
    without AuthenticationOk where it has had that.
    """
    parts = [] if is_authenticated else [build_authentication_ok()]
    parts += [statuses, build_backend_key_data(*key)]
    if notice:
        parts.append(build_notice_response("NOTICE", SQLSTATE_SUCCESSFUL_COMPLETION, notice))
    parts.append(build_ready_for_query())
    return b"".join(parts)
