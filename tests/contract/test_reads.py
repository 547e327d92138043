"""What an entity's reads give: its own rows, all of them, in binary primary-key order."""

from __future__ import annotations

from typing import Any

from backtrail import Keys, Rows
from tests.engine import Engine, migration

WORLD = """
CREATE TABLE users (id integer PRIMARY KEY, team integer, name text);
CREATE TABLE teams (id integer PRIMARY KEY, title text);
CREATE TABLE contexts (id text PRIMARY KEY, user_id integer, kind text);
CREATE TABLE profiles (id integer PRIMARY KEY, context_id text, place text, secret text);
CREATE TABLE seats (team integer, nr integer, user_id integer, PRIMARY KEY (team, nr));
CREATE TABLE seen (user_id integer PRIMARY KEY, what text);
INSERT INTO users VALUES (1, 10, 'Ann'), (2, 10, 'Bob'), (3, NULL, 'Cy'), (10, 20, 'Di');
INSERT INTO teams VALUES (10, 'Red'), (20, 'Blue');
INSERT INTO contexts VALUES ('b', 1, 'work'), ('B', 1, 'home'), ('a', 1, 'fun'), ('ä', 2, 'work'), ('Z', 2, 'home'), ('z', 10, 'work');
INSERT INTO profiles VALUES (10, 'b', 'x', 's'), (9, 'b', 'y', 's'), (2, 'B', NULL, 's'), (1, 'ä', 'z', 's'), (7, NULL, 'lost', 's');
INSERT INTO seats VALUES (10, 2, 1), (10, 10, 1), (9, 1, 1), (10, 1, 2), (20, 1, 10);
"""


def seen(engine: Engine, look: Any, *reads: Rows, keys: Keys | None = None) -> dict[int, str]:
    """What `look` makes of every entity, as text, by key."""
    engine.script(WORLD)

    def note(entity: Any) -> None:
        entity.create("seen", {"user_id": entity.key, "what": str(look(entity))})

    cls = migration(note, keys=keys or Keys("users", "id"), reads=reads, writes=("seen",))
    state = engine.migrate(cls, batch_size=2)
    assert state["failed"] == 0, engine.failures(cls)
    assert state["state"] == "completed", state
    return dict(engine.query("SELECT user_id, what FROM seen"))


def ids(name: str, *columns: str) -> Any:
    return lambda entity: [tuple(row[column] for column in columns or ("id",)) for row in entity.rows(name)]


def test_via_from_parent_to_child(engine: Engine) -> None:
    """Rows whose column holds the value of a row that was read: in order, each once."""
    found = seen(engine, ids("profiles"), Rows("contexts", by="user_id"), Rows("profiles", by="context_id", via="contexts.id"))
    assert found == {1: "[(2,), (9,), (10,)]", 2: "[(1,)]", 3: "[]", 10: "[]"}


def test_via_from_child_to_parent(engine: Engine) -> None:
    """The other direction: the row that a row already read refers to; NULL refers to nothing."""
    found = seen(engine, ids("teams", "title"), Rows("users", by="id"), Rows("teams", by="id", via="users.team"))
    assert found == {1: "[('Red',)]", 2: "[('Red',)]", 3: "[]", 10: "[('Blue',)]"}


def test_binary_order(engine: Engine) -> None:
    """Text keys come by their bytes, not by a language's order; numbers by value."""
    assert seen(engine, ids("contexts"), Rows("contexts", by="user_id"))[1] == "[('B',), ('a',), ('b',)]"


def test_binary_order_of_text(engine: Engine) -> None:
    """Beyond ASCII, too."""
    assert seen(engine, ids("contexts"), Rows("contexts", by="user_id"))[2] == "[('Z',), ('ä',)]"


def test_order_of_composite_keys(engine: Engine) -> None:
    """Parts of a composite key count one after the other, numbers by value."""
    found = seen(engine, ids("seats", "team", "nr"), Rows("seats", by="user_id"))
    assert found[1] == "[(9, 1), (10, 2), (10, 10)]"


