"""Going back where the application has deleted something since: it stays deleted unless somebody says otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Rows
from ledger.deleted import told
from producer.drift import DriftFound
from tests.engine import Engine, migration

SKIP = {"on_drift": "skip", "from": "streams"}
RESURRECT = {"resurrect": True, "from": "streams"}


def world(engine: Engine) -> Any:
    """Three users whose note is replaced by a card."""
    engine.table("users", id=int, name=str)
    engine.table("notes", id=int, user_id=int, text=str)
    engine.table("cards", id=int, user_id=int)
    engine.add("users", (1, "a"), (2, "b"), (3, "c"))
    engine.add("notes", (11, 1, "x"), (12, 2, "y"), (13, 3, "z"))

    def migrate(entity: Any) -> None:
        entity.delete(entity.one("notes"))
        entity.update(entity.one("users"), {"name": entity.one("users")["name"] + "!"})
        entity.create("cards", {engine.id: entity.key + 20, "user_id": entity.key})

    return migration(
        migrate,
        keys=Keys("users", engine.id),
        reads=(Rows("users", by=engine.id), Rows("notes", by="user_id")),
        writes=("users", "notes", "cards"),
    )


def test_rows_that_the_application_deleted(everywhere: Engine) -> None:
    """A row that is gone is named and not brought back; told to, the whole entity comes back exactly, and goes forth again."""
    cls = world(everywhere)
    before = everywhere.dump("users", "notes", "cards")
    assert everywhere.migrate(cls)["migrated"] == 3
    everywhere.remove("users", id=2)
    everywhere.remove("cards", id=22)
    with pytest.raises(DriftFound) as refused:
        everywhere.rollback(cls)
    assert set(refused.value.drifted) == {"2"}
    assert all("--resurrect" in line for line in refused.value.drifted["2"])
    state = everywhere.rollback(cls, options=SKIP)
    assert (state["rolled_back"], state["skipped"]) == (2, 1)
    assert [row[0] for row in everywhere.rows("users", "id")] == [1, 3]
    back = everywhere.rollback(cls, options=RESURRECT)
    assert back["rolled_back"] == 1, everywhere.failures(cls)
    assert everywhere.dump("users", "notes", "cards") == before
    assert everywhere.redo(cls, back["campaign"])["migrated"] == 1, everywhere.failures(cls)
    assert everywhere.rows("cards", "id") == [(22,)]


def test_entities_that_the_application_deleted(everywhere: Engine) -> None:
    """The user is gone though no row of his that was written is: what belonged to him is not brought back either."""
    everywhere.table("users", id=int)
    everywhere.table("notes", id=int, user_id=int)
    everywhere.add("users", (1,), (2,))
    everywhere.add("notes", (11, 1), (12, 2))
    cls = migration(
        lambda entity: entity.delete(entity.one("notes")),
        keys=Keys("users", everywhere.id),
        reads=(Rows("notes", by="user_id"),),
        writes=("notes",),
    )
    assert everywhere.migrate(cls)["migrated"] == 2
    everywhere.remove("users", id=2)
    with pytest.raises(DriftFound) as refused:
        everywhere.rollback(cls)
    assert "gone from users" in refused.value.drifted["2"][0]
    state = everywhere.rollback(cls, options=SKIP)
    assert (state["rolled_back"], state["skipped"]) == (1, 1)
    assert everywhere.rows("notes", "id") == [(11,)]
    assert everywhere.rollback(cls, options=RESURRECT)["rolled_back"] == 1
    assert everywhere.rows("notes", "id") == [(11,), (12,)]


def test_what_is_left_of_a_deleted_entity_goes(everywhere: Engine) -> None:
    """Where going back only takes away what was created, nobody is brought back, and nothing is refused."""
    everywhere.table("users", id=int)
    everywhere.table("cards", id=int)
    everywhere.add("users", (1,), (2,))
    cls = migration(
        lambda entity: entity.create("cards", {everywhere.id: entity.key}), keys=Keys("users", everywhere.id), writes=("cards",)
    )
    assert everywhere.migrate(cls)["migrated"] == 2
    everywhere.remove("users", id=2)
    assert everywhere.rollback(cls)["rolled_back"] == 2
    assert everywhere.rows("cards") == []


def test_entities_that_the_migration_deleted(everywhere: Engine) -> None:
    """A source row that the migration itself deleted comes back without being asked twice."""
    everywhere.table("users", id=int)
    everywhere.add("users", (1,), (2,))
    cls = migration(
        lambda entity: entity.delete(entity.one("users")),
        keys=Keys("users", everywhere.id),
        reads=(Rows("users", by=everywhere.id),),
        writes=("users",),
    )
    assert everywhere.migrate(cls)["migrated"] == 2
    assert everywhere.rows("users") == []
    assert everywhere.rollback(cls)["rolled_back"] == 2
    assert everywhere.rows("users", "id") == [(1,), (2,)]


def test_deleted_between_undo_and_redo(everywhere: Engine) -> None:
    """A redo does not make rows for a user who is gone by now."""
    everywhere.table("users", id=int)
    everywhere.table("cards", id=int)
    everywhere.add("users", (1,), (2,))
    cls = migration(
        lambda entity: entity.create("cards", {everywhere.id: entity.key}), keys=Keys("users", everywhere.id), writes=("cards",)
    )
    assert everywhere.migrate(cls)["migrated"] == 2
    back = everywhere.rollback(cls)
    everywhere.remove("users", id=2)
    state = everywhere.redo(cls, back["campaign"])
    assert (state["migrated"], state["failed"]) == (1, 1)
    assert "gone from users" in everywhere.failures(cls)["2"]["reason"]
    assert everywhere.rows("cards", "id") == [(1,)]


def test_rows_that_outlive_a_deleted_entity(everywhere: Engine) -> None:
    """A row that the application kept is put back as it was: to change it back brings nobody back."""
    everywhere.table("users", id=int)
    everywhere.table("notes", id=int, user_id=int, text=str)
    everywhere.add("users", (1,), (2,))
    everywhere.add("notes", (11, 1, "x"), (12, 2, "y"))
    before = everywhere.dump("notes")
    cls = migration(
        lambda entity: entity.update(entity.one("notes"), {"text": "moved"}),
        keys=Keys("users", everywhere.id),
        reads=(Rows("notes", by="user_id"),),
        writes=("notes",),
    )
    assert everywhere.migrate(cls)["migrated"] == 2
    everywhere.remove("users", id=2)
    assert everywhere.rollback(cls)["rolled_back"] == 2, everywhere.failures(cls)
    assert everywhere.dump("notes") == before


def test_every_source_that_a_key_is_gone_from_is_named() -> None:
    """Where keys come from several tables all are named, each once, with the way out."""
    cls = migration(lambda entity: None, keys=(Keys("users", "id"), Keys("members", "id"), Keys("users", "old_id")))
    assert told(cls) == (
        "its key is gone from users and members: the application deleted this entity, and only --resurrect brings rows of it back"
    )
