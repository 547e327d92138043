"""Who wrote a row since: another migration's work blocks a rollback and is named, in the order in which it must be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.image import Ref
from ledger.later import standing_on
from producer.drift import DriftFound
from tests.engine import Engine, migration
from tests.ledger.bodies import fields_of, open_body


def adding(name: str) -> type[Migration]:
    def migrate(user: Any) -> None:
        row = user.one("users")
        user.update(row, set={"name": row["name"] + name})

    return migration(migrate, name=name, keys=Keys("users", "id"), reads=(Rows("users", "id"),), writes=("users",))


@pytest.fixture
def migrations(engine: Engine) -> list[type[Migration]]:
    """Three migrations that write one row, one after the other, and are all done."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'x'), (2, 'y')")
    found = [adding(name) for name in ("a", "b", "c")]
    for cls in found:
        assert engine.migrate(cls)["migrated"] == 2
    return found


def why(engine: Engine, cls: type[Migration]) -> dict[str, list[str]]:
    """Why a rollback is refused, after seeing that nothing was changed."""
    before = engine.dump("users")
    with pytest.raises(DriftFound) as refused:
        engine.open(cls, "rollback", only=["1"])
    assert engine.dump("users") == before
    return refused.value.drifted


def test_later_migrations_are_named_and_go_first(engine: Engine, migrations: list[type[Migration]]) -> None:
    """The last one is named until it is back, and then the one before it; in this order all go back exactly."""
    first, second, third = migrations
    assert why(engine, first) == {"1": ["users 1: written since by c: roll that back first"]}
    assert why(engine, second) == {"1": ["users 1: written since by c: roll that back first"]}
    engine.rollback(third, only=["1"])
    assert why(engine, first) == {"1": ["users 1: written since by b: roll that back first"]}
    engine.rollback(second, only=["1"])
    assert engine.rollback(first, only=["1"])["rolled_back"] == 1
    assert engine.query("SELECT name FROM users ORDER BY id") == [("x",), ("yabc",)]


def test_an_application_is_shown_by_what_it_changed(engine: Engine, migrations: list[type[Migration]]) -> None:
    """What no stream wrote is drift, with the values before and after, whoever wrote in between."""
    engine.execute("UPDATE users SET name = 'edited' WHERE id = 1")
    assert why(engine, migrations[0]) == {"1": ["users 1: name: 'xa' became 'edited'"]}
    assert why(engine, migrations[2]) == {"1": ["users 1: name: 'xabc' became 'edited'"]}
    campaign = engine.open(migrations[2], "rollback", only=["1", "2"], options={"on_drift": "skip"})
    end = engine.run(campaign)
    assert (end["rolled_back"], end["skipped"]) == (1, 1)
    assert engine.query("SELECT name FROM users ORDER BY id") == [("edited",), ("yab",)]


def test_a_value_that_was_there_before_is_nobodys_write(engine: Engine, migrations: list[type[Migration]]) -> None:
    """An application that puts back what an earlier migration had left has changed the row all the same."""
    engine.execute("UPDATE users SET name = 'xa' WHERE id = 1")
    assert why(engine, migrations[1]) == {"1": ["users 1: name: 'xab' became 'xa'"]}


def test_a_stream_that_was_edited_speaks_for_nobody(engine: Engine, migrations: list[type[Migration]]) -> None:
    """What a broken chain says is not believed: the change counts as the application's, and the later migration is not named."""
    assert why(engine, migrations[0]) == {"1": ["users 1: written since by c: roll that back first"]}
    events, streams = (f"{'backtrail.' if engine.postgres else 'backtrail_'}{name}" for name in ("events", "streams"))
    engine.script(f"ALTER TABLE {events} DISABLE TRIGGER ALL" if engine.postgres else "DROP TRIGGER backtrail_events_no_update")
    engine.execute(
        f"UPDATE {events} SET at = at + 1 WHERE kind = 'u' AND stream ="
        f" (SELECT id FROM {streams} WHERE migration = 'c' AND key = '1')"
    )
    assert why(engine, migrations[0]) == {"1": ["users 1: name: 'xa' became 'xabc'"]}


