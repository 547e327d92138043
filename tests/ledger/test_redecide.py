"""Asking `migrate` again about an entity that is migrated: it must see exactly what it saw the first time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtrail import Keys, Rows
from ledger.history import fold
from ledger.redecide import reads_its_writes, without_own_writes
from tests.engine import Engine, migration

READS = (
    Rows("users", "id"),
    Rows("items", "user_id"),
    Rows("parts", "item_id", via="items.id", name="of items"),
    Rows("parts", "id", via="users.part_id", name="of user"),
    Rows("items", "user_id", name="names", columns=("name",)),
)
TABLES = ("users", "items", "parts")


def prepare(engine: Engine) -> None:
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, part_id integer); CREATE TABLE items (id integer PRIMARY KEY, user_id integer, name text);"
        "CREATE TABLE parts (id integer PRIMARY KEY, item_id integer)"
    )


def fill(engine: Engine) -> None:
    engine.script(
        "DELETE FROM users; DELETE FROM items; DELETE FROM parts;"
        "INSERT INTO users VALUES (1, 3), (2, 9); INSERT INTO items VALUES (2, 1, 'b'), (10, 1, 'ten'), (9, 1, 'nine'), (20, 2, 'x');"
        "INSERT INTO parts VALUES (1, 2), (2, 2), (3, NULL), (4, 10), (5, 20), (9, NULL)"
    )


def picture(entity: Any) -> Any:
    return {rows.name: [dict(row) for row in entity.rows(rows.name)] for rows in READS}


def act(user: Any, steps: list[tuple[str, int, Any]]) -> None:
    """Does what the steps say with the rows that are there, and never twice with one."""
    gone: set[Any] = set()
    for at, (what, number, value) in enumerate(steps):
        reads = {"users": "users", "items": "items", "parts": "of items"}
        table = TABLES[number % 3]
        rows = [row for row in user.rows(reads[table]) if (table, row["id"]) not in gone]
        if what == "create":
            column = {"users": "part_id", "items": "user_id", "parts": "item_id"}[table]
            user.create(table, {"id": 1000 * (at + 1) + number, column: value})
        elif rows and what == "delete":
            row = rows[number % len(rows)]
            gone.add((table, row["id"]))
            user.delete(row)
        elif rows:
            column = {"users": "part_id", "items": "user_id", "parts": "item_id"}[table]
            user.update(rows[number % len(rows)], set={column: value})


steps = st.lists(
    st.tuples(st.sampled_from(["create", "update", "delete"]), st.integers(0, 8), st.sampled_from([None, 1, 2, 3, 4, 10, 20])),
    max_size=6,
)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_whatever_it_wrote_it_sees_what_it_saw(kind: str, request: pytest.FixtureRequest) -> None:
    """Rows that it created, changed (also the columns that lead from row to row) or deleted: all as they were, in their order."""
    engine = Engine(request.getfixturevalue(kind))
    prepare(engine)
    numbers = iter(range(10_000))
    done: list[str] = []

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def trip(planned: list[tuple[str, int, Any]]) -> None:
        fill(engine)
        before = engine.dump(*TABLES)
        seen: list[Any] = []

        def migrate(user: Any) -> None:
            seen.append(picture(user))
            act(user, planned)

        name = f"trip-{next(numbers)}"
        cls = migration(migrate, name=name, keys=Keys("users", "id"), reads=READS, writes=TABLES)
        end = engine.migrate(cls, only=["1"])
        if end["migrated"] != 1:
            done.append(end["state"])
            return
        done.append("migrated")
        changes = fold(engine.events(cls, "1")).changes
        assert bool(changes) == (engine.dump(*TABLES) != before)
        if changes:
            assert reads_its_writes(cls, [changes])
        looked: list[Any] = []
        again = migration(lambda user: looked.append(picture(user)), keys=Keys("users", "id"), reads=READS)
        from backtrail.decide import decide, entity

        with engine.store.transaction(write=False) as tx:
            (rows,) = without_own_writes(tx, cls, [1], [changes], lock=False)
            decide(again(), entity(again(), 1, tx.now, rows, {}))
        assert looked[0] == seen[0]
        assert engine.rerun(cls, options={"stale": True})["migrated"] == 0, "nothing is stale"
        assert engine.rollback(cls)["rolled_back"] == 1
        assert engine.dump(*TABLES) == before

    trip()
    assert done.count("migrated") > 8, "the fixture is not trivial"
    engine.close()
