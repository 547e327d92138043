"""The ledger is append-only, and the database sees to it: whatever the worker's and the application's users try is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from backtrail import Keys, Migration, Rows
from backtrail.stores import open_store
from ledger.ledger import Ledger
from ledger.sql.tables import ledger_tables
from tests import servers
from tests.engine import Engine
from tests.roles import Production, production

Users = type(
    "Users",
    (Migration,),
    {
        "name": "upper",
        "keys": Keys("users", "id"),
        "reads": (Rows("users", by="id"),),
        "writes": ("users",),
        "migrate": lambda self, entity: [entity.update(row, {"name": row["name"].upper()}) for row in entity.rows("users")],
    },
)

DATA = "CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'ann'), (2, 'bob')"

EVIDENCE = ["events", "shapes"]


@pytest.fixture(scope="module")
def apart(postgres_url: str) -> Iterator[Production]:
    """A database with two users migrated, and every role apart; no test of this module changes what is in it."""
    with servers.postgres_database(postgres_url) as url, production(url) as one:
        with closing(Engine(url)) as admin:
            admin.script(DATA)
            found = admin.found(Users)
        one.begin([found])
        with closing(open_store(one.owner, lock_timeout_ms=1000)) as store:
            Ledger(store).create()
        one.grant([found])
        with closing(Engine(one.worker)) as engine:
            assert engine.migrate(Users)["migrated"] == 2
        yield one


def evidence(one: Production) -> list[Any]:
    """Every row of what is append-only, all rights and triggers of the ledger, and where its sequences stand."""
    return [
        *(row for table in EVIDENCE for row in one.query(f"SELECT t::text FROM backtrail.{table} t ORDER BY 1")),
        *one.query("SELECT id, version, migration, key, state, head FROM backtrail.streams ORDER BY 1"),
        *one.query("SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"),
        *one.query(
            "SELECT oid::regclass::text, relacl::text, relowner FROM pg_class WHERE relnamespace = 'backtrail'::regnamespace ORDER BY 1"
        ),
        *one.query("SELECT proname, prosrc, proowner FROM pg_proc WHERE pronamespace = 'backtrail'::regnamespace"),
        *one.query("SELECT last_value, is_called FROM backtrail.streams_id_seq"),
    ]


ATTACKS = {
    "update": "UPDATE {table} SET {column} = {column}",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table}",
    "truncate cascade": "TRUNCATE {table} CASCADE",
    "truncate all": "TRUNCATE backtrail.streams, {table} RESTART IDENTITY CASCADE",
    "upsert": "INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE SET {column} = excluded.{column}",
    "merge": "MERGE INTO {table} a USING {table} b ON a.hash = b.hash WHEN MATCHED THEN DELETE",
    "delete in a query": "WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone",
    "lock rows": "SELECT 1 FROM {table} FOR UPDATE",
    "lock the table": "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
    "disable triggers": "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "drop a trigger": "DROP TRIGGER append_only_rows ON {table}",
    "rename a trigger": "ALTER TRIGGER append_only_rows ON {table} RENAME TO x",
    "trigger of one's own": "CREATE TRIGGER a BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "replication role": "SET session_replication_role = replica",
    "replace the function": "CREATE OR REPLACE FUNCTION backtrail.append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "drop the function": "DROP FUNCTION backtrail.append_only() CASCADE",
    "drop": "DROP TABLE {table}",
    "drop the schema": "DROP SCHEMA backtrail CASCADE",
    "rename": "ALTER TABLE {table} RENAME TO x",
    "move": "ALTER TABLE {table} SET SCHEMA public",
    "alter a column": "ALTER TABLE {table} ALTER {column} TYPE text USING 'x'",
    "add a column": "ALTER TABLE {table} ADD x text",
    "rule": "CREATE RULE r AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "row security": "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "policy": "CREATE POLICY p ON {table} USING (false)",
    "take over": "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "become the owner": "SET ROLE {owner}",
    "session of the owner": "SET SESSION AUTHORIZATION {owner}",
    "all that the owner has": "REASSIGN OWNED BY {owner} TO CURRENT_USER",
    "drop what the owner has": "DROP OWNED BY {owner} CASCADE",
    "join the owner": "GRANT {owner} TO CURRENT_USER",
    "become superuser": "DO $$ BEGIN EXECUTE format('ALTER ROLE %I SUPERUSER', current_user); END $$",
    "grant": "GRANT ALL ON {table} TO CURRENT_USER; DELETE FROM {table}",
    "function of one's own": (
        "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM {table}'; SELECT pg_temp.f()"
    ),
    "function that others find first": "CREATE FUNCTION public.count(bytea) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    "schema of one's own": "CREATE SCHEMA mine",
    "table in the ledger's schema": "CREATE TABLE backtrail.x ()",
    "function in the ledger's schema": "CREATE FUNCTION backtrail.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "view": "CREATE TEMP VIEW v AS SELECT * FROM {table}; DELETE FROM v",
    "rule of a view": "CREATE TEMP VIEW v AS SELECT 1 AS x; CREATE RULE r AS ON DELETE TO v DO INSTEAD DELETE FROM {table}; DELETE FROM v",
    "child": "CREATE TEMP TABLE c () INHERITS ({table})",
    "partition": "CREATE TEMP TABLE c (LIKE {table}); ALTER TABLE {table} ATTACH PARTITION c DEFAULT",
    "foreign key that cascades": "ALTER TABLE {table} ADD FOREIGN KEY ({first}) REFERENCES users ON DELETE CASCADE",
    "reference": "CREATE TABLE public.r (x bigint REFERENCES backtrail.streams)",
    "index": "CREATE UNIQUE INDEX i ON {table} ({column})",
    "statistics": "CREATE STATISTICS backtrail.s ON {key}, {column} FROM {table}",
    "sequence back": "SELECT setval('backtrail.streams_id_seq', 1, false)",
    "sequence anew": "ALTER SEQUENCE backtrail.streams_id_seq RESTART",
    "drop a sequence": "DROP SEQUENCE backtrail.shapes_id_seq CASCADE",
    "delete a stream": "DELETE FROM backtrail.streams",
    "delete a campaign": "DELETE FROM backtrail.campaigns",
    "delete a batch": "DELETE FROM backtrail.batches",
    "older form": "UPDATE backtrail.version SET version_num = '0000'",
    "program of the server": "COPY {table} TO PROGRAM 'cat'",
    "event trigger": "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION backtrail.append_only()",
    "catalogue": "DELETE FROM pg_catalog.pg_trigger",
}
"""What one does who wants another past."""

COLUMNS = {"events": ("kind", "stream, version", "stream"), "shapes": ("body", "id", "id")}
DENIED = psycopg.errors.InsufficientPrivilege


def attack(text: str, one: Production, table: str) -> str:
    column, key, first = COLUMNS[table]
    owner = '"' + one.roles.owner.replace('"', '""') + '"'
    if table == "shapes":
        text = text.replace("a.hash = b.hash", "a.id = b.id")
    return text.format(table=f"backtrail.{table}", column=column, key=key, first=first, owner=owner)


@pytest.mark.parametrize("who", ["worker", "application", "reader"])
def test_what_is_written_cannot_be_changed(apart, who):
    """By none of these ways, as the user of workers, of the application, or of whoever looks on."""
    before = evidence(apart)
    assert len(before) > 15
    through: list[Any] = []
    with psycopg.connect(getattr(apart, who)) as connection:
        for name, text in ATTACKS.items():
            for table in EVIDENCE:
                try:
                    with connection.transaction():
                        connection.execute(attack(text, apart, table))
                    through.append((name, table))
                except DENIED:
                    continue
                except psycopg.Error as error:
                    through.append((name, table, error))
    assert through == []
    assert evidence(apart) == before


FURTHER = {
    "application": ["SELECT * FROM backtrail.events", "SELECT * FROM backtrail.streams", "SELECT secret FROM backtrail.streams",
                    "SELECT subject, name, origin FROM backtrail.streams", "SELECT * FROM backtrail_keys.subjects", "SELECT * FROM backtrail.campaigns", "INSERT INTO backtrail.streams DEFAULT VALUES",
                    "UPDATE backtrail.streams SET state = 'migrated'", "SELECT nextval('backtrail.streams_id_seq')",
                    "LOCK TABLE backtrail.streams IN SHARE MODE", "SELECT 1 FROM backtrail.streams FOR KEY SHARE"],
    "reader": ["INSERT INTO backtrail.events SELECT * FROM backtrail.events", "UPDATE backtrail.streams SET state = 'migrated'",
               "UPDATE users SET name = ''", "SELECT 1 FROM users FOR SHARE"],
}  # fmt: skip


@pytest.mark.parametrize(("who", "text"), [(who, text) for who, texts in FURTHER.items() for text in texts])
def test_the_application_reads_the_flag_and_a_reader_only_looks_on(apart, who, text):
    """Nothing else of the ledger is open to the one, and nothing at all can be written by the other."""
    with psycopg.connect(getattr(apart, who)) as connection, pytest.raises(DENIED):
        connection.execute(text)


def test_nobody_writes_an_event_in_the_place_of_another(apart):
    """A stream has one event of each version, and a shape's number one body."""
    before = evidence(apart)
    with psycopg.connect(apart.worker) as connection:
        for table in EVIDENCE:
            with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
                connection.execute(f"INSERT INTO backtrail.{table} SELECT * FROM backtrail.{table}")
            with connection.transaction():
                connection.execute(f"INSERT INTO backtrail.{table} SELECT * FROM backtrail.{table} ON CONFLICT DO NOTHING")
    assert evidence(apart) == before


