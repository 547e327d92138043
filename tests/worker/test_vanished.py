"""Entities that the application removes while a batch is being worked on."""

from __future__ import annotations

import pytest

from backtrail import Entity, Keys, Rows
from tests.engine import Engine, migration


@pytest.mark.parametrize("gone", [True, False])
def test_one_that_goes_while_it_is_decided(on_postgres: Engine, gone: bool) -> None:
    """It is skipped with a remark, and does not count as failed; one that fails and is still there has failed."""
    on_postgres.script("CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE notes (id int PRIMARY KEY, user_id int)")
    on_postgres.script("CREATE TABLE made (user_id int PRIMARY KEY)")
    on_postgres.script("INSERT INTO users VALUES (1), (2), (3); INSERT INTO notes VALUES (1, 1), (3, 3)")

    def migrate(user: Entity) -> None:
        if user.key == 2 and gone:
            on_postgres.execute("DELETE FROM users WHERE id = 2")
        user.one("notes")
        user.create("made", {"user_id": user.key})

    trial = migration(migrate, keys=Keys("users", "id"), reads=(Rows("notes", by="user_id"),), writes=("made",))
    state = on_postgres.migrate(trial)
    assert on_postgres.query("SELECT count(*) FROM users") == [(2 if gone else 3,)]
    assert (state["migrated"], state["skipped"], state["failed"]) == (2, int(gone), int(not gone))
    assert on_postgres.states(trial)["2"] == ("vanished" if gone else "failed")
    assert on_postgres.query("SELECT user_id FROM made ORDER BY 1") == [(1,), (3,)]
