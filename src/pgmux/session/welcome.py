"""What a client is told at the end of its login.

AuthenticationOk, a ParameterStatus for all that the server reports (with the client's own values of
those that it set), BackendKeyData, a NoticeResponse if login_notify_message is set, ReadyForQuery:
one write.
Source: PostgreSQL protocol, "Start-up".
"""

from __future__ import annotations

from pgmux.errors import SQLSTATE_SUCCESSFUL_COMPLETION
from pgmux.session.cancel import KEY_LEN
from pgmux.wire.build import (
    build_authentication_ok,
    build_backend_key_data,
    build_notice_response,
    build_ready_for_query,
)

_AUTHENTICATION_OK = build_authentication_ok()
_READY_FOR_QUERY = build_ready_for_query()
# BackendKeyData with a key of 4 bytes, up to the process id.
_KEY_HEAD = build_backend_key_data(0, bytes(4))[:5]


def build_welcome(
    statuses: bytes, key: tuple[int, bytes], notice: str, *, is_authenticated: bool = False
) -> bytes:
    """The welcome of a client that is told these ParameterStatus, and whose cancel key is `key`;
    without AuthenticationOk where it has had that.
    """
    if len(key[1]) == KEY_LEN:
        key_data = _KEY_HEAD + key[0].to_bytes(4, "big") + key[1]
    else:
        key_data = build_backend_key_data(*key)
    parts = [b"" if is_authenticated else _AUTHENTICATION_OK, statuses, key_data]
    if notice:
        parts.append(build_notice_response("NOTICE", SQLSTATE_SUCCESSFUL_COMPLETION, notice))
    parts.append(_READY_FOR_QUERY)
    return b"".join(parts)
