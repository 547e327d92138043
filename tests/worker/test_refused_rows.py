"""Rows that the database refuses for what they hold: it says which, so the others are not tried apart from each other."""

from __future__ import annotations

import pytest

from backtrail import Entity, Keys, Rows
from tests.engine import Engine, migration
from worker.execute import NAMED, Attempt

USERS = 40


def split(user: Entity) -> None:
    row = user.one("users")
    user.update(row, {"done": 1})
    user.create("people", {"id": user.key, "name": row["name"], "size": row["size"]})


def prepared(engine: Engine, bad: dict[int, str]) -> type:
    """The migration of forty users, of whom some have a size that no person may have."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text, size integer, done integer)")
    engine.script("CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL, size integer CHECK (size < 100))")
    for number in range(USERS):
        engine.script(f"INSERT INTO users VALUES ({number}, {bad.get(number, repr('x') + ', 1')}, 0)")
    return migration(split, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users", "people"))


def begun_of_all(engine: Engine) -> list[int]:
    """The transactions of a batch of all users of whom some are refused: where savepoints are dear, the first one has none."""
    return [USERS] * (2 if engine.store.dear_savepoints else 1)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each transaction had that was begun."""
    begun: list[int] = []
    run = Attempt.run

    def counted(self: Attempt) -> None:
        begun.append(len(self.jobs))
        run(self)

    monkeypatch.setattr(Attempt, "run", counted)
    return begun


def test_some_are_left_out_within_the_transaction(engine: Engine, attempts: list[int]) -> None:
    """Refused by a CHECK and by a NOT NULL, first, amid and last: these fail by name, and one transaction does all the others."""
    bad = {0: "'x', 100", 17: "NULL, 1", USERS - 1: "'x', 101"}
    cls = prepared(engine, bad)
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (USERS - 3, 3)
    assert attempts == begun_of_all(engine)
    failures = engine.failures(cls)
    assert set(failures) == {str(number) for number in bad}
    assert {failure["error"] for failure in failures.values()} == {"ConstraintFailed"}
    assert "size" in failures["0"]["reason"] or "people" in failures["0"]["reason"]
    assert "name" in failures["17"]["reason"]
    assert engine.query("SELECT id FROM users WHERE done = 0 ORDER BY id") == [(number,) for number in bad]
    assert engine.query("SELECT count(*) FROM people") == [(USERS - 3,)]
    assert engine.rollback(cls)["rolled_back"] == USERS - 3
    assert engine.query("SELECT count(*) FROM people") == [(0,)]


def test_of_many_the_batch_is_halved(engine: Engine, attempts: list[int]) -> None:
    """Where every third is refused, it is not the whole batch that is written again for each of them."""
    bad = dict.fromkeys(range(0, USERS, 3), "'x', 100")
    cls = prepared(engine, bad)
    state = engine.migrate(cls)
    assert len(bad) > NAMED
    assert (state["migrated"], state["failed"]) == (USERS - len(bad), len(bad))
    assert 1 < len(attempts) < 3 * len(bad)
    assert set(engine.failures(cls)) == {str(number) for number in bad}


def test_an_update_that_is_refused(engine: Engine) -> None:
    """Whether or not the database says which row it was: that one fails, and the others are done."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, size integer CHECK (size < 100))")
    for number in range(USERS):
        engine.script(f"INSERT INTO users VALUES ({number}, {99 if number == 20 else 1})")

    def grow(user: Entity) -> None:
        row = user.one("users")
        user.update(row, {"size": row["size"] + 1})

    cls = migration(grow, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (USERS - 1, 1)
    assert set(engine.failures(cls)) == {"20"}
    assert engine.query("SELECT size, count(*) FROM users GROUP BY size ORDER BY size") == [(2, USERS - 1), (99, 1)]


def test_a_key_that_is_taken(engine: Engine, attempts: list[int]) -> None:
    """Where nothing but new rows is written to a table, no value changes hands: who needs one that a live row holds fails by name."""
    cls = prepared(engine, {})
    engine.script("INSERT INTO people VALUES (11, 'there', 1), (30, 'before', 1)")
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (USERS - 2, 2)
    assert attempts == begun_of_all(engine)
    failures = engine.failures(cls)
    assert set(failures) == {"11", "30"}
    assert "11" in failures["11"]["reason"]
    assert "people" in failures["11"]["reason"]
    assert engine.query("SELECT id, name FROM people WHERE name <> 'x' ORDER BY id") == [(11, "there"), (30, "before")]
    assert engine.rollback(cls)["rolled_back"] == USERS - 2
    assert engine.query("SELECT id FROM people ORDER BY id") == [(11,), (30,)]


def test_two_entities_that_want_one_value(engine: Engine, attempts: list[int]) -> None:
    """The second of them fails, the first one has it."""
    cls = prepared(engine, {5: "'twice', 1", 25: "'twice', 1"})
    for number in set(range(USERS)) - {5, 25}:
        engine.execute("UPDATE users SET name = ? WHERE id = ?", f"n{number}", number)
    engine.script("CREATE UNIQUE INDEX one_name ON people (name)")
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (USERS - 1, 1)
    assert attempts == begun_of_all(engine)
    assert set(engine.failures(cls)) == {"25"}
    assert engine.query("SELECT id FROM people WHERE name = 'twice'") == [(5,)]


@pytest.mark.parametrize("how", ["ABORT", "FAIL", "ROLLBACK"])
@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
@pytest.mark.parametrize("event", ["INSERT ON people", "UPDATE ON users"])
def test_a_trigger_that_refuses(on_sqlite: Engine, how: str, when: str, event: str) -> None:
    """Also one that ends the whole transaction, with its savepoint: whose row it refuses fails, and the others are done."""
    engine = on_sqlite
    cls = prepared(engine, {})
    engine.script(f"CREATE TRIGGER refusing {when} {event} WHEN NEW.id IN (3, 17) BEGIN SELECT RAISE({how}, 'not this one'); END")
    state = engine.migrate(cls)
    assert (state["state"], state["migrated"], state["failed"]) == ("completed", USERS - 2, 2)
    failures = engine.failures(cls)
    assert set(failures) == {"3", "17"}
    assert {failure["reason"] for failure in failures.values()} == {"a trigger refused the row"}
    assert engine.query("SELECT id FROM users WHERE done = 0 ORDER BY id") == [(3,), (17,)]
    assert engine.rollback(cls)["rolled_back"] == USERS - 2
    assert engine.query("SELECT count(*) FROM people") == [(0,)]
