"""Messages that made no sense are counted for good, and the latest of them kept for a look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger import rejected
from ledger.rejected import Rejection
from tests.engine import Engine

ONE = Rejection(1_700_000_000_000, "worker-1@here", "headers is no object", size=70_000_000_000, sample='{"body": 1')


def test_they_are_counted_and_kept(everywhere: Engine) -> None:
    """What was added comes back, the last one first, and counts by what was wrong."""
    everywhere.ledger.create()
    second = replace(ONE, at=ONE.at + 5, fault="id is no id", sample=None, size=None, count=7)
    with everywhere.store.transaction() as tx:
        everywhere.ledger.rejections.add(tx, [ONE, second])
    with everywhere.store.transaction(write=False) as tx:
        assert everywhere.ledger.rejections.all(tx, 10) == [second, ONE]
        assert everywhere.ledger.rejections.all(tx, 1) == [second]
        assert everywhere.ledger.rejections.count(tx) == 8
        assert everywhere.ledger.rejections.by_fault(tx) == {"id is no id": 7, "headers is no object": 1}


def test_old_ones_are_only_counted(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, few are kept, and none is forgotten in the count."""
    monkeypatch.setattr(rejected, "KEPT", 5)
    everywhere.ledger.create()
    for at in range(7):
        with everywhere.store.transaction() as tx:
            everywhere.ledger.rejections.add(tx, [replace(ONE, at=at * 10 + n, fault=f"fault {n % 2}") for n in range(4)])
    with everywhere.store.transaction(write=False) as tx:
        kept = everywhere.ledger.rejections.all(tx, 1000)
        assert everywhere.ledger.rejections.count(tx) == 28
        assert everywhere.ledger.rejections.by_fault(tx) == {"fault 0": 14, "fault 1": 14}
    assert 5 <= len(kept) <= 12
    assert [one.at for one in kept][:4] == [63, 62, 61, 60]
    assert all(one.sample for one in kept[:4])


def test_none_is_left(everywhere: Engine) -> None:
    """Samples alone can be taken away, and all of it."""
    everywhere.ledger.create()
    with everywhere.store.transaction() as tx:
        everywhere.ledger.rejections.add(tx, [ONE, ONE])
        everywhere.ledger.rejections.forget(tx)
    with everywhere.store.transaction() as tx:
        assert [(one.count, one.sample) for one in everywhere.ledger.rejections.all(tx, 5)] == [(2, None)]
        assert everywhere.ledger.rejections.clear(tx) == 2
    with everywhere.store.transaction(write=False) as tx:
        assert everywhere.ledger.rejections.count(tx) == 0
