"""Taking back: exactly what was added, or nothing while somebody's rows or objects are in it."""

from __future__ import annotations

import sqlalchemy as sa

from backtrail.schema import Schema
from tests.backtrail.schema.scene import dump, missing, performed, sql, undo_refused, undone


def test_undo_refuses_while_others_rows_are_in_a_created_table(engine):
    """The table and the count are named; once the row is gone, undo goes through."""

    def body(schema: Schema) -> None:
        schema.create_table("tags", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Text))
        schema.insert("tags", [{"id": 1}])

    before = dump(engine)
    steps = performed(engine, body)
    sql(engine, "INSERT INTO tags VALUES (2, 'secret')")
    assert undo_refused(engine, steps).startswith("tags holds 1 rows that expand did not insert: ")
    sql(engine, "DELETE FROM tags WHERE id = 2")
    undone(engine, steps)
    assert dump(engine) == before


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
    assert missing(engine, steps) == [
        "table tags",
        "1 rows of colours that expand inserted",
        "column users.a",
        "index ix_team of users",
    ]
    undone(engine, steps)
    assert dump(engine) == before


def test_several_statements_take_one_back_or_none(engine):
    """`undo` is text, a construct with values, or several; the last undo of all is an empty one."""

    def body(schema: Schema) -> None:
        back = [sa.text("DELETE FROM teams WHERE name = :name").bindparams(name="10:30"), "DELETE FROM teams WHERE id = 6"]
        schema.execute("INSERT INTO teams VALUES (5, '10:30'), (6, 'b')", undo=back)
        schema.execute(sa.text("UPDATE teams SET name = name WHERE id = :id").bindparams(id=1), undo=())

    steps = performed(engine, body)
    assert sql(engine, "SELECT id FROM teams ORDER BY id") == [(1,), (5,), (6,)]
    undone(engine, steps)
    assert sql(engine, "SELECT id FROM teams") == [(1,)]


def test_another_migrations_step_on_top_survives(engine):
    """Only what the steps added goes, though a later one changed the same table."""
    before = dump(engine)
    mine = performed(engine, lambda schema: schema.add_column("users", sa.Column("mine", sa.Text)))
    theirs = performed(engine, lambda schema: schema.create_unique_constraint("theirs", "users", ["team"]))
    undone(engine, mine)
    assert missing(engine, theirs) == []
    assert missing(engine, mine) == ["column users.mine"]
    undone(engine, theirs)
    assert dump(engine) == before


def test_postgres_constraints_are_found_by_their_names(postgres_engine):
    steps = performed(postgres_engine, lambda schema: schema.create_check_constraint("c", "users", "id > 0"))
    assert missing(postgres_engine, steps) == []
    sql(postgres_engine, "ALTER TABLE users DROP CONSTRAINT c")
    assert missing(postgres_engine, steps) == ["constraint c of users"]
    undone(postgres_engine, steps)


def test_postgres_an_altered_column_goes_back_only_if_nobody_altered_it_since(postgres_engine):
    before = dump(postgres_engine)
    steps = performed(
        postgres_engine, lambda schema: schema.alter_column("users", "full_name", server_default=sa.text("upper('z')"))
    )
    sql(postgres_engine, "ALTER TABLE users ALTER full_name SET DEFAULT 'other'")
    assert "column users.full_name is not as expand left it" in undo_refused(postgres_engine, steps)
    assert missing(postgres_engine, steps) == ["column users.full_name as expand left it"]
    sql(postgres_engine, "ALTER TABLE users ALTER full_name SET DEFAULT upper('z')")
    undone(postgres_engine, steps)
    assert dump(postgres_engine) == before


def test_postgres_dependents_are_told_in_one_line(postgres_engine):
    steps = performed(postgres_engine, lambda schema: schema.create_table("base", sa.Column("id", sa.Integer, primary_key=True)))
    sql(postgres_engine, "CREATE VIEW later AS SELECT * FROM base")
    assert "other objects or rows depend on it" in undo_refused(postgres_engine, steps)
