"""Connections that end with the test."""

from __future__ import annotations

from tests.e2e.pools.conftest import connect

__all__ = ["connect"]
