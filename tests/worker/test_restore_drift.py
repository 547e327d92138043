"""What a worker says and records about entities that it does not take back, and of the steps of those that it does."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.image import Image
from tests.engine import Engine, migration


def world(engine: Engine) -> type[Migration]:
    """Two users who are renamed and get a card."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text, nick text, age integer); INSERT INTO users VALUES (1, 'a', 'x', 3), (2, 'b', 'y', 4);"
        "CREATE TABLE cards (id integer PRIMARY KEY, text text)"
    )

    def migrate(entity: Any) -> None:
        entity.update(entity.one("users"), {"name": entity.one("users")["name"] + "!"})
        entity.create("cards", {"id": entity.key + 10, "text": "new"})

    cls = migration(migrate, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users", "cards"))
    assert engine.migrate(cls)["migrated"] == 2
    return cls


def meanwhile(engine: Engine, cls: type[Migration], sql: str, **options: Any) -> dict[str, Any]:
    """The end of a rollback that was open already when something was done."""
    opened = engine.open(cls, "rollback", options={"from": "streams", **options})
    engine.script(sql)
    engine.fresh_worker()
    return engine.run(opened)


def test_all_columns_and_all_rows_that_changed_are_named(engine: Engine) -> None:
    """In one line, by table and column, and no value among it."""
    cls = world(engine)
    state = meanwhile(
        engine, cls, "UPDATE users SET nick = 'secret', age = 77 WHERE id = 2; UPDATE cards SET text = 'secret' WHERE id = 12"
    )
    assert (state["rolled_back"], state["failed"]) == (1, 1)
    wanted = "users: nick, age changed since; cards: text changed since"
    assert engine.failures(cls)["2"] == {"error": "Drifted", "reason": wanted}
    assert [event.kind for event in engine.events(cls, "2")][-2:] == ["begin", "failed"]
    assert engine.states(cls) == {"1": "rolled_back", "2": "migrated"}


def test_all_columns_that_are_gone_are_named(engine: Engine) -> None:
    """With what they were, so that somebody can make them again."""
    cls = world(engine)
    meanwhile(engine, cls, "ALTER TABLE users DROP COLUMN nick; ALTER TABLE users DROP COLUMN age")
    reason = engine.failures(cls)["2"]["reason"]
    first, second = reason.lower().split("; ")
    assert first == "users.nick was text and is gone, so that the row cannot be put back: make it what it was"
    assert second == "users.age was integer and is gone, so that the row cannot be put back: make it what it was"


def test_rows_that_are_gone_or_taken_are_named(engine: Engine) -> None:
    """What is missing is said to be deleted, and how it would come back."""
    cls = world(engine)
    meanwhile(engine, cls, "DELETE FROM cards WHERE id = 11")
    assert engine.failures(cls)["1"]["reason"] == "cards: a row was deleted since, and only --resurrect brings it back"


def test_what_is_skipped_stays_and_says_why(engine: Engine) -> None:
    """Asked to skip what drifted, the stream has the differences and the state that it had; nothing of it is changed."""
    cls = world(engine)
    state = meanwhile(engine, cls, "UPDATE users SET nick = 'z' WHERE id = 2", on_drift="skip")
    assert (state["rolled_back"], state["skipped"], state["failed"]) == (1, 1, 0)
    begin, remark, end = engine.events(cls, "2")[-3:]
    assert (begin.kind, remark.kind, end.kind) == ("begin", "remark", "end")
    assert begin.facts == {"job": "rollback"}
    assert remark.facts == {"text": "drifted, so it stays as it is", "differences": ["users: nick changed since"]}
    assert end.facts == {"state": "migrated", "skipped": True}
    assert engine.states(cls) == {"1": "rolled_back", "2": "migrated"}
    assert engine.query("SELECT name, nick FROM users ORDER BY id") == [("a", "x"), ("b!", "z")]


def test_a_rollback_is_recorded_step_by_step(engine: Engine) -> None:
    """Newest first, each step from what stood to what stands, between a begin and an end."""
    cls = world(engine)
    assert engine.rollback(cls)["rolled_back"] == 2
    events = engine.events(cls, "1")
    begin, updated, created, _, again, first, second, end = events
    assert [one.kind for one in events] == ["begin", "updated", "created", "end", "begin", "compensated", "compensated", "end"]
    assert (begin.facts, again.facts) == ({"job": "migrate"}, {"job": "rollback"})
    assert (first.ref, first.before, first.after) == (created.ref, created.after, None)
    assert (second.ref, second.before, second.after) == (updated.ref, updated.after, updated.before)
    assert end.facts == {"state": "rolled_back"}


def test_a_row_that_takes_two_steps_is_recorded_in_both(engine: Engine) -> None:
    """Deleted and made anew under its key: going back goes through there being no row, and forth as well."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a'), (2, 'b')")

    def migrate(entity: Any) -> None:
        entity.delete(entity.one("users"))
        entity.create("users", {"id": entity.key, "name": "new"})

    cls = migration(migrate, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))
    assert engine.migrate(cls)["migrated"] == 2
    made = [(one.before, one.after) for one in engine.events(cls, "1") if one.ref is not None]
    assert made, "the fixture is not trivial"
    back = engine.rollback(cls)
    assert engine.query("SELECT * FROM users ORDER BY id") == [(1, "a"), (2, "b")]
    undone = [(one.before, one.after) for one in engine.events(cls, "1") if one.kind == "compensated"]
    assert undone == [(after, before) for before, after in reversed(made)]
    assert engine.redo(cls, back["campaign"])["migrated"] == 2
    assert engine.query("SELECT * FROM users ORDER BY id") == [(1, "new"), (2, "new")]
    again = [(one.before, one.after) for one in engine.events(cls, "1") if one.ref is not None][-len(made) :]
    assert again == made


def test_rows_that_were_gone_already_are_noted(engine: Engine) -> None:
    """Told to resurrect, what the application had taken away of the created rows is a line in the stream, and can be redone."""
    cls = world(engine)
    engine.script("DELETE FROM cards WHERE id = 11")
    back = engine.rollback(cls, options={"resurrect": True, "from": "streams"})
    assert back["rolled_back"] == 2
    gone, renamed = [one for one in engine.events(cls, "1") if one.kind == "compensated"]
    assert (gone.ref, gone.facts) == (None, {"text": "was gone already", "table": "cards"})
    assert renamed.ref is not None
    assert engine.redo(cls, back["campaign"])["migrated"] == 2
    assert engine.query("SELECT id FROM cards ORDER BY id") == [(11,), (12,)]


def test_rows_are_locked_before_they_are_compared(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found holds until it is put back: nobody may write in between. SQLite locks its file; here the asking can be seen."""
    cls = world(on_sqlite)
    asked: list[bool] = []
    with on_sqlite.worker_store.transaction(write=False) as tx:
        kind = type(tx)
    fetch = kind.fetch
    monkeypatch.setattr(kind, "fetch", lambda self, refs, *, lock=False: asked.append(lock) or fetch(self, refs, lock=lock))
    opened = on_sqlite.open(cls, "rollback", only=["1"])
    asked.clear()
    assert on_sqlite.run(opened)["rolled_back"] == 1
    assert asked[0] is True, "the first look is the one that is compared"


def test_what_does_not_come_back_as_it_was_is_refused(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read back before the commit: where one differs its entity is refused, table and columns named, and the others go back."""
    cls = world(on_sqlite)
    opened = on_sqlite.open(cls, "rollback", options={"from": "streams"})
    with on_sqlite.worker_store.transaction(write=False) as tx:
        kind = type(tx)
    put = kind.put

    def spoilt(self: Any, puts: Any, **more: Any) -> Any:
        found = put(self, puts, **more)
        kept = {step.ref: step.live for step in puts if step.ref.key == "i12"}
        return {ref: _spoilt(image) if ref.key == "i2" else image for ref, image in found.items()} | kept

    monkeypatch.setattr(kind, "put", spoilt)
    state = on_sqlite.run(opened)
    assert (state["rolled_back"], state["failed"]) == (1, 1)
    wanted = "rows did not come back as they were (users: name, nick; cards: (row)): a trigger or rule changes what is written"
    assert on_sqlite.failures(cls)["2"] == {"error": "Drifted", "reason": wanted}
    assert on_sqlite.query("SELECT name FROM users ORDER BY id") == [("a",), ("b!",)]
    assert on_sqlite.query("SELECT id FROM cards") == [(12,)]


def _spoilt(image: Image | None) -> Image | None:
    return None if image is None else Image(image.shape, image.data.replace(b"tb\0ty", b"tB\0tY"))
