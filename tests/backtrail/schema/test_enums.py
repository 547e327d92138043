"""PostgreSQL's enum types come and go with the first column that is of one; one that was there before stays."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, DOMAIN

from backtrail.errors import AuthorMistake
from backtrail.schema import Schema
from tests.backtrail.schema.scene import dump, performed, refused, sql, undone


def test_only_types_that_are_missing_come_and_go(postgres_engine):
    def body(schema: Schema) -> None:
        schema.create_table(
            "items",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("mood", sa.Enum("good", name="mood")),
            sa.Column("hue", sa.Enum("red", name="Hue", schema="My app")),
        )
        schema.add_column("users", sa.Column("hues", ARRAY(sa.Enum("red", name="Hue", schema="My app"))))
        schema.add_column("users", sa.Column("tone", sa.Enum("a", name="tone"), server_default="a"))

    sql(postgres_engine, 'CREATE SCHEMA "My app"')
    sql(postgres_engine, "CREATE TYPE mood AS ENUM ('good')")
    before = dump(postgres_engine)
    steps = performed(postgres_engine, body)
    assert [(step.inverse or {}).get("types") for step in steps] == [['"My app"."Hue"'], None, ["tone"]]
    undone(postgres_engine, steps)
    assert dump(postgres_engine) == before


def test_a_domain_is_the_authors_to_create(postgres_engine):
    column = sa.Column("zip", DOMAIN("zip", sa.Text))
    assert "create its type by execute" in refused(
        postgres_engine, lambda schema: schema.add_column("users", column), AuthorMistake
    )
