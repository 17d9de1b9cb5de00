"""Which program this is: the PgBouncer that it stands in for, itself, and what it runs on."""

from __future__ import annotations

import ssl
import sys

from pgmux import __version__, _pure

PGBOUNCER = "PgBouncer 1.25.2"
PGMUX = f"pgmux {__version__} ({_pure.form()})"


def uvloop_version() -> str:
    """The version of uvloop, or that it isn't there."""
    try:
        from uvloop._version import __version__ as version
    except ImportError:
        return "not installed"
    return version


def version_lines() -> list[str]:
    """What -V prints; tools read the first line."""
    return [
        PGBOUNCER,
        PGMUX,
        f"Python {sys.version.split()[0]}",
        f"uvloop: {uvloop_version()}",
        f"tls: {ssl.OPENSSL_VERSION}",
    ]
