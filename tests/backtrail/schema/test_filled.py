"""What stands in an added column: the database's own doing, or somebody's."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from backtrail.errors import AuthorMistake
from tests.backtrail.schema.scene import dump, performed, refused, sql, undo_refused, undone


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (sa.Column("extra", sa.Text), "''"),
        (sa.Column("extra", sa.Integer, server_default="3"), "4"),
        (sa.Column("extra", sa.Text, server_default="3"), "'3.0'"),
        (sa.Column("extra", sa.Boolean, nullable=False, server_default=sa.false()), "true"),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_undo_refuses_while_an_added_column_holds_values(engine, column, value, empty):
    """Values other than NULL and the default are somebody's; the default itself is the database's, in later rows too."""
    if empty:
        sql(engine, "DELETE FROM users")
    before = dump(engine)
    steps = performed(engine, lambda schema: schema.add_column("users", column))
    sql(engine, "INSERT INTO users (id) VALUES (8), (9)")
    old = sql(engine, "SELECT extra FROM users WHERE id = 8")[0][0]
    sql(engine, f"UPDATE users SET extra = {value} WHERE id = 8")
    assert undo_refused(engine, steps).startswith("1 rows of users hold values in extra that expand did not put there: ")
    sql(engine, "UPDATE users SET extra = :old WHERE id = 8", old=old)
    with_rows = dump(engine)
    undone(engine, steps)
    assert dump(engine) != with_rows
    sql(engine, "DELETE FROM users WHERE id > 7")
    assert dump(engine) == before


def test_postgres_a_default_of_the_moment_is_known_again(postgres_engine):
    """now() gave the old rows the time of the expand: it is theirs, not data."""
    before = dump(postgres_engine)
    column = sa.Column("seen", sa.DateTime(timezone=True), server_default=sa.func.now())
    steps = performed(postgres_engine, lambda schema: schema.add_column("users", column))
    sql(postgres_engine, "UPDATE users SET seen = now() WHERE id = 2")
    assert "1 rows of users hold values in seen" in undo_refused(postgres_engine, steps)
    sql(postgres_engine, "UPDATE users SET seen = NULL WHERE id = 2")
    undone(postgres_engine, steps)
    assert dump(postgres_engine) == before


def test_postgres_a_default_of_each_rows_own_is_refused(postgres_engine):
    column = sa.Column("public_id", sa.Uuid, server_default=sa.text("gen_random_uuid()"))
    assert "value of its own" in refused(postgres_engine, lambda schema: schema.add_column("users", column), AuthorMistake)