def test_a_table_of_ones_own_that_is_found_first_deceives_nobody_else(apart):
    """Temporary ones come first on everybody's path: the ledger names its schema."""
    with psycopg.connect(apart.worker) as connection:
        connection.execute("CREATE TEMP TABLE events (x int); CREATE TEMP TABLE streams (migration text, key text, state text)")
        connection.execute("INSERT INTO streams VALUES ('upper', '9', 'migrated')")
        from backtrail import is_migrated

        assert is_migrated(connection, "upper", 1)
        assert not is_migrated(connection, "upper", 9)


@pytest.mark.parametrize("who", ["owner", "url"])
@pytest.mark.parametrize("table", EVIDENCE)
@pytest.mark.parametrize("name", ["update", "delete", "truncate", "truncate cascade", "upsert", "merge", "delete in a query"])
def test_even_the_owner_and_an_administrator_are_refused(apart, who, table, name):
    """By triggers, which fire in a session of replication too; whoever can turn a trigger off must do that first."""
    before = evidence(apart)
    with psycopg.connect(getattr(apart, who)) as connection:
        if who == "url":
            connection.execute("SET session_replication_role = replica")
        with pytest.raises(DENIED, match="append-only"):
            connection.execute(attack(ATTACKS[name], apart, table))
    assert evidence(apart) == before


