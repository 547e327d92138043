"""What SQLite cannot do to a table that exists is refused in one line that says what to do instead, in a dry run too."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from backtrail import schema
from backtrail.errors import UsageError
from tests.backtrail.schema.scene import dump, performed, refused, sql, undone

MEND = (
    "SQLite cannot change constraints of a table that exists: declare it in create_table, or use a unique index,"
    " or a trigger by execute(…, undo=…)"
)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (lambda schema: schema.create_check_constraint("c", "users", "id > 0"), "create_check_constraint c on users"),
        (lambda schema: schema.create_foreign_key("f", "users", "teams", ["team"], ["id"]), "create_foreign_key f on users"),
        (
            lambda schema: schema.create_unique_constraint("u", "users", ["team"], deferrable=True),
            "create_unique_constraint u on users",
        ),
        (lambda schema: schema.alter_column("users", "team", nullable=False), "alter_column team on users"),
    ],
)
def test_a_constraint_of_a_table_that_exists_is_refused(sqlite_engine, body, what):
    assert refused(sqlite_engine, body) == f"{what}: {MEND}"
    with sqlite_engine.connect() as connection, pytest.raises(UsageError, match="declare it in create_table"):
        schema.script(connection, body)


def test_dropping_a_constraint_is_refused(sqlite_engine):
    line = refused(sqlite_engine, lambda schema: schema.drop_constraint("named", "users"), allow_irreversible=True)
    assert line == f"drop_constraint named on users: {MEND}"


def test_a_unique_constraint_is_a_unique_index(sqlite_engine):
    before = dump(sqlite_engine)
    steps = performed(sqlite_engine, lambda schema: schema.create_unique_constraint("u", "users", ["team"]))
    assert [str(step) for step in steps] == ["create_index u on users"]
    with pytest.raises(sa.exc.IntegrityError):
        sql(sqlite_engine, "UPDATE users SET team = 1")
    undone(sqlite_engine, steps)
    assert dump(sqlite_engine) == before


def test_a_dot_in_the_name_of_a_table_is_part_of_it(sqlite_engine):
    before = dump(sqlite_engine)
    steps = performed(sqlite_engine, lambda schema: schema.create_table("a.b", sa.Column("id", sa.Integer, primary_key=True)))
    assert sql(sqlite_engine, "SELECT count(*) FROM sqlite_master WHERE name = 'a.b'") == [(1,)]
    undone(sqlite_engine, steps)
    assert dump(sqlite_engine) == before