def test_who_stands_on_rows_is_found(engine: Engine) -> None:
    """Whoever changed one of the rows, or created it for the same entity, and stands: by name, each once, and nobody else."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2);"
        "CREATE TABLE orders (id integer PRIMARY KEY, user_id integer, note text); INSERT INTO orders VALUES (1, 1, 'x'), (2, 2, 'y');"
        "CREATE TABLE cards (id integer PRIMARY KEY)"
    )

    def changing(entity: Any) -> None:
        order = entity.one("orders", id=entity.key)
        entity.update(order, set={"note": order["note"] + "!"})

    def on_orders(name: str, migrate: Any) -> type[Migration]:
        reads = (Rows("orders", by="user_id"),)
        return migration(migrate, name=name, keys=Keys("users", "id"), reads=reads, writes=("orders", "cards"))

    changed, taken_back = on_orders("changed", changing), on_orders("taken-back", changing)
    created = on_orders("created", lambda entity: entity.create("orders", {"id": entity.key + 10, "user_id": entity.key}))
    elsewhere = on_orders("elsewhere", lambda entity: entity.create("cards", {"id": entity.key}))
    for cls in (changed, taken_back, created, elsewhere):
        assert engine.migrate(cls)["migrated"] == 2
    assert engine.rollback(taken_back)["rolled_back"] == 2
    old, new = (event.ref for cls in (changed, created) for event in engine.events(cls, "1") if event.ref is not None)
    assert isinstance(old, Ref) and isinstance(new, Ref) and old != new

    def standing(migration: str, keys: list[str], *refs: Ref) -> list[str]:
        with engine.store.transaction(write=False) as tx:
            return standing_on(engine.ledger, tx, migration, keys, refs)

    assert standing("another", ["1"], old) == ["changed"]
    assert standing("another", ["1"], new) == ["created"]
    assert standing("another", ["1"], old, new) == ["changed", "created"]
    assert standing("changed", ["1"], old, new) == ["created"]
    assert standing("created", ["1"], old, new) == ["changed"]
    assert standing("another", ["2"], new) == []
    assert standing("another", [], new) == []
    assert standing("another", [], old) == ["changed"], "who changed a row is known without the entity"
    assert engine.rollback(changed)["rolled_back"] == engine.rollback(created)["rolled_back"] == 2
    assert standing("another", ["1"], old, new) == []


def test_nothing_is_restored_from_a_ledger_that_was_edited(engine: Engine, migrations: list[type[Migration]]) -> None:
    """A rollback refuses an entity whose events were tampered with: at once, and in the worker; the others go back."""
    third = migrations[2]
    events = "backtrail.events" if engine.postgres else "backtrail_events"
    campaign = engine.open(third, "rollback", only=["1", "2"])
    if engine.postgres:
        engine.script(f"ALTER TABLE {events} DISABLE TRIGGER ALL")
    else:
        engine.script("DROP TRIGGER backtrail_events_no_update")
    streams = "backtrail.streams" if engine.postgres else "backtrail_streams"
    ((stream, body),) = engine.query(
        f"SELECT stream, body FROM {events} WHERE kind = 'u' AND stream ="
        f" (SELECT id FROM {streams} WHERE migration = 'c' AND key = '1')"
    )
    key, before, after, data = fields_of(bytes(body))
    assert before != after
    engine.execute(f"UPDATE {events} SET body = ? WHERE kind = 'u' AND stream = ?", open_body(key, after, after, data), stream)
    end = engine.run(campaign)
    assert (end["rolled_back"], end["failed"]) == (1, 1)
    assert engine.failures(third)["1"]["error"] == "Tampered"
    assert engine.query("SELECT name FROM users ORDER BY id") == [("xabc",), ("yab",)]
    assert "its ledger is not what was appended: version 2 (updated)" in why(engine, third)["1"][0]
