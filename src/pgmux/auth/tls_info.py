"""What TLS says of a client, as a value: for logs and SHOW, and for who logs in by certificate."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """One encrypted connection; `version` and `cipher` as OpenSSL names them.

    `subject` and `names` are of the certificate that the other side showed and that one of our CAs
    has signed: None and empty where it showed none, or none was verified. `names` are the common
    name and the DNS names and addresses of subjectAltName. `end_point` is the channel binding
    tls-server-end-point, empty where it isn't defined for the certificate.
    """

    version: str
    cipher: str
    subject: str | None = None
    names: tuple[str, ...] = ()
    end_point: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        """As in SHOW and the log: `TLSv1.3/TLS_AES_256_GCM_SHA384`."""
        return f"{self.version}/{self.cipher}"
