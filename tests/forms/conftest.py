"""Every test here runs in both forms."""

from __future__ import annotations

import pytest

from tests.forms.rig import FORMS, Form, load


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    """The relay and the pool, compiled or not; a form that is missing fails."""
    return load(request.param)
