"""An engine on every kind of database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine import Engine


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """The engine on a fresh database of every kind in turn."""
    engine = Engine(database)
    yield engine
    engine.close()
