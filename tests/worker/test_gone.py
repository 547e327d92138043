"""A table that is named in the ledger and that nobody knows any more."""

from __future__ import annotations

from backtrail import Keys, Rows
from tests.engine import Engine, migration


def test_a_table_that_is_gone_halts_the_campaign(engine: Engine) -> None:
    """Nothing would come of giving the batch back: the campaign says which table it needs, and goes on once it is there again."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY); CREATE TABLE notes (id integer PRIMARY KEY)")
    engine.script("INSERT INTO users VALUES (1)")
    users, reads = Keys("users", "id"), (Rows("users", by="id"),)
    cls = migration(lambda entity: entity.create("notes", {"id": entity.key}), keys=users, reads=reads, writes=("notes",))
    assert engine.migrate(cls)["migrated"] == 1
    later = migration(lambda entity: None, keys=users, reads=reads)
    campaign = engine.open(later, "rollback", options={"from": "streams"})
    engine.fresh_worker()
    engine.script("ALTER TABLE notes RENAME TO other")
    state = engine.run(campaign)
    assert state["state"] == "halted"
    assert state["halted"].startswith("SchemaChanged: no table named 'notes'")
    assert engine.query("SELECT id FROM other") == [(1,)]
