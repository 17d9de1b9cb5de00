"""What the tests about Airflow share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps.airflow.checking import Checker, make_checker


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checker:
    return make_checker(tmp_path, monkeypatch)
