"""Drift is looked for before a rollback is opened: by several processes where there is much of it to look through."""

from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from backtrail import Keys, Migration, Rows
from producer import drift
from producer.drift import DriftFound, refuse_drift
from producer.order import Order
from tests.engine import Engine, migration

USERS = 40
EDITED = (2, 19, 40)


def shouting(engine: Engine) -> type[Migration]:
    """All users are there, and a migration that makes their names large."""
    engine.table("users", id=int, name=str)
    engine.add("users", *((number, f"user {number}") for number in range(1, USERS + 1)))
    return migration(
        lambda entity: entity.update(entity.one("users"), {"name": entity.one("users")["name"].upper()}),
        keys=Keys("users", engine.id),
        reads=(Rows("users", by=engine.id),),
        writes=("users",),
    )


def test_two_processes_find_what_one_finds(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same entities with the same reasons, and no process is left; each was really looked for by a process of its own."""
    engine = everywhere
    monkeypatch.setattr(drift, "PAGE", 7)
    monkeypatch.setattr(drift, "LARGE", 10)
    cls = shouting(engine)
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


EVERYBODY = tuple(str(number) for number in range(1, USERS + 1))


@pytest.mark.parametrize(("keys", "options"), [(None, {"from": "streams"}), (None, {"campaign": 1}), (EVERYBODY, {})])
def test_nothing_is_read_elsewhere_while_a_page_is_looked_at(
    on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...] | None, options: dict[str, Any]
) -> None:
    """Whoever looks at a page, here or in another process, opens a transaction of its own: one that was open already could keep it from that."""
    engine = on_sqlite
    monkeypatch.setattr(drift, "PAGE", 7)
    cls = shouting(engine)
    assert engine.migrate(cls)["migrated"] == USERS
    database = make_url(engine.url).database or ""
    looked: list[str] = []

    def find(self: drift.Standing, _scope: object) -> dict[str, list[str]]:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN EXCLUSIVE")
        looked.extend(head.key for head in self.heads)
        return {}

    monkeypatch.setattr(drift.Standing, "find", find)
    refuse_drift(engine.ledger, engine.found(cls), Order("rollback", options=options), keys)
    assert sorted(looked, key=int) == list(EVERYBODY)
