"""Schema steps: performed as Alembic would, recorded, taken back to the very same text; shown before, and nothing done by that."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from backtrail import schema
from backtrail.schema import Schema
from tests.backtrail.schema.scene import dump, everything, missing, performed, sql, undo_refused, undone


def test_everything_comes_and_goes(engine):
    """Expand and undo give back the same text and the same rows, twice over."""
    before = dump(engine)
    for _ in range(2):
        steps = performed(engine, everything)
        assert len(steps) == (18 if engine.dialect.name == "postgresql" else 14)
        assert missing(engine, steps) == []
        assert dump(engine) != before
        undone(engine, steps)
        assert dump(engine) == before


def test_the_added_constraints_hold(engine):
    """What was added is not only shown, it is enforced, and by other connections too."""
    steps = performed(engine, everything)
    statements = [
        "UPDATE users SET mentor = 77 WHERE id = 1",
        "INSERT INTO users (id, mentor) VALUES (5, 5)",
        "UPDATE profiles SET rank = 0",
        "INSERT INTO users (id, full_name, team) VALUES (5, 'Ada Lovelace', 1)",
    ]
    if engine.dialect.name == "postgresql":
        statements += [
            "UPDATE users SET team = -1 WHERE id = 1",
            "UPDATE users SET team = 77 WHERE id = 1",
            "UPDATE profiles SET kind = NULL",
            'UPDATE "order" SET "Group" = 0',
        ]
    for statement in statements:
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
            sa.Column("tab", sa.Text, server_default="a\tb; %"),
            sa.PrimaryKeyConstraint("x", "y", name="pk"),
            sa.UniqueConstraint("y", "a", name="uq"),
            sa.ForeignKeyConstraint(["a", "y"], ["parts.x", "parts.y"], name="fk_both"),
            sa.CheckConstraint("x <> y"),
        )

    before = dump(engine)
    with engine.begin() as connection:
        body(Operations(MigrationContext.configure(connection)))
    theirs = dump(engine)
    assert theirs != before
    sql(engine, "DROP TABLE parts")
    for _ in range(2):
        steps = performed(engine, body)
        assert dump(engine) == theirs
        undone(engine, steps)
        assert dump(engine) == before


def test_script_shows_and_creates_nothing(engine):
    """A dry run gives the SQL, also for tables that only it would create, and the database stays as it was."""
    before = dump(engine)
    with engine.connect() as connection:
        lines = schema.script(connection, everything)
    assert dump(engine) == before
    text = "\n".join(lines)
    parts = ["CREATE TABLE profiles", "ADD COLUMN first_name TEXT", "ix_profiles_kind", "one_name", ":a %s %", "'50%'"]
    parts += ["CHECK_team", "fk_team"] if engine.dialect.name == "postgresql" else []
    assert [part for part in parts if part not in text] == []
    assert "%%" not in text
    assert text.count("CREATE TYPE kind") == (engine.dialect.name == "postgresql")


def test_what_the_script_shows_is_what_is_run(postgres_engine):
    """A database made by hand from the dry run's lines is the one that `expand` makes."""

    def body(schema: Schema) -> None:
        schema.create_table("tags", sa.Column("id", sa.Integer, primary_key=True), sa.Column("hue", sa.Enum("red", name="hue")))
        schema.insert("tags", [{"id": 1, "hue": "red"}])
        schema.add_column("users", sa.Column("tag", sa.Integer, sa.ForeignKey("tags.id"), server_default="1"))
        schema.create_index("ix_tag", "users", [sa.text("(tag % 10)")], postgresql_where=sa.text("tag > 0"))

    with postgres_engine.connect() as connection:
        lines = schema.script(connection, body)
    undone(postgres_engine, performed(postgres_engine, body))
    steps = performed(postgres_engine, body)
    ours = dump(postgres_engine)
    undone(postgres_engine, steps)
    with postgres_engine.begin() as connection:
        for line in lines:
            connection.exec_driver_sql(line, execution_options={"no_parameters": True})
    assert sorted(re.findall(r"[^;]+;", dump(postgres_engine))) == sorted(re.findall(r"[^;]+;", ours))


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
        if schema.dialect == "postgresql":
            schema.drop_constraint("named", "users", type_="check")
            schema.alter_column("users", "team", type_=sa.BigInteger)
        schema.drop_column("users", "team")
        schema.drop_table("order")
        schema.execute("DELETE FROM users WHERE id = 2")

    steps = performed(engine, body, allow_irreversible=True)
    assert [step.operation for step in steps][-3:] == ["drop_column", "drop_table", "execute"]
    assert sql(engine, "SELECT * FROM users") == [(1, "Ada Lovelace")]
    assert performed(engine, body, done=steps, allow_irreversible=True) == []
    assert "no way back" in undo_refused(engine, steps)


def test_postgres_schemas_types_and_comments(postgres_engine):
    """`schema.table` is split everywhere, and rows are known again in a session of another time zone and other formats."""

    def body(schema: Schema) -> None:
        schema.create_table(
            "My app.Items",
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("mood", sa.Text),
            sa.Column("data", sa.dialects.postgresql.JSONB),
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
        row = {"id": 50, "data": {"k": [1.50, "é"]}, "price": "1.50", "raw": b"\x00\xff", "at": sa.text("'2026-01-01Z'")}
        schema.insert("My app.Items", [row])

    sql(postgres_engine, 'CREATE SCHEMA "My app"')
    before = dump(postgres_engine)
    steps = performed(postgres_engine, body)
    assert {step.schema for step in steps} == {"My app", None}
    assert missing(postgres_engine, steps) == []
    with postgres_engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL timezone = 'Asia/Tokyo'"))
        connection.execute(sa.text("SET LOCAL datestyle = 'German'"))
        connection.execute(sa.text("SET LOCAL bytea_output = 'escape'"))
        schema.undo(connection, steps)
    assert dump(postgres_engine) == before
