"""Who wrote a row since: another migration's work blocks a rollback and is named, in the order in which it must be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from producer.campaign import DriftFound
from tests.engine import Engine, migration


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
    engine.script(
        f"UPDATE {events} SET before = after WHERE kind = 'updated' AND stream ="
        f" (SELECT id FROM {streams} WHERE migration = 'c' AND key = '1')"
    )
    end = engine.run(campaign)
    assert (end["rolled_back"], end["failed"]) == (1, 1)
    assert engine.failures(third)["1"]["error"] == "Tampered"
    assert engine.query("SELECT name FROM users ORDER BY id") == [("xabc",), ("yab",)]
    assert "its ledger is not what was appended: version 2 (updated)" in why(engine, third)["1"][0]
