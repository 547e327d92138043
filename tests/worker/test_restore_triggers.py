"""Going back under triggers: those that touch the row itself are outwitted, those that write elsewhere are refused by name."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from backtrail import Keys, Rows
from backtrail.stores.postgres.watch import PostgresWatch
from backtrail.stores.sqlite.watch import SqliteWatch
from tests.engine import Engine, migration

TOUCH = {
    True: (
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.version := OLD.version + 1;"
        " NEW.updated_at := clock_timestamp()::text; RETURN NEW; END $$;"
        "CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()"
    ),
    False: (
        "CREATE TRIGGER touch AFTER UPDATE ON users BEGIN UPDATE users SET version = OLD.version + 1,"
        " updated_at = julianday('now') WHERE id = NEW.id; END"
    ),
}


def people(engine: Engine, number: int = 5) -> None:
    """Users with a name, a version and the time of their last change."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text, version integer, updated_at text)")
    engine.script("INSERT INTO users VALUES " + ", ".join(f"({at}, 'u{at}', 1, 'then')" for at in range(1, number + 1)))


def log(engine: Engine, *, when: str, where: str = "users", into: str = "audit", condition: str = "") -> None:
    """A trigger that writes into another table."""
    engine.script(f"CREATE TABLE {into} (id integer)")
    row = "OLD" if when == "DELETE" else "NEW"
    if engine.postgres:
        engine.script(
            f"CREATE FUNCTION log_{into}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO {into} VALUES ({row}.id); RETURN NULL; END $$;"
            f"CREATE TRIGGER log_{into} AFTER {when} ON {where} FOR EACH ROW {condition} EXECUTE FUNCTION log_{into}()"
        )
    else:
        engine.script(
            f"CREATE TRIGGER log_{into} AFTER {when} ON {where} {condition} BEGIN INSERT INTO {into} VALUES ({row}.id); END"
        )


