"""What a migration writes arrives whatever refers to what, and goes back in the opposite order."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Rows
from tests.engine import Engine, migration
from worker import isolate
from worker.execute import execute


def users(engine: Engine, number: int = 5) -> None:
    engine.table("users", id=int, name=str)
    engine.add("users", *((at, f"u{at}") for at in range(1, number + 1)))


def serial(engine: Engine) -> str:
    return "serial PRIMARY KEY" if engine.postgres else "INTEGER PRIMARY KEY"


def round_trip(engine: Engine, cls: Any, *tables: str, entities: int = 5) -> list[Any]:
    """The dump of the migrated state, after the whole way back and forth."""
    before = engine.dump(*tables)
    state = engine.migrate(cls)
    assert (state["migrated"], state["halted"]) == (entities, None), engine.failures(cls)
    after = engine.dump(*tables)
    assert after != before
    back = engine.rollback(cls)
    assert back["rolled_back"] == entities, engine.failures(cls)
    assert engine.dump(*tables) == before
    assert engine.redo(cls, back["campaign"])["migrated"] == entities, engine.failures(cls)
    assert engine.dump(*tables) == after
    return after


def test_rows_as_values_of_serial_keys(everywhere: Engine) -> None:
    """A new row stands for the key that the database gives it, three tables deep, in whatever order the tables are named."""
    users(everywhere)
    everywhere.table("zoo", id=None, user_id=int)
    everywhere.table("mid", id=None, zoo_id=int)
    everywhere.table("ape", id=None, mid_id=int, name=str)

    def build(entity: Any) -> None:
        zoo = entity.create("zoo", {"user_id": entity.one("users")})
        for at in range(2):
            mid = entity.create("mid", {"zoo_id": zoo})
            entity.create("ape", {"mid_id": mid, "name": f"{entity.key}.{at}"})

    cls = migration(
        build, keys=Keys("users", everywhere.id), reads=(Rows("users", by=everywhere.id),), writes=("ape", "mid", "zoo")
    )
    round_trip(everywhere, cls, "zoo", "mid", "ape")
    zoos, mids = dict(everywhere.rows("zoo", "id", "user_id")), dict(everywhere.rows("mid", "id", "zoo_id"))
    joined = [(zoos[mids[mid]], name) for mid, name in everywhere.rows("ape", "mid_id", "name")]
    assert sorted(joined) == [(at, f"{at}.{i}") for at in range(1, 6) for i in range(2)]


def test_rows_as_values_under_foreign_keys(engine: Engine) -> None:
    """A new row stands for the key that the database gives it, three tables deep, in whatever order the tables are named."""
    users(engine)
    engine.script(
        f"CREATE TABLE zoo (id {serial(engine)}, user_id integer NOT NULL REFERENCES users (id));"
        f"CREATE TABLE mid (id {serial(engine)}, zoo_id integer NOT NULL REFERENCES zoo (id));"
        f"CREATE TABLE ape (id {serial(engine)}, mid_id integer NOT NULL REFERENCES mid (id), name text)"
    )

    def build(entity: Any) -> None:
        zoo = entity.create("zoo", {"user_id": entity.one("users")})
        for at in range(2):
            mid = entity.create("mid", {"zoo_id": zoo})
            entity.create("ape", {"mid_id": mid, "name": f"{entity.key}.{at}"})

    cls = migration(build, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("ape", "mid", "zoo"))
    round_trip(engine, cls, "zoo", "mid", "ape")
    joined = engine.query("SELECT z.user_id, a.name FROM ape a JOIN mid m ON m.id = a.mid_id JOIN zoo z ON z.id = m.zoo_id")
    assert sorted(joined) == [(at, f"{at}.{i}") for at in range(1, 6) for i in range(2)]


@pytest.mark.parametrize("keyed", [False, True])
def test_order_without_foreign_keys(engine: Engine, monkeypatch: pytest.MonkeyPatch, keyed: bool) -> None:
    """Rows that stand for new rows are written after those at the first try, also where no foreign key says so."""
    users(engine)
    reference = "integer REFERENCES ZOO (id)" if keyed else "integer"
    engine.script(
        f"CREATE TABLE zoo (id {serial(engine)}, name text); CREATE TABLE ape (id {serial(engine)}, zoo_id {reference})"
    )
    tries = []

    def counted(*arguments: Any, **options: Any) -> None:
        tries.append(options["ordered"])
        execute(*arguments, **options)

    monkeypatch.setattr(isolate, "execute", counted)
    cls = migration(
        lambda entity: entity.create("ape", {"zoo_id": entity.create("zoo", {"name": str(entity.key)})}),
        keys=Keys("users", "id"),
        writes=("ape", "zoo"),
    )
    assert engine.migrate(cls)["migrated"] == 5
    assert tries == [False]


def test_self_references(everywhere: Engine) -> None:
    """A tree of new rows of one table, parents first, deleted children first."""
    users(everywhere)
    everywhere.table("tree", id=None, parent=int, user_id=int)

    def grow(entity: Any) -> None:
        root = entity.create("tree", {"parent": None, "user_id": entity.key})
        child = entity.create("tree", {"parent": root, "user_id": entity.key})
        entity.create("tree", {"parent": child, "user_id": entity.key})

    cls = migration(grow, keys=Keys("users", everywhere.id), writes=("tree",))
    round_trip(everywhere, cls, "tree")
    rows = {key: (parent, user) for key, parent, user in everywhere.rows("tree", "id", "parent", "user_id")}
    assert sum(parent is None for parent, _ in rows.values()) == 5
    assert sum(parent is not None and rows[parent][1] == user for parent, user in rows.values()) == 10


def test_self_references_under_a_foreign_key(engine: Engine) -> None:
    """A tree of new rows of one table, parents first, deleted children first."""
    users(engine)
    engine.script(f"CREATE TABLE tree (id {serial(engine)}, parent integer REFERENCES tree (id), user_id integer)")

    def grow(entity: Any) -> None:
        root = entity.create("tree", {"parent": None, "user_id": entity.key})
        child = entity.create("tree", {"parent": root, "user_id": entity.key})
        entity.create("tree", {"parent": child, "user_id": entity.key})

    cls = migration(grow, keys=Keys("users", "id"), writes=("tree",))
    round_trip(engine, cls, "tree")
    assert engine.query("SELECT count(*) FROM tree WHERE parent IS NULL") == [(5,)]
    assert engine.query("SELECT count(*) FROM tree c JOIN tree p ON p.id = c.parent WHERE p.user_id = c.user_id") == [(10,)]


def test_deleting_trees(everywhere: Engine) -> None:
    """Existing rows that refer to each other are deleted and come back, parents before children or not."""
    users(everywhere)
    everywhere.table("tree", id=int, parent=int, user_id=int)
    for at in range(1, 6):
        everywhere.add("tree", (at, None, at), (at + 10, at, at), (at + 20, at + 10, at))
    cls = migration(
        lambda entity: [entity.delete(row) for row in entity.rows("tree")],
        keys=Keys("users", everywhere.id),
        reads=(Rows("tree", by="user_id"),),
        writes=("tree",),
    )
    round_trip(everywhere, cls, "tree")


def test_deleting_trees_under_a_foreign_key(engine: Engine) -> None:
    """Existing rows that refer to each other are deleted and come back, parents before children or not."""
    users(engine)
    engine.script("CREATE TABLE tree (id integer PRIMARY KEY, parent integer REFERENCES tree (id), user_id integer)")
    for at in range(1, 6):
        engine.script(f"INSERT INTO tree VALUES ({at}, NULL, {at}), ({at + 10}, {at}, {at}), ({at + 20}, {at + 10}, {at})")
    cls = migration(
        lambda entity: [entity.delete(row) for row in entity.rows("tree")],
        keys=Keys("users", "id"),
        reads=(Rows("tree", by="user_id"),),
        writes=("tree",),
    )
    round_trip(engine, cls, "tree")


def test_circular_references(engine: Engine) -> None:
    """Two tables that refer to each other: with deferred keys and known ids it works, both ways."""
    users(engine)
    engine.script("CREATE TABLE a (id text PRIMARY KEY, b_id text)")
    if engine.postgres:
        engine.script(
            "CREATE TABLE b (id text PRIMARY KEY, a_id text NOT NULL REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED);"
            "ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b (id) DEFERRABLE INITIALLY DEFERRED"
        )
    else:
        engine.script(
            "DROP TABLE a; CREATE TABLE a (id text PRIMARY KEY, b_id text REFERENCES b (id)); CREATE TABLE b (id text PRIMARY KEY, a_id text NOT NULL REFERENCES a (id))"
        )

    def build(entity: Any) -> None:
        b_id = str(entity.new_uuid("b"))
        a = entity.create("a", {"id": str(entity.new_uuid("a")), "b_id": b_id})
        entity.create("b", {"id": b_id, "a_id": a})

    cls = migration(build, keys=Keys("users", "id"), writes=("a", "b"))
    round_trip(engine, cls, "a", "b")


def test_rows_that_stand_for_each_other(everywhere: Engine) -> None:
    """A row that is used before it is created is found where it has a key of its own."""
    users(everywhere, 3)
    everywhere.table("a", id=str, b_id=str)
    everywhere.table("b", id=str, a_id=str)

    def known(entity: Any) -> None:
        a = entity.create("a", {everywhere.id: str(entity.new_uuid("a"))})
        b = entity.create("b", {everywhere.id: str(entity.new_uuid("b")), "a_id": a})
        entity.update(a, {"b_id": b})

    cls = migration(known, keys=Keys("users", everywhere.id), writes=("a", "b"))
    assert everywhere.migrate(cls)["migrated"] == 3, everywhere.failures(cls)
    assert sorted(everywhere.rows("a", "id", "b_id")) == sorted((a, b) for b, a in everywhere.rows("b", "id", "a_id"))
    assert len(everywhere.rows("a")) == 3


def test_a_circle_of_unknown_keys(engine: Engine) -> None:
    """Two new rows whose keys the database gives cannot stand for each other, and the circle is named."""
    users(engine, 3)
    engine.script(f"CREATE TABLE s (id {serial(engine)}, t_id integer); CREATE TABLE t (id {serial(engine)}, s_id integer)")

    def unknown(entity: Any) -> None:
        s = entity.create("s", {})
        t = entity.create("t", {"s_id": s})
        entity.update(s, {"t_id": t})

    circle = migration(unknown, name="circle", keys=Keys("users", "id"), writes=("s", "t"))
    assert engine.migrate(circle)["failed"] == 3
    assert "before it is created" in engine.failures(circle)["1"]["reason"]
    assert engine.query("SELECT count(*) FROM s") == [(0,)]


def test_unique_values_that_change_places(everywhere: Engine) -> None:
    """Where changes grouped for speed stumble over a unique value, they are made in the author's own order."""
    users(everywhere)
    everywhere.table("slots", id=int, user_id=int, place=int, unique=["place"])
    for at in range(1, 6):
        everywhere.add("slots", (at, at, at * 10), (at + 100, at, at * 10 + 1))

    def swap(entity: Any) -> None:
        first, second = entity.rows("slots")
        entity.delete(first)
        entity.create("slots", {everywhere.id: first[everywhere.id] + 1000, "user_id": entity.key, "place": first["place"]})
        entity.update(second, {"place": second["place"] + 1})

    cls = migration(swap, keys=Keys("users", everywhere.id), reads=(Rows("slots", by="user_id"),), writes=("slots",))
    round_trip(everywhere, cls, "slots")


