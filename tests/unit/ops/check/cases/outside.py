"""OUT."""

from __future__ import annotations

from typing import Any

from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts import OutsideFacts
from pgmux.ops.check.facts.outside import Answers, Asks, CertificateFacts
from tests.unit.ops.check.cases.case import Case

VALID = CertificateFacts("", None, 90)


def outside(**values: Any) -> Evidence:
    """A pooler in the internet that insists on TLS and asks for SCRAM, but for `values`."""
    usual: dict[str, Any] = {
        "asked": "db.example.com:6432",
        "user": "postgres",
        "address": "192.0.2.7:6432",
        "is_loopback": False,
        "answers": Answers.PGBOUNCER,
        "has_tls": True,
        "tls_version": "TLSv1.3",
        "certificate": VALID,
        "asks": Asks.SCRAM,
        "asks_in_clear": Asks.REFUSED,
    }
    return Evidence("", outside=OutsideFacts(**{**usual, **values}))


GOOD = outside()

CASES = {
    "OUT001": Case(outside(asks=Asks.NOTHING), GOOD, says=("user postgres is in",)),
    "OUT002": Case(
        outside(has_tls=False, asks=Asks.CLEARTEXT, asks_in_clear=Asks.CLEARTEXT),
        outside(asks=Asks.CLEARTEXT),
        says=("in clear, without TLS",),
    ),
    "OUT003": Case(
        outside(has_tls=False, asks_in_clear=Asks.SCRAM), GOOD, says=("TLS isn't offered",)
    ),
    "OUT004": Case(outside(asks_in_clear=Asks.SCRAM), GOOD, says=("SCRAM-SHA-256",)),
    "OUT005": Case(
        outside(certificate=CertificateFacts("certificate has expired", None, -3)),
        GOOD,
        says=("certificate has expired",),
    ),
    "OUT006": Case(outside(asks=Asks.MD5), GOOD, says=("by MD5",)),
    "OUT007": Case(outside(answers=Answers.POSTGRESQL), GOOD, says=("PostgreSQL answers",)),
    "OUT008": Case(outside(tls_version="TLSv1"), GOOD, says=("TLSv1 was agreed",)),
}