def test_the_owner_can_turn_the_triggers_off(apart):
    """So says the page on operations: what the owner does then is for `verify` and checkpoints to find."""
    with psycopg.connect(apart.owner) as connection:
        connection.execute("ALTER TABLE backtrail.events DISABLE TRIGGER ALL")
        assert connection.execute("DELETE FROM backtrail.events").rowcount > 2
        connection.rollback()


# -- SQLite -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A plain connection to a file in which two users are migrated; no test of this module changes what is in it."""
    with closing(Engine(f"sqlite:///{tmp_path_factory.mktemp('file') / 'data.db'}")) as engine:
        engine.script(DATA)
        assert engine.migrate(Users)["migrated"] == 2
        with closing(engine.sqlite()) as connection:
            yield connection


STATEMENTS = {
    "update": "UPDATE {table} SET {column} = {column}",
    "update or replace": "UPDATE OR REPLACE {table} SET rowid = 1",
    "update or ignore": "UPDATE OR IGNORE {table} SET {column} = 'x'",
    "move": "UPDATE {table} SET rowid = rowid + 100",
    "delete": "DELETE FROM {table}",
    "delete one": "DELETE FROM {table} WHERE rowid = 1",
    "insert or replace": "INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
    "replace": "REPLACE INTO {table} SELECT * FROM {table}",
    "replace by the hidden key": "REPLACE INTO {table} (rowid, {names}) SELECT 1, {moved} FROM {table} LIMIT 1",
    "insert or ignore": "INSERT OR IGNORE INTO {table} SELECT * FROM {table}",
    "upsert": "INSERT INTO {table} SELECT * FROM {table} WHERE true ON CONFLICT DO UPDATE SET {column} = 'x'",
    "insert": "INSERT INTO {table} SELECT * FROM {table}",
}


@pytest.mark.parametrize("recursive", ["ON", "OFF"])
@pytest.mark.parametrize("table", EVIDENCE)
@pytest.mark.parametrize("name", STATEMENTS)
def test_on_sqlite_triggers_refuse_every_statement(file, table, name, recursive):
    """Also those that replace a row without deleting it, by any of its unique values."""
    file.execute(f"PRAGMA recursive_triggers = {recursive}")
    names = [column.name for column in getattr(ledger_tables("sqlite"), table).columns]
    moved = {"version": "version + 1000", "id": "1", "body": "body || 'x'"}
    text = STATEMENTS[name].format(
        table=f"backtrail_{table}",
        column=COLUMNS[table][0],
        names=", ".join(f'"{one}"' for one in names),
        moved=", ".join(moved.get(one, f'"{one}"') for one in names),
    )
    everything = f"SELECT rowid, * FROM backtrail_{table}"
    before = file.execute(everything).fetchall()
    assert before
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        file.execute(text)
    assert file.execute(everything).fetchall() == before


def test_on_sqlite_whoever_writes_the_file_can_drop_the_triggers(file):
    """So says `backtrail grants`: nothing within a file protects it from its owner."""
    triggers = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    assert len(triggers) >= 6
    file.execute("BEGIN")
    for name in triggers:
        file.execute(f"DROP TRIGGER {name}")
    assert file.execute("DELETE FROM backtrail_events").rowcount > 2
    file.execute("ROLLBACK")