def test_a_chain_of_unique_values(everywhere: Engine) -> None:
    """Each row takes the next one's unique value, and gives it back."""
    users(everywhere)
    everywhere.table("slots", id=int, user_id=int, place=int, unique=["place"])
    for at in range(1, 6):
        everywhere.add("slots", (at * 10, at, at * 10), (at * 10 + 1, at, at * 10 + 1), (at * 10 + 2, at, at * 10 + 2))

    def shift(entity: Any) -> None:
        for row in reversed(entity.rows("slots")):
            entity.update(row, {"place": row["place"] + 1})

    cls = migration(shift, keys=Keys("users", everywhere.id), reads=(Rows("slots", by="user_id"),), writes=("slots",))
    round_trip(everywhere, cls, "slots")


def test_values_that_two_rows_swap(everywhere: Engine) -> None:
    """Two rows that exchange a unique value: no order of the changes can do that without a third value."""
    users(everywhere)
    everywhere.table("slots", id=int, user_id=int, place=int, unique=["place"])
    for at in range(1, 6):
        everywhere.add("slots", (at, at, at * 10), (at + 100, at, at * 10 + 1))

    def swap(entity: Any) -> None:
        first, second = entity.rows("slots")
        entity.update(first, {"place": second["place"]})
        entity.update(second, {"place": first["place"]})

    cls = migration(swap, keys=Keys("users", everywhere.id), reads=(Rows("slots", by="user_id"),), writes=("slots",))
    round_trip(everywhere, cls, "slots")


