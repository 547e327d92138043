"""`backtrail grants`: what it prints is enough for a whole campaign, with every role apart, and nothing of it could be left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from backtrail import Invariant, Keys, Migration, Rows, is_migrated
from backtrail.catalog.unified_profile import sample
from backtrail.catalog.unified_profile.migration import UnifiedProfile
from backtrail.discovery import find
from backtrail.errors import BacktrailError, PermissionMissing
from backtrail.stores import open_store
from ledger.expansion import expansion
from ledger.ledger import Ledger
from ledger.mongo.collections import INDEXES
from ledger.rejected import Rejection
from ledger.rights import RIGHTS, right_of
from producer.cli import backtrail
from producer.grants_postgres import ledger_names, ledger_sequences
from producer.needs import asked, needs_of
from tests import engine as engines
from tests import servers
from tests.engine import Engine
from tests.roles import Production, production
from worker import tasks

UNIFIED = find("unified-profile")
USERS = 40
NOWHERE = "postgresql://postgres@127.0.0.1:1/app"


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(backtrail, arguments, catch_exceptions=False)


# -- which table is which ---------------------------------------------------------------------------------------------


def test_every_table_of_the_ledger_has_its_right(on_postgres):
    """Whoever adds one must say in ledger/rights.py what workers do with it; what is there is asked of the database itself."""
    on_postgres.ledger.create()
    relations = on_postgres.query(
        "SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname LIKE 'backtrail%' AND c.relkind NOT IN ('i', 'I', 't')"
    )
    tables = {(schema, name) for schema, name, kind in relations if kind == "r"}
    assert len(tables) > 5
    assert tables == set(ledger_names())
    assert {f'"{schema}"."{name}"' for schema, name, kind in relations if kind == "S"} == set(ledger_sequences())
    assert {kind for *_, kind in relations} == {"r", "S"}
    for schema, name in tables:
        assert right_of(name, schema)


def test_every_collection_of_the_ledger_has_its_right(on_mongo):
    """The same on MongoDB."""
    on_mongo.ledger.create()
    with on_mongo.database() as database:
        names = set(database.client[f"{database.name}_backtrail"].list_collection_names())
    assert names == set(INDEXES)
    assert names <= RIGHTS.keys()


def test_a_table_without_a_right_is_an_error():
    """So that it is never granted by default."""
    with pytest.raises(KeyError):
        right_of("new")


@pytest.mark.parametrize("table", ["events", "shapes"])
def test_what_is_append_only_has_its_triggers(on_postgres, table):
    """Row and truncate triggers that fire always, on every table of that right."""
    on_postgres.ledger.create()
    found = on_postgres.query(
        f"SELECT tgtype & 1, tgenabled FROM pg_trigger WHERE tgrelid = 'backtrail.{table}'::regclass AND NOT tgisinternal"
    )
    assert sorted(found) == [(0, "A"), (1, "A")]


# -- what is needed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("SELECT 1 FROM a", {"a"}),
        ('select 1 from only s.a x, b as y , "S"."c" join "C ""d" using (x)', {"s.a", "b", "S.c", 'C "d'}),
        ("SELECT 1 FROM a WHERE x = ' FROM b ' -- FROM c\n /* JOIN d */ AND NOT EXISTS (SELECT 1 FROM e)", {"a", "e"}),
        ("WITH q AS (SELECT 1 FROM a), r(x) AS MATERIALIZED (SELECT 2 FROM b) SELECT 1 FROM q JOIN r ON true", {"a", "b"}),
        ("SELECT 1 FROM generate_series(1, 2) JOIN a ON true", {"a"}),
    ],
)
def test_the_tables_of_an_invariant_are_those_after_from_and_join(query, tables):
    """Not those in texts and comments, nor queries that were given a name, nor functions."""
    assert asked(Invariant("rule", query)) == tables


def test_the_collections_of_a_pipeline_are_found_however_deep():
    """In lookups, unions and their own pipelines."""
    inner = [{"$unionWith": {"coll": "c", "pipeline": [{"$graphLookup": {"from": "d"}}]}}, {"$unionWith": "e"}]
    assert asked(Invariant("rule", [{"$lookup": {"from": "b", "pipeline": inner}}], "a")) == {"a", "b", "c", "d", "e"}


def test_several_migrations_and_their_parameters_are_granted_together():
    """What one reads and another writes is written."""
    needs = needs_of([UNIFIED, find("coaching-redesign")], {"relationships": "pairs"})
    assert {"pairs", "unified_profiles", "profiles"} <= needs.written
    assert "coaching_relationships" not in needs.tables
    assert needs.locked["context_profiles"] == {"user_id"}


# -- what is printed --------------------------------------------------------------------------------------------------


def test_it_prints_statements_with_reasons_and_no_password():
    """Without a database that answers, too; each name is quoted, and a reader only if asked for."""
    result = ran(
        "grants", "unified-profile", "--database-url", NOWHERE.replace("postgres@", "postgres:hidden@"), "--worker", 'a"b'
    )
    assert result.exit_code == 0
    assert 'GRANT INSERT, UPDATE, DELETE ON "unified_profiles" TO "a""b";' in result.stdout
    assert re.search(r'GRANT SELECT, INSERT ON [^;]*backtrail."events"', result.stdout)
    assert "the database was not asked" in result.stderr
    assert "hidden" not in result.output
    assert "reader" not in result.stdout
    lines = [line for line in result.stdout.splitlines() if line]
    assert all(line.startswith("-- ") or line.endswith(";") for line in lines)


def test_as_json_it_is_one_document():
    """The same statements in the same order."""
    text = ran("grants", "unified-profile", "--database-url", NOWHERE)
    printed = [line for line in text.stdout.splitlines() if line and not line.startswith("--")]
    statements = json.loads(ran("grants", "unified-profile", "--database-url", NOWHERE, "--json").stdout)["statements"]
    assert [one["statement"] for one in statements] == printed
    assert len(printed) > 20


def test_what_is_there_already_is_not_created_again():
    """`--update` leaves out the roles; on MongoDB it changes them."""
    again = ran("grants", "unified-profile", "--database-url", NOWHERE, "--update").stdout
    assert "CREATE ROLE" not in again
    assert "GRANT" in again
    mongo = ran("grants", "coaching-redesign", "--database-url", "mongodb://127.0.0.1:1/app", "--update").stdout
    assert "updateRole" in mongo
    assert "create" not in re.sub(r"createCollection|createIndex", "", mongo)


def test_two_roles_of_one_name_are_refused():
    """An owner that works as well could turn the triggers off."""
    with pytest.raises(BacktrailError, match="must be different roles"):
        ran("grants", "unified-profile", "--database-url", NOWHERE, "--worker", "x", "--owner", "x")


def test_on_sqlite_it_says_that_the_owner_of_the_file_wins(tmp_path):
    """And what to do about it; exit code 0."""
    result = ran("grants", "unified-profile", "--database-url", f"sqlite:///{tmp_path}/it's.db")
    assert result.exit_code == 0
    assert "whoever may write the file may drop the triggers" in result.stdout
    assert "chmod 660 '" in result.stdout
    assert "it'\\''s.db'" in result.stdout


PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.mark.parametrize(
    ("language", "migration", "url"),
    [("sql", "unified-profile", NOWHERE), ("text", "coaching-redesign", "mongodb://127.0.0.1:1/app?replicaSet=rs0")],
)
def test_the_page_on_operations_shows_what_is_printed(language, migration, url):
    """Word for word."""
    shown = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert ran("grants", migration, "--database-url", url).stdout.rstrip() + "\n" in shown


# -- a whole campaign -------------------------------------------------------------------------------------------------


@pytest.fixture
def apart(postgres) -> Iterator[Production]:
    """The bundled migration's sample, expanded, with every role apart."""
    with production(postgres) as one:
        create(one.url)
        one.begin([UNIFIED])
        expand(one.owner, UnifiedProfile)
        one.grant([UNIFIED])
        yield one


