"""The client_tls_* and server_tls_* settings as `ssl.SSLContext`, and what is in force of them.

`load_tls` reads every file anew. What is wrong is said about a setting, where it stands, which
file, and what to do; a key that wants a passphrase is refused, never asked for. What isn't looked
at by PgBouncer isn't here either: a CA file where nobody's certificate is verified, or anything of
a side whose sslmode is disable.

Source: PgBouncer's setup_tls and lib/usual/tls as they behave; docs/tls.md has what differs.
Errors: TlsSetupError with all problems.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import ssl
import stat
import time
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pgmux.config.model import Settings, SslMode
from pgmux.config.problems import clip
from pgmux.config.tls import (
    TLS_VERIFIED,
    Side,
    TlsVersion,
    client_side,
    problem_of,
    server_side,
    tls_problems,
)
from pgmux.errors import ConfigError, Problem
from pgmux.net.tls_reason import reason_of
from pgmux.net.tls_trial import why_unusable
from pgmux.net.x509 import Certificate, read_certificate

ALPN = "postgresql"

_CERTIFICATE = "CERTIFICATE-----"
_CERTIFICATE_BEGINS = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE_ENDS = "-----END CERTIFICATE-----"
_KEY = "PRIVATE KEY-----"
_NOUNS = {_CERTIFICATE: "certificate", _KEY: "private key"}
# The last is what OpenSSL says of a key of another kind: that one has no certificate.
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
_LONGEST_FILE = 1 << 24  # a system's whole CA file has 250 kB
_OP_NO_VERSION = {
    TlsVersion.TLSV1_0: ssl.OP_NO_TLSv1,
    TlsVersion.TLSV1_1: ssl.OP_NO_TLSv1_1,
    TlsVersion.TLSV1_2: ssl.OP_NO_TLSv1_2,
    TlsVersion.TLSV1_3: ssl.OP_NO_TLSv1_3,
}


class TlsSetupError(ConfigError):
    """TLS can't be set up as the configuration says."""


class OwnContext(ssl.SSLContext):
    """One that knows its own certificate's channel binding, empty where there is none."""

    end_point = b""


@dataclass(frozen=True, slots=True)
class TlsSide:
    """What is in force on one side.

    `context` is None where the mode is disable. `fingerprint` is equal for equal settings and
    files.
    """

    mode: SslMode = SslMode.DISABLE
    context: OwnContext | None = field(default=None, compare=False)
    fingerprint: bytes = b""


@dataclass(frozen=True, slots=True)
class Tls:
    """Both sides, as loaded; `warnings` are for the log."""

    client: TlsSide = TlsSide()
    server: TlsSide = TlsSide()
    warnings: tuple[Problem, ...] = ()


class TlsInForce:
    """Holds the `Tls` that connections go by from now on."""

    __slots__ = ("client", "server")

    def __init__(self, tls: Tls) -> None:
        self.client = tls.client
        self.server = tls.server

    def use(self, tls: Tls) -> bool:
        """Go over to `tls`. Returns whether servers that are connected should be no longer."""
        is_new = tls.server != self.server
        self.client, self.server = tls.client, tls.server
        return is_new


def load_tls(settings: Settings) -> Tls:
    """Both sides, with every file read anew. Raises: TlsSetupError."""
    problems = tls_problems(settings)
    if problems:
        raise TlsSetupError(tuple(problems))
    client = _Builder(settings, client_side(settings))
    server = _Builder(settings, server_side(settings))
    sides = client.build(), server.build()
    problems = client.problems + server.problems
    if problems:
        raise TlsSetupError(tuple(problems))
    return Tls(*sides, tuple(client.warnings + server.warnings))


