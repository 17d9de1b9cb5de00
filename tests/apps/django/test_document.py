"""docs/apps/django.md and the checks name the same ids, and the same settings."""

from __future__ import annotations

import re

from tests.apps.django.conftest import ROOT, Django

TEXT = (ROOT / "docs/apps/django.md").read_text(encoding="utf-8")


def test_every_message_is_in_the_document_and_every_one_in_it_exists(django5: Django) -> None:
    rules = django5.rules()
    rows = re.findall(r"^\| (pgmux\.[EWI]\d{3}) \|", TEXT, re.MULTILINE)
    assert rows == rules
    assert set(re.findall(r"\b[EWI]\d{3}\b", TEXT)) <= {rule[-4:] for rule in rules}


def test_the_document_has_every_option_and_server(django5: Django) -> None:
    usage = django5.manage("pgmux_check", "--help").stdout
    own, djangos = usage.split("--version", 1)[0], {"--help"}
    options = set(re.findall(r"--[a-z-]+", own)) - djangos
    assert {"--database", "--console-user", "--fail-level"} <= options
    assert {each for each in options if f"`{each}" not in TEXT} == set()
    assert re.findall(r"PGMUX_\w+", usage) and "PGMUX_CONSOLE_PASSWORD" in TEXT
    assert all(f"`{server}`" in TEXT for server in ("wsgi", "asgi", "gevent"))
