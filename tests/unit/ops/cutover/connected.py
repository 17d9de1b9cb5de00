"""Groups of connections as PostgreSQL tells them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pgmux.ops.activity import Connected

_ONE = Connected(
    application_name="",
    user="app",
    address="10.0.0.7",
    database="shop",
    is_superuser=False,
    is_pooler=False,
    connections=1,
    active=0,
    idle=1,
    idle_in_transaction=0,
    hidden=0,
    longest_idle=0.0,
    longest_idle_in_transaction=0.0,
    longest_transaction=0.0,
)


def connected(name: str, **changes: Any) -> Connected:
    return replace(_ONE, application_name=name, **changes)
