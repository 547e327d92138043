"""The ledger's collections: created once, by however many, and never touched by an older program."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backtrail.errors import LedgerTooNew, UnsuitableDatabase
from ledger.ledger import Ledger
from tests.ledger.mongo.helpers import opened, plain

INDEXES = {
    "streams": ["_id_", "failed", "key", "subject"],
    "events": ["_id_", "ref"],
    "shapes": ["_id_", "body"],
    "batches": ["_id_", "progress"],
    "recalls": ["_id_", "call"],
    "leaves": ["_id_", "stream"],
    "checkpoints": ["_id_", "signer"],
}


def exists(ledger: Ledger) -> bool:
    with ledger.store.transaction(write=False) as tx:
        return ledger.exists(tx)


def form(ledger: Ledger) -> dict[str, Any]:
    """The names of all indexes of every collection of the ledger."""
    with plain(ledger) as (database, _):
        return {name: sorted(database[name].index_information()) for name in database.list_collection_names()}


def test_a_ledger_is_there_once_it_was_created(empty: Ledger) -> None:
    """Not before, and asking creates nothing; all collections stand beforehand, with their indexes."""
    assert not exists(empty)
    assert form(empty) == {}
    empty.create()
    assert exists(empty)
    found = form(empty)
    assert {name: found[name] for name in INDEXES} == INDEXES
    assert set(found) > {"campaigns", "chunks", "workers", "leases", "counters", "lookup", "version"}
    empty.create()
    assert form(empty) == found


def test_of_four_that_create_it_at_once_none_fails(mongo: str) -> None:
    """All find the same ledger afterwards, whose counters begin at nothing."""
    ledgers = [opened(mongo) for _ in range(4)]
    start, answers = threading.Barrier(4), list[bool]()

    def come(ledger: Ledger) -> None:
        start.wait(20)
        ledger.create()
        answers.append(exists(ledger))

    threads = [threading.Thread(target=come, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [True] * 4
    with plain(ledgers[0]) as (database, _):
        assert {one["_id"]: one["n"] for one in database.counters.find()} == {
            "streams": 0,
            "campaigns": 0,
            "shapes": 0,
            "rejected": 0,
        }
        assert list(database.version.find()) == [{"_id": "version", "step": 3}]
    for ledger in ledgers:
        ledger.store.close()


def test_a_creation_that_was_cut_off_is_completed(ledger: Ledger) -> None:
    """Without its last document there is no ledger; the next starter adds what is missing and keeps what is there."""
    whole = form(ledger)
    with plain(ledger) as (database, _):
        database.version.delete_many({})
        database.chunks.drop()
        database.streams.drop_index("key")
        database.counters.update_one({"_id": "streams"}, {"$set": {"n": 7}})
        assert not exists(ledger)
        ledger.create()
        assert form(ledger) == whole
        assert {one["_id"]: one["n"] for one in database.counters.find()}["streams"] == 7


def test_a_newer_ledger_is_left_alone(ledger: Ledger) -> None:
    """An older program says so, and changes nothing."""
    with plain(ledger) as (database, _):
        database.version.update_one({}, {"$set": {"step": 4}})
    for ask in (ledger.create, lambda: exists(ledger)):
        with pytest.raises(LedgerTooNew, match="its step 4, ours 3"):
            ask()


def test_a_ledger_from_before_the_first_release_is_refused(ledger: Ledger) -> None:
    """Its form is read by nothing any more: that is said, with what to do, and nothing is changed."""
    with plain(ledger) as (database, _):
        database.version.update_one({}, {"$set": {"step": 1}})
        before = form(ledger)
        for ask in (ledger.create, lambda: exists(ledger)):
            with pytest.raises(UnsuitableDatabase, match=r"its step 1\).* drop its ledger"):
                ask()
        assert form(ledger) == before
        assert list(database.version.find()) == [{"_id": "version", "step": 1}]
