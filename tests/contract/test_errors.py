"""What the database refuses: one bad user alone is quarantined, a mistake halts, and trouble that passes is tried again."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import UsageError
from tests.engine import Engine, migration
from tests.servers import until

SECRET = "s3cret of Ann"
BAD = 7
USERS = 20


def world(engine: Engine, target: str) -> None:
    """Twenty users, and a table `people` of those columns."""
    engine.script(f"CREATE TABLE users (id integer PRIMARY KEY, name text); CREATE TABLE people ({target})")
    for at in range(1, USERS + 1):
        engine.execute("INSERT INTO users VALUES (?, ?)", at, SECRET if at == BAD else f"name{at}")


def neutral_world(engine: Engine, **people: Any) -> None:
    """The same in any database; `people` as the engine's vocabulary has it."""
    engine.table("users", id=int, name=str)
    engine.table("people", id=int, name=str, **people)
    engine.add("users", *((at, SECRET if at == BAD else f"name{at}") for at in range(1, USERS + 1)))


def neutral_move(engine: Engine) -> type[Migration]:
    """A migration that creates a row of the same key and name for every user."""
    return migration(
        lambda entity: entity.create("people", dict(entity.one("users"))),
        keys=Keys("users", engine.id),
        reads=(Rows("users", by=engine.id),),
        writes=("people",),
    )


def move(values: Callable[[Any], dict[str, Any]], **attributes: Any) -> type[Migration]:
    """A migration that creates a row of those values for every user."""
    return migration(
        lambda entity: entity.create("people", values(entity.one("users"))),
        **{"keys": Keys("users", "id"), "reads": (Rows("users", by="id"),), "writes": ("people",), **attributes},
    )


def named(row: Any) -> dict[str, Any]:
    return {"id": row["id"], "name": row["name"]}


def assert_one_failed(engine: Engine, cls: type[Migration], error: str, hint: str) -> None:
    """All but the bad user are migrated; the reason names what failed and nobody's data."""
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"], state["halted"]) == (USERS - 1, 1, None), engine.failures(cls)
    ((key, facts),) = engine.failures(cls).items()
    assert (key, facts["error"]) == (str(BAD), error)
    assert hint in facts["reason"], facts
    assert SECRET not in str(facts)
    assert "s3cret" not in str(facts) + " ".join(engine.answers)
    assert len([key for (key,) in engine.rows("people", "id") if key < 1000]) == USERS - 1


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("id integer PRIMARY KEY, name text CHECK (length(name) < 10)", "people"),
        (
            f"id integer PRIMARY KEY, name text, short text GENERATED ALWAYS AS (CASE name WHEN '{SECRET}' THEN NULL ELSE 'x' END) STORED NOT NULL",
            "people.short",
        ),
        ("id integer PRIMARY KEY, name text UNIQUE", "people"),
        ("id integer PRIMARY KEY, name text REFERENCES names (name)", ""),
        ("id integer PRIMARY KEY, name text REFERENCES names (name) DEFERRABLE INITIALLY DEFERRED", ""),
    ],
    ids=["check", "not-null", "unique", "foreign-key", "deferred-foreign-key"],
)
def test_constraints(engine: Engine, target: str, hint: str) -> None:
    """A constraint of any kind, also one that is checked at the commit, fails the one user who breaks it."""
    engine.script("CREATE TABLE names (name text PRIMARY KEY)")
    world(engine, target)
    for at in range(1, USERS + 1):
        if at != BAD:
            engine.execute("INSERT INTO names VALUES (?)", f"name{at}")
    if "UNIQUE" in target:
        engine.execute("INSERT INTO people (id, name) VALUES (1000, ?)", SECRET)
    assert_one_failed(engine, move(named), "ConstraintFailed", hint if engine.postgres or "CHECK" not in target else "CHECK")


