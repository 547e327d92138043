"""A rollback that would take rows away under somebody else's feet refuses, and names who refers to what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from backtrail import Keys, Rows
from backtrail.errors import UsageError
from tests.engine import Engine, migration


def world(engine: Engine) -> Any:
    """Three users, each of whom gets an account with a code."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3);"
        "CREATE TABLE accounts (id integer PRIMARY KEY, x integer, y integer, boss integer REFERENCES accounts (id), UNIQUE (x, y))"
    )
    return migration(
        lambda entity: entity.create("accounts", {"id": entity.key, "x": entity.key, "y": 1}),
        keys=Keys("users", "id"),
        writes=("accounts",),
    )


@pytest.mark.parametrize("action", ["", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE RESTRICT"])
@pytest.mark.parametrize("columns", ["one", "two"])
def test_outsiders_that_refer(engine: Engine, action: str, columns: str) -> None:
    """Whatever the foreign key would do, the one entity that is referred to stays; its own reason names the table."""
    cls = world(engine)
    key = (
        "FOREIGN KEY (account) REFERENCES accounts (id)" if columns == "one" else "FOREIGN KEY (x, y) REFERENCES accounts (x, y)"
    )
    engine.script(f"CREATE TABLE orders (id integer PRIMARY KEY, account integer, x integer, y integer, {key} {action})")
    assert engine.migrate(cls)["migrated"] == 3
    engine.script("INSERT INTO orders VALUES (100, 2, 2, 1), (101, NULL, NULL, 1), (102, NULL, 2, NULL)")
    orders = engine.dump("orders")
    state = engine.rollback(cls)
    assert (state["rolled_back"], state["failed"]) == (2, 1)
    ((key, facts),) = engine.failures(cls).items()
    assert (key, facts["error"]) == ("2", "Referenced")
    assert "orders" in facts["reason"]
    assert "accounts" in facts["reason"]
    assert engine.dump("orders") == orders
    assert engine.query("SELECT id FROM accounts") == [(2,)]
    engine.script("DELETE FROM orders")
    assert engine.rollback(cls)["rolled_back"] == 1
    assert engine.query("SELECT count(*) FROM accounts") == [(0,)]


def test_references_within_the_table(engine: Engine) -> None:
    """A row of the same table that refers to a created one: an outsider's blocks, another entity's only while it stays."""
    cls = world(engine)
    assert engine.migrate(cls)["migrated"] == 3
    engine.script("INSERT INTO accounts VALUES (50, 50, 50, 2)")
    assert engine.rollback(cls, only=["2"])["failed"] == 1
    engine.script("DELETE FROM accounts WHERE id = 50")
    assert engine.rollback(cls, only=["2"])["rolled_back"] == 1


def test_rows_that_go_together(engine: Engine) -> None:
    """Created rows of two tables that refer to each other go together, in whatever order."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3)")
    if engine.postgres:
        engine.script(
            "CREATE TABLE a (id integer PRIMARY KEY, b_id integer); CREATE TABLE b (id integer PRIMARY KEY, a_id integer REFERENCES a (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);"
            "ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"
        )
    else:
        engine.script(
            "CREATE TABLE a (id integer PRIMARY KEY, b_id integer REFERENCES b (id) ON DELETE CASCADE); CREATE TABLE b (id integer PRIMARY KEY, a_id integer REFERENCES a (id) ON DELETE CASCADE)"
        )

    def build(entity: Any) -> None:
        entity.create("a", {"id": entity.key, "b_id": entity.key})
        entity.create("b", {"id": entity.key, "a_id": entity.key})

    cls = migration(build, keys=Keys("users", "id"), writes=("a", "b"))
    assert engine.migrate(cls)["migrated"] == 3, engine.failures(cls)
    engine.script("INSERT INTO a VALUES (9, 2)")
    assert engine.rollback(cls)["failed"] == 1
    assert engine.query("SELECT id FROM a ORDER BY id") == [(2,), (9,)]
    assert engine.query("SELECT id FROM b") == [(2,)]
    assert set(engine.failures(cls)) == {"2"}


def test_a_migration_that_deletes_what_others_refer_to(engine: Engine) -> None:
    """Deleting forward is no different: rows of which the ledger would know nothing may not change with it."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3);"
        "CREATE TABLE notes (id integer PRIMARY KEY, user_id integer REFERENCES users (id) ON DELETE CASCADE); INSERT INTO notes VALUES (7, 2)"
    )
    cls = migration(
        lambda entity: entity.delete(entity.one("users")),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("users",),
    )
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (2, 1)
    assert engine.failures(cls)["2"]["error"] == "Referenced"
    assert engine.query("SELECT * FROM notes") == [(7, 2)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_columns_in_another_case(on_sqlite: Engine, action: str) -> None:
    """So with the columns that it names."""
    on_sqlite.script(
        'CREATE TABLE people (id integer PRIMARY KEY, code text, "é" text, "É" text, UNIQUE (code, "é"));'
        f'CREATE TABLE notes (id integer PRIMARY KEY, c text, e text, FOREIGN KEY (c, e) REFERENCES people (CODE, "é") ON UPDATE {action});'
        "INSERT INTO people VALUES (1, 'a', 'x', 'y'), (2, 'b', 'x', 'y'); INSERT INTO notes VALUES (7, 'a', 'x')"
    )
    cls = migration(
        lambda entity: entity.update(entity.one("people"), {"code": f"{entity.key}"}),
        keys=Keys("people", "id"),
        reads=(Rows("people", by="id"),),
        writes=("people",),
    )
    state = on_sqlite.migrate(cls)
    assert (state["migrated"], state["failed"]) == (1, 1)
    assert "by c, e to rows of people" in on_sqlite.failures(cls)["1"]["reason"]
    assert on_sqlite.query("SELECT * FROM notes") == [(7, "a", "x")]


@pytest.mark.parametrize("refers", ["pid REFERENCES p", "pid, FOREIGN KEY (id, pid) REFERENCES k", "pid REFERENCES k (x)"])
def test_foreign_keys_that_cannot_hold(on_sqlite: Engine, refers: str) -> None:
    """SQLite lets a foreign key name what its table has not, and then nothing refers by it; what would need it, SQLite refuses."""
    connection = on_sqlite.sqlite()
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.executescript(
        "CREATE TABLE p (id int, v text); INSERT INTO p VALUES (1, 'a'); CREATE TABLE k (id integer PRIMARY KEY, v text); INSERT INTO k VALUES (1, 'a');"
        f"CREATE TABLE c (id int, {refers}); INSERT INTO c VALUES (1, 1); CREATE TABLE o (id integer PRIMARY KEY, n int)"
    )
    connection.close()
    cls = migration(
        lambda entity: entity.create("o", {"n": len(entity.rows("p"))}),
        keys=Keys("k", "id"),
        reads=(Rows("p", by="id"),),
        writes=("o",),
    )
    assert on_sqlite.migrate(cls)["migrated"] == 1, on_sqlite.failures(cls)
    assert on_sqlite.query("SELECT * FROM o") == [(1, 1)]
    assert on_sqlite.rollback(cls)["rolled_back"] == 1
    cls = migration(
        lambda entity: entity.delete(entity.one("k")),
        name="away",
        keys=Keys("k", "id"),
        reads=(Rows("k", by="id"),),
        writes=("k",),
    )
    state = on_sqlite.migrate(cls)
    if "REFERENCES k" in refers:
        assert state["state"] == "halted"
        assert 'foreign key mismatch - "c" referencing "k"' in state["halted"]
        assert on_sqlite.query("SELECT * FROM k") == [(1, "a")]


def test_a_key_that_folds_its_case(on_sqlite: Engine) -> None:
    """SQLite compares by the collation of the column that is referred to, and so is it asked who refers."""
    on_sqlite.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'ann'), (2, 'bob');"
        "CREATE TABLE people (name text PRIMARY KEY COLLATE NOCASE);"
        "CREATE TABLE notes (id integer PRIMARY KEY, name text REFERENCES people ON DELETE CASCADE)"
    )
    cls = migration(
        lambda entity: entity.create("people", {"name": entity.one("users")["name"]}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("people",),
    )
    assert on_sqlite.migrate(cls)["migrated"] == 2, on_sqlite.failures(cls)
    on_sqlite.script("INSERT INTO notes VALUES (7, 'ANN')")
    assert on_sqlite.rollback(cls)["rolled_back"] == 1
    assert set(on_sqlite.failures(cls)) == {"1"}
    assert on_sqlite.query("SELECT * FROM notes") == [(7, "ANN")]


def test_names_in_another_case(on_sqlite: Engine) -> None:
    """SQLite finds the table that a foreign key names in any case, and so is it found here."""
    on_sqlite.script(
        "CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2);"
        "CREATE TABLE Zoo (id integer PRIMARY KEY); CREATE TABLE ape (id integer PRIMARY KEY, zoo INTEGER REFERENCES zOO)"
    )

    def build(entity: Any) -> None:
        entity.create("ape", {"id": entity.key, "zoo": entity.create("Zoo", {})})

    cls = migration(build, keys=Keys("users", "id"), writes=("ape", "Zoo"))
    assert on_sqlite.migrate(cls)["migrated"] == 2, on_sqlite.failures(cls)
    on_sqlite.script("INSERT INTO ape VALUES (50, 1)")
    assert on_sqlite.rollback(cls)["rolled_back"] == 1
    assert len(on_sqlite.failures(cls)) == 1


@pytest.fixture
def limited(on_postgres: Engine) -> Iterator[Engine]:
    """An engine as another database user than the tables' owner, who may read and write them all."""
    on_postgres.script(
        "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1), (2);"
        "CREATE TABLE profiles (id int PRIMARY KEY);"
        "CREATE TABLE notes (id int PRIMARY KEY, profile int REFERENCES profiles ON DELETE CASCADE)"
    )
    name = on_postgres.query("SELECT current_database()")[0][0]
    role = f"limited_{name}"
    on_postgres.script(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE {name} TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    )
    with closing(Engine(on_postgres.url.replace("postgres:postgres@", f"{role}:x@"))) as engine:
        yield engine
    on_postgres.script(f"DROP POLICY IF EXISTS none ON notes; DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


HIDDEN = "ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON notes USING (false)"


def profiles() -> Any:
    return migration(lambda entity: entity.create("profiles", {"id": entity.key}), keys=Keys("users", "id"), writes=("profiles",))


def test_row_level_security_that_would_hide_who_refers(on_postgres: Engine, limited: Engine) -> None:
    """ON DELETE CASCADE takes rows along that this user does not see: refused before the start, there and back."""
    cls = profiles()
    on_postgres.script(HIDDEN)
    with pytest.raises(UsageError, match=r"row-level security would hide rows of notes.*BYPASSRLS"):
        limited.open(cls, "migrate")
    on_postgres.script("ALTER TABLE notes DISABLE ROW LEVEL SECURITY")
    assert limited.migrate(cls)["migrated"] == 2
    on_postgres.script("INSERT INTO notes VALUES (7, 1); ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    with pytest.raises(UsageError, match="row-level security would hide rows of notes"):
        limited.rollback(cls)
    assert on_postgres.query("SELECT * FROM notes") == [(7, 1)]


def test_row_level_security_that_comes_amid_a_rollback(on_postgres: Engine, limited: Engine) -> None:
    """The server says so instead of hiding rows, and the campaign halts with nothing lost."""
    cls = profiles()
    assert limited.migrate(cls)["migrated"] == 2
    on_postgres.script("INSERT INTO notes VALUES (7, 1)")
    limited.worker_store.check = lambda _: None  # type: ignore[method-assign] # it was fine a moment ago
    campaign = limited.open(cls, "rollback", options={"from": "streams"})
    on_postgres.script(HIDDEN)
    state = limited.run(campaign)
    assert (state["state"], state["failed"], state["rolled_back"]) == ("halted", 0, 0), state
    assert "notes" in state["halted"], state
    assert "BYPASSRLS" in state["halted"], state
    assert on_postgres.query("SELECT * FROM notes") == [(7, 1)]
    assert on_postgres.query("SELECT * FROM profiles ORDER BY id") == [(1,), (2,)]


def test_whoever_sees_all_rows_is_let_pass(on_postgres: Engine, limited: Engine) -> None:
    """Row-level security that hides nothing from this user, who may pass it, is no hindrance."""
    cls = profiles()
    on_postgres.script(
        f"{HIDDEN}; DO $$ BEGIN EXECUTE format('ALTER ROLE %I BYPASSRLS', 'limited_' || current_database()); END $$"
    )
    assert limited.migrate(cls)["migrated"] == 2
    on_postgres.script("INSERT INTO notes VALUES (7, 1)")
    assert limited.rollback(cls)["rolled_back"] == 1
    assert set(limited.failures(cls)) == {"1"}
    assert on_postgres.query("SELECT * FROM notes") == [(7, 1)]


PARTS = (
    "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1), (2);"
    "CREATE TABLE parts (id int, year int, PRIMARY KEY (id, year)) PARTITION BY LIST (year);"
    "CREATE TABLE parts_24 PARTITION OF parts FOR VALUES IN (24) PARTITION BY LIST (id);"
    "CREATE TABLE parts_24_rest PARTITION OF parts_24 DEFAULT"
)


@pytest.mark.parametrize("written", ["parts", "parts_24", "parts_24_rest"])
@pytest.mark.parametrize("target", ["parts", "parts_24", "parts_24_rest"])
def test_partitions_that_are_referred_to(on_postgres: Engine, written: str, target: str) -> None:
    """A foreign key onto a partitioned table is one onto its partitions too, and the other way round."""
    refers = f"CREATE TABLE items (id int, part int, year int, FOREIGN KEY (part, year) REFERENCES {target} ON DELETE CASCADE)"
    if written != target:
        refers += " PARTITION BY LIST (id); CREATE TABLE items_rest PARTITION OF items DEFAULT"
    on_postgres.script(f"{PARTS}; {refers}")
    cls = migration(
        lambda entity: entity.create(written, {"id": entity.key, "year": 24}), keys=Keys("users", "id"), writes=(written,)
    )
    assert on_postgres.migrate(cls)["migrated"] == 2, on_postgres.failures(cls)
    on_postgres.script("INSERT INTO items VALUES (7, 1, 24)")
    assert on_postgres.rollback(cls)["rolled_back"] == 1
    assert set(on_postgres.failures(cls)) == {"1"}
    assert "1 row(s) of items " in on_postgres.failures(cls)["1"]["reason"]
    assert on_postgres.query("SELECT * FROM items") == [(7, 1, 24)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_values_that_the_database_computes(engine: Engine, action: str) -> None:
    """A computed value changes with what it is computed from, and what refers to it would follow."""
    engine.script(
        "CREATE TABLE people (id integer PRIMARY KEY, name text, other text, folded text GENERATED ALWAYS AS (lower(name)) STORED UNIQUE);"
        f"CREATE TABLE notes (id integer PRIMARY KEY, person text REFERENCES people (folded) ON UPDATE {action});"
        "INSERT INTO people VALUES (1, 'Ann', 'x'), (2, 'Bob', 'x'); INSERT INTO notes VALUES (7, 'ann')"
    )
    cls = migration(
        lambda entity: entity.update(entity.one("people"), {"name": f"{entity.key}"}),
        keys=Keys("people", "id"),
        reads=(Rows("people", by="id"),),
        writes=("people",),
    )
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (1, 1)
    assert engine.failures(cls)["1"]["error"] == "Referenced"
    assert engine.query("SELECT * FROM notes") == [(7, "ann")]
    engine.script("UPDATE notes SET person = '2'")
    assert engine.rollback(cls)["failed"] == 1
    assert engine.query("SELECT * FROM notes") == [(7, "2")]


def test_what_a_computed_value_is_not_made_of(on_postgres: Engine) -> None:
    """PostgreSQL says what a column is computed from: what else changes in the row is no matter to those who refer."""
    on_postgres.script(
        "CREATE TABLE people (id int PRIMARY KEY, name text, other text, folded text GENERATED ALWAYS AS (lower(name)) STORED UNIQUE);"
        "CREATE TABLE notes (id int PRIMARY KEY, person text REFERENCES people (folded) ON UPDATE CASCADE);"
        "INSERT INTO people VALUES (1, 'Ann', 'x'); INSERT INTO notes VALUES (7, 'ann')"
    )
    cls = migration(
        lambda entity: entity.update(entity.one("people"), {"other": "y"}),
        keys=Keys("people", "id"),
        reads=(Rows("people", by="id"),),
        writes=("people",),
    )
    assert on_postgres.migrate(cls)["migrated"] == 1
    assert on_postgres.rollback(cls)["rolled_back"] == 1


def chain(engine: Engine, way: str) -> Any:
    """Two users with a code each, of whom one has a badge that follows the code; what follows the badge is to be added."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, code text UNIQUE); INSERT INTO users VALUES (1, 'a'), (2, 'b');"
        "CREATE TABLE badges (id integer PRIMARY KEY, user_id integer, code text UNIQUE REFERENCES users (code) ON UPDATE CASCADE, color text);"
        "INSERT INTO badges VALUES (10, 1, 'a', 'red'), (20, 2, 'b', 'red');"
        f"CREATE TABLE doors (id integer PRIMARY KEY, user_id integer, code text REFERENCES badges (code) ON UPDATE {way}, open integer)"
    )

    def change(entity: Any) -> None:
        entity.update(entity.one("users"), {"code": f"{entity.key}"})
        entity.update(entity.one("badges"), {"color": "blue"})
        for door in entity.rows("doors"):
            entity.update(door, {"open": 1})

    return migration(
        change,
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"), Rows("badges", by="user_id"), Rows("doors", by="user_id")),
        writes=("users", "badges", "doors"),
    )


@pytest.mark.parametrize("way", ["CASCADE", "SET NULL"])
def test_what_follows_what_follows(engine: Engine, way: str) -> None:
    """A row of the job's own may follow, and a stranger's that would follow it may not."""
    cls = chain(engine, way)
    engine.script("INSERT INTO doors VALUES (100, NULL, 'a', 0)")
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (1, 1)
    facts = engine.failures(cls)["1"]
    assert facts["error"] == "Referenced"
    assert "1 row(s) of doors refer by code to rows of badges" in facts["reason"]
    assert engine.query("SELECT * FROM doors") == [(100, None, "a", 0)]
    engine.script("UPDATE doors SET code = '2'")
    assert engine.rollback(cls)["failed"] == 1
    assert engine.query("SELECT * FROM doors") == [(100, None, "2", 0)]
    engine.script("UPDATE doors SET code = NULL")
    assert engine.rollback(cls)["rolled_back"] == 1


def test_what_follows_of_ones_own(engine: Engine) -> None:
    """Where all that follow are the job's own, they come back with it."""
    cls = chain(engine, "CASCADE")
    engine.script("INSERT INTO doors VALUES (100, 1, 'a', 0), (200, 2, 'b', 0)")
    before = engine.dump("users", "badges", "doors")
    assert engine.migrate(cls)["migrated"] == 2, engine.failures(cls)
    assert engine.query("SELECT id, code FROM doors ORDER BY id") == [(100, "1"), (200, "2")]
    assert engine.rollback(cls)["rolled_back"] == 2, engine.failures(cls)
    assert engine.dump("users", "badges", "doors") == before


def test_what_follows_in_a_circle(engine: Engine) -> None:
    """Rows whose codes follow each other's are each looked at once."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, code text UNIQUE, twin text REFERENCES users (code) ON UPDATE CASCADE);"
        "CREATE TABLE notes (id integer PRIMARY KEY, code text REFERENCES users (code) ON UPDATE CASCADE);"
        "INSERT INTO users VALUES (1, 'a', NULL), (2, 'b', 'a'); UPDATE users SET twin = 'b' WHERE id = 1"
    )
    if engine.postgres:
        engine.script("ALTER TABLE users ADD FOREIGN KEY (code) REFERENCES users (code) ON UPDATE CASCADE")
    before = engine.dump("users")
    cls = migration(
        lambda entity: entity.update(entity.one("users"), {"code": f"{entity.key}"}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("users",),
    )
    assert engine.migrate(cls)["migrated"] == 2, engine.failures(cls)
    assert engine.rollback(cls)["rolled_back"] == 2, engine.failures(cls)
    assert engine.dump("users") == before


@pytest.mark.parametrize("items", ["items", "items_24"])
@pytest.mark.parametrize("parts", ["parts", "parts_24"])
def test_partitions_of_ones_own(on_postgres: Engine, items: str, parts: str) -> None:
    """A row of a partition is one of the partitioned table: what the job itself wrote there is no stranger's."""
    on_postgres.script(
        f"{PARTS}; ALTER TABLE parts ADD above int, ADD FOREIGN KEY (above, year) REFERENCES parts ON DELETE CASCADE;"
        "CREATE TABLE items (id int, part int, year int, PRIMARY KEY (id, year), FOREIGN KEY (part, year) REFERENCES parts ON DELETE CASCADE)"
        " PARTITION BY LIST (year); CREATE TABLE items_24 PARTITION OF items FOR VALUES IN (24)"
    )

    def build(entity: Any) -> None:
        for at in (entity.key, entity.key + 10):
            entity.create(parts, {"id": at, "year": 24, "above": entity.key})
        entity.create(items, {"id": entity.key, "part": entity.key, "year": 24})

    cls = migration(build, keys=Keys("users", "id"), writes=(parts, items))
    assert on_postgres.migrate(cls)["migrated"] == 2, on_postgres.failures(cls)
    on_postgres.script("INSERT INTO items VALUES (7, 1, 24)")
    assert on_postgres.rollback(cls)["rolled_back"] == 1, on_postgres.failures(cls)
    assert set(on_postgres.failures(cls)) == {"1"}
    assert on_postgres.query("SELECT id FROM items ORDER BY id") == [(1,), (7,)]
    on_postgres.script("DELETE FROM items WHERE id = 7")
    assert on_postgres.rollback(cls)["rolled_back"] == 1
    assert on_postgres.query("SELECT * FROM parts") == []
