"""Fixtures by concern, and which form of the compiled modules these tests run."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

from pgmux import _pure

# On a busy machine an example takes its time, which says nothing about what it tests.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.clock",
    "tests.fixtures.certificates",
    "tests.fixtures.pam",
    "tests.fixtures.pooler",
    "tests.fixtures.postgres",
    "tests.fixtures.slapd",
    "tests.fixtures.web",
    "tests.fixtures.airflow",  # behind those that it imports
]


# Where a shell starts the tests in the background they ignore ^C from birth, and so would all that
# they start; some are tests of it.
for _signum, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, _handler)


def pytest_report_header() -> str:
    return f"pgmux: {_pure.form()}, {_pure.PACKAGE}"
