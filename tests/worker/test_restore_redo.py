"""Taking an entity again that was rolled back: what was recorded where nothing changed, decided anew where something did."""

from __future__ import annotations

from typing import Any

from backtrail import Keys, Migration, Rows
from tests.engine import Engine, migration


def world(engine: Engine) -> type[Migration]:
    """Two users who get a stamp with the job's time, and a card that says what stood in their note."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, stamp text, nick text); INSERT INTO users VALUES (1, 'none', 'x'), (2, 'none', 'y');"
        "CREATE TABLE notes (id integer PRIMARY KEY, text text); INSERT INTO notes VALUES (1, 'one'), (2, 'two');"
        "CREATE TABLE cards (id integer PRIMARY KEY, text text)"
    )

    def migrate(entity: Any) -> None:
        entity.update(entity.one("users"), {"stamp": entity.now.isoformat()})
        entity.create("cards", {"id": entity.key, "text": entity.one("notes")["text"]})

    return migration(
        migrate,
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"), Rows("notes", by="id")),
        writes=("users", "cards"),
    )


def last_job(engine: Engine, cls: type[Migration], key: str) -> list[Any]:
    """The events of the entity's last job."""
    events = engine.events(cls, key)
    begin = max(at for at, event in enumerate(events) if event.kind == "begin")
    return events[begin:]


def there_and_back(engine: Engine, cls: type[Migration]) -> list[Any]:
    """The migrated rows, after a rollback."""
    before = engine.dump("users", "cards")
    assert engine.migrate(cls)["migrated"] == 2
    after = engine.dump("users", "cards")
    assert engine.rollback(cls)["rolled_back"] == 2
    assert engine.dump("users", "cards") == before != after
    return after


def test_what_is_unchanged_comes_back_as_it_was_recorded(engine: Engine) -> None:
    """Also what the time of the first job went into; the stream says what was done, and that nothing was decided."""
    cls = world(engine)
    after = there_and_back(engine, cls)
    assert engine.rerun(cls, only=["1", "2"])["migrated"] == 2
    assert engine.dump("users", "cards") == after
    job = last_job(engine, cls, "1")
    assert [event.kind for event in job] == ["begin", "updated", "created", "end"]
    assert job[-1].facts == {"state": "migrated"}
    assert [event.after for event in job[1:3]] == [event.after for event in engine.events(cls, "1")[1:3]]


def test_what_would_be_decided_otherwise_is_decided_anew(engine: Engine) -> None:
    """A row that is only read says something else now: that entity is migrated with it and with the time of now, the other is redone."""
    cls = world(engine)
    there_and_back(engine, cls)
    stamps = {str(event.at) for event in engine.events(cls, "1")}
    engine.execute("UPDATE notes SET text = 'other' WHERE id = 1")
    assert engine.rerun(cls, only=["1", "2"])["migrated"] == 2
    assert engine.query("SELECT id, text FROM cards ORDER BY id") == [(1, "other"), (2, "two")]
    anew, again = last_job(engine, cls, "1"), last_job(engine, cls, "2")
    assert set(anew[-1].facts) >= {"state", "decision"}
    assert set(again[-1].facts) == {"state"}
    assert str(anew[-1].at) not in stamps
    ((stamp, then),) = engine.query("SELECT a.stamp, b.stamp FROM users a, users b WHERE a.id = 1 AND b.id = 2")
    assert stamp > then, "the one has the time of this job, the other that of the first"


def test_rows_that_are_not_what_they_were_are_decided_anew(engine: Engine) -> None:
    """The application changed a column of the row meanwhile: a re-run keeps that, and does not overwrite it with what was recorded."""
    cls = world(engine)
    there_and_back(engine, cls)
    engine.execute("UPDATE users SET nick = 'new' WHERE id = 2")
    assert engine.rerun(cls, only=["1", "2"])["migrated"] == 2
    assert engine.query("SELECT nick FROM users ORDER BY id") == [("x",), ("new",)]
    assert "decision" not in last_job(engine, cls, "1")[-1].facts
    assert "decision" in last_job(engine, cls, "2")[-1].facts


def test_a_redo_refuses_rows_that_are_not_what_they_were(engine: Engine) -> None:
    """It brings back what was recorded or nothing; the others go forth, whatever stands now in what they read."""
    cls = world(engine)
    assert engine.migrate(cls)["migrated"] == 2
    back = engine.rollback(cls)
    engine.execute("UPDATE users SET nick = 'new' WHERE id = 1")
    engine.execute("UPDATE notes SET text = 'other'")
    state = engine.redo(cls, back["campaign"])
    assert (state["migrated"], state["failed"]) == (1, 1)
    assert engine.failures(cls)["1"] == {"error": "Drifted", "reason": "users: nick changed since"}
    assert engine.query("SELECT stamp, nick FROM users WHERE id = 1") == [("none", "new")]
    assert engine.query("SELECT id, text FROM cards") == [(2, "two")]


def test_a_migrated_entity_that_drifted_is_not_taken_again(engine: Engine) -> None:
    """A re-run undoes first, and that refuses what the application changed."""
    cls = world(engine)
    assert engine.migrate(cls)["migrated"] == 2
    engine.execute("UPDATE cards SET text = 'edited' WHERE id = 1")
    after = engine.dump("users", "cards")
    state = engine.rerun(cls, only=["1"])
    assert (state["migrated"], state["failed"]) == (0, 1)
    assert engine.failures(cls)["1"] == {"error": "Drifted", "reason": "cards: text changed since"}
    assert engine.dump("users", "cards") == after
