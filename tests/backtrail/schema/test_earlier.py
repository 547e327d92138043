"""A second run does nothing, an extended one only adds, and a changed one is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from backtrail import schema
from backtrail.errors import UsageError
from backtrail.schema import Schema
from tests.backtrail.schema.scene import dump, everything, performed, undone


def test_a_second_expand_changes_nothing(engine):
    steps = performed(engine, everything)
    before = dump(engine)
    assert performed(engine, everything, done=steps) == []
    assert dump(engine) == before


def test_an_extended_expand_does_only_what_is_new(engine):
    """Values that differ on every call are no change of the author's, and new rows are bound by the types he gave."""

    def first(schema: Schema) -> None:
        schema.create_table("colours", sa.Column("id", sa.Integer, primary_key=True), sa.Column("made", sa.Uuid))
        schema.insert("colours", [{"id": 1, "made": uuid.uuid4()}])

    def extended(schema: Schema) -> None:
        first(schema)
        schema.insert("colours", [{"id": 2, "made": uuid.UUID(int=1)}])

    before = dump(engine)
    steps = performed(engine, first)
    more = performed(engine, extended, done=steps)
    assert [str(step) for step in more] == ["insert colours"]
    undone(engine, [*steps, *more])
    assert dump(engine) == before


def test_a_step_that_was_done_cannot_become_another_one_nor_vanish(engine):
    def with_type(kind: type[sa.types.TypeEngine[object]]) -> Callable[[Schema], None]:
        return lambda schema: schema.add_column("users", sa.Column("first_name", kind))

    steps = performed(engine, with_type(sa.Text))
    line = "add_column first_name on users and is now written differently: add new steps at the end"
    with pytest.raises(UsageError, match=line):
        performed(engine, with_type(sa.Integer), done=steps)
    with pytest.raises(UsageError, match="and is now create_index ix on users"):
        performed(engine, lambda schema: schema.create_index("ix", "users", ["team"]), done=steps)
    with pytest.raises(UsageError, match="is not asked for any more"):
        performed(engine, lambda schema: None, done=steps)


def test_the_script_of_an_extended_expand_shows_only_what_is_new(engine):
    def body(schema: Schema) -> None:
        schema.add_column("users", sa.Column("a", sa.Text))
        schema.add_column("users", sa.Column("b", sa.Text))

    steps = performed(engine, body)
    with engine.connect() as connection:
        lines = schema.script(connection, body, done=steps[:1])
    assert len(lines) == 1
    assert "ADD COLUMN b TEXT" in lines[0]
