"""Campaigns and batches as rows: which state follows which, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from backtrail.errors import UnknownName, UsageError
from ledger.campaigns import ARROWS, GOING, UNFINISHED, Campaign, State
from ledger.presence import milliseconds
from ledger.progress import Tally
from tests.engine import Engine

STATES = get_args(State)


def opened(engine: Engine, **values: Any) -> Campaign:
    engine.ledger.create()
    blank = Campaign(
        0, "m", "m", "migrate", "open", {}, {"é": 1}, ("int",), "f", 0, 0, "me", None, None, {}, fed=False, opened_at=1
    )
    with engine.store.transaction() as tx:
        return engine.ledger.campaigns.open(tx, replace(blank, **values))


def get(engine: Engine, campaign: Campaign) -> Campaign:
    with engine.store.transaction(write=False) as tx:
        found = engine.ledger.campaigns.get(tx, campaign.id)
    assert found is not None
    return found


def test_what_is_opened_is_what_is_found(engine: Engine) -> None:
    """Every field comes back, by id and by the name that people use."""
    first, second = opened(engine), opened(engine, reason="why", options={"only": True}, cursor={"after": ["i1"]})
    assert (first.name, second.name) == ("c1", "c2")
    assert get(engine, second) == second
    with engine.store.transaction(write=False) as tx:
        campaigns = engine.ledger.campaigns
        assert campaigns.find(tx, "c2") == campaigns.find(tx, "2") == second
        assert campaigns.all(tx) == [first, second]
        assert campaigns.all(tx, states=["running"]) == campaigns.all(tx, migration="other") == []
        for name in ("c3", "", "c", "cc1", "c²", "-1", "c1 ", "9" * 40):
            with pytest.raises(UnknownName, match="no campaign named"):
                campaigns.find(tx, name)


@pytest.mark.parametrize("before", STATES)
def test_states_follow_the_arrows(engine: Engine, before: State) -> None:
    """From every state exactly the states of the table can be reached, each with its reason written down."""
    assert all(reason for arrows in ARROWS.values() for reason in arrows.values())
    assert set(ARROWS) == set(STATES)
    assert set(UNFINISHED) == {state for state in STATES if ARROWS[state]}
    assert set(GOING) <= set(UNFINISHED)
    for after in STATES:
        campaign = opened(engine, state=before)
        with engine.store.transaction() as tx:
            moved = engine.ledger.campaigns.move(tx, campaign, after, now=5, halted="full disk" if after == "halted" else None)
        now = get(engine, campaign)
        assert moved == (after in ARROWS[before])
        assert now.state == (after if moved else before)
        if moved:
            assert (now.ended_at is not None) == (after in ("completed", "cancelled"))
            assert (now.halted == "full disk") == (after == "halted")


def test_why_it_halted_is_kept_when_it_is_ended_and_gone_when_it_goes_on(engine: Engine) -> None:
    """The reason stays with a campaign that is cancelled, and a campaign that goes on has none."""
    for end, reason in (("cancelled", "full disk"), ("running", None)):
        campaign = opened(engine, state="running")
        with engine.store.transaction() as tx:
            engine.ledger.campaigns.move(tx, campaign, "halted", now=5, halted="full disk")
            engine.ledger.campaigns.move(tx, campaign, end, now=6)  # type: ignore[arg-type]
        assert get(engine, campaign).halted == reason


def test_what_cannot_be_demanded_is_refused(engine: Engine) -> None:
    """`resume` of what is over says so; demanding what is so already does nothing."""
    campaign = opened(engine, state="completed")
    with engine.store.transaction() as tx:
        engine.ledger.campaigns.demand(tx, campaign, "completed", now=5)
        with pytest.raises(UsageError, match="c1 is completed and cannot be running"):
            engine.ledger.campaigns.demand(tx, campaign, "running", now=5)
    assert get(engine, campaign) == campaign


def test_a_batch_given_back_before_it_was_marked_is_sent_again(engine: Engine) -> None:
    """A worker can be faster than the feeder that has just published: its answer counts, not the mark that comes after it."""
    campaign = opened(engine)
    campaigns = engine.ledger.campaigns
    with engine.store.transaction() as tx:
        campaigns.add_batches(tx, campaign, 1, [["1"], ["2"]])
        published = campaigns.unfinished(tx, campaign.id, ("ready",), 9)
        campaigns.give_back(tx, campaign.id, 1)
        campaigns.sent(tx, campaign.id, published, now=8)
        assert [one.number for one in campaigns.unfinished(tx, campaign.id, ("ready",), 9)] == [1]
        assert [one.number for one in campaigns.unfinished(tx, campaign.id, ("sent",), 9)] == [2]


def test_a_batch_refused_before_it_was_marked_is_sent_again(engine: Engine) -> None:
    """Some seconds later, as any that was refused; and at once when somebody says that the campaign goes on."""
    campaign = opened(engine)
    campaigns = engine.ledger.campaigns
    with engine.store.transaction() as tx:
        campaigns.add_batches(tx, campaign, 1, [["1"]])
        published = campaigns.unfinished(tx, campaign.id, ("ready",), 9)
    with engine.store.transaction() as tx:
        refused = milliseconds(tx)
        campaigns.give_back(tx, campaign.id, 1, "other code")
    with engine.store.transaction() as tx:
        campaigns.sent(tx, campaign.id, published, now=refused)
        assert campaigns.unfinished(tx, campaign.id, ("ready",), 9, refused_before=refused) == []
        assert len(campaigns.unfinished(tx, campaign.id, ("ready",), 9, refused_before=refused + 60_000)) == 1
    with engine.store.transaction() as tx:
        campaigns.recall_sent(tx, campaign.id)
    with engine.store.transaction(write=False) as tx:
        assert len(campaigns.unfinished(tx, campaign.id, ("ready",), 9, refused_before=refused)) == 1
        assert campaigns.notes(tx, campaign.id) == []


def test_batches_are_counted_by_what_became_of_them(engine: Engine) -> None:
    """Ready, sent and done batches, their attempts, and the sums of their tallies."""
    campaign = opened(engine)
    campaigns = engine.ledger.campaigns
    with engine.store.transaction() as tx:
        campaigns.add_batches(tx, campaign, 1, [["1", "2"], ["é"], ["4", "5", "6"]])
        campaigns.add_skipped(tx, campaign, 4, 10, now=7)
        ready = campaigns.unfinished(tx, campaign.id, ("ready",), 2)
        campaigns.sent(tx, campaign.id, ready, now=8)
        batch = campaigns.claim(tx, campaign.id, 1)
        assert batch is not None
        assert (batch.keys, batch.attempts, batch.sent_at) == (["1", "2"], 1, 8)
        campaigns.finish(tx, batch, Tally(migrated=1, failed=1, conflicts=1), now=9)
        campaigns.give_back(tx, campaign.id, 1, "too late")
        campaigns.give_back(tx, campaign.id, 2, "other code")
        campaigns.sent(tx, campaign.id, campaigns.unfinished(tx, campaign.id, ("ready",), 1), now=10)
        assert campaigns.claim(tx, campaign.id, 99) is None
        assert campaigns.last_number(tx, campaign.id) == 4
    with engine.store.transaction(write=False) as tx:
        progress = campaigns.progress(tx, [campaign.id, 77])
        assert [one.number for one in campaigns.unfinished(tx, campaign.id, ("sent",), 9)] == [2]
        assert campaigns.unfinished(tx, campaign.id, ("sent",), 9, sent_before=10) == []
        assert campaigns.notes(tx, campaign.id) == ["other code"]
        assert [one.keys for one in campaigns.keys_of(tx, campaign.id, 1, 2)] == [["é"], ["4", "5", "6"]]
        assert campaigns.owns(tx, campaign.id, {"é", "1"})
        assert not campaigns.owns(tx, campaign.id, {"1", "2"}), "the batch with those is done"
    own = progress[campaign.id]
    assert (own.planned, own.ready, own.sent, own.done) == (16, 1, 1, 2)
    assert own.tally == Tally(migrated=1, failed=1, conflicts=1, skipped=10)
    assert progress[77].planned == 0


def test_a_tally_counts_entities() -> None:
    """An entity with three conflicts counts once; what is shown is what matters."""
    tally = Tally()
    tally.add("migrated", {"conflict": 3})
    tally.add("failed")
    tally.add("skipped", {"unmapped": 1})
    assert (tally.done, tally.conflicts, tally.unmapped) == (3, 1, 1)
    assert str(tally) == "ok=1 skipped=1 failed=1"
    assert str(Tally()) == "ok=0"
