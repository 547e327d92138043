"""Going back under foreign keys: circles, deferred and cascading ones; and outsiders that refer, who are listed."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Rows
from tests.engine import Engine, migration


def users(engine: Engine, number: int = 4) -> None:
    engine.script("CREATE TABLE users (id integer PRIMARY KEY)")
    engine.script("INSERT INTO users VALUES " + ", ".join(f"({at})" for at in range(1, number + 1)))


def circle(engine: Engine, wait: str = "") -> None:
    """Two tables whose rows refer to each other."""
    if engine.postgres:
        engine.script(
            "CREATE TABLE a (id integer PRIMARY KEY, user_id integer, b_id integer, note text); "
            f"CREATE TABLE b (id integer PRIMARY KEY, user_id integer, a_id integer REFERENCES a (id) {wait}, note text);"
            f"ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b (id) {wait}"
        )
    else:
        engine.script(
            f"CREATE TABLE a (id integer PRIMARY KEY, user_id integer, b_id integer REFERENCES b (id) {wait}, note text);"
            f"CREATE TABLE b (id integer PRIMARY KEY, user_id integer, a_id integer REFERENCES a (id) {wait}, note text)"
        )


def there_and_back(engine: Engine, cls: Any, *tables: str, number: int = 4) -> None:
    """Migrates, and goes back and forth three times, each time to the exact rows."""
    before = engine.dump(*tables)
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (number, 0), engine.failures(cls)
    after = engine.dump(*tables)
    assert after != before, "the migration changes nothing"
    for _ in range(3):
        back = engine.rollback(cls)
        assert back["rolled_back"] == number, engine.failures(cls)
        assert engine.dump(*tables) == before
        assert engine.redo(cls, back["campaign"])["migrated"] == number, engine.failures(cls)
        assert engine.dump(*tables) == after


WAITS = ["", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"]


@pytest.mark.parametrize("wait", WAITS)
def test_circles_that_are_created(engine: Engine, wait: str) -> None:
    """New rows of two tables that refer to each other, whether or not the database waits with its check."""
    users(engine)
    circle(engine, wait)

    def build(entity: Any) -> None:
        entity.create("a", {"id": entity.key, "b_id": entity.key + 10})
        entity.create("b", {"id": entity.key + 10, "a_id": entity.key, "note": "x"})

    there_and_back(engine, migration(build, keys=Keys("users", "id"), writes=("a", "b")), "a", "b")
    assert all(len(answer) for answer in engine.answers)


def test_circles_of_several_foreign_keys(on_postgres: Engine) -> None:
    """A row that refers to several that come later can be there before all of them."""
    users(on_postgres)
    on_postgres.script(
        "CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY);"
        "CREATE TABLE a (id int PRIMARY KEY, b1 int REFERENCES b, b2 int REFERENCES b, c int REFERENCES c);"
        "ALTER TABLE b ADD a int NOT NULL REFERENCES a; ALTER TABLE c ADD a int NOT NULL REFERENCES a"
    )

    def build(entity: Any) -> None:
        at = entity.key
        entity.create("a", {"id": at, "b1": at, "b2": at + 10, "c": at})
        entity.create("b", {"id": at, "a": at})
        entity.create("b", {"id": at + 10, "a": at})
        entity.create("c", {"id": at, "a": at})

    there_and_back(on_postgres, migration(build, keys=Keys("users", "id"), writes=("a", "b", "c")), "a", "b", "c")


def test_circles_that_nothing_opens(on_postgres: Engine) -> None:
    """Where no foreign key can wait and no column be NULL, the entity is refused by the constraint, and the campaign goes on."""
    users(on_postgres, 2)
    on_postgres.script(
        "CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL); CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a);"
        "INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); ALTER TABLE a ADD CONSTRAINT stiff FOREIGN KEY (b) REFERENCES b"
    )

    def clear(entity: Any) -> None:
        for name in ("a", "b"):
            for row in entity.rows(name):
                entity.delete(row)

    cls = migration(clear, keys=Keys("users", "id"), reads=(Rows("a", by="id"), Rows("b", by="id")), writes=("a", "b"))
    state = on_postgres.migrate(cls)
    assert (state["migrated"], state["failed"], state["halted"]) == (1, 1, None)
    assert "ForeignKeyViolation" in on_postgres.failures(cls)["1"]["reason"]
    assert on_postgres.query("SELECT * FROM a, b") == [(1, 1, 1, 1)]


@pytest.mark.parametrize("wait", WAITS)
def test_circles_that_are_deleted(engine: Engine, wait: str) -> None:
    """Rows of two tables that refer to each other go, and come back."""
    users(engine)
    circle(engine, wait)
    for at in range(1, 5):
        engine.script(
            f"INSERT INTO a VALUES ({at}, {at}, NULL, 'x'); INSERT INTO b VALUES ({at}, {at}, {at}, 'y'); UPDATE a SET b_id = {at} WHERE id = {at}"
        )

    def clear(entity: Any) -> None:
        entity.delete(entity.one("a"))
        entity.delete(entity.one("b"))

    cls = migration(clear, keys=Keys("users", "id"), reads=(Rows("a", by="user_id"), Rows("b", by="user_id")), writes=("a", "b"))
    there_and_back(engine, cls, "a", "b")


@pytest.mark.parametrize("wait", WAITS)
def test_circles_that_are_turned(engine: Engine, wait: str) -> None:
    """Existing rows come to refer to new ones and those to them; others are deleted at the same time."""
    users(engine)
    circle(engine, wait)
    for at in range(1, 5):
        engine.script(
            f"INSERT INTO a VALUES ({at}, {at}, NULL, 'x'); INSERT INTO b VALUES ({at}, {at}, {at}, 'y'); UPDATE a SET b_id = {at} WHERE id = {at}"
        )

    def turn(entity: Any) -> None:
        new = entity.create("b", {"id": entity.key + 10, "user_id": entity.key, "a_id": entity.one("a")})
        entity.update(entity.one("a"), {"b_id": new})
        entity.delete(entity.one("b"))

    cls = migration(turn, keys=Keys("users", "id"), reads=(Rows("a", by="user_id"), Rows("b", by="user_id")), writes=("a", "b"))
    there_and_back(engine, cls, "a", "b")


def test_rows_that_refer_to_themselves_and_their_neighbours(engine: Engine) -> None:
    """Within one table: a ring of rows, one of which refers to itself, created, deleted and changed in one job."""
    users(engine)
    engine.script(
        "CREATE TABLE ring (id integer PRIMARY KEY, user_id integer, next integer REFERENCES ring (id), first integer NOT NULL REFERENCES ring (id))"
    )
    for at in range(1, 5):
        engine.script(f"INSERT INTO ring VALUES ({at}, {at}, {at + 10}, {at}), ({at + 10}, {at}, {at}, {at + 10})")

    def turn(entity: Any) -> None:
        first, second = entity.rows("ring")
        third = entity.create("ring", {"id": entity.key + 20, "user_id": entity.key, "next": first, "first": entity.key + 20})
        entity.update(first, {"next": third, "first": entity.key + 20})
        entity.delete(second)

    cls = migration(turn, keys=Keys("users", "id"), reads=(Rows("ring", by="user_id"),), writes=("ring",))
    there_and_back(engine, cls, "ring")


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_keys_that_change_under_outsiders(engine: Engine, action: str) -> None:
    """A referenced value that changes would change rows that nobody read: that one is refused, going forward and going back."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, code text UNIQUE); INSERT INTO users VALUES (1, 'a'), (2, 'b'), (3, 'c');"
        f"CREATE TABLE orders (id integer PRIMARY KEY, code text REFERENCES users (code) ON UPDATE {action}); INSERT INTO orders VALUES (70, 'b')"
    )
    cls = migration(
        lambda entity: entity.update(entity.one("users"), {"code": entity.one("users")["code"] + "!"}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("users",),
    )
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (2, 1)
    facts = engine.failures(cls)["2"]
    assert facts["error"] == "Referenced"
    assert "orders" in facts["reason"] and "70" in facts["reason"]
    engine.script("UPDATE orders SET code = 'a!'")
    orders = engine.dump("orders")
    state = engine.rollback(cls)
    assert (state["rolled_back"], state["failed"]) == (1, 1)
    assert "orders" in engine.failures(cls)["1"]["reason"]
    assert engine.dump("orders") == orders


def test_keys_that_are_exchanged_under_outsiders(engine: Engine) -> None:
    """Taking exchanged values out of each other's way first does not take the rows along that refer to them."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, code text UNIQUE, wanted text); INSERT INTO users VALUES (1, 'a', 'b'), (2, 'b', 'a');"
        "CREATE TABLE orders (id integer PRIMARY KEY, code text REFERENCES users (code) ON UPDATE CASCADE); INSERT INTO orders VALUES (70, 'b')"
    )
    before = engine.dump("users", "orders")
    cls = migration(
        lambda entity: entity.update(entity.one("users"), {"code": entity.one("users")["wanted"]}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("users",),
    )
    assert engine.migrate(cls)["failed"] == 2
    assert "orders" in engine.failures(cls)["2"]["reason"]
    assert engine.dump("users", "orders") == before


def test_keys_that_change_with_their_references(engine: Engine) -> None:
    """Where the job changes the referring rows as well, a cascade is its own."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, code text UNIQUE); INSERT INTO users VALUES (1, 'a'), (2, 'b');"
        "CREATE TABLE orders (id integer PRIMARY KEY, user_id integer, code text REFERENCES users (code) ON UPDATE CASCADE, seen integer);"
        "INSERT INTO orders VALUES (70, 1, 'a', 0), (71, 2, 'b', 0)"
    )

    def recode(entity: Any) -> None:
        entity.update(entity.one("users"), {"code": entity.one("users")["code"] + "!"})
        entity.update(entity.one("orders"), {"seen": 1})

    cls = migration(
        recode, keys=Keys("users", "id"), reads=(Rows("users", by="id"), Rows("orders", by="user_id")), writes=("users", "orders")
    )
    there_and_back(engine, cls, "users", "orders", number=2)


