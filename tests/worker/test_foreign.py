"""One row is changed by one entity of a migration, as long as that change stands."""

from __future__ import annotations

from typing import Any

from backtrail import Keys, Rows
from tests.engine import Engine, migration


def noted(engine: Engine) -> Any:
    """Two users, the first of whom has a note that is to go."""
    engine.table("users", id=int)
    engine.table("notes", id=int, user_id=int)
    engine.add("users", (1,), (2,))
    engine.add("notes", (7, 1))

    def migrate(user: Any) -> None:
        for note in user.rows("notes"):
            user.delete(note)

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("notes", "user_id"),), writes=("notes",))


def test_a_change_that_was_taken_back(everywhere: Engine) -> None:
    """A row whose change was taken back, and that is another user's now, is that user's to change, although the first is migrated again."""
    cls = noted(everywhere)
    assert everywhere.migrate(cls)["migrated"] == 2
    assert everywhere.rollback(cls)["rolled_back"] == 2
    everywhere.change("notes", {"user_id": 2}, id=7)
    assert everywhere.rerun(cls, only=["1"])["migrated"] == 1
    assert everywhere.rerun(cls, only=["2"])["migrated"] == 1, everywhere.failures(cls)
    assert everywhere.rows("notes") == []


def test_a_change_that_stands(everywhere: Engine) -> None:
    """A row that a migrated user took away, and the application made anew for another, is still the first one's."""
    cls = noted(everywhere)
    assert everywhere.migrate(cls)["migrated"] == 2
    everywhere.add("notes", (7, 2))
    assert everywhere.rerun(cls, only=["2"])["failed"] == 1
    assert everywhere.failures(cls)["2"]["error"] == "ForeignRow"
    assert everywhere.rows("notes") == [(7, 2)]
