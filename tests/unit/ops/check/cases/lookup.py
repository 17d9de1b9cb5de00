"""How users are looked up."""

from __future__ import annotations

from dataclasses import replace

from pgmux.ops.check.facts.server import LookupFacts
from tests.unit.ops.check.cases.case import Case
from tests.unit.ops.check.cases.live import INI, console, evidence, server

SAFE = LookupFacts(
    "shop",
    "pgbouncer.user_lookup",
    "auther",
    oid_name="pgbouncer.user_lookup",
    is_security_definer=True,
    search_path="pg_catalog, pg_temp",
    can_execute=True,
)


def asking(query: str) -> str:
    """An ini whose auth_user asks that."""
    return f"{INI}auth_user = auther\nauth_query = {query}\n"


CASES = {
    "EXPO006": Case(
        bad=evidence(ini=asking("SELECT usename, passwd FROM pg_shadow WHERE usename=$1")),
        good=evidence(ini=asking("SELECT * FROM pgbouncer.user_lookup($1)")),
        count=2,
        says=("CVE-2025-12819", "CVE-2025-2291", "auth_query of shop"),
    ),
    "EXPO007": Case(
        bad=evidence(console=console(version="PgBouncer 1.25.1")),
        good=evidence(console=console(version="PgBouncer 1.25.2")),
        says=("CVE-2026-6664", "pooler:6432"),
    ),
    "ROLE005": Case(
        bad=evidence(
            server(
                lookups=(
                    LookupFacts("shop", "look", "auther"),
                    replace(SAFE, can_execute=False, search_path="public"),
                    replace(SAFE, search_path=None, is_public=True),
                    replace(SAFE, search_path="public, pg_temp", unsafe_schemas=("public",)),
                    replace(SAFE, search_path="pg_catalog", has_bare_names=True),
                    replace(SAFE, honours_valid_until=False, reads_pg_shadow=True),
                    replace(SAFE, gives_superusers=True, is_security_definer=False),
                )
            )
        ),
        good=evidence(server(lookups=(SAFE,))),
        count=9,
        says=(
            "there is no function look",
            "auther may not run it",
            "without a search_path",
            "PUBLIC may run it",
            "everybody may create objects in public",
            "without pg_temp",
            "VALID UNTIL",
            "superusers' verifiers",
            "isn't SECURITY DEFINER",
        ),
    ),
}
