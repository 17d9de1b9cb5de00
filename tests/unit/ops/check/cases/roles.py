"""ROLE and EXPO005."""

from __future__ import annotations

from pgmux.auth.secrets import SecretKind
from pgmux.ops.check.facts.server import Match, RoleFacts
from tests.unit.ops.check.cases.case import Case
from tests.unit.ops.check.cases.live import INI, connected, console, evidence, pool, server

VERIFIER = f"SCRAM-SHA-256$4096:c2FsdA==${'A' * 43}=:{'A' * 43}="
FORCED = "[databases]\nshop = host=db user=app password=x\n[pgbouncer]\nauth_file = userlist.txt\n"

CASES = {
    "EXPO005": Case(
        bad=evidence(
            server(
                [
                    connected("worker", "postgres", 12, is_superuser=True),
                    connected("psql", "postgres", 1, is_superuser=True),
                ],
                roles=[RoleFacts("postgres", is_superuser=True)],
            ),
            console=console([pool(user="postgres")]),
        ),
        good=evidence(server([connected("psql", "postgres", is_superuser=True)])),
        says=("pools of postgres\n12 connections: worker as postgres, past the pooler",),
    ),
    "ROLE001": Case(
        bad=evidence(
            server(roles=[RoleFacts("app"), RoleFacts("group", can_login=False)]),
            userlist='"app" "x"\n"gone" "x"\n"group" "x"\n',
        ),
        good=evidence(
            server(),
            ini=f"{INI}stats_users = looker\n",
            userlist='"app" "x"\n"looker" "x"\n',
        ),
        count=2,
        says=("no role: gone", "NOLOGIN: group"),
    ),
    "ROLE002": Case(
        bad=evidence(server(roles=[RoleFacts("app", match=Match.OTHER)])),
        good=evidence(server(roles=[RoleFacts("app", match=Match.OTHER)]), ini=FORCED),
        says=("differs: app",),
    ),
    "ROLE003": Case(
        bad=evidence(
            server(roles=[RoleFacts("app", match=Match.UNUSABLE), RoleFacts("auther")]),
            ini=f"{INI}auth_user = auther\n",
            userlist=f'"app" "md5{"0" * 32}"\n"auther" "{VERIFIER}"\n',
        ),
        good=evidence(
            server(roles=[RoleFacts("app", match=Match.SAME), RoleFacts("auther")]),
            ini=f"{INI}auth_user = auther\n",
            userlist=f'"app" "{VERIFIER}"\n"auther" "hush"\n',
        ),
        count=2,
        says=("the other way round: app", "SCRAM verifier: auther"),
    ),
    "ROLE004": Case(
        bad=evidence(server(roles=[RoleFacts("app", kind=SecretKind.MD5)])),
        good=evidence(server(roles=[RoleFacts("app", kind=SecretKind.SCRAM)])),
        says=("app", "pgmux userlist"),
    ),
    "ROLE006": Case(
        bad=evidence(userlist='"app" "x"\napp2 secret\n'),
        good=evidence(),
        says=("userlist.txt:2", "broken auth file", "not loaded"),
    ),
}
