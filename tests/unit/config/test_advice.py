"""Values that can't be meant: they are taken as PgBouncer takes them, and said."""

from __future__ import annotations

import pytest

from pgmux.config.params import SETTINGS, SYSLOG_FACILITIES
from tests.unit.config.helpers import load, warnings_of

MAIN = "[pgbouncer]\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("default_pool_size = -1", "default_pool_size = -1: there is no limit (write 0 for no"),
        ("max_user_client_connections=-1", "max_user_client_connections = -1: there is no limit"),
        ("min_pool_size = -3", "min_pool_size = -3: it is taken for 0 (write 0)"),
        ("max_client_conn = 0", "max_client_conn = 0: nobody but the console's users is let in"),
        ("max_packet_size = 0", "max_packet_size = 0: no query fits into it (write 1024 or more"),
        ("scram_iterations = 0", "scram_iterations = 0: with a password in clear in auth_file"),
        ("scram_iterations = 2000000000", "scram_iterations = 2000000000: with a password"),
        ("stats_period = 0", "stats_period = 0: it is taken for 1 (write 1 or more)"),
        ("syslog_facility = LOCAL0", "syslog_facility = LOCAL0: it is taken for daemon (one of"),
    ],
)
def test_what_cannot_be_meant_is_said_with_its_place(line: str, said: str) -> None:
    (warning,) = warnings_of(MAIN + line)
    assert warning.startswith(f"a.ini:2: {said}")


def test_the_last_value_is_the_one_that_counts() -> None:
    assert warnings_of(MAIN + "stats_period = 0\nstats_period = 60\n") == []


def test_no_default_is_warned_of() -> None:
    texts = [f"{name} = {param.default}" for name, param in SETTINGS.items() if param.default]
    assert warnings_of(MAIN + "\n".join(texts)) == []


@pytest.mark.parametrize("facility", SYSLOG_FACILITIES)
def test_every_facility_of_pgbouncers_is_known(facility: str) -> None:
    config = load(f"{MAIN}syslog_facility = {facility}")
    assert (config.settings.syslog_facility, config.warnings) == (facility, ())
