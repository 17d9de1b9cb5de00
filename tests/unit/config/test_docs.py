"""docs/configuration.md is what the tables say."""

from __future__ import annotations

from pathlib import Path

from pgmux.config.docs import build_document


def test_the_committed_document_is_what_the_module_prints() -> None:
    document = Path(__file__).parents[3] / "docs" / "configuration.md"
    assert document.read_text(encoding="utf-8") == build_document(), (
        "run: python -m pgmux.config.docs > docs/configuration.md"
    )
