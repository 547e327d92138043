"""Transactions without a savepoint where that is dear, as long as nobody is refused."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Entity, Keys, Rows
from backtrail.stores.writing import SqlTransaction
from tests.engine import Engine, migration
from worker.caution import CALM, Caution

SIZE = 5
"""Users in a batch."""


def test_what_costs_nothing_is_always_kept() -> None:
    caution = Caution(dear=False)
    assert caution.keeps_savepoints
    for _ in range(2 * CALM):
        caution.committed()
    assert caution.keeps_savepoints


def test_what_is_dear_is_kept_for_a_while_after_somebody_was_refused() -> None:
    caution = Caution(dear=True)
    assert not caution.keeps_savepoints
    caution.refused()
    for _ in range(CALM - 1):
        caution.committed()
        assert caution.keeps_savepoints
    caution.refused()
    for _ in range(CALM):
        assert caution.keeps_savepoints
        caution.committed()
    assert not caution.keeps_savepoints
    caution.committed()
    assert not caution.keeps_savepoints


@pytest.fixture
def savepoints(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The savepoints that were made."""
    made: list[Any] = []
    savepoint = SqlTransaction.savepoint
    monkeypatch.setattr(SqlTransaction, "savepoint", lambda tx: (made.append(tx), savepoint(tx))[1])
    return made


def doubled(engine: Engine, batches: int, bad: set[int]) -> type:
    """The migration of so many batches of users, of whom some are refused."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, size integer)")
    engine.script("CREATE TABLE people (id integer PRIMARY KEY, size integer CHECK (size < 100))")
    for number in range(batches * SIZE):
        engine.script(f"INSERT INTO users VALUES ({number}, {50 if number in bad else 1})")

    def double(user: Entity) -> None:
        user.create("people", {"id": user.key, "size": 2 * user.one("users")["size"]})

    return migration(double, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("people",))


def test_a_campaign_in_which_nobody_is_refused_has_none_on_sqlite(engine: Engine, savepoints: list[Any]) -> None:
    cls = doubled(engine, 3, set())
    assert engine.migrate(cls, batch_size=SIZE)["migrated"] == 3 * SIZE
    assert len(savepoints) == (0 if engine.store.dear_savepoints else 3)


def test_from_the_first_who_is_refused_on_they_are_kept(engine: Engine, savepoints: list[Any]) -> None:
    """The batch of the first begins anew; the second one's savepoint is there already; after calm ones there is none."""
    cls = doubled(engine, 4 + CALM, {SIZE, 2 * SIZE, 2 * SIZE + 1})
    state = engine.migrate(cls, batch_size=SIZE)
    assert (state["migrated"], state["failed"]) == ((4 + CALM) * SIZE - 3, 3)
    assert set(engine.failures(cls)) == {str(SIZE), str(2 * SIZE), str(2 * SIZE + 1)}
    # One for each batch, and one more for each who was refused within it.
    kept = 4 + CALM if not engine.store.dear_savepoints else 1 + CALM
    assert len(savepoints) == kept + 3
    assert engine.rollback(cls)["rolled_back"] == (4 + CALM) * SIZE - 3
    assert engine.query("SELECT count(*) FROM people") == [(0,)]
