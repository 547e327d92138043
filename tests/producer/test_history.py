"""What happened to an entity, and what was noted, as commands show it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import UsageError
from producer.history import history, notes
from tests.engine import Engine, migration
from tests.ledger.bodies import open_body

FIELDS = {"version", "kind", "table", "key", "before", "after", "at", "campaign", "by", "hash"}


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """The engine on two users."""
    engine = Engine(database)
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text, raw text); CREATE TABLE people (a integer, b text, PRIMARY KEY (a, b));"
        "INSERT INTO users VALUES (1, 'Ann', NULL), (2, 'Bob', 'x')"
    )
    yield engine
    engine.close()


def move(user: Any) -> None:
    row = user.one("users")
    user.create("people", {"a": user.key, "b": row["name"]})
    user.update(row, set={"name": row["name"] + "!"})
    user.conflict("name", values=[row["name"], "é"], chosen=row["name"])
    if user.key == 2:
        user.unmapped({"raw": row["raw"]})
        user.remark("seen")


def moving(**more: Any) -> type[Migration]:
    return migration(move, keys=Keys("users", "id"), reads=(Rows("users", "id"),), writes=("people", "users"), **more)


def told(engine: Engine, cls: type[Migration], key: str) -> list[dict[str, Any]]:
    with engine.store.transaction(write=False) as tx:
        events = history(engine.ledger, tx, cls.name, key)
    assert json.loads(json.dumps(events)) == events
    return events


def noted(engine: Engine, kinds: set[str] | None = None) -> list[tuple[Any, ...]]:
    return [(note["key"], note["kind"]) for note in notes(engine.ledger, "trial", kinds)]


def test_the_history_of_an_entity(engine: Engine) -> None:
    """Every event in its order, with rows by column, by whom and why, and the hash; the form that scripts rely on."""
    cls = moving()
    engine.migrate(cls, reason="ticket 7")
    engine.rollback(cls, only=["1"], reason="oops")
    events = told(engine, cls, "1")
    assert [event["version"] for event in events] == list(range(1, 10))
    assert [event["kind"] for event in events] == [
        *("begin", "created", "updated", "conflict", "end"),
        *("begin", "compensated", "compensated", "end"),
    ]
    assert all(event.keys() >= FIELDS for event in events)
    number: Any = "1" if engine.postgres else 1
    assert (events[1]["table"], events[1]["key"], events[1]["before"], events[1]["after"]) == (
        "people",
        f'["{number}","Ann"]' if engine.postgres else '[1,"Ann"]',
        None,
        {"a": number, "b": "Ann"},
    )
    assert (events[2]["before"]["name"], events[2]["after"]["name"], events[2]["after"]["raw"]) == ("Ann", "Ann!", None)
    assert events[3]["data"] == {"field": "name", "values": ["Ann", "é"], "chosen": "Ann"}
    assert (events[6]["before"], events[6]["after"]) == (events[2]["after"], events[2]["before"])
    assert (events[7]["before"], events[7]["after"]) == (events[1]["after"], None)
    assert {(event["campaign"], event["reason"]) for event in events} == {("c1", "ticket 7"), ("c2", "oops")}
    assert all("@" in event["by"] for event in events)
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(events[0]["at"])
    assert dt.timedelta(0) <= age < dt.timedelta(minutes=5)
    assert len({event["hash"] for event in events}) == 9


def test_nothing_happened_to_others(engine: Engine) -> None:
    """An entity that nobody touched, and a database without a ledger, are told in one line."""
    cls = moving()
    with pytest.raises(UsageError, match="nothing was ever done about '1' by trial"):
        told(engine, cls, "1")
    engine.migrate(cls, only=["1"])
    with pytest.raises(UsageError, match="nothing was ever done about '2' by trial"):
        told(engine, cls, "2")


def test_an_edited_event_is_shown_as_it_is(sqlite: str) -> None:
    """What cannot be decoded is shown raw, and the rest of the history with it."""
    engine = Engine(sqlite)
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text, raw text); INSERT INTO users VALUES (1, 'Ann', NULL)")
    engine.script("CREATE TABLE people (a integer, b text, PRIMARY KEY (a, b))")
    cls = moving()
    engine.migrate(cls)
    for (name,) in engine.query("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        engine.script(f'DROP TRIGGER "{name}"')
    good = told(engine, cls, "1")
    edits = {
        2: open_body(b"i1", None, b"\xff"),
        3: open_body(b"[", b"i1\0tAnn\0n"),
        4: open_body(data=b"no JSON"),
        5: b"\1scrambled",
    }
    for version, body in edits.items():
        engine.execute("UPDATE backtrail_events SET body = ? WHERE version = ?", body, version)
    events = told(engine, cls, "1")
    assert events[1]["after"] == {"(unreadable)": "ff"}
    assert events[2]["key"] == "["
    assert events[2]["before"] == good[2]["before"]
    assert events[3]["data"] == {"(unreadable)": "no JSON"}
    assert (events[4]["kind"], events[4]["data"], events[4]["erased"]) == ("end", None, True)
    assert [event["hash"] == before["hash"] for event, before in zip(events, good, strict=True)] == [True, *[False] * 4]
    engine.close()


def test_notes_are_those_of_what_stands(engine: Engine) -> None:
    """All after the migration, none of an entity that is rolled back, again after the redo, those of the last run after a rerun."""
    cls = moving()
    both = [("1", "conflict"), ("2", "conflict"), ("2", "unmapped"), ("2", "remark")]
    assert noted(engine) == []
    engine.migrate(cls)
    assert noted(engine) == both
    assert noted(engine, {"conflict"}) == both[:2]
    assert noted(engine, {"unmapped", "remark"}) == both[2:]
    back = engine.rollback(cls, only=["2"])
    assert noted(engine) == both[:1]
    engine.redo(cls, back["campaign"])
    assert noted(engine) == both
    engine.rerun(cls, only=["1", "2"])
    assert noted(engine) == both, "a rerun does not double them"
    engine.execute("UPDATE users SET name = 'edited' WHERE id = 1")
    engine.rerun(cls, only=["1"])
    assert noted(engine) == both, "nor does a rerun that failed take them away"
    engine.rollback(cls, options={"on_drift": "skip"})
    assert noted(engine) == [("1", "conflict"), ("1", "remark")], "why it was left alone is noted beside what stands"


def test_a_note_carries_what_was_said(engine: Engine) -> None:
    """The data of a note is beside its key and kind."""
    engine.migrate(moving())
    (note,) = list(notes(engine.ledger, "trial", {"unmapped"}))
    assert note == {"key": "2", "kind": "unmapped", "fields": {"raw": "x"}}


def test_entities_that_vanished_are_noted(engine: Engine) -> None:
    """Somebody who was gone before their turn is remarked upon."""
    cls = moving()
    campaign = engine.open(cls, "migrate", only=["1", "2"])
    engine.execute("DELETE FROM users WHERE id = 1")
    assert engine.run(campaign)["skipped"] == 1
    assert ("1", "remark") in noted(engine)
