"""What a client is told at the end of its login.

AuthenticationOk, a ParameterStatus for all that the server reports (with the client's own values of
those that it set), BackendKeyData, a NoticeResponse if login_notify_message is set, ReadyForQuery:
one write.
Source: PostgreSQL protocol, "Start-up".
"""

from __future__ import annotations

from pgmux.errors import SQLSTATE_SUCCESSFUL_COMPLETION
from pgmux.session.varcache import Vars, VarSpace
from pgmux.wire.build import (
    build_authentication_ok,
    build_backend_key_data,
    build_notice_response,
    build_ready_for_query,
)


def build_welcome(space: VarSpace, wanted: Vars, key: tuple[int, bytes], notice: str) -> bytes:
    """The welcome of a client whose parameters are `wanted` and whose cancel key is `key`."""
    parts = [build_authentication_ok(), space.statuses(wanted), build_backend_key_data(*key)]
    if notice:
        parts.append(build_notice_response("NOTICE", SQLSTATE_SUCCESSFUL_COMPLETION, notice))
    parts.append(build_ready_for_query())
    return b"".join(parts)
