"""What cannot be taken back is the author's mistake, told before anything is done."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from backtrail.errors import AuthorMistake
from tests.backtrail.schema.scene import refused

REUSED = sa.Column("t", sa.Integer, sa.ForeignKey("teams.id"))
sa.Table("elsewhere", sa.MetaData(), REUSED)


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
        (lambda schema: schema.create_index("i", "users", ["team"], postgresql_concurrently=True), "leave it out"),
        (lambda schema: schema.add_column("users", sa.Column("t", sa.Text, unique=True)), "steps of their own"),
        (lambda schema: schema.add_column("users", sa.Column("t", sa.Integer, sa.Identity())), "let migrate fill it"),
        (lambda schema: schema.add_column("users", REUSED), "write it as a new Column"),
        (lambda schema: schema.create_primary_key("pk", "users", ["team"]), "is not recorded"),
        (lambda schema: schema.bulk_insert(sa.table("teams", sa.column("id")), [{"id": 5}]), "is not recorded"),
        (lambda schema: schema.get_bind(), "not be recorded"),
        (lambda schema: schema.batch_alter_table("users"), "is not recorded"),
    ],
)
def test_what_has_no_inverse_is_refused_with_its_mend(engine, body, mend):
    assert mend in refused(engine, body, AuthorMistake)
