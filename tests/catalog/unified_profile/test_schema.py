"""`expand` makes the tables that the plan describes, beside the old ones, and the invariants hold on them from the beginning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from backtrail.catalog.unified_profile import sample
from backtrail.catalog.unified_profile.fields import COLUMNS, CONTEXTS, INTENT_COLUMNS, PROFILE_COLUMNS, SHARED
from backtrail.catalog.unified_profile.migration import UnifiedProfile

NEW = {"unified_profiles": PROFILE_COLUMNS, "context_intents": INTENT_COLUMNS}


@pytest.fixture
def connection(database: str) -> Iterator[sa.Connection]:
    """A connection to a database with the old tables, filled, and the new ones, empty."""
    engine = sa.create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.commit()
        with connection.begin():
            sample.create(connection, 20)
            UnifiedProfile().expand(Operations(MigrationContext.configure(connection)))
        with connection.begin():
            yield connection
    engine.dispose()


def some_user(connection: sa.Connection) -> str:
    found: str = connection.execute(sa.select(sample.users.c.id).limit(1)).scalar_one()
    return found


def insert(connection: sa.Connection, table: str, **values: Any) -> None:
    marks = ", ".join(f":{name}" for name in values)
    connection.execute(sa.text(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"), values)


def test_the_columns_are_the_plans_in_snake_case(connection):
    inspector = sa.inspect(connection)
    for table, columns in NEW.items():
        assert tuple(column["name"] for column in inspector.get_columns(table)) == columns
        assert inspector.get_pk_constraint(table)["constrained_columns"] == ["id"]


def test_every_field_has_a_column_of_its_own():
    fields = [*SHARED, *(field for own in CONTEXTS.values() for field in own)]
    assert len(fields) == len(set(fields)) == len(set(COLUMNS.values())) == len(COLUMNS) == 28
    assert set(COLUMNS) == set(fields)
    for field, column in COLUMNS.items():
        assert column == "".join("_" + letter.lower() if letter.isupper() else letter for letter in field)


def test_what_is_left_out_takes_the_plans_defaults(connection):
    insert(connection, "unified_profiles", id="p", user_id=some_user(connection))
    row = connection.execute(sa.text("SELECT * FROM unified_profiles")).mappings().one()
    empty = {"core_values": [], "beliefs": {}, "interaction_style": {}, "lifestyle": {}, "constraints": [], "missing": []}
    found = {name: row[name] for name in empty}
    assert found == (empty if connection.dialect.name == "postgresql" else {name: str(value) for name, value in empty.items()})
    assert (row["completeness"], row["location"], row["legacy_data"]) == (0, None, None)
    assert row["created_at"] is not None


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("unified_profiles", [{"id": "a"}, {"id": "b"}]),
        ("context_intents", [{"id": "a", "context_type": "romantic"}, {"id": "b", "context_type": "romantic"}]),
        ("context_intents", [{"id": "a"}]),
        ("unified_profiles", [{"id": "a", "completeness": 101}]),
        ("context_intents", [{"id": "a", "context_type": "romantic", "completeness": -1}]),
        ("unified_profiles", [{"id": "a", "user_id": "nobody"}]),
        ("context_intents", [{"id": "a", "context_type": "romantic", "user_id": "nobody"}]),
    ],
)
def test_the_database_refuses_what_the_plan_forbids(connection, table, values):
    user = some_user(connection)
    *fine, wrong = ({"user_id": user, **row} for row in values)
    for row in fine:
        insert(connection, table, **row)
    with pytest.raises(sa.exc.IntegrityError):
        insert(connection, table, **wrong)


def test_a_user_who_goes_takes_profile_and_intents_along(connection):
    insert(connection, "users", id="gone", name="Zoë", email="z@example.org", created_at="2024-01-01 00:00:00")
    insert(connection, "unified_profiles", id="p", user_id="gone")
    insert(connection, "context_intents", id="i", user_id="gone", context_type="service")
    connection.execute(sa.text("DELETE FROM users WHERE id = 'gone'"))
    assert [connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar() for table in NEW] == [0, 0]


def test_the_invariants_hold_before_anything_is_migrated(connection):
    for invariant in UnifiedProfile.invariants:
        assert connection.execute(sa.text(str(invariant.query))).all() == [], invariant.name


def test_an_intent_without_a_profile_breaks_an_invariant(connection):
    insert(connection, "context_intents", id="i", user_id=some_user(connection), context_type="service")
    broken = [one.name for one in UnifiedProfile.invariants if connection.execute(sa.text(str(one.query))).all()]
    assert broken == ["every user with an intent has a profile"]


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("one profile per user", "INSERT INTO unified_profiles SELECT * FROM unified_profiles"),
        ("one intent per user and context", "INSERT INTO context_intents SELECT * FROM context_intents"),
        ("every profile has its user", "UPDATE unified_profiles SET user_id = 'nobody'"),
        ("every intent has its user and a context", "UPDATE context_intents SET context_type = ''"),
        ("every intent has its user and a context", "UPDATE context_intents SET user_id = 'nobody'"),
        ("profiles are 0 to 100 % complete", "UPDATE unified_profiles SET completeness = 101"),
        ("intents are 0 to 100 % complete", "UPDATE context_intents SET completeness = -1"),
        ("every chat message has its context profile", "UPDATE chat_messages SET context_profile_id = 'nowhere'"),
    ],
)
def test_each_invariant_finds_what_it_is_for(name, statement):
    connection = sa.create_engine("sqlite://").connect()
    # Tables without any constraint, so that what the real ones refuse can be in them.
    for table, columns in {
        **NEW,
        "users": ("id",),
        "context_profiles": ("id",),
        "chat_messages": ("id", "context_profile_id"),
    }.items():
        connection.exec_driver_sql(f"CREATE TABLE {table} ({', '.join(columns)})")
    insert(connection, "users", id="u")
    insert(connection, "context_profiles", id="x")
    insert(connection, "chat_messages", id="m", context_profile_id="x")
    insert(connection, "unified_profiles", id="p", user_id="u", completeness=0)
    insert(connection, "context_intents", id="i", user_id="u", context_type="service", completeness=0)

    def broken() -> list[str]:
        return [one.name for one in UnifiedProfile.invariants if connection.execute(sa.text(str(one.query))).all()]

    assert broken() == []
    connection.exec_driver_sql(statement)
    assert name in broken()