class _Builder:
    """Makes one side; what is wrong is in `problems`, and the side made then is of no use."""

    def __init__(self, settings: Settings, side: Side) -> None:
        self.settings = settings
        self.side = side
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._seen = hashlib.sha256()

    def build(self) -> TlsSide:
        """The side, without context where it is disabled."""
        side = self.side
        if side.sslmode is SslMode.DISABLE:
            return TlsSide()
        protocol = ssl.PROTOCOL_TLS_SERVER if side.is_server else ssl.PROTOCOL_TLS_CLIENT
        context = OwnContext(protocol)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        self._set_verification(context)
        _set_versions(context, side.versions)
        self._set_ciphers(context)
        if side.is_server:
            context.set_alpn_protocols([ALPN])
            # No client of PostgreSQL resumes a session, and PostgreSQL sends no tickets for it.
            # Those of TLS 1.2 stay on: without them OpenSSL would keep the sessions here.
            context.num_tickets = 0
            self._set_curve(context)
        certificate = self._load_own(context) if side.cert_file else None
        self._load_ca(context)
        if certificate is not None:
            context.end_point = certificate.end_point()
        if side.is_server and not self.problems:
            self._warn_if_unusable(context)
        return TlsSide(side.sslmode, context, self._fingerprint())

    # ---- what takes no file

    def _set_verification(self, context: ssl.SSLContext) -> None:
        side = self.side
        context.check_hostname = not side.is_server and side.sslmode is SslMode.VERIFY_FULL
        may_show_none = ssl.CERT_OPTIONAL if side.looks_at_certificates else ssl.CERT_NONE
        is_needed = side.sslmode in TLS_VERIFIED
        context.verify_mode = ssl.CERT_REQUIRED if is_needed else may_show_none

    def _set_ciphers(self, context: ssl.SSLContext) -> None:
        side = self.side
        try:
            # Python's own default is shorter than OpenSSL's, which is PgBouncer's.
            context.set_ciphers(side.ciphers or "DEFAULT")
        except (ssl.SSLError, ValueError):  # that is what can't be a C string, as for the others
            hint = "no cipher is left; `openssl ciphers -v 'LIST'` says what a list means"
            text = f"invalid {side.prefix}_ciphers: {clip(side.ciphers)}"
            self._problem(f"{side.prefix}_ciphers", text, hint)
        if side.ciphers13 and TlsVersion.TLSV1_3 in side.versions:
            self._set_ciphers13(context)

    def _set_ciphers13(self, context: ssl.SSLContext) -> None:
        name = f"{self.side.prefix[:6]}_tls13_ciphers"
        set_ciphersuites = getattr(context, "set_ciphersuites", None)
        if set_ciphersuites is None:
            hint = "remove it, or set Ciphersuites in section system_default of openssl.cnf"
            self._problem(name, f"{name} can't be set before Python 3.15", hint)
            return
        try:
            set_ciphersuites(self.side.ciphers13)
        except (ssl.SSLError, ValueError):
            text = f"{name}: failed to set the TLSv1.3 cipher suites"
            self._problem(name, text, "`openssl ciphers -s -tls1_3` lists them")

    def _set_curve(self, context: ssl.SSLContext) -> None:
        curve = self.side.curve
        if not curve:
            return
        try:
            context.set_ecdh_curve(curve)
        except (ValueError, ssl.SSLError):
            text = f"invalid client_tls_ecdhcurve: {clip(curve)}"
            hint = "`openssl ecparam -list_curves` lists the names, as prime256v1 or secp384r1"
            self._problem("client_tls_ecdhcurve", text, hint)

    def _warn_if_unusable(self, context: ssl.SSLContext) -> None:
        why = why_unusable(context)
        if why:
            text = f"no client can connect by TLS: handshake failed: {why}"
            hint = (
                "see client_tls_ciphers, _protocols, _ecdhcurve, and the certificate's kind of key"
            )
            self._warn("client_tls_sslmode", text, hint)

    # ---- files

    def _load_own(self, context: ssl.SSLContext) -> Certificate | None:
        """Our certificate and its key."""
        side = self.side
        cert_name, key_name = f"{side.prefix}_cert_file", f"{side.prefix}_key_file"
        cert, key = self._read(cert_name, side.cert_file), self._read(key_name, side.key_file)
        if cert is None or key is None:
            return None
        has_cert = self._has(_CERTIFICATE, cert_name, side.cert_file, cert)
        if not self._has(_KEY, key_name, side.key_file, key) or not has_cert:
            return None
        self._load_pair(context, cert_name, key_name)
        self._warn_of_mode(key_name, side.key_file)
        return self._read_leaf(cert_name, side.cert_file, cert)

    def _load_pair(self, context: ssl.SSLContext, cert_name: str, key_name: str) -> None:
        side = self.side
        try:
            context.load_cert_chain(side.cert_file, side.key_file, _refuse_passphrase)
        except _EncryptedError:
            text = f"{key_name}: the key in {clip(side.key_file)} is encrypted"
            hint = "write it without: `openssl pkey -in KEY -out KEY.plain`, readable by us alone"
            self._problem(key_name, text, hint)
        except ssl.SSLError as error:
            if error.reason in _MISMATCHES:
                text = f"{key_name}: the key in {clip(side.key_file)} isn't that of the"
                text += f" certificate in {clip(side.cert_file)}: private/public key mismatch"
                self._problem(key_name, text, "both must be of the same pair")
                return
            text = f"{cert_name}, {key_name}: cannot load {clip(side.cert_file)} with"
            text += f" {clip(side.key_file)}: {reason_of(error)}"
            self._problem(cert_name, text)
        except OSError as error:
            text = f"{cert_name}: cannot load {clip(side.cert_file)}: {reason_of(error)}"
            self._problem(cert_name, text)

    def _read_leaf(self, name: str, path: str, text: str) -> Certificate | None:
        """The first certificate of the file, which is ours. OpenSSL takes what we don't, too."""
        try:
            certificate = read_certificate(_first_certificate(text))
        except ValueError as error:
            text = f"{name}: the certificate in {clip(path)} isn't as RFC 5280 says: {error}"
            self._warn(name, text, "nobody can bind to it, and its expiry won't be said")
            return None
        now = datetime.fromtimestamp(time.time(), UTC)
        if certificate.not_after < now:
            self._warn(
                name,
                f"{name}: the certificate in {clip(path)} expired on"
                f" {certificate.not_after:%Y-%m-%d %H:%M:%S %Z}",
                "renew it, then RELOAD",
            )
        elif certificate.not_before > now:
            self._warn(
                name,
                f"{name}: the certificate in {clip(path)} isn't valid before"
                f" {certificate.not_before:%Y-%m-%d %H:%M:%S %Z}",
                "is the clock right?",
            )
        return certificate

    def _load_ca(self, context: ssl.SSLContext) -> None:
        if not self.side.looks_at_certificates:
            # Also not for nothing: at each handshake OpenSSL would look among the system's files
            # for whoever has signed our own certificate.
            return
        name, path = f"{self.side.prefix}_ca_file", self.side.ca_file
        if not path:
            context.load_default_certs(
                ssl.Purpose.CLIENT_AUTH if self.side.is_server else ssl.Purpose.SERVER_AUTH
            )
            return
        text = self._read(name, path)
        if text is None:
            return
        if not self._has(_CERTIFICATE, name, path, text):
            return
        try:
            context.load_verify_locations(path)
        except OSError as error:  # an SSLError is one
            self._problem(name, f"{name}: failed to load CA {clip(path)}: {reason_of(error)}")

    def _read(self, name: str, path: str) -> str | None:
        """What is in the file, None with a problem."""
        try:
            with open(path, "rb") as file:
                data = file.read(_LONGEST_FILE)
        except (OSError, ValueError) as error:
            hint = _who_reads() if isinstance(error, PermissionError) else ""
            self._problem(name, f"{name}: cannot read {clip(path)}: {reason_of(error)}", hint)
            return None
        self._seen.update(name.encode() + hashlib.sha256(data).digest())
        return data.decode("latin-1")

    def _has(self, what: str, name: str, path: str, text: str) -> bool:
        """Whether the file has one; else a problem says so."""
        if what in text:
            return True
        others = [noun for end, noun in _NOUNS.items() if end in text]
        hint = f"is it the {others[0]}?" if others else "a PEM file is expected"
        self._problem(name, f"{name}: no {_NOUNS[what]} in {clip(path)}", hint)
        return False

    def _warn_of_mode(self, name: str, path: str) -> None:
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            if mode & stat.S_IRWXO:
                text = f"{name}: {clip(path)} is accessible to every user (mode {mode:04o})"
                self._warn(name, text, "chmod 600")

    # ---- the outcome

    def _fingerprint(self) -> bytes:
        side = self.side
        texts = (side.sslmode, side.ca_file, side.cert_file, side.key_file, side.ciphers)
        self._seen.update(repr((*texts, side.ciphers13, sorted(side.versions))).encode())
        return self._seen.digest()

    def _problem(self, name: str, message: str, hint: str = "") -> None:
        self.problems.append(problem_of(self.settings, name, message, hint))

    def _warn(self, name: str, message: str, hint: str) -> None:
        self.warnings.append(problem_of(self.settings, name, message, hint))


class _EncryptedError(Exception):
    """OpenSSL has asked for a passphrase."""


def _refuse_passphrase() -> str:
    raise _EncryptedError


def _set_versions(context: ssl.SSLContext, versions: frozenset[TlsVersion]) -> None:
    with warnings.catch_warnings():
        # Both ways to name an old version are deprecated, and a list with a hole takes the older.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion(min(versions))
        context.maximum_version = ssl.TLSVersion(max(versions))
        for version in TlsVersion:
            if min(versions) < version < max(versions) and version not in versions:
                context.options |= _OP_NO_VERSION[version]


def _first_certificate(text: str) -> bytes:
    """Raises: ValueError."""
    _, found_begin, rest = text.partition(_CERTIFICATE_BEGINS)
    base64, found_end, _ = rest.partition(_CERTIFICATE_ENDS)
    if not found_begin or not found_end:
        raise ValueError("it doesn't begin or doesn't end")
    return ssl.PEM_cert_to_DER_cert(found_begin + base64 + found_end)


def _who_reads() -> str:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return f"it is read as user {name}: at start before user= is taken on, later after that"
