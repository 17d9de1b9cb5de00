"""A machine without strace, or where it may trace nothing, has nothing to count; CI has to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.tools import require_strace

REFUSED = "#!/bin/sh\necho 'strace: PTRACE_TRACEME: Operation not permitted' >&2\nexit 1\n"


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strace that fails, as in a container without ptrace."""
    strace = tmp_path / "strace"
    strace.write_text(REFUSED)
    strace.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("refused")
def test_where_strace_may_trace_nothing_its_tests_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"can't trace here: .* not permitted"):
        require_strace()


@pytest.mark.usefixtures("refused")
def test_in_ci_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="can't trace here"):
        require_strace()