def test_composite_by(engine: Engine) -> None:
    """Rows found by two columns, also where one of the key's values is NULL."""
    engine.script(
        "CREATE TABLE pairs (a integer, b text); CREATE TABLE items (id integer PRIMARY KEY, a integer, b text, n integer);"
        "INSERT INTO pairs VALUES (1, 'x'), (1, NULL), (2, 'x'), (NULL, 'x');"
        "INSERT INTO items VALUES (1, 1, 'x', 0), (2, 1, NULL, 0), (3, 1, NULL, 0), (4, 2, 'x', 0), (5, NULL, 'x', 0), (6, NULL, NULL, 0)"
    )

    def mark(entity: Any) -> None:
        for row in entity.rows("items"):
            assert (row["a"], row["b"]) == entity.key
            entity.update(row, {"n": row["n"] + len(entity.rows("items"))})

    cls = migration(mark, keys=Keys("pairs", "a", "b"), reads=(Rows("items", by=("a", "b")),), writes=("items",))
    assert engine.migrate(cls)["migrated"] == 4, engine.failures(cls)
    assert engine.query("SELECT n FROM items ORDER BY id") == [(1,), (2,), (2,), (1,), (1,), (0,)]


def test_columns_and_key(engine: Engine) -> None:
    """With `columns=` only those and the key are read; `key=` turns the entity's key into what is looked for."""
    reads = (
        Rows("users", by="id", columns=["name"]),
        Rows("users", by="id", name="next", key=lambda key: key + 1),
        Rows("contexts", by=("user_id", "kind"), name="work", key=lambda key: (key, "work")),
    )
    found = seen(engine, lambda e: [sorted(e.one("users")), [row["name"] for row in e.rows("next")], len(e.rows("work"))], *reads)
    assert found[1] == "[['id', 'name'], ['Bob'], 1]"
    assert found[3] == "[['id', 'name'], [], 0]"


def test_several_reads_of_one_table(engine: Engine) -> None:
    """One table read under two names gives both, and a row that is in both is one row: its changes add up."""
    engine.script(WORLD)

    def both(entity: Any) -> None:
        for row in entity.rows("as_user"):
            entity.update(row, {"name": "first"})
        for row in entity.rows("as_team"):
            entity.update(row, {"team": 20})

    cls = migration(
        both,
        keys=Keys("users", "id", where={"id": [3, 10]}),
        reads=(Rows("users", by="id", name="as_user"), Rows("users", by="id", name="as_team")),
        writes=("users",),
    )
    before = engine.dump("users")
    assert engine.migrate(cls)["migrated"] == 2
    assert engine.query("SELECT team, name FROM users WHERE id IN (3, 10)") == [(20, "first")] * 2
    assert sum(event.kind == "updated" for event in engine.events(cls, "3")) == 1
    engine.rollback(cls)
    assert engine.dump("users") == before


def test_via_a_row_of_other_columns(engine: Engine) -> None:
    """`via` works through rows of which only some columns are read."""
    reads = (
        Rows("contexts", by="user_id", columns=["kind"]),
        Rows("profiles", by="context_id", via="contexts.id", columns=["place"]),
    )
    found = seen(engine, ids("profiles", "place"), *reads)
    assert found[1] == "[(None,), ('y',), ('x',)]"


def test_a_view_can_be_read(engine: Engine) -> None:
    """A view has no primary key and no locks, and can be read with `columns=` or whole."""
    engine.script(
        "CREATE TABLE late (id integer PRIMARY KEY, v integer); CREATE VIEW doubled AS SELECT id, v * 2 AS w FROM late; INSERT INTO late VALUES (1, 5), (2, 6)"
    )
    found = seen(engine, ids("doubled", "w"), Rows("doubled", by="id"))
    assert (found[1], found[2]) == ("[(10,)]", "[(12,)]")


def test_two_entities_on_one_row(engine: Engine) -> None:
    """A row that two entities change, in one batch or in two, belongs to the first; the second is quarantined and named."""
    for name, batch in (("together", 100), ("apart", 1)):
        engine.script(WORLD if name == "together" else "UPDATE teams SET title = 'Red' WHERE id = 10")
        cls = migration(
            lambda entity: [entity.update(row, {"title": f"{row['title']}!"}) for row in entity.rows("teams")],
            name=name,
            keys=Keys("users", "id"),
            reads=(Rows("users", by="id"), Rows("teams", by="id", via="users.team")),
            writes=("teams",),
        )
        state = engine.migrate(cls, batch_size=batch)
        assert (state["migrated"], state["failed"]) == (3, 1)
        assert engine.query("SELECT title FROM teams WHERE id = 10") == [("Red!",)]
        ((key, failure),) = engine.failures(cls).items()
        assert key in "12"
        assert (failure["error"], "teams" in failure["reason"]) == ("ForeignRow", True)
        other = {"1": "2", "2": "1"}[key]
        assert engine.rollback(cls, only=[other])["rolled_back"] == 1
        assert engine.query("SELECT title FROM teams WHERE id = 10") == [("Red",)]
        assert engine.rerun(cls, options={"failed": True})["migrated"] == 1
        assert engine.query("SELECT title FROM teams WHERE id = 10") == [("Red!",)]
