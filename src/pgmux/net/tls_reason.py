"""What OpenSSL says is wrong, without what only its programmers need."""

from __future__ import annotations

import re
import ssl

# "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"
_AROUND = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")


def reason_of(error: Exception) -> str:
    """OpenSSL's own words for an error, or the system's."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    return _AROUND.sub("", str(error))
