"""What all tests of `coaching-redesign` stand on: no settings but their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtrail.settings import NAMES


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder and no BACKTRAIL_* variable, so that nobody's real endpoint is asked."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(f"BACKTRAIL_{name}".upper(), raising=False)