def test_composite_keys_that_refer(engine: Engine) -> None:
    """Foreign keys of two columns, onto unique columns that are no primary key."""
    users(engine)
    engine.script(
        f"CREATE TABLE plot (id {serial(engine)}, x integer, y integer, UNIQUE (x, y));"
        "CREATE TABLE house (x integer, y integer, nr integer, PRIMARY KEY (x, y, nr), FOREIGN KEY (x, y) REFERENCES plot (x, y))"
    )

    def build(entity: Any) -> None:
        entity.create("house", {"x": entity.key, "y": 1, "nr": 7})
        entity.create("plot", {"x": entity.key, "y": 1})

    cls = migration(build, keys=Keys("users", "id"), writes=("house", "plot"))
    round_trip(engine, cls, "plot", "house")


def test_a_key_of_several_columns_is_no_value(engine: Engine) -> None:
    """A row whose key has several columns cannot stand as one value, and that is said."""
    users(engine, 2)
    engine.script(
        "CREATE TABLE plot (x integer, y integer, PRIMARY KEY (x, y)); CREATE TABLE house (id integer PRIMARY KEY, plot integer)"
    )

    def build(entity: Any) -> None:
        entity.create("house", {"id": entity.key, "plot": entity.create("plot", {"x": entity.key, "y": 1})})

    cls = migration(build, keys=Keys("users", "id"), writes=("house", "plot"))
    assert engine.migrate(cls)["failed"] == 2
    assert "key of 2 columns" in engine.failures(cls)["1"]["reason"]


