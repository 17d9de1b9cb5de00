"""Fixtures by concern, and which form of the compiled modules these tests run."""

from __future__ import annotations

from pgmux import _pure

pytest_plugins = [
    "tests.fixtures.certificates",
    "tests.fixtures.pam",
    "tests.fixtures.pooler",
    "tests.fixtures.postgres",
    "tests.fixtures.slapd",
]


def pytest_report_header() -> str:
    return f"pgmux: {_pure.form()}"
