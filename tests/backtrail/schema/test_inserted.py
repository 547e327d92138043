"""Rows that expand inserts: found again, and not taken away from whoever changed them."""

from __future__ import annotations

import datetime as dt
import decimal

import sqlalchemy as sa

from backtrail.errors import AuthorMistake, UnknownName
from backtrail.schema import Schema
from tests.backtrail.schema.scene import dump, performed, refused, sql, undo_refused, undone


def test_rows_of_odd_keys_and_values_come_and_go(engine):
    """Composite keys, quotes, bytes and numbers are found again exactly."""

    def body(schema: Schema) -> None:
        schema.create_table(
            "odd",
            sa.Column("a", sa.Text, primary_key=True),
            sa.Column("b", sa.LargeBinary, primary_key=True),
            sa.Column("at", sa.DateTime),
            sa.Column("price", sa.Numeric(10, 2)),
        )
        at = dt.datetime(2026, 1, 1, 12)
        schema.insert("odd", [{"a": "it's :x 100% ?\n", "b": b"\x00'", "at": at, "price": decimal.Decimal("1.50")}])
        schema.insert("odd", [{"a": "", "b": b""}])

    steps = performed(engine, body)
    created, inserted = steps[:1], steps[1:]
    assert sql(engine, "SELECT count(*) FROM odd") == [(2,)]
    undone(engine, inserted)
    assert sql(engine, "SELECT count(*) FROM odd") == [(0,)]
    undone(engine, created)


def test_undo_refuses_while_an_inserted_row_was_changed(engine):
    steps = performed(engine, lambda schema: schema.insert("teams", [{"id": 2, "name": "green"}, {"id": 3, "name": "blue"}]))
    sql(engine, "UPDATE teams SET name = 'secret' WHERE id = 3")
    message = undo_refused(engine, steps)
    assert message.startswith("1 rows of teams that expand inserted were changed since: ")
    sql(engine, "DELETE FROM teams WHERE id = 3")
    undone(engine, steps)
    assert sql(engine, "SELECT id FROM teams") == [(1,)]


def test_undo_refuses_while_others_rows_refer_to_an_inserted_one(engine):
    """The database's refusal is told in one line, and nothing of the undo remains."""

    def body(schema: Schema) -> None:
        schema.insert("teams", [{"id": 2, "name": "green"}])
        schema.add_column("users", sa.Column("other", sa.Integer, sa.ForeignKey("teams.id")))

    before = dump(engine)
    steps = performed(engine, body)
    sql(engine, "UPDATE users SET other = 2 WHERE id = 2")
    assert undo_refused(engine, steps[:1]) == "undo of insert teams: other objects or rows depend on it: remove them first"
    sql(engine, "UPDATE users SET other = NULL WHERE id = 2")
    undone(engine, steps)
    assert dump(engine) == before


def test_a_mistyped_column_is_answered_with_the_nearest(engine):
    line = refused(engine, lambda schema: schema.insert("teams", [{"id": 3, "nam": "x"}]), UnknownName)
    assert "did you mean 'name'" in line


def test_a_table_without_key_is_the_authors_mistake(engine):
    def body(schema: Schema) -> None:
        schema.create_table("loose", sa.Column("n", sa.Integer))
        schema.insert("loose", [{"n": 1}])

    assert "no primary key" in refused(engine, body, AuthorMistake)