def test_outsiders_are_listed(engine: Engine) -> None:
    """The refusal gives the table, the number and at most ten of the keys, and nothing else of the rows."""
    users(engine)
    engine.script(
        "CREATE TABLE accounts (id integer PRIMARY KEY); CREATE TABLE orders (id integer PRIMARY KEY, account integer REFERENCES accounts (id), who text)"
    )
    cls = migration(lambda entity: entity.create("accounts", {"id": entity.key}), keys=Keys("users", "id"), writes=("accounts",))
    assert engine.migrate(cls)["migrated"] == 4
    engine.script("INSERT INTO orders VALUES " + ", ".join(f"({at}, 2, 'secret')" for at in range(500, 512)))
    assert engine.rollback(cls)["rolled_back"] == 3
    reason = engine.failures(cls)["2"]["reason"]
    assert "12 row(s) of orders" in reason
    assert all(str(at) in reason for at in range(500, 510)), reason
    assert "510" not in reason and "secret" not in reason


def test_a_later_migration_that_refers(engine: Engine) -> None:
    """Rows of another migration that refer to a created row are named by that migration."""
    users(engine)
    engine.script(
        "CREATE TABLE accounts (id integer PRIMARY KEY); CREATE TABLE cards (id integer PRIMARY KEY, account integer REFERENCES accounts (id))"
    )
    first = migration(
        lambda entity: entity.create("accounts", {"id": entity.key}),
        name="accounts",
        keys=Keys("users", "id"),
        writes=("accounts",),
    )
    second = migration(
        lambda entity: entity.create("cards", {"id": entity.key, "account": entity.key}),
        name="cards",
        keys=Keys("users", "id"),
        writes=("cards",),
    )
    assert engine.migrate(first)["migrated"] == 4
    assert engine.migrate(second, only=["2", "3"])["migrated"] == 2
    assert engine.rollback(first)["rolled_back"] == 2
    failures = engine.failures(first)
    assert set(failures) == {"2", "3"}
    assert "roll back cards" in failures["2"]["reason"] or "cards first" in failures["2"]["reason"]
    assert engine.rollback(second)["rolled_back"] == 2
    assert engine.rollback(first)["rolled_back"] == 2


