"""Databases of both kinds with a few tables and rows in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.backtrail.schema.scene import prepared


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    """A database of every kind in turn."""
    engine = prepared(database)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite: str) -> Iterator[sa.Engine]:
    """An SQLite file."""
    engine = prepared(sqlite)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_engine(postgres: str) -> Iterator[sa.Engine]:
    """A PostgreSQL database."""
    engine = prepared(postgres)
    yield engine
    engine.dispose()