@pytest.mark.parametrize(
    ("extra", "target", "value"),
    [
        ("", "id int PRIMARY KEY, name varchar(12)", None),
        ("", "id int PRIMARY KEY, name text UNIQUE DEFERRABLE INITIALLY DEFERRED", None),
        ("", "id int PRIMARY KEY, name text, EXCLUDE USING btree (name WITH =)", None),
        (f"CREATE DOMAIN short AS text CHECK (VALUE <> '{SECRET}');", "id int PRIMARY KEY, name short", None),
        ("", "id int PRIMARY KEY, name int", lambda row: row["id"] if row["id"] != BAD else row["name"]),
        ("", "id int PRIMARY KEY, name date", lambda row: "2020-01-01" if row["id"] != BAD else row["name"]),
        ("", "id int PRIMARY KEY, name smallint", lambda row: 1 if row["id"] != BAD else 2**40),
        ("", "id int PRIMARY KEY, name jsonb", lambda row: {"a": 1} if row["id"] != BAD else "\\u0000"),
        ("", "id int PRIMARY KEY, name int[]", lambda row: [1] if row["id"] != BAD else ["x"]),
        (
            "",
            "id int PRIMARY KEY, name uuid",
            lambda row: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" if row["id"] != BAD else row["name"],
        ),
        ("", "id int PRIMARY KEY, name int, part int GENERATED ALWAYS AS (1 / name) STORED", lambda row: row["id"] - BAD),
        (
            "CREATE TYPE mood AS ENUM ('ok');",
            "id int PRIMARY KEY, name mood",
            lambda row: "ok" if row["id"] != BAD else row["name"],
        ),
    ],
)
def test_values_that_postgresql_cannot_hold(on_postgres: Engine, extra: str, target: str, value: Any) -> None:
    """Too long, out of range, of another type: the user whose value it is, alone."""
    if extra:
        on_postgres.script(extra)
    world(on_postgres, target)
    if "UNIQUE" in target or "EXCLUDE" in target:
        on_postgres.execute("INSERT INTO people (id, name) VALUES (1000, ?)", SECRET)
    cls = move(lambda row: {"id": row["id"], "name": value(row) if value else row["name"]})
    if "jsonb" in target:
        cls = move(lambda row: {"id": row["id"], "name": {"a": 1} if row["id"] != BAD else {"a": "\0"}})
    assert_one_failed(on_postgres, cls, "ConstraintFailed", "")


@pytest.mark.parametrize("when", ["BEFORE INSERT", "AFTER INSERT", "CONSTRAINT"])
def test_triggers_that_refuse(on_postgres: Engine, when: str) -> None:
    """A trigger that raises, also at the commit, fails the user; its message may quote data and stays out."""
    world(on_postgres, "id int PRIMARY KEY, name text")
    on_postgres.script(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name LIKE 's3cret%' THEN RAISE EXCEPTION 'no %', NEW.name USING DETAIL = NEW.name; END IF; RETURN NEW; END $$"
    )
    if when == "CONSTRAINT":
        on_postgres.script(
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON people DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    else:
        on_postgres.script(f"CREATE TRIGGER refuse {when} ON people FOR EACH ROW EXECUTE FUNCTION refuse()")
    assert_one_failed(on_postgres, move(named), "ConstraintFailed", "refuse")


def test_a_trigger_that_refuses_on_sqlite(on_sqlite: Engine) -> None:
    """RAISE(ABORT) fails the user, without the trigger's message."""
    world(on_sqlite, "id integer PRIMARY KEY, name text")
    on_sqlite.script(
        "CREATE TRIGGER refuse BEFORE INSERT ON people WHEN NEW.name LIKE 's3cret%' BEGIN SELECT RAISE(ABORT, 's3cret'); END"
    )
    assert_one_failed(on_sqlite, move(named), "ConstraintFailed", "trigger")


@pytest.mark.parametrize("value", [float("nan"), 2**63, "\ud800", object(), {"a": float("nan")}, {1, 2}])
def test_values_that_sqlite_cannot_hold(on_sqlite: Engine, value: Any) -> None:
    """What SQLite would quietly make NULL, or cannot take, fails its user."""
    world(on_sqlite, "id integer PRIMARY KEY, name")
    cls = move(lambda row: {"id": row["id"], "name": value if row["id"] == BAD else row["name"]})
    assert_one_failed(on_sqlite, cls, "BadValue", "people.name")


@pytest.mark.parametrize("value", ["nul\0", "\ud800", {"a": float("nan")}, {1, 2}, object()])
def test_values_that_no_server_is_sent(on_postgres: Engine, value: Any) -> None:
    """Text with NUL, lone surrogates, NaN in JSON and unknown objects fail their user before anything is sent."""
    world(
        on_postgres, "id integer PRIMARY KEY, name text" if not isinstance(value, dict) else "id integer PRIMARY KEY, name jsonb"
    )
    cls = move(
        lambda row: (
            {"id": row["id"], "name": value if row["id"] == BAD else {}}
            if isinstance(value, dict)
            else {"id": row["id"], "name": value if row["id"] == BAD else "x"}
        )
    )
    assert_one_failed(on_postgres, cls, "BadValue", "people.name")


def test_a_key_that_the_ledger_cannot_hold(on_postgres: Engine) -> None:
    """It halts the campaign with what is to be done, and nobody is quarantined for it; once it is gone the campaign goes on."""
    on_postgres.script(
        "CREATE TABLE users (k text); CREATE TABLE people (id serial PRIMARY KEY, k text); INSERT INTO users VALUES ('a'), ('b')"
    )
    long = secrets.token_hex(5000)
    on_postgres.execute("INSERT INTO users VALUES (?)", long)
    cls = migration(
        lambda entity: entity.create("people", {"k": entity.key[:1]}),
        keys=Keys("users", "k"),
        reads=(Rows("users", by="k"),),
        writes=("people",),
    )
    state = on_postgres.migrate(cls)
    assert (state["state"], state["failed"]) == ("halted", 0)
    assert state["halted"].startswith(
        "AuthorMistake: a key is longer than the ledger can hold on PostgreSQL, which is 2,600 bytes or somewhat more:"
    )
    assert long[:9] not in state["halted"]
    assert on_postgres.query("SELECT count(*) FROM people") == [(0,)]
    on_postgres.execute("DELETE FROM users WHERE k = ?", long)
    assert on_postgres.migrate(cls)["migrated"] == 2


def test_an_integer_beyond_python(on_sqlite: Engine) -> None:
    """STRICT tables refuse a value of another type, which fails its user."""
    on_sqlite.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); CREATE TABLE people (id INTEGER PRIMARY KEY, name INTEGER) STRICT"
    )
    for at in range(1, USERS + 1):
        on_sqlite.execute("INSERT INTO users VALUES (?, ?)", at, SECRET if at == BAD else str(at))
    assert_one_failed(on_sqlite, move(named), "ConstraintFailed", "people.name")