def create(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        sample.create(connection, USERS)
    engine.dispose()


def expand(url: str, migration: type[Migration]) -> None:
    with closing(open_store(url, lock_timeout_ms=1000)) as store:
        assert expansion(Ledger(store), migration()).expand(by="me", reason=None)


def flag(url: str, key: str, name: str = "unified-profile") -> bool:
    with psycopg.connect(url) as connection:
        return is_migrated(connection, name, key)


def test_a_whole_campaign_runs_with_every_role_apart(apart):
    """The worker's role migrates, verifies, rolls back, redoes and shows; the application reads the flag; a reader looks on."""
    old = ("users", "context_profiles", "profiles", "chat_messages")
    key = apart.query("SELECT id FROM users ORDER BY id")[0][0]
    with closing(Engine(apart.worker)) as engine:
        before = engine.dump(*old)
        assert len(before) > USERS
        done = engine.migrate(UnifiedProfile)
        assert (done["state"], done["migrated"], done["failed"]) == ("completed", USERS, 0)
        assert flag(apart.application, key)
        for url in (apart.worker, apart.reader):
            for command in (
                ["verify", "unified-profile"],
                ["status"],
                ["history", "unified-profile", key],
                ["notes", "unified-profile"],
            ):
                result = ran(*command, "--json", "--database-url", url)
                assert result.exit_code == 0, result.output
        back = engine.rollback(UnifiedProfile)
        assert (back["state"], back["rolled_back"]) == ("completed", USERS)
        assert not flag(apart.application, key)
        assert engine.dump(*old) == before
        assert engine.query("SELECT count(*) FROM unified_profiles") == [(0,)]
        assert engine.redo(UnifiedProfile, back["campaign"])["migrated"] == USERS


def test_others_are_told_what_they_may_not(apart):
    """The application opens nothing, a reader changes nothing, and PUBLIC has no right at all in the ledger."""
    with closing(Engine(apart.reader)) as engine, pytest.raises(PermissionMissing):
        engine.migrate(UnifiedProfile)
    assert apart.query("SELECT count(*) FROM backtrail.campaigns") == [(0,)]
    public = apart.query(
        "SELECT 'x' FROM pg_namespace, aclexplode(nspacl) a WHERE nspname LIKE 'backtrail%' AND a.grantee = 0 UNION ALL"
        " SELECT 'x' FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace, aclexplode(relacl) a"
        " WHERE nspname LIKE 'backtrail%' AND a.grantee = 0 UNION ALL"
        " SELECT 'x' FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace,"
        " aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE nspname LIKE 'backtrail%' AND a.grantee = 0"
    )
    assert public == []


class Notes(Migration):
    """Moves the notes of people, some of whom others refer to."""

    name = "notes"
    keys = Keys("people", "id")
    reads = (Rows("people", by="id"), Rows("letters", by="person"))
    writes = ("notes",)
    invariants = (Invariant("none", "SELECT 1 FROM rules WHERE false"),)

    def migrate(self, entity):
        """A note for each letter, with a key of its own."""
        for letter in entity.rows("letters"):
            entity.create("notes", {"person": entity.key, "body": entity.recall("body", str.upper, letter["body"])})


SMALL = """
CREATE SCHEMA app;
CREATE TABLE people (id integer PRIMARY KEY);
CREATE TABLE letters (id integer PRIMARY KEY, person integer, body text);
CREATE TABLE notes (id serial PRIMARY KEY, person integer, body text);
CREATE TABLE app.links (note integer REFERENCES notes);
CREATE TABLE rules (id integer);
"""

NEEDED = [
    *(f"SELECT ON backtrail.{name}" for name in ("campaigns", "batches", "streams", "events", "shapes", "recalls", "version")),
    *(
        f"INSERT ON backtrail.{name}"
        for name in ("campaigns", "batches", "streams", "events", "shapes", "recalls", "workers", "leases", "rejected")
    ),
    *(f"UPDATE ON backtrail.{name}" for name in ("campaigns", "batches", "streams", "workers", "leases")),
    *(f"{right} ON backtrail.workers" for right in ("SELECT", "DELETE")),
    *(f"{right} ON backtrail.rejected" for right in ("SELECT", "DELETE")),
    "SELECT ON backtrail.leases",
    *(f"USAGE ON SEQUENCE backtrail.{name}_id_seq" for name in ("campaigns", "streams", "shapes", "rejected")),
    *(f"USAGE ON SCHEMA {name}" for name in ("app", "backtrail")),
    *(f"SELECT ON {name}" for name in ("people", "letters", "notes", "rules", "app.links")),
    *(f"{right} ON notes" for right in ("INSERT", "UPDATE", "DELETE")),
    "UPDATE (id) ON people",
    "UPDATE (person) ON letters",
    "USAGE ON SEQUENCE notes_id_seq",
]
"""Everything that a worker is granted, as the campaign below needs it; what stands here is compared with what is printed."""

ELSEWHERE = [
    *(f"{right} ON backtrail.{name}" for name in ("leaves", "nodes", "checkpoints") for right in ("SELECT", "INSERT")),
    *(f"{right} ON backtrail.lookup" for right in ("SELECT", "INSERT", "UPDATE")),
    "DELETE ON backtrail.recalls",
    *(f"{right} ON backtrail_keys.subjects" for right in ("SELECT", "INSERT", "UPDATE", "DELETE")),
    "USAGE ON SCHEMA backtrail_keys",
]
"""What only checkpoints, encryption and erasure need, which are not part of the campaign below."""


@pytest.fixture(scope="module")
def small(postgres_url) -> Iterator[Production]:
    """A database of which each single grant can be taken away."""
    with servers.postgres_database(postgres_url) as url, production(url) as one:
        with closing(Engine(url)) as admin:
            admin.script(SMALL)
            found = admin.found(Notes)
        one.begin([found])
        with closing(open_store(one.owner, lock_timeout_ms=1000)) as store:
            Ledger(store).create()
        one.grant([found])
        yield one


def trip(one: Production) -> None:
    """A campaign there and back for somebody new, into a table of a new form, and all else that a worker and its companion do."""
    with psycopg.connect(one.url) as connection:
        (number,) = connection.execute(
            "INSERT INTO people SELECT coalesce(max(id), 0) + 1 FROM people RETURNING id"
        ).fetchone() or (0,)
        connection.execute(f"INSERT INTO letters VALUES ({number}, {number}, 'a')")
        connection.execute(f"ALTER TABLE notes ADD COLUMN more{number} text")
    with closing(Engine(one.worker)) as engine:
        for _ in range(2):
            with engine.store.transaction() as tx:
                engine.ledger.presence.show(tx, "w", {})
                assert engine.ledger.presence.lead(tx, f"lease {number}", "w")
                engine.ledger.presence.alive(tx)
        with engine.store.transaction() as tx:
            engine.ledger.presence.leave(tx, "w")
            engine.ledger.rejections.add(tx, [Rejection(1, "w", "it is no message")])
            engine.ledger.rejections.forget(tx)
        done = engine.migrate(Notes, only=[str(number)])
        demand(done["migrated"] == 1, done)
        source = engine.found(Notes).source
        verified = ran("verify", source, "--only", str(number), "--database-url", one.worker)
        demand(verified.exit_code == 0, verified.output)
        back = engine.rollback(Notes, only=[str(number)])
        demand(back["rolled_back"] == 1, back)


class Unfinished(Exception):
    """What was said by what did not come to its end."""


def demand(true: bool, said: object) -> None:
    if not true:
        raise Unfinished(said)


def test_what_is_printed_is_enough_for_keys_of_sequences_and_for_rows_that_refer_to_others(small):
    """Names come from the database: the sequence of a serial key, and the tables of other schemas that refer to what is written."""
    trip(small)
    worker = f'"{small.roles.worker}"'
    with psycopg.connect(small.url) as connection:
        connection.execute(f"SET ROLE {worker}")  # type: ignore[arg-type]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("UPDATE letters SET body = ''")


@pytest.mark.long
@pytest.mark.parametrize("grant", NEEDED)
def test_nothing_that_is_granted_could_be_left_out(small, grant, monkeypatch):
    """Without it the campaign, its way back or its verification does not come to its end; with it again, the next one does."""
    monkeypatch.setattr(engines, "ROUNDS", 5)
    monkeypatch.setattr(tasks, "PATIENCE_S", 0.0)
    with psycopg.connect(small.url, autocommit=True) as connection:
        connection.execute(f'REVOKE {grant} FROM "{small.roles.worker}"')  # type: ignore[arg-type]
        try:
            with pytest.raises(
                (BacktrailError, AssertionError, Unfinished), match=r"permission denied|stuck|cannot even be read"
            ):
                trip(small)
        finally:
            connection.execute(f'GRANT {grant} TO "{small.roles.worker}"')  # type: ignore[arg-type]
            connection.execute("UPDATE backtrail.campaigns SET state = 'cancelled' WHERE state <> 'completed'")


def test_nothing_else_is_granted(small):
    """The list above is all that the database says of the worker's role."""
    acl = (
        "SELECT a.privilege_type || ' ON ' || {what} FROM {of}, aclexplode({acl}) a JOIN pg_roles r ON r.oid = a.grantee"
        f" WHERE rolname = '{small.roles.worker}'"
    )
    table = "c.oid::regclass::text"
    found = small.query(
        " UNION ALL ".join(
            [
                acl.format(what=f"CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END || {table}", of="pg_class c", acl="relacl"),
                acl.format(what="'SCHEMA ' || nspname", of="pg_namespace", acl="nspacl"),
                acl.format(what=table, of="pg_class c JOIN pg_attribute t ON attrelid = c.oid", acl="attacl").replace(
                    "|| ' ON", "|| ' (' || attname || ') ON", 1
                ),
            ]
        )
    )
    assert sorted(one for (one,) in found) == sorted([*NEEDED, *ELSEWHERE, "USAGE ON SCHEMA public"])