@pytest.mark.parametrize("clause", ["ON CONFLICT REPLACE", "on/**/conflict replace", "ON -- a'\nCONFLICT\nREPLACE"])
def test_clauses_that_replace_rows(on_sqlite: Engine, clause: str) -> None:
    """A constraint declared to replace whoever stands in its way does not, for rows that nobody read."""
    users(on_sqlite)
    on_sqlite.script(
        f"CREATE TABLE names (id integer PRIMARY KEY, name text UNIQUE {clause}); INSERT INTO names VALUES (50, 'n2')"
    )
    cls = migration(
        lambda entity: entity.create("names", {"id": entity.key, "name": f"n{entity.key}"}),
        keys=Keys("users", "id"),
        writes=("names",),
    )
    state = on_sqlite.migrate(cls)
    assert (state["migrated"], state["failed"]) == (3, 1)
    assert (50, "n2") in on_sqlite.query("SELECT * FROM names")
    assert on_sqlite.query("SELECT count(*) FROM names") == [(4,)]
    assert on_sqlite.rollback(cls)["rolled_back"] == 3
    assert on_sqlite.query("SELECT * FROM names") == [(50, "n2")]


def test_a_trigger_that_ignores_what_is_there(on_sqlite: Engine) -> None:
    """Where a table has no such clause, what a trigger of it says about conflicts holds."""
    users(on_sqlite)
    on_sqlite.script(
        "CREATE TABLE names (id integer PRIMARY KEY, name text UNIQUE); CREATE TABLE seen (what text PRIMARY KEY); INSERT INTO seen VALUES ('names');"
        "CREATE TRIGGER once AFTER INSERT ON names BEGIN INSERT OR IGNORE INTO seen VALUES ('names'); END"
    )
    cls = migration(
        lambda entity: entity.create("names", {"id": entity.key, "name": f"n{entity.key}"}),
        keys=Keys("users", "id"),
        writes=("names",),
    )
    assert on_sqlite.migrate(cls)["migrated"] == 4, on_sqlite.failures(cls)
    assert on_sqlite.rollback(cls)["rolled_back"] == 4
