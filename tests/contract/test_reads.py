"""What an entity's reads give: its own rows, all of them, in binary primary-key order."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Rows
from tests.engine import Engine, migration


def world(engine: Engine) -> None:
    engine.table("users", id=int, team=int, name=str)
    engine.table("teams", id=int, title=str)
    engine.table("contexts", id=str, user_id=int, kind=str)
    engine.table("profiles", id=int, context_id=str, place=str, secret=str)
    engine.table("seen", id=int, what=str)
    engine.add("users", (1, 10, "Ann"), (2, 10, "Bob"), (3, None, "Cy"), (10, 20, "Di"))
    engine.add("teams", (10, "Red"), (20, "Blue"))
    engine.add(
        "contexts", ("b", 1, "work"), ("B", 1, "home"), ("a", 1, "fun"), ("ä", 2, "work"), ("Z", 2, "home"), ("z", 10, "work")
    )
    engine.add(
        "profiles", (10, "b", "x", "s"), (9, "b", "y", "s"), (2, "B", None, "s"), (1, "ä", "z", "s"), (7, None, "lost", "s")
    )


def seen(engine: Engine, look: Any, *reads: Rows, keys: Keys | None = None) -> dict[int, str]:
    """What `look` makes of every entity, as text, by key."""
    world(engine)

    def note(entity: Any) -> None:
        entity.create("seen", {engine.id: entity.key, "what": str(look(entity))})

    cls = migration(note, keys=keys or Keys("users", engine.id), reads=reads, writes=("seen",))
    state = engine.migrate(cls, batch_size=2)
    assert state["failed"] == 0, engine.failures(cls)
    assert state["state"] == "completed", state
    return dict(engine.rows("seen", "id", "what"))


def ids(name: str, *columns: str) -> Any:
    """The values of the columns of an entity's rows; of the primary key by default."""
    return lambda entity: [
        tuple(row[column] for column in columns or (next(one for one in ("id", "_id") if one in row),))
        for row in entity.rows(name)
    ]


def test_via_from_parent_to_child(everywhere: Engine) -> None:
    """Rows whose column holds the value of a row that was read: in order, each once."""
    found = seen(
        everywhere,
        ids("profiles"),
        Rows("contexts", by="user_id"),
        Rows("profiles", by="context_id", via=f"contexts.{everywhere.id}"),
    )
    assert found == {1: "[(2,), (9,), (10,)]", 2: "[(1,)]", 3: "[]", 10: "[]"}


def test_via_from_child_to_parent(everywhere: Engine) -> None:
    """The other direction: the row that a row already read refers to; NULL refers to nothing."""
    found = seen(
        everywhere, ids("teams", "title"), Rows("users", by=everywhere.id), Rows("teams", by=everywhere.id, via="users.team")
    )
    assert found == {1: "[('Red',)]", 2: "[('Red',)]", 3: "[]", 10: "[('Blue',)]"}


def test_binary_order(everywhere: Engine) -> None:
    """Text keys come by their bytes, not by a language's order; numbers by value."""
    assert seen(everywhere, ids("contexts"), Rows("contexts", by="user_id"))[1] == "[('B',), ('a',), ('b',)]"


def test_binary_order_of_text(everywhere: Engine) -> None:
    """Beyond ASCII, too."""
    assert seen(everywhere, ids("contexts"), Rows("contexts", by="user_id"))[2] == "[('Z',), ('ä',)]"


def test_order_of_composite_keys(engine: Engine) -> None:
    """Parts of a composite key count one after the other, numbers by value."""
    engine.script(
        "CREATE TABLE seats (team integer, nr integer, user_id integer, PRIMARY KEY (team, nr));"
        "INSERT INTO seats VALUES (10, 2, 1), (10, 10, 1), (9, 1, 1), (10, 1, 2), (20, 1, 10)"
    )
    found = seen(engine, ids("seats", "team", "nr"), Rows("seats", by="user_id"))
    assert found[1] == "[(9, 1), (10, 2), (10, 10)]"


def test_composite_by(everywhere: Engine) -> None:
    """Rows found by two columns, also where one of the key's values is NULL."""
    everywhere.table("pairs", a=int, b=str)
    everywhere.table("items", id=int, a=int, b=str, n=int)
    everywhere.add("pairs", (1, "x"), (1, None), (2, "x"), (None, "x"))
    everywhere.add(
        "items", (1, 1, "x", 0), (2, 1, None, 0), (3, 1, None, 0), (4, 2, "x", 0), (5, None, "x", 0), (6, None, None, 0)
    )

    def mark(entity: Any) -> None:
        for row in entity.rows("items"):
            assert (row["a"], row["b"]) == entity.key
            entity.update(row, {"n": row["n"] + len(entity.rows("items"))})

    cls = migration(mark, keys=Keys("pairs", "a", "b"), reads=(Rows("items", by=("a", "b")),), writes=("items",))
    assert everywhere.migrate(cls)["migrated"] == 4, everywhere.failures(cls)
    assert everywhere.rows("items", "id", "n") == [(1, 1), (2, 2), (3, 2), (4, 1), (5, 1), (6, 0)]


