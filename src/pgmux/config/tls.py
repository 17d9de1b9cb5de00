"""What the client_tls_* and server_tls_* settings ask for, as far as it takes no file to know.

Source: PgBouncer's sbuf_tls_setup (src/sbuf.c), the lists that its lib/usual/tls reads; its words.
Errors: none are raised; problems are returned, with the place of the setting that is to be changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from pgmux.config.model import AuthType, Settings, SslMode
from pgmux.config.problems import clip
from pgmux.errors import Problem

TLS_NEEDED = (SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL)
TLS_VERIFIED = (SslMode.VERIFY_CA, SslMode.VERIFY_FULL)
DEFAULT_CIPHERS = ("", "default", "secure", "fast", "normal")
DEFAULT_CURVES = ("", "auto", "none")


class TlsVersion(IntEnum):
    """A protocol version, as it is on the wire."""

    TLSV1_0 = 0x0301
    TLSV1_1 = 0x0302
    TLSV1_2 = 0x0303
    TLSV1_3 = 0x0304


_ALL = frozenset(TlsVersion)
_SECURE = frozenset({TlsVersion.TLSV1_2, TlsVersion.TLSV1_3})
_VERSIONS = {
    "all": _ALL,
    "tlsv1": _ALL,
    "default": _SECURE,
    "secure": _SECURE,
    "tlsv1.0": frozenset({TlsVersion.TLSV1_0}),
    "tlsv1.1": frozenset({TlsVersion.TLSV1_1}),
    "tlsv1.2": frozenset({TlsVersion.TLSV1_2}),
    "tlsv1.3": frozenset({TlsVersion.TLSV1_3}),
}


@dataclass(frozen=True, slots=True)
class Side:
    """The settings of one side; `prefix` is what the names of all begin with but for `ciphers13`.

    `ciphers` is "" for OpenSSL's default and `curve` "" for its choice. `versions` is empty where
    the text is none.
    """

    prefix: str
    sslmode: SslMode
    ca_file: str
    cert_file: str
    key_file: str
    protocols: str
    versions: frozenset[TlsVersion]
    ciphers: str
    ciphers13: str
    dheparams: str
    curve: str

    @property
    def is_server(self) -> bool:
        """Whether it is we who show a certificate, and are asked for TLS."""
        return self.prefix == "client_tls"

    @property
    def looks_at_certificates(self) -> bool:
        """Whether the other side's certificate is verified. No client is asked for one else."""
        is_asked = self.is_server and self.sslmode is not SslMode.DISABLE and bool(self.ca_file)
        return is_asked or self.sslmode in TLS_VERIFIED


def client_side(settings: Settings) -> Side:
    """Towards clients."""
    return Side(
        "client_tls",
        settings.client_tls_sslmode,
        settings.client_tls_ca_file,
        settings.client_tls_cert_file,
        settings.client_tls_key_file,
        settings.client_tls_protocols,
        parse_protocols(settings.client_tls_protocols),
        _ciphers(settings.client_tls_ciphers),
        settings.client_tls13_ciphers or "",
        settings.client_tls_dheparams.lower(),
        _curve(settings.client_tls_ecdhcurve),
    )


def server_side(settings: Settings) -> Side:
    """Towards servers; PgBouncer has no settings for the key exchange there."""
    return Side(
        "server_tls",
        settings.server_tls_sslmode,
        settings.server_tls_ca_file,
        settings.server_tls_cert_file,
        settings.server_tls_key_file,
        settings.server_tls_protocols,
        parse_protocols(settings.server_tls_protocols),
        _ciphers(settings.server_tls_ciphers),
        settings.server_tls13_ciphers or "",
        "",
        "",
    )


def parse_protocols(text: str) -> frozenset[TlsVersion]:
    """The versions of a list by commas or colons, in which `!` takes away; empty is a mistake."""
    if not text:
        return _SECURE
    versions: frozenset[TlsVersion] = frozenset()
    for part in re.split("[,:]", text.lower()):
        word = part.lstrip(" \t")
        found = _VERSIONS.get(word.removeprefix("!"), frozenset())
        if not found:
            return frozenset()
        if word.startswith("!"):
            versions = (versions or _ALL) - found
        else:
            versions |= found
    return versions


def tls_problems(settings: Settings) -> list[Problem]:
    """What keeps TLS from being set up, whatever the files hold."""
    return [
        *_client_problems(settings),
        *_side_problems(settings, client_side(settings)),
        *_side_problems(settings, server_side(settings)),
    ]


def problem_of(settings: Settings, name: str, message: str, hint: str = "") -> Problem:
    """A problem with the setting `name`, at its place; without one where the file is silent."""
    file, line = settings.places.get(name, ("", 0))
    return Problem(message, file, line, hint)


def _client_problems(settings: Settings) -> Iterator[Problem]:
    mode = settings.client_tls_sslmode
    if settings.auth_type is AuthType.CERT and mode is not SslMode.VERIFY_FULL:
        text = "auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL"
        yield problem_of(settings, "auth_type", text, "write client_tls_sslmode = verify-full")
    if mode is SslMode.DISABLE:
        return
    if not settings.client_tls_key_file or not settings.client_tls_cert_file:
        text = (
            "To allow TLS connections from clients, client_tls_key_file and client_tls_cert_file"
            " must be set."
        )
        yield problem_of(settings, "client_tls_sslmode", text)
    if not settings.client_tls_ca_file and mode is SslMode.VERIFY_FULL:
        name = "auth_type=cert" if settings.auth_type is AuthType.CERT else "client_tls_sslmode"
        text = f"{name} requires client_tls_ca_file"
        hint = "name a file with the certificates that sign those of the clients"
        yield problem_of(settings, "client_tls_sslmode", text, hint)


def _side_problems(settings: Settings, side: Side) -> Iterator[Problem]:
    """Source of the words: setup_tls."""
    if side.sslmode is SslMode.DISABLE:
        return
    prefix = side.prefix
    if not side.versions:
        text = f"invalid {prefix}_protocols: {clip(side.protocols)}"
        hint = "a list of tlsv1.0, tlsv1.1, tlsv1.2 and tlsv1.3 is expected, or secure, or all"
        yield problem_of(settings, f"{prefix}_protocols", text, hint)
    if side.is_server and side.dheparams not in ("", "none", "auto"):
        text = f"invalid {prefix}_dheparams: {clip(side.dheparams)}"
        yield problem_of(settings, f"{prefix}_dheparams", text, "write auto or none")
    for one, other in (("key", "cert"), ("cert", "key")):
        has_one, has_other = (getattr(side, f"{name}_file") for name in (one, other))
        if has_one and not has_other and not side.is_server:
            text = f"{prefix}_{one}_file is set and {prefix}_{other}_file isn't"
            yield problem_of(settings, f"{prefix}_{one}_file", text, "one takes the other")


def _ciphers(text: str) -> str:
    """OpenSSL's list. PgBouncer documents `all`; OpenSSL spells it ALL."""
    lower = text.lower()
    if lower in DEFAULT_CIPHERS:
        return ""
    return "ALL" if lower == "all" else text


def _curve(text: str) -> str:
    return "" if text.lower() in DEFAULT_CURVES else text
