"""Roles of a PostgreSQL by name, and whether auth_file's secrets are theirs; no secret is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from pgmux.auth.md5 import md5_secret
from pgmux.auth.saslprep import saslprep
from pgmux.auth.scram import derive_secret
from pgmux.auth.secrets import SecretKind, encode_text, parse_secret
from pgmux.ops.check.evidence import Unread
from pgmux.ops.check.facts.server import Match, RoleFacts
from pgmux.ops.server_connection import INSUFFICIENT_PRIVILEGE, ServerConnection, ServerError

MOST_COMPARED = 500  # secrets: a password takes as much work as SCRAM makes of it
MOST_ITERATIONS = 100_000

_ROLES = """
SELECT rolname, rolcanlogin, rolsuper, rolconnlimit,
       coalesce(rolvaliduntil < pg_catalog.now(), false) AS is_expired
FROM pg_catalog.pg_roles WHERE rolname = ANY (%s::pg_catalog.name[])
"""
_SECRETS = """
SELECT rolname, rolpassword FROM pg_catalog.pg_authid
WHERE rolname = ANY (%s::pg_catalog.name[])
"""


def gather(
    server: ServerConnection, names: Collection[str], userlist: Mapping[str, str]
) -> tuple[dict[str, RoleFacts], list[Unread]]:
    """Those of `names` that exist. Raises: ServerError."""
    unread: list[Unread] = []
    rows = server.rows(_ROLES, [sorted(names)])
    secrets: dict[str, str | None] = {}
    try:
        secrets = {
            row["rolname"]: row["rolpassword"] for row in server.rows(_SECRETS, [sorted(names)])
        }
    except ServerError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        unread.append(_no_secrets(server))
    roles = {}
    left = MOST_COMPARED
    for row in rows:
        name = row["rolname"]
        stored, own = secrets.get(name), userlist.get(name)
        left -= bool(own and stored)
        roles[name] = RoleFacts(
            name,
            can_login=row["rolcanlogin"],
            is_superuser=row["rolsuper"],
            is_expired=row["is_expired"],
            connection_limit=row["rolconnlimit"],
            has_password=stored is not None if name in secrets else None,
            kind=parse_secret(stored).kind if stored else None,
            match=compare(name, own, stored) if left >= 0 else Match.UNKNOWN,
        )
    if left < 0:
        reason = f"{-left} secrets of auth_file not compared: it takes a while for each"
        unread.append(Unread("servers", f"{server.place}: {reason}"))
    return roles, unread


def _no_secrets(server: ServerConnection) -> Unread:
    return Unread(
        "servers",
        f"{server.place}: {server.user} may not read passwords, so auth_file's aren't compared",
        f"ask as a superuser, or in {server.dbname}:"
        f' GRANT SELECT (rolname, rolpassword) ON pg_catalog.pg_authid TO "{server.user}"',
    )


def compare(user: str, own: str | None, stored: str | None) -> Match:
    """auth_file's secret of a user against PostgreSQL's; a password takes SCRAM's work."""
    if not own or not stored:
        return Match.UNKNOWN
    ours, theirs = parse_secret(own), parse_secret(stored)
    if ours.kind is theirs.kind:
        return Match.SAME if ours.text == theirs.text else Match.OTHER
    if ours.kind is not SecretKind.PLAINTEXT:
        return Match.UNUSABLE
    if theirs.kind is SecretKind.MD5:
        made = md5_secret(ours.text, encode_text(user))
        return Match.SAME if made == theirs.text else Match.OTHER
    scram = theirs.scram
    if scram is None or scram.iterations > MOST_ITERATIONS:
        return Match.UNKNOWN
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(ours.text), scram.salt, scram.iterations)
    derived = derive_secret(salted, scram.salt, scram.iterations)
    return Match.SAME if derived.stored_key == scram.stored_key else Match.OTHER
