"""A registry of its own for each test, and counters that begin at 0."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from pgmux_apps.sqlalchemy import measurement
from tests.apps.sqlalchemy.rig import Scrape


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """Counters belong to a name, as long as the process lives: here, as long as the test."""
    monkeypatch.setattr(measurement, "_named", {})
    return CollectorRegistry()


@pytest.fixture
def scrape(registry: CollectorRegistry) -> Scrape:
    return Scrape(registry)
