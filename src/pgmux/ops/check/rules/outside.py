"""OUT: what somebody sees who can't log in. Judged by `pgmux check --from` alone."""

from __future__ import annotations

from collections.abc import Iterator

from pgmux.ops.check.evidence import Evidence
from pgmux.ops.check.facts.outside import SPEAKS, Answers, Asks, OutsideFacts
from pgmux.ops.check.rule import Found, rule
from pgmux.ops.severity import Severity

SOON = 21  # days
_OLD_TLS = ("SSLv3", "TLSv1", "TLSv1.1")
_CLOSE = "close the port to the outside (firewall, VPN or SSH: docs/access.md)"


def _speaking(evidence: Evidence) -> Iterator[OutsideFacts]:
    """What was heard, where PostgreSQL's protocol was."""
    facts = evidence.outside
    if facts is not None and facts.answers in SPEAKS:
        yield facts


def _at(facts: OutsideFacts, severity: Severity, at_home: Severity) -> Severity:
    return at_home if facts.is_loopback else severity


@rule("OUT001", Severity.ERROR, "it lets one in without a password", needs=("outside",))
def trust(evidence: Evidence) -> Iterator[Found]:
    for facts in _speaking(evidence):
        if Asks.NOTHING in (facts.asks, facts.asks_in_clear):
            yield Found(
                f"user {facts.user} is in, nothing was asked",
                f"auth_type = scram-sha-256, or an HBA line for this address other than trust;"
                f" {_CLOSE}",
                facts.address,
                _at(facts, Severity.ERROR, Severity.WARNING),
            )


@rule("OUT002", Severity.ERROR, "passwords cross the network readable", needs=("outside",))
def cleartext(evidence: Evidence) -> Iterator[Found]:
    for facts in _speaking(evidence):
        asked = facts.asks_in_clear or facts.asks
        if asked is Asks.CLEARTEXT and not facts.is_direct_tls:
            yield Found(
                f"user {facts.user} is asked for the password in clear, without TLS",
                "client_tls_sslmode = require, or auth_type = scram-sha-256",
                facts.address,
                _at(facts, Severity.ERROR, Severity.NOTE),
            )


@rule("OUT003", Severity.ERROR, "no TLS", needs=("outside",))
def no_tls(evidence: Evidence) -> Iterator[Found]:
    for facts in _speaking(evidence):
        if not facts.has_tls and not facts.is_loopback:
            yield Found(
                "TLS isn't offered: queries, answers and logins can be read and changed on the way",
                "client_tls_sslmode = require with client_tls_cert_file and client_tls_key_file"
                " (PostgreSQL: ssl = on); docs/tls.md",
                facts.address,
            )


@rule("OUT004", Severity.WARNING, "TLS isn't insisted on", needs=("outside",))
def optional_tls(evidence: Evidence) -> Iterator[Found]:
    for facts in _speaking(evidence):
        if facts.has_tls and not facts.insists_on_tls and facts.asks_in_clear is not None:
            yield Found(
                f"without TLS, user {facts.user} is asked for {facts.asks_in_clear.value}: a client"
                " whose sslmode is prefer can be talked out of TLS",
                "client_tls_sslmode = require (PostgreSQL: hostssl lines in pg_hba.conf)",
                facts.address,
                _at(facts, Severity.WARNING, Severity.NOTE),
            )


@rule("OUT005", Severity.WARNING, "a certificate that clients can't rely on", needs=("outside",))
def certificate(evidence: Evidence) -> Iterator[Found]:
    for facts in _speaking(evidence):
        found = facts.certificate
        if found is None:
            continue
        if found.fault:
            yield Found(
                f"a client that verifies it (sslmode=verify-full) refuses: {found.fault}",
                "a certificate for this name; of a private authority, give clients sslrootcert=",
                facts.address,
                Severity.ERROR if found.days_left is not None and found.days_left < 0 else None,
            )
        elif found.days_left is not None and found.days_left < SOON:
            yield Found(f"valid for {found.days_left} more days", "renew it", facts.address)


@rule("OUT006", Severity.WARNING, "MD5 passwords", needs=("outside",))
def md5(evidence: Evidence) -> Iterator[Found]:
    for facts in _speaking(evidence):
        if Asks.MD5 in (facts.asks, facts.asks_in_clear):
            yield Found(
                f"user {facts.user} is asked for a password by MD5: who has listened to one login"
                " can try passwords by the billion, and the stored secret is as good as one",
                "SCRAM secrets in auth_file (pgmux userlist), auth_type = scram-sha-256",
                facts.address,
                _at(facts, Severity.WARNING, Severity.NOTE),
            )


@rule("OUT007", Severity.NOTE, "PostgreSQL itself, past any pooler", needs=("outside",))
def past_the_pooler(evidence: Evidence) -> Iterator[Found]:
    for facts in _speaking(evidence):
        if facts.answers is Answers.POSTGRESQL:
            yield Found(
                "PostgreSQL answers: who connects here takes one of max_connections",
                "let only the pooler, dumps and replicas reach this port (pg_hba.conf, firewall)",
                facts.address,
            )


@rule("OUT008", Severity.WARNING, "an old version of TLS", needs=("outside",))
def old_tls(evidence: Evidence) -> Iterator[Found]:
    for facts in _speaking(evidence):
        if facts.tls_version in _OLD_TLS:
            yield Found(
                f"{facts.tls_version} was agreed on, which hasn't been safe for years",
                "client_tls_protocols = secure (PostgreSQL: ssl_min_protocol_version = TLSv1.2)",
                facts.address,
            )


RULES = (
    trust,
    cleartext,
    no_tls,
    optional_tls,
    certificate,
    md5,
    past_the_pooler,
    old_tls,
)
