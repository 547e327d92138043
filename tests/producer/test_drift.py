"""Drift is looked for before a rollback is opened: by several processes where there is much of it to look through."""

from __future__ import annotations

import multiprocessing

import pytest

from backtrail import Keys, Rows
from producer import drift
from producer.drift import DriftFound, refuse_drift
from producer.order import Order
from tests.engine import Engine, migration

USERS = 40
EDITED = (2, 19, 40)


def test_two_processes_find_what_one_finds(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same entities with the same reasons, and no process is left; each was really looked for by a process of its own."""
    engine = everywhere
    monkeypatch.setattr(drift, "PAGE", 7)
    monkeypatch.setattr(drift, "LARGE", 10)
    engine.table("users", id=int, name=str)
    engine.add("users", *((number, f"user {number}") for number in range(1, USERS + 1)))
    cls = migration(
        lambda entity: entity.update(entity.one("users"), {"name": entity.one("users")["name"].upper()}),
        keys=Keys("users", engine.id),
        reads=(Rows("users", by=engine.id),),
        writes=("users",),
    )
    assert engine.migrate(cls)["migrated"] == USERS
    found, order = engine.found(cls), Order("rollback", options={"from": "streams"})
    refuse_drift(engine.ledger, found, order, None, jobs=2)
    engine.change("users", {"name": "Edited"}, id=list(EDITED))
    refused = {}
    for jobs in (1, 2):
        begun = count_pools(monkeypatch)
        with pytest.raises(DriftFound) as error:
            refuse_drift(engine.ledger, found, order, None, jobs=jobs)
        refused[jobs] = error.value.drifted
        assert len(begun) == jobs - 1
    assert set(refused[1]) == set(map(str, EDITED))
    assert refused[2] == refused[1]
    assert not multiprocessing.active_children()


def count_pools(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What grows by one with each pool of processes."""
    begun: list[object] = []
    real = drift.Pool
    monkeypatch.setattr(drift, "Pool", lambda *given, **more: begun.append(given) or real(*given, **more))
    return begun