def renaming() -> Any:
    return migration(
        lambda entity: entity.update(entity.one("users"), {"name": "new " + entity.one("users")["name"]}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("users",),
    )


def test_triggers_that_touch_the_row(engine: Engine) -> None:
    """A version and a time that a trigger changes on every write: migrated, taken back exactly and brought again exactly, three times."""
    people(engine)
    engine.script(TOUCH[engine.postgres])
    before, schema = engine.dump("users"), triggers(engine)
    cls = renaming()
    assert engine.migrate(cls)["migrated"] == 5, engine.failures(cls)
    after = engine.dump("users")
    assert engine.query("SELECT DISTINCT version FROM users") == [(2,)]
    for _ in range(3):
        back = engine.rollback(cls)
        assert back["rolled_back"] == 5, engine.failures(cls)
        assert engine.dump("users") == before
        assert engine.redo(cls, back["campaign"])["migrated"] == 5, engine.failures(cls)
        assert engine.dump("users") == after
    assert triggers(engine) == schema
    engine.script("UPDATE users SET name = 'x' WHERE id = 1")
    assert engine.query("SELECT version FROM users WHERE id = 1") == [(3,)], "the trigger is alive"


def test_a_role_that_may_not_go_past_triggers(postgres: str) -> None:
    """Who may not put rows back past a trigger is told the exact grant, and changes nothing; with it, everything goes back exactly."""
    with closing(Engine(postgres)) as owner:
        people(owner)
        owner.script(TOUCH[True])
        before = owner.dump("users")
        role = f"plain_{uuid.uuid4().hex[:8]}"
        owner.script(
            f"CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; GRANT ALL ON users TO {role};"
            f"GRANT CREATE ON DATABASE {sa.make_url(postgres).database} TO {role}"
        )
    url = sa.make_url(postgres).set(username=role).render_as_string(hide_password=False)
    with closing(Engine(url)) as engine:
        cls = renaming()
        assert engine.migrate(cls)["migrated"] == 5, engine.failures(cls)
        after = engine.dump("users")
        assert engine.rollback(cls)["failed"] == 5
        facts = engine.failures(cls)["3"]
        assert facts["error"] == "TriggerInTheWay"
        assert "touch" in facts["reason"]
        grant = facts["reason"].split("superuser: ")[1]
        assert engine.dump("users") == after
        with closing(Engine(postgres)) as owner:
            owner.script(grant)
        assert engine.rollback(cls)["rolled_back"] == 5, engine.failures(cls)
        assert engine.dump("users") == before
    with closing(Engine(postgres)) as owner:
        owner.script(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def triggers(engine: Engine) -> list[Any]:
    if engine.postgres:
        return engine.query("SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'touch'")
    return engine.query("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name = 'touch'")


def test_triggers_that_keep_deleted_rows(engine: Engine) -> None:
    """A created row that a trigger will not let go is taken away all the same, where its role may."""
    people(engine, 3)
    engine.script("CREATE TABLE badges (id integer PRIMARY KEY, gone integer)")
    if engine.postgres:
        engine.script(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE badges SET gone = 1 WHERE id = OLD.id; RETURN NULL; END $$;"
            "CREATE TRIGGER keep BEFORE DELETE ON badges FOR EACH ROW EXECUTE FUNCTION keep()"
        )
    else:
        engine.script(
            "CREATE TRIGGER keep BEFORE DELETE ON badges BEGIN UPDATE badges SET gone = 1 WHERE id = OLD.id; SELECT raise(IGNORE); END"
        )
    cls = migration(lambda entity: entity.create("badges", {"id": entity.key}), keys=Keys("users", "id"), writes=("badges",))
    assert engine.migrate(cls)["migrated"] == 3
    assert engine.rollback(cls)["rolled_back"] == 3, engine.failures(cls)
    assert engine.query("SELECT count(*) FROM badges") == [(0,)]


@pytest.mark.parametrize("when", ["INSERT", "UPDATE", "DELETE"])
def test_triggers_that_write_elsewhere(engine: Engine, when: str) -> None:
    """A trigger that writes into a table of which the ledger would know nothing: nobody is migrated, and both are named."""
    people(engine)
    engine.script("CREATE TABLE badges (id integer PRIMARY KEY, n integer); INSERT INTO badges SELECT id, 1 FROM users")
    log(engine, when=when, where="badges")
    before = engine.dump("users", "badges", "audit")

    def act(entity: Any) -> None:
        match when:
            case "INSERT":
                entity.create("badges", {"id": entity.key + 100})
            case "UPDATE":
                entity.update(entity.one("badges"), {"n": 2})
            case "DELETE":
                entity.delete(entity.one("badges"))

    cls = migration(act, keys=Keys("users", "id"), reads=(Rows("badges", by="id"),), writes=("badges",))
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (0, 5)
    assert engine.dump("users", "badges", "audit") == before
    facts = engine.failures(cls)["1"]
    assert facts["error"] == "SideEffects"
    assert "audit" in facts["reason"] and "log_audit" in facts["reason"]


def test_a_trigger_that_concerns_one(engine: Engine) -> None:
    """Where the trigger writes for some rows only, the others are migrated."""
    people(engine)
    log(engine, when="UPDATE", condition="WHEN (NEW.id = 3)")
    cls = renaming()
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"]) == (4, 1)
    assert set(engine.failures(cls)) == {"3"}
    assert engine.query("SELECT * FROM audit") == []


def test_a_trigger_that_concerns_all_halts(engine: Engine) -> None:
    """Where it concerns everybody, the campaign halts instead of failing one by one."""
    people(engine, 60)
    log(engine, when="UPDATE")
    campaign = engine.open(renaming(), "migrate")
    state = engine.run(campaign)
    assert state["state"] == "halted"
    assert state["failed"] < 20
    assert "audit" in str(state)
    assert engine.query("SELECT * FROM audit") == []


def test_triggers_on_rows_of_others_in_the_table(engine: Engine) -> None:
    """A trigger that writes into other rows of the very table is seen, though the table is the migration's own."""
    people(engine)
    engine.script("INSERT INTO users VALUES (0, 'everybody', 0, '')")
    if engine.postgres:
        engine.script(
            "CREATE FUNCTION total() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE users SET version = version + 1 WHERE id = 0; RETURN NULL; END $$;"
            "CREATE TRIGGER total AFTER UPDATE OF name ON users FOR EACH ROW WHEN (NEW.id <> 0) EXECUTE FUNCTION total()"
        )
    else:
        engine.script(
            "CREATE TRIGGER total AFTER UPDATE OF name ON users WHEN NEW.id <> 0 BEGIN UPDATE users SET version = version + 1 WHERE id = 0; END"
        )
    before = engine.dump("users")
    cls = renaming()
    assert engine.migrate(cls, only=["1", "2", "3", "4", "5"])["failed"] == 5
    assert engine.failures(cls)["1"]["error"] == "SideEffects"
    assert engine.dump("users") == before


def test_a_trigger_that_came_later(engine: Engine) -> None:
    """What migrated without it does not go back through a trigger that writes elsewhere, until that is gone."""
    people(engine, 3)
    before = engine.dump("users")
    cls = renaming()
    assert engine.migrate(cls)["migrated"] == 3
    log(engine, when="UPDATE")
    after = engine.dump("users", "audit")
    assert engine.rollback(cls)["failed"] == 3
    assert "log_audit" in engine.failures(cls)["2"]["reason"]
    assert engine.dump("users", "audit") == after
    engine.script("DROP TRIGGER log_audit" + (" ON users" if engine.postgres else ""))
    assert engine.rollback(cls)["rolled_back"] == 3
    assert engine.dump("users") == before


def test_triggers_behind_triggers(engine: Engine) -> None:
    """What a trigger of a trigger writes is seen too."""
    people(engine, 3)
    log(engine, when="UPDATE", into="far")
    log(engine, when="INSERT", where="far", into="farther")
    cls = renaming()
    assert engine.migrate(cls)["failed"] == 3
    reason = engine.failures(cls)["1"]["reason"]
    assert "far" in reason and "farther" in reason
    assert engine.query("SELECT * FROM far") == []


def test_a_trigger_that_changes_nothing(engine: Engine) -> None:
    """A trigger that only looks is nobody's harm."""
    people(engine, 3)
    log(engine, when="UPDATE", condition="WHEN (NEW.id = 99)")
    cls = renaming()
    assert engine.migrate(cls)["migrated"] == 3
    assert engine.rollback(cls)["rolled_back"] == 3


def test_triggers_that_write_at_the_commit(on_postgres: Engine) -> None:
    """A deferred constraint trigger writes only at the commit, and is seen before."""
    people(on_postgres, 3)
    on_postgres.script(
        "CREATE TABLE audit (id integer);"
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()"
    )
    cls = renaming()
    assert on_postgres.migrate(cls)["failed"] == 3
    assert "audit" in on_postgres.failures(cls)["1"]["reason"]
    assert on_postgres.query("SELECT * FROM audit") == []


@pytest.mark.parametrize("strangers", [False, True])
def test_triggers_that_write_again_after_the_statement(on_postgres: Engine, strangers: bool) -> None:
    """A trigger that updates the very row once more, after the statement, is told from one that updates another row beside it."""
    people(on_postgres)
    on_postgres.script("INSERT INTO users VALUES (0, 'everybody', 0, '')")
    where = "id IN (0, NEW.id)" if strangers else "id = NEW.id"
    on_postgres.script(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() = 1 THEN"
        f" UPDATE users SET version = version + 1 WHERE {where}; END IF; RETURN NULL; END $$;"
        "CREATE TRIGGER again AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION again()"
    )
    before = on_postgres.dump("users")
    cls, only = renaming(), ["1", "2", "3", "4", "5"]
    state = on_postgres.migrate(cls, only=only)
    assert (state["migrated"], state["failed"]) == ((0, 5) if strangers else (5, 0)), on_postgres.failures(cls)
    if strangers:
        assert on_postgres.dump("users") == before
        return
    assert on_postgres.query("SELECT DISTINCT version FROM users WHERE id > 0") == [(2,)]
    assert on_postgres.rollback(cls)["rolled_back"] == 5, on_postgres.failures(cls)
    assert on_postgres.dump("users") == before


def test_triggers_cost_nothing_where_there_are_none(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without triggers nothing is watched; with one, the watch is there."""
    watched: list[str] = []
    kind = "backtrail.stores." + ("postgres.transaction.PostgresWatch" if engine.postgres else "sqlite.transaction.SqliteWatch")
    original = PostgresWatch if engine.postgres else SqliteWatch
    monkeypatch.setattr(kind, lambda tx, tables: watched.append(tables[0].name) or original(tx, tables))
    people(engine, 3)
    cls = renaming()
    assert engine.migrate(cls)["migrated"] == 3
    assert engine.rollback(cls)["rolled_back"] == 3
    assert watched == []
    engine.script(TOUCH[engine.postgres])
    assert engine.rerun(cls, only=["1", "2", "3"])["migrated"] == 3
    assert watched == ["users"]


def test_triggers_that_reach_virtual_tables(on_sqlite: Engine) -> None:
    """What is written into a virtual table nobody can see, so that a trigger which may do it is refused by name."""
    people(on_sqlite, 3)
    on_sqlite.script(
        "CREATE VIRTUAL TABLE found USING fts5 (name);"
        "CREATE TRIGGER index_it AFTER UPDATE ON users BEGIN INSERT INTO found VALUES (NEW.name); END"
    )
    cls = renaming()
    assert on_sqlite.migrate(cls)["failed"] == 3
    assert "virtual table found" in on_sqlite.failures(cls)["1"]["reason"]
    assert on_sqlite.query("SELECT count(*) FROM found") == [(0,)]


def test_rules_that_write_elsewhere(on_postgres: Engine) -> None:
    """A rewrite rule is a trigger by another name."""
    people(on_postgres, 3)
    on_postgres.script(
        "CREATE TABLE audit (id integer); CREATE RULE also AS ON UPDATE TO users DO ALSO INSERT INTO audit VALUES (NEW.id)"
    )
    cls = renaming()
    assert on_postgres.migrate(cls)["failed"] == 3
    assert "audit" in on_postgres.failures(cls)["1"]["reason"]
    assert on_postgres.query("SELECT * FROM audit") == []


def test_rows_that_move_between_partitions(on_postgres: Engine) -> None:
    """A row that goes to another partition is one update, triggers or not."""
    on_postgres.script(
        "CREATE TABLE users (id integer, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);"
        "CREATE TABLE users_a PARTITION OF users FOR VALUES IN ('a'); CREATE TABLE users_b PARTITION OF users FOR VALUES IN ('b');"
        "CREATE TABLE t (id integer PRIMARY KEY, region text, user_id integer); "
        "CREATE TABLE p (id integer, part integer, PRIMARY KEY (id)) ; DROP TABLE p;"
        "INSERT INTO users VALUES (1, 'a'), (2, 'a');"
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER look AFTER INSERT OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION look()"
    )
    before = on_postgres.dump("users")

    def move(entity: Any) -> None:
        row = entity.one("users")
        entity.delete(row)
        entity.create("users", {"id": entity.key, "region": "b"})

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))
    assert on_postgres.migrate(cls)["migrated"] == 2, on_postgres.failures(cls)
    assert on_postgres.query("SELECT count(*) FROM users_b") == [(2,)]
    assert on_postgres.rollback(cls)["rolled_back"] == 2, on_postgres.failures(cls)
    assert on_postgres.dump("users") == before