def test_failures_are_mended_and_rerun(everywhere: Engine) -> None:
    """After the data is mended, the one that failed is migrated, and only that one."""
    neutral_world(everywhere, never=("name", SECRET))
    cls = neutral_move(everywhere)
    assert everywhere.migrate(cls)["failed"] == 1
    everywhere.change("users", {"name": "mended"}, id=BAD)
    assert everywhere.rerun(cls, options={"failed": True})["migrated"] == 1
    assert len(everywhere.rows("people")) == USERS
    assert everywhere.failures(cls) == {}


@pytest.mark.parametrize("bad", [{3}, {1, 20}, {1, 2, 3}, set(range(1, 20)), set(range(1, 21))])
def test_several_failures_of_a_batch(everywhere: Engine, bad: set[int]) -> None:
    """Whoever is bad fails, and whoever is good is migrated, wherever they stand in the batch."""
    neutral_world(everywhere, never=("name", "bad"))
    everywhere.change("users", {"name": "bad"}, id=sorted(bad))
    cls = neutral_move(everywhere)
    state = everywhere.migrate(cls)
    assert (state["migrated"], state["failed"]) == (USERS - len(bad), len(bad))
    assert set(everywhere.failures(cls)) == {str(at) for at in bad}


# -- the author's or the administrator's mistake ------------------------------------------------------------------------


def started(engine: Engine, cls: type[Migration]) -> Any:
    """A campaign of which the worker has done the first batches, with all it needs to know in its memory."""
    campaign = engine.open(cls, "migrate", batch_size=2)
    engine.feeder.step()
    rest, engine.queue.messages = engine.queue.messages[3:], engine.queue.messages[:3]
    engine.work()
    engine.queue.messages = rest
    assert engine.status(campaign)["migrated"] == 6
    return campaign


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ("DROP TABLE people", "people"),
        ("ALTER TABLE people DROP COLUMN name", "name"),
        ("ALTER TABLE people RENAME TO persons", "people"),
        ("ALTER TABLE users RENAME COLUMN name TO label", "name"),
    ],
)
def test_a_schema_that_changes_halts(engine: Engine, change: str, hint: str) -> None:
    """A table or column that goes while a campaign runs halts it with a reason that names it; nobody is quarantined."""
    world(engine, "id integer PRIMARY KEY, name text")
    campaign = started(engine, move(named))
    engine.script(change)
    state = engine.run(campaign)
    assert (state["state"], state["migrated"], state["failed"]) == ("halted", 6, 0), state
    assert hint in state["halted"], state
    engine.fresh_worker()
    with engine.store.transaction() as tx:
        now = engine.ledger.campaigns.get(tx, campaign.id)
        assert now is not None
        engine.ledger.campaigns.move(tx, now, "running", now=0)
    state = engine.run(campaign)
    assert (state["state"], state["failed"]) == ("halted", 0), state