def test_what_changes_nothing_writes_nothing(everywhere: Engine) -> None:
    """An update to the values that are there leaves no event and no write."""
    users(everywhere)
    cls = migration(
        lambda entity: entity.update(
            entity.one("users"),
            dict(entity.one("users")) if entity.key > 2 else {"name": "new"},
            ["name"] if entity.key == 2 else (),
        ),
        keys=Keys("users", everywhere.id),
        reads=(Rows("users", by=everywhere.id),),
        writes=("users",),
    )
    assert everywhere.migrate(cls)["failed"] == 0
    assert [len([event for event in everywhere.events(cls, str(at)) if event.kind == "updated"]) for at in range(1, 6)] == [
        1,
        1,
        0,
        0,
        0,
    ]


def test_rows_of_nothing_but_defaults(engine: Engine) -> None:
    """A row may consist of defaults alone."""
    users(engine)
    engine.script(f"CREATE TABLE blank (id {serial(engine)}, n integer DEFAULT 3)")
    cls = migration(lambda entity: [entity.create("blank", {}) for _ in range(3)], keys=Keys("users", "id"), writes=("blank",))
    round_trip(engine, cls, "blank")
    assert engine.query("SELECT count(*), sum(n) FROM blank") == [(15, 45)]


def test_a_key_that_a_trigger_changes_is_refused(engine: Engine) -> None:
    """A row that is not where it was put cannot be undone, so its entity is quarantined."""
    users(engine, 3)
    engine.script("CREATE TABLE t (id text PRIMARY KEY)")
    if engine.postgres:
        engine.script(
            "CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id || '!'; RETURN NEW; END $$;"
            "CREATE TRIGGER move BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION move()"
        )
    else:
        engine.script("CREATE TRIGGER move AFTER INSERT ON t BEGIN UPDATE t SET id = id || '!' WHERE id = NEW.id; END")
    cls = migration(lambda entity: entity.create("t", {"id": f"k{entity.key}"}), keys=Keys("users", "id"), writes=("t",))
    assert engine.migrate(cls)["failed"] == 3
    assert "trigger" in engine.failures(cls)["1"]["reason"]
    assert engine.query("SELECT count(*) FROM t") == [(0,)]
