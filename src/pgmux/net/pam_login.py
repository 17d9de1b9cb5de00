"""One login's question to PAM, by pamela (the extra `pam`); blocks as long as PAM's modules do.

Source: PgBouncer's pam.c: service `pgbouncer`, authentication and account, the client's address as
rhost. Modules that want to know more than the password are told nothing; there is no terminal.

Errors: what is wrong is returned, as nobody but the log is told. No text has a password in it.
"""

from __future__ import annotations

from contextlib import suppress
from ctypes import POINTER, cast, sizeof
from typing import Any

import pamela

from pgmux.auth.outside import PAM_SERVICE, PamLogin
from pgmux.auth.secrets import encode_text

_SILENT = 0x8000  # PAM_SILENT
_CONV_ERR = 19  # PAM_CONV_ERR


def verify_by_pam(login: PamLogin) -> str:
    """What is wrong with the login; "" where PAM lets the user in."""
    conversation = _answer_with(login.password)  # libpam calls it until the end
    try:
        handle = pamela.pam_start(PAM_SERVICE, encode_text(login.user), conversation)
    except pamela.PAMError as error:
        return f"pam_start() failed: {error.message}"
    result = 0
    try:
        handle.set_item(pamela.PAM_RHOST, login.rhost)
        for name, call in (
            ("pam_authenticate", pamela.PAM_AUTHENTICATE),
            ("pam_acct_mgmt", pamela.PAM_ACCT_MGMT),
        ):
            result = call(handle, _SILENT)
            if result:
                return f"{name}() failed: {pamela.pam_strerror(handle, result)}"
    except pamela.PAMError as error:
        return f"pam_set_item() failed: {error.message}"
    finally:
        with suppress(pamela.PAMError):
            pamela.pam_end(handle, result)
    return ""


def _answer_with(password: bytes) -> Any:
    """PAM's conversation: the password wherever something is asked for that is not to be seen."""

    def converse(count: int, messages: Any, responses: Any, _: object) -> int:
        if not responses:  # somebody only tells something
            return 0
        answers = cast(
            pamela.CALLOC(count, sizeof(pamela.PamResponse)), POINTER(pamela.PamResponse)
        )
        if not answers:
            return _CONV_ERR
        for index in range(count):
            if messages[index].contents.msg_style == pamela.PAM_PROMPT_ECHO_OFF:
                answers[index].resp = pamela.STRDUP(password)  # libpam frees it
        responses[0] = answers
        return 0

    return pamela.CONV_FUNC(converse)