@pytest.mark.parametrize(
    "revoke", ["INSERT ON people", "SELECT ON users", "UPDATE ON users", "USAGE ON SCHEMA other", "SELECT ON people"]
)
def test_a_missing_permission_halts(on_postgres: Engine, revoke: str) -> None:
    """A role that may not do what the migration does halts the campaign, and the reason says what it may not."""
    world(on_postgres, "id int PRIMARY KEY, name text")
    name = on_postgres.query("SELECT current_database()")[0][0]
    role = f"limited_{name}"
    on_postgres.script(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE {name} TO {role}; CREATE SCHEMA other; CREATE TABLE other.places (id int PRIMARY KEY);"
        f"GRANT USAGE ON SCHEMA other TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public, other TO {role}"
    )
    url = on_postgres.url.replace("postgres:postgres@", f"{role}:x@")
    limited = Engine(url)
    try:

        def build(entity: Any) -> None:
            row = entity.one("users")
            entity.create("people", named(row))
            entity.create("other.places", {"id": row["id"]})
            entity.update(row, {"name": "moved"})

        cls = migration(
            build, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("people", "users", "other.places")
        )
        campaign = limited.open(cls, "migrate", batch_size=5)
        on_postgres.script(f"REVOKE {revoke} FROM {role}")
        state = limited.run(campaign)
    finally:
        limited.close()
        on_postgres.script(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")
    assert (state["state"], state["failed"]) == ("halted", 0), state
    assert "may not do" in state["halted"], state
    assert revoke.rsplit(maxsplit=1)[-1] in state["halted"], state
    assert on_postgres.query("SELECT count(*) FROM people") == [(0,)]


def test_a_read_only_database_is_refused(on_postgres: Engine) -> None:
    """A database that may not be written is refused before anything starts."""
    world(on_postgres, "id int PRIMARY KEY, name text")
    name = on_postgres.query("SELECT current_database()")[0][0]
    on_postgres.script(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    cls = move(named)
    with pytest.raises(UsageError, match="read-only"):
        on_postgres.open(cls, "migrate")


def test_row_level_security_is_refused(on_postgres: Engine) -> None:
    """A policy that would hide rows is refused, and the line says what to do."""
    world(on_postgres, "id int PRIMARY KEY, name text")
    name = on_postgres.query("SELECT current_database()")[0][0]
    role = f"hidden_{name}"
    on_postgres.script(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE {name} TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};"
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON users USING (id < 5)"
    )
    limited = Engine(on_postgres.url.replace("postgres:postgres@", f"{role}:x@"))
    try:
        with pytest.raises(UsageError, match=r"row-level security would hide rows of users.*BYPASSRLS"):
            limited.open(move(named), "migrate")
    finally:
        limited.close()
        on_postgres.script(f"DROP POLICY few ON users; DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


@pytest.mark.parametrize("kind", ["json", "point", "xid"])
def test_keys_without_an_order_are_refused(on_postgres: Engine, kind: str) -> None:
    """A column that PostgreSQL cannot sort cannot name entities, and one line says so."""
    on_postgres.script(f"CREATE TABLE t (k {kind})")
    with pytest.raises(UsageError, match=rf"t\.k is {kind}, which has no order"):
        on_postgres.open(migration(lambda _: None, keys=Keys("t", "k")), "migrate")


# -- what passes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "57014", "53300", "57P01", "08006"])
@pytest.mark.parametrize("deferred", [False, True])
def test_what_can_succeed_later_is_tried_again(on_postgres: Engine, state: str, deferred: bool) -> None:
    """Serialization failure, deadlock, lock timeout, cancelled statement, too many connections: tried again, nobody is quarantined."""
    world(on_postgres, "id int PRIMARY KEY, name text")
    on_postgres.script(
        "CREATE SEQUENCE tries; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('tries') <= 3 THEN RAISE SQLSTATE '{state}'; END IF; RETURN NEW; END $$;"
        "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON people DEFERRABLE INITIALLY "
        f"{'DEFERRED' if deferred else 'IMMEDIATE'} FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    cls = move(named)
    end = on_postgres.migrate(cls)
    assert (end["migrated"], end["failed"]) == (USERS, 0), end
    assert on_postgres.query("SELECT last_value > 3 FROM tries") == [(True,)]
    assert {len(on_postgres.events(cls, str(at))) for at in range(1, USERS + 1)} == {3}


@pytest.mark.parametrize("moment", ["in migrate", "in a trigger", "at the commit"])
def test_a_lost_connection_is_tried_again(on_postgres: Engine, moment: str) -> None:
    """The worker's session ends in the middle: everything is done again in a new one, once, and nobody is quarantined."""
    world(on_postgres, "id int PRIMARY KEY, name text")
    lost: list[int] = []
    if moment != "in migrate":
        on_postgres.script(
            "CREATE SEQUENCE tries; CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('tries') <= 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END $$;"
            "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON people DEFERRABLE INITIALLY "
            f"{'DEFERRED' if 'commit' in moment else 'IMMEDIATE'} FOR EACH ROW EXECUTE FUNCTION die()"
        )

    def build(entity: Any) -> None:
        if moment == "in migrate" and len(lost) < 2:
            sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
            lost.extend(at for at, _ in enumerate(on_postgres.query(sql)))
        entity.create("people", named(entity.one("users")))

    cls = migration(build, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("people",))
    end = on_postgres.migrate(cls, batch_size=10)
    assert (end["migrated"], end["failed"], end["state"]) == (USERS, 0, "completed"), (end, on_postgres.answers)
    assert len(lost) >= 2 or moment != "in migrate"
    assert on_postgres.query("SELECT count(*) FROM people") == [(USERS,)]
    assert {len(on_postgres.events(cls, str(at))) for at in range(1, USERS + 1)} == {3}


def test_a_lock_held_by_somebody(everywhere: Engine) -> None:
    """A row, document or file that somebody holds longer than the lock timeout delays its batch, and fails nobody."""
    neutral_world(everywhere)
    everywhere.close()
    patient = Engine(everywhere.url, lock_timeout_ms=200)
    cls = migration(
        lambda entity: entity.update(entity.one("users"), {"name": "new"}),
        keys=Keys("users", everywhere.id),
        reads=(Rows("users", by=everywhere.id),),
        writes=("users",),
    )
    campaign = patient.open(cls, "migrate", batch_size=5)
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        if everywhere.mongo:
            with everywhere.database() as other, other.client.start_session() as session, session.start_transaction():
                other["users"].update_one({"_id": 3}, {"$set": {"held": True}}, session=session)
                holding.set()
                release.wait(20)
                session.abort_transaction()
        elif everywhere.postgres:
            with psycopg.connect(everywhere.url) as other:
                other.execute("SELECT 1 FROM users WHERE id = 3 FOR UPDATE")
                holding.set()
                release.wait(20)
        else:
            other = everywhere.sqlite()
            other.execute("BEGIN IMMEDIATE")
            holding.set()
            release.wait(20)
            other.execute("ROLLBACK")
            other.close()

    patient.feeder.step()
    holder = threading.Thread(target=hold)
    holder.start()
    holding.wait(20)
    threading.Timer(1.2, release.set).start()
    began = time.monotonic()
    try:
        patient.work()
        assert time.monotonic() - began > 1
        end = patient.run(campaign)
    finally:
        release.set()
        holder.join(30)
        patient.close()
    assert (end["migrated"], end["failed"]) == (USERS, 0)


def test_real_deadlocks(on_postgres: Engine) -> None:
    """The worker is made the victim of deadlocks with an application that locks in the opposite order: all is migrated, once."""
    world(on_postgres, "id int PRIMARY KEY, name text")
    cls = move(named)
    campaign = on_postgres.open(cls, "migrate")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'backtrail' AND datname = current_database()"
    victims = []

    def application() -> None:
        for _ in range(3):
            with psycopg.connect(on_postgres.url) as other:
                other.execute("SET deadlock_timeout = '30s'")  # it never looks itself, so the worker is the one to give up
                other.execute("SELECT 1 FROM users WHERE id = 20 FOR UPDATE")
                holding.set()
                until(lambda: on_postgres.query(waiting) == [(1,)] or done.is_set(), what="the worker's wait")
                if done.is_set():
                    return
                other.execute("SELECT 1 FROM users WHERE id = 1 FOR UPDATE")  # granted once the worker has been thrown out
                victims.append(1)

    holding, done = threading.Event(), threading.Event()
    on_postgres.feeder.step()
    opponent = threading.Thread(target=application)
    opponent.start()
    try:
        assert holding.wait(20)
        on_postgres.work()
    finally:
        done.set()
        opponent.join(60)
    end = on_postgres.run(campaign)
    assert victims
    assert (end["migrated"], end["failed"]) == (USERS, 0)
    before = on_postgres.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert before[0][0] >= 0  # the statistics come late; the victims above are the evidence