def test_columns_and_key(everywhere: Engine) -> None:
    """With `columns=` only those and the key are read; `key=` turns the entity's key into what is looked for."""
    reads = (
        Rows("users", by=everywhere.id, columns=["name"]),
        Rows("users", by=everywhere.id, name="next", key=lambda key: key + 1),
        Rows("contexts", by=("user_id", "kind"), name="work", key=lambda key: (key, "work")),
    )
    found = seen(
        everywhere, lambda e: [sorted(e.one("users")), [row["name"] for row in e.rows("next")], len(e.rows("work"))], *reads
    )
    assert found[1] == f"[['{everywhere.id}', 'name'], ['Bob'], 1]"
    assert found[3] == f"[['{everywhere.id}', 'name'], [], 0]"


def test_several_reads_of_one_table(everywhere: Engine) -> None:
    """One table read under two names gives both, and a row that is in both is one row: its changes add up."""
    world(everywhere)

    def both(entity: Any) -> None:
        for row in entity.rows("as_user"):
            entity.update(row, {"name": "first"})
        for row in entity.rows("as_team"):
            entity.update(row, {"team": 20})

    cls = migration(
        both,
        keys=Keys("users", everywhere.id, where={everywhere.id: [3, 10]}),
        reads=(Rows("users", by=everywhere.id, name="as_user"), Rows("users", by=everywhere.id, name="as_team")),
        writes=("users",),
    )
    before = everywhere.dump("users")
    assert everywhere.migrate(cls)["migrated"] == 2
    assert [row[1:] for row in everywhere.rows("users") if row[0] in {3, 10}] == [(20, "first")] * 2
    assert sum(event.kind == "updated" for event in everywhere.events(cls, "3")) == 1
    everywhere.rollback(cls)
    assert everywhere.dump("users") == before


def test_via_a_row_of_other_columns(everywhere: Engine) -> None:
    """`via` works through rows of which only some columns are read."""
    reads = (
        Rows("contexts", by="user_id", columns=["kind"]),
        Rows("profiles", by="context_id", via=f"contexts.{everywhere.id}", columns=["place"]),
    )
    found = seen(everywhere, ids("profiles", "place"), *reads)
    assert found[1] == "[(None,), ('y',), ('x',)]"


def test_two_entities_on_one_row(everywhere: Engine) -> None:
    """A row that two entities change, in one batch or in two, belongs to the first; the second is quarantined and named."""
    for name, batch in (("together", 100), ("apart", 1)):
        if name == "together":
            world(everywhere)
        else:
            everywhere.change("teams", {"title": "Red"}, id=10)
        cls = migration(
            lambda entity: [entity.update(row, {"title": f"{row['title']}!"}) for row in entity.rows("teams")],
            name=name,
            keys=Keys("users", everywhere.id),
            reads=(Rows("users", by=everywhere.id), Rows("teams", by=everywhere.id, via="users.team")),
            writes=("teams",),
        )
        state = everywhere.migrate(cls, batch_size=batch)
        assert (state["migrated"], state["failed"]) == (3, 1)
        assert everywhere.rows("teams", "title", id=10) == [("Red!",)]
        ((key, failure),) = everywhere.failures(cls).items()
        assert key in "12"
        assert (failure["error"], "teams" in failure["reason"]) == ("ForeignRow", True)
        other = {"1": "2", "2": "1"}[key]
        assert everywhere.rollback(cls, only=[other])["rolled_back"] == 1
        assert everywhere.rows("teams", "title", id=10) == [("Red",)]
        assert everywhere.rerun(cls, options={"failed": True})["migrated"] == 1
        assert everywhere.rows("teams", "title", id=10) == [("Red!",)]


def test_a_view_can_be_read(engine: Engine) -> None:
    """A view has no primary key and no locks, and can be read with `columns=` or whole."""
    engine.script(
        "CREATE TABLE late (id integer PRIMARY KEY, v integer); CREATE VIEW doubled AS SELECT id, v * 2 AS w FROM late; INSERT INTO late VALUES (1, 5), (2, 6)"
    )
    found = seen(engine, ids("doubled", "w"), Rows("doubled", by="id"))
    assert (found[1], found[2]) == ("[(10,)]", "[(12,)]")


@pytest.mark.parametrize("name", ["loose", "shown"])
def test_rows_without_a_key_hold_null(engine: Engine, name: str) -> None:
    """A table without a key, and a view, are read in the order of all their values, NULL before others; also where it is a number."""
    engine.script(
        "CREATE TABLE loose (u integer, n integer, x double precision, t text); CREATE VIEW shown AS SELECT u, n, x, t FROM loose;"
        "INSERT INTO loose VALUES (1, 5, NULL, NULL), (1, 5, NULL, 'A'), (1, NULL, 2.5, 'O'), (1, NULL, NULL, 'b'), (1, NULL, 1.5, NULL)"
    )
    assert seen(engine, ids(name, "n", "x", "t"), Rows(name, by="u"))[1] == (
        "[(None, None, 'b'), (None, 1.5, None), (None, 2.5, 'O'), (5, None, None), (5, None, 'A')]"
    )
