"""The sample is what it says it is: as many users, the same ones every time, and as many odd ones as the plan's edge cases need."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from backtrail.catalog.unified_profile import sample
from backtrail.catalog.unified_profile.fields import CONTEXTS
from backtrail.catalog.unified_profile.merge import aggregate_shared_data, unmapped_fields
from backtrail.catalog.unified_profile.sample import chat_messages, context_profiles, create, profiles, users

USERS = 4000


def dump(url: str, number: int, seed: int) -> dict[str, list[tuple[Any, ...]]]:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            create(connection, number, seed)
        with engine.connect() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(table.c.id))]
                for table in sample.old_tables.sorted_tables
            }
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Any]]:
    """The rows of a sample by table."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        create(connection, USERS)
        return {
            table.name: connection.execute(sa.select(table)).all() for table in (users, context_profiles, profiles, chat_messages)
        }


def test_there_are_as_many_users_as_asked_for_in_the_order_of_their_ids(rows):
    ids = [row.id for row in rows["users"]]
    assert len(set(ids)) == USERS
    assert ids == sorted(ids)


def test_users_have_two_to_three_contexts_and_a_dozen_fields_in_each(rows):
    assert 2 < len(rows["context_profiles"]) / USERS < 3
    fields = sum(len(row.data) for row in rows["profiles"]) / len(rows["profiles"])
    assert 10 < fields < 13
    assert {row.context_type for row in rows["context_profiles"]} == {*CONTEXTS, "travel"}


def test_chat_messages_are_linked_to_context_profiles_and_some_have_several(rows):
    linked = Counter(row.context_profile_id for row in rows["chat_messages"])
    assert set(linked) <= {row.id for row in rows["context_profiles"]}
    assert set(linked.values()) == {1, 2, 3}
    assert 0.25 < len(linked) / len(rows["context_profiles"]) < 0.35


def test_the_odd_users_are_as_rare_as_they_should_be(rows):
    contexts: dict[str, list[Any]] = {row.id: [] for row in rows["users"]}
    for row in rows["context_profiles"]:
        contexts[row.user_id].append(row)
    data = {row.context_profile_id: row.data for row in rows["profiles"]}

    def share(odd: Any) -> float:
        return sum(bool(odd(of_user)) for of_user in contexts.values()) / USERS

    def types(of_user: list[Any]) -> list[str]:
        return [row.context_type for row in of_user]

    def conflicting(of_user: list[Any]) -> bool:
        blobs = [data[row.id] for row in of_user if row.id in data]
        timelines = [blob["relationshipTimeline"] for blob in blobs if blob.get("relationshipTimeline")]
        return bool(aggregate_shared_data(blobs).conflicts) or len(set(timelines)) > 1

    assert 0.02 < share(conflicting) < 0.04
    assert 0.03 < share(lambda of_user: any(unmapped_fields(row.context_type, data.get(row.id, {})) for row in of_user)) < 0.08
    assert 0.03 < share(lambda of_user: not of_user) < 0.05
    assert 0.005 < share(lambda of_user: "travel" in types(of_user)) < 0.02
    assert 0.005 < share(lambda of_user: len(set(types(of_user))) < len(of_user)) < 0.02
    assert 0.02 < 1 - len(data) / len(rows["context_profiles"]) < 0.04
    assert any(value is None for blob in data.values() for value in blob.values())


def test_names_are_of_the_whole_world(rows):
    names = {row.name for row in rows["users"]}
    assert {"Zoë", "José", "李雷", "Олена", "Emma 🌻"} <= names


def test_the_same_seed_gives_the_same_rows_and_more_users_the_same_first_ones(tmp_path):
    small, again, other, large = (
        dump(f"sqlite:///{tmp_path / name}.db", number, seed)
        for name, number, seed in (("small", 50, 5), ("again", 50, 5), ("other", 50, 6), ("large", 1200, 5))
    )
    assert json.dumps(small, default=str) == json.dumps(again, default=str)
    assert small["users"] != other["users"]
    assert large["users"][:50] == small["users"]
    assert large["profiles"][: len(small["profiles"])] == small["profiles"]


def test_another_seed_adds_users_to_those_that_are_there(tmp_path):
    url = f"sqlite:///{tmp_path / 'both.db'}"
    assert len(dump(url, 30, 1)["users"]) == 30
    assert len(dump(url, 30, 2)["users"]) == 60


def test_no_users_give_empty_tables(database):
    assert set(map(len, dump(database, 0, 1).values())) == {0}


def test_both_databases_get_the_same_sample(postgres, sqlite):
    def comparable(rows: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[list[str]]]:
        # JSONB orders keys by itself, and SQLite has no time zones.
        return {
            name: [
                [
                    json.dumps(value, sort_keys=True, default=lambda moment: moment.replace(tzinfo=None).isoformat())
                    for value in row
                ]
                for row in sorted(of_table, key=lambda row: row[0].encode())
            ]
            for name, of_table in rows.items()
        }

    on_postgres = comparable(dump(postgres, 300, 1))
    assert on_postgres == comparable(dump(sqlite, 300, 1))
    assert len(on_postgres["profiles"]) > 500


def test_a_large_sample_is_made_in_no_time():
    engine = sa.create_engine("sqlite://")
    began = time.process_time()
    with engine.begin() as connection:
        create(connection, 5000)
    assert time.process_time() - began < 5, "100,000 users would take longer than 100 s: much more than the 20 s meant"
