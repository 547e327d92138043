"""A ledger on a fresh database of a real MongoDB server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ledger.ledger import Ledger
from tests.ledger.mongo.helpers import opened


@pytest.fixture
def empty(mongo: str) -> Iterator[Ledger]:
    """A ledger that was not created yet."""
    ledger = opened(mongo)
    with closing(ledger.store):
        yield ledger


@pytest.fixture
def ledger(empty: Ledger) -> Ledger:
    """A ledger that was created."""
    empty.create()
    return empty
