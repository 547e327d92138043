"""Where entities come from: every one once, in pages, from a cursor that survives everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtrail import Keys, Migration, Rows
from ledger.campaigns import Campaign
from producer.sources import count, in_sample, is_null, next_page
from tests.engine import Engine, migration


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """The engine on two tables of users, which share one and have some without a key."""
    engine = Engine(database)
    engine.script("CREATE TABLE old (n integer PRIMARY KEY, user_id integer); CREATE TABLE fresh (user_id integer PRIMARY KEY)")
    for number in range(1, 41):
        engine.execute("INSERT INTO old VALUES (?, ?)", number, None if number % 10 == 0 else number % 25)
    engine.script("INSERT INTO fresh VALUES (3), (100), (101)")
    yield engine
    engine.close()


EXPECTED = {str(number % 25) for number in range(1, 41) if number % 10} | {"3", "100", "101"}


def both(**more: Any) -> type[Migration]:
    return migration(
        lambda user: None, keys=(Keys("old", "user_id"), Keys("fresh", "user_id")), reads=(Rows("old", "user_id"),), **more
    )


def paged(engine: Engine, campaign: Campaign, cls: type[Migration], size: int) -> tuple[list[str], int]:
    """The keys of all pages, each from a cursor that went through JSON, and how many were skipped."""
    keys: list[str] = []
    skipped = 0
    while True:
        with engine.store.transaction(write=False) as tx:
            page = next_page(engine.ledger, tx, campaign, cls, size)
        keys += page.keys
        skipped += page.skipped
        campaign = replace(campaign, cursor=json.loads(json.dumps(page.cursor)))
        if page.last:
            return keys, skipped


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_every_key_comes_once(engine: Engine, size: int) -> None:
    """Whatever the size of a page: repeated keys and keys of both sources once, rows without a key never."""
    campaign = engine.open(both(), "migrate")
    keys, skipped = paged(engine, campaign, both(), size)
    assert sorted(keys) == sorted(EXPECTED)
    assert skipped == 0
    assert (campaign.total, campaign.null_keys) == (len(EXPECTED), 4)
    assert sum(campaign.options["nulls"].values()) == 4


@pytest.mark.parametrize("limit", [1, 5, 17, 1000])
def test_a_limit_is_kept_over_pages(engine: Engine, limit: int) -> None:
    """At most so many, whatever the pages; what is skipped does not count."""
    cls = both()
    engine.migrate(cls, only=["1", "2"])
    campaign = engine.open(cls, "migrate", options={"limit": limit})
    keys, _ = paged(engine, campaign, cls, 4)
    assert len(keys) == min(limit, len(EXPECTED) - 2)
    assert not {"1", "2"} & set(keys)


def test_what_is_done_is_skipped_and_counted(engine: Engine) -> None:
    """A second enqueue has nothing to send."""
    cls = both()
    engine.migrate(cls)
    campaign = engine.open(cls, "migrate")
    keys, skipped = paged(engine, campaign, cls, 7)
    assert (keys, skipped) == ([], len(EXPECTED))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_streams_in_a_state(engine: Engine, size: int) -> None:
    """A rollback of all pages over the migrated ones; entities that it has done meanwhile are not sent twice."""
    cls = both()
    engine.migrate(cls)
    engine.rollback(cls, only=["1", "2"])
    campaign = engine.open(cls, "rollback", options={"from": "streams"})
    keys, _ = paged(engine, campaign, cls, size)
    assert sorted(keys) == sorted(EXPECTED - {"1", "2"})
    with engine.store.transaction(write=False) as tx:
        assert count(engine.ledger, tx, campaign) == len(EXPECTED) - 2


@pytest.mark.parametrize("size", [1, 250])
def test_what_one_campaign_did(engine: Engine, size: int) -> None:
    """A rollback of a campaign takes what that campaign did and nobody has done since."""
    cls = both()
    engine.migrate(cls, only=["1", "2"])
    second = engine.migrate(cls)
    engine.rerun(cls, only=["3"])
    campaign = engine.open(cls, "rollback", options={"from": "campaign", "campaign": int(second["campaign"][1:])})
    keys, _ = paged(engine, campaign, cls, size)
    assert sorted(keys) == sorted(EXPECTED - {"1", "2", "3"})


@given(st.lists(st.text(min_size=1), min_size=1, max_size=30, unique=True), st.floats(0.01, 1), st.floats(0.01, 1))
def test_samples_are_the_same_every_time_and_nested(keys: list[str], one: float, other: float) -> None:
    """Whoever is in a smaller share is in every larger one, and all are in the whole."""
    small, large = sorted((one, other))
    assert {key for key in keys if in_sample(key, small)} <= {key for key in keys if in_sample(key, large)}
    assert all(in_sample(key, 1.0) and in_sample(key, None) for key in keys)


def test_a_sample_is_about_as_large_as_its_share() -> None:
    """One in ten of ten thousand."""
    assert 900 < sum(in_sample(str(number), 0.1) for number in range(10_000)) < 1100


def test_keys_that_name_nobody() -> None:
    """NULL, and several columns that are all NULL."""
    assert [is_null(key) for key in (None, (None, None), (None, 1), 0, "", ())] == [True, True, False, False, False, True]


def test_a_rollback_of_a_campaign_takes_up_those_that_are_left(everywhere: Engine) -> None:
    """What drifted, and so was left out or failed, is still the campaign's, and goes back with the same command once it is mended."""
    everywhere.table("users", id=int, name=str)
    everywhere.add("users", (1, "a"), (2, "b"))
    cls = migration(
        lambda user: user.update(user.one("users"), set={"name": "x"}),
        keys=Keys("users", everywhere.id),
        reads=(Rows("users", everywhere.id),),
        writes=("users",),
    )
    options = {"from": "campaign", "campaign": int(everywhere.migrate(cls)["campaign"][1:])}
    everywhere.change("users", {"name": "y"}, id=2)
    state = everywhere.rollback(cls, options=options | {"on_drift": "skip"})
    assert (state["rolled_back"], state["skipped"]) == (1, 1)
    everywhere.change("users", {"name": "x"}, id=2)
    state = everywhere.rollback(cls, options=options)
    assert (state["rolled_back"], state["skipped"]) == (1, 1)
    assert everywhere.rows("users", "name") == [("a",), ("b",)]
