"""What the database refuses is told in one line that names the step and holds no value of a row."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa

from backtrail import schema
from backtrail.errors import AuthorMistake, Retry, UnknownName, UsageError
from tests.backtrail.schema.scene import everything, performed, refused, sql


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (lambda schema: schema.create_table("users", sa.Column("id", sa.Integer)), "create_table users: it exists already"),
        (lambda schema: schema.add_column("users", sa.Column("team", sa.Text)), "add_column team on users: it exists already"),
        (lambda schema: schema.create_index("ix_users_lower", "users", ["team"]), "ix_users_lower on users: it exists already"),
        (lambda schema: schema.create_unique_constraint("one_name", "users", ["team"]), "one_name on users: it exists already"),
    ],
)
def test_what_exists_already_is_refused_with_its_name(engine, body, line):
    assert performed(engine, everything)
    assert line in refused(engine, body)


def test_postgres_constraints_that_exist_are_refused_with_their_names(postgres_engine):
    performed(postgres_engine, everything)
    line = refused(postgres_engine, lambda schema: schema.create_check_constraint("named", "users", "id > 0"))
    assert line.startswith("create_check_constraint named on users: it exists already")
    line = refused(postgres_engine, lambda schema: schema.create_foreign_key("fk_team", "users", "teams", ["team"], ["id"]))
    assert line.startswith("create_foreign_key fk_team on users: it exists already")


def test_a_mistyped_name_is_told(engine):
    body = lambda schema: schema.add_column("user", sa.Column("a", sa.Text))  # noqa: E731 # as in the lines below
    assert "did you mean 'users'" in refused(engine, body, UnknownName)
    assert "does not exist" in refused(engine, lambda schema: schema.create_index("ix", "users", ["absent"]))


def test_rows_that_break_a_constraint_refuse_it_without_their_values(engine):
    sql(engine, "INSERT INTO users VALUES (3, 'Secret', 55), (4, 'Secret', 55)")
    bodies = [
        lambda schema: schema.create_unique_constraint("u", "users", ["full_name"]),
        lambda schema: schema.insert("teams", [{"id": 1, "name": "Secret"}]),
    ]
    if engine.dialect.name == "postgresql":
        bodies += [
            lambda schema: schema.create_check_constraint("c", "users", "team < 50"),
            lambda schema: schema.create_foreign_key("f", "users", "teams", ["team"], ["id"]),
        ]
    for body in bodies:
        message = refused(engine, body)
        assert "rows that are there already break it" in message
        assert "ecret" not in message
        assert "55" not in message
    required = sa.Column("a", sa.Text, nullable=False)
    assert "would hold NULL" in refused(engine, lambda schema: schema.add_column("users", required))


def test_the_authors_statements_are_told_by_the_databases_own_words(engine):
    line = refused(engine, lambda schema: schema.execute("SELECTED 1", undo=()))
    assert line.startswith("execute: ")
    assert "syntax error" in line


def test_a_value_that_does_not_fit_is_told_without_it(postgres_engine):
    line = refused(postgres_engine, lambda schema: schema.insert("teams", [{"id": 4, "name": "Secret" * 40}]))
    assert line == "insert teams: the database refused it (StringDataRightTruncation)"
    wrong = refused(postgres_engine, lambda schema: schema.insert("teams", [{"id": object(), "name": "x"}]))
    assert wrong.startswith("insert teams: ")


def test_sqlite_read_only_is_told_in_one_line(sqlite_engine):
    sqlite_engine.dispose()
    readonly = sa.create_engine(f"sqlite:///file:{sqlite_engine.url.database}?mode=ro&uri=true")
    with readonly.connect() as connection, pytest.raises(UsageError, match="may not do this"):
        schema.run(connection, lambda schema: schema.add_column("users", sa.Column("a", sa.Text)))
    readonly.dispose()


def test_alembics_own_refusal_is_the_authors_mistake(engine):
    body = lambda schema: schema.create_table("t", sa.Column("id", sa.Integer), sa.Column("id", sa.Integer))  # noqa: E731 # short
    assert refused(engine, body, AuthorMistake).startswith("create_table t: ")


def test_postgres_permission_is_told_in_one_line(postgres_engine):
    role = f"role_{os.getpid()}"
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
        with pytest.raises(Retry, match="add_column a on users: somebody else holds a lock"):
            schema.run(connection, lambda schema: schema.add_column("users", sa.Column("a", sa.Text)))
