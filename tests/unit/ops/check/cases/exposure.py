"""EXPO: who could come in, or read what he shouldn't."""

from __future__ import annotations

from pgmux.ops.check.evidence import Evidence
from tests.unit.ops.check.cases.case import Case, config_of

INI = "[databases]\n* =\n[pgbouncer]\nauth_file = userlist.txt\n"

CASES = {
    "EXPO004": Case(
        bad=Evidence("pgbouncer.ini", config=config_of(INI, '"postgres" ""\n"app" "x"\n')),
        good=Evidence("pgbouncer.ini", config=config_of(INI, '"postgres" "secret"\n')),
        says=("postgres", "userlist.txt"),
    ),
}
