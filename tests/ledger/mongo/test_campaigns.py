"""Campaigns and batches as documents: which state follows which, what is counted, and who waits for whom."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, get_args

import pytest
from bson.int64 import Int64

from backtrail.errors import Retry, UnknownName, UsageError
from ledger.campaigns import ARROWS, Batch, Campaign, State
from ledger.ledger import Ledger
from ledger.progress import COUNTS, Tally
from tests.ledger.mongo.helpers import explained, opened, plain
from tests.servers import until

STATES = get_args(State)
HARD: dict[str, Any] = {"a.b": {"$set": 1}, "": [1, 2.0, 2**80, -0.0, 1e300, None, True], "\0": "é😀", "$x": {"_id": "1"}}


def opened_campaign(ledger: Ledger, **values: Any) -> Campaign:
    blank = Campaign(
        0, "m", "m", "migrate", "open", {}, {"é": 1}, ("int",), "f", 0, 0, "me", None, None, {}, fed=False, opened_at=1
    )
    with ledger.store.transaction() as tx:
        return ledger.campaigns.open(tx, replace(blank, **values))


def get(ledger: Ledger, campaign: Campaign) -> Campaign:
    with ledger.store.transaction(write=False) as tx:
        found = ledger.campaigns.get(tx, campaign.id)
    assert found is not None
    return found


def batches(ledger: Ledger, campaign: Campaign, *keys: list[str]) -> list[Batch]:
    """Committed batches of the campaign, as the feeder looks them up."""
    with ledger.store.transaction() as tx:
        ledger.campaigns.add_batches(tx, campaign, 1, keys)
    with ledger.store.transaction(write=False) as tx:
        return ledger.campaigns.unfinished(tx, campaign.id, ("ready",), 99)


def peek(ledger: Ledger, campaign: Campaign, number: int = 1) -> Batch:
    with ledger.store.transaction(write=False) as tx:
        batch = ledger.campaigns.peek(tx, campaign.id, number)
    assert batch is not None
    return batch


# -- campaigns --------------------------------------------------------------------------------------------------------


def test_what_is_opened_is_what_is_found(ledger: Ledger) -> None:
    """Every field comes back, by id and by the name that people use."""
    first = opened_campaign(ledger)
    second = opened_campaign(
        ledger, reason="why", options=HARD, params=HARD, cursor=HARD, total=2**40, null_keys=3, key_types=("int", "text")
    )
    assert (first.name, second.name) == ("c1", "c2")
    assert get(ledger, second) == second
    assert str(get(ledger, second).params) == str(HARD), "1 and 1.0 and True are equal, and not the same"
    assert type(get(ledger, second).total) is int
    with ledger.store.transaction(write=False) as tx:
        campaigns = ledger.campaigns
        assert campaigns.find(tx, "c2") == campaigns.find(tx, "2") == second
        assert campaigns.all(tx) == [first, second]
        assert campaigns.all(tx, states=["running"]) == campaigns.all(tx, migration="other") == []
        assert campaigns.all(tx, states=["open"], migration="m") == [first, second]
        for name in ("c3", "", "c", "cc1", "c²", "-1", "c1 ", "9" * 40):
            with pytest.raises(UnknownName, match="no campaign named"):
                campaigns.find(tx, name)


@pytest.mark.parametrize("before", STATES)
def test_states_follow_the_arrows(ledger: Ledger, before: State) -> None:
    """From every state exactly the states of the table can be reached."""
    for after in STATES:
        campaign = opened_campaign(ledger, state=before)
        with ledger.store.transaction() as tx:
            moved = ledger.campaigns.move(tx, campaign, after, now=5, halted="$full disk" if after == "halted" else None)
        now = get(ledger, campaign)
        assert moved == (after in ARROWS[before])
        assert now.state == (after if moved else before)
        if moved:
            assert (now.ended_at == 5) == (after in ("completed", "cancelled"))
            assert (now.halted == "$full disk") == (after == "halted")


def test_when_it_started_is_kept(ledger: Ledger) -> None:
    """The first start counts; one that never ran starts when it ends."""
    campaign, other = opened_campaign(ledger), opened_campaign(ledger)
    moves: list[tuple[State, int]] = [("running", 5), ("paused", 6), ("running", 7), ("completed", 8)]
    for state, now in moves:
        with ledger.store.transaction() as tx:
            assert ledger.campaigns.move(tx, campaign, state, now=now)
    with ledger.store.transaction() as tx:
        ledger.campaigns.move(tx, other, "cancelled", now=9)
    assert (get(ledger, campaign).started_at, get(ledger, campaign).ended_at) == (5, 8)
    assert (get(ledger, other).started_at, get(ledger, other).ended_at) == (9, 9)


def test_why_it_halted_is_kept_when_it_is_ended_and_gone_when_it_goes_on(ledger: Ledger) -> None:
    """The reason stays with a campaign that is cancelled, and a campaign that goes on has none."""
    ends: list[tuple[State, str | None]] = [("cancelled", "full disk"), ("running", None)]
    for end, reason in ends:
        campaign = opened_campaign(ledger, state="running")
        with ledger.store.transaction() as tx:
            ledger.campaigns.move(tx, campaign, "halted", now=5, halted="full disk")
            ledger.campaigns.move(tx, campaign, end, now=6)
        assert get(ledger, campaign).halted == reason


def test_what_cannot_be_demanded_is_refused(ledger: Ledger) -> None:
    """`resume` of what is over says so; demanding what is so already does nothing."""
    campaign = opened_campaign(ledger, state="completed")
    with ledger.store.transaction() as tx:
        ledger.campaigns.demand(tx, campaign, "completed", now=5)
        with pytest.raises(UsageError, match="c1 is completed and cannot be running"):
            ledger.campaigns.demand(tx, campaign, "running", now=5)
    assert get(ledger, campaign) == campaign


def test_of_two_that_move_it_at_once_one_tries_again(mongo: str, ledger: Ledger) -> None:
    """Nobody overwrites what the other has decided."""
    campaign, other = opened_campaign(ledger, state="running"), opened(mongo)
    with ledger.store.transaction() as tx:
        ledger.campaigns.move(tx, campaign, "cancelled", now=5)
        with pytest.raises(Retry), other.store.transaction() as second:
            other.campaigns.move(second, campaign, "completed", now=6)
    assert get(ledger, campaign).state == "cancelled"
    other.store.close()


def test_where_the_feeder_is_and_who_moved_it_are_kept(ledger: Ledger) -> None:
    """The cursor, the total, the moves one after another, and the code that it goes on with."""
    campaign = opened_campaign(ledger, options={"batch_size": 7})
    with ledger.store.transaction() as tx:
        ledger.campaigns.advance(tx, campaign, {"after": "$1"}, fed=False)
        ledger.campaigns.advance(tx, campaign, HARD, fed=True, total=12)
        ledger.campaigns.record_move(tx, campaign, {"by": "me"})
    campaign = get(ledger, campaign)
    with ledger.store.transaction() as tx:
        ledger.campaigns.record_move(tx, campaign, {"by": "you"}, fingerprint="new")
    now = get(ledger, campaign)
    assert (str(now.cursor), now.fed, now.total, now.fingerprint) == (str(HARD), True, 12, "new")
    assert now.options == {"batch_size": 7, "moves": [{"by": "me"}, {"by": "you"}]}


# -- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_given_back_before_it_was_marked_is_sent_again(ledger: Ledger) -> None:
    """A worker can be faster than the feeder that has just published: its answer counts, not the mark that comes after it."""
    campaign = opened_campaign(ledger)
    campaigns = ledger.campaigns
    published = batches(ledger, campaign, ["1"], ["2"], ["3"])
    assert len(published) == 3
    with ledger.store.transaction() as tx:
        campaigns.give_back(tx, campaign.id, 1)
    with ledger.store.transaction() as tx:
        done = campaigns.claim(tx, campaign.id, 3)
        assert done is not None
        campaigns.finish(tx, done, Tally(migrated=1), now=7)
    with ledger.store.transaction() as tx:
        campaigns.sent(tx, campaign.id, published, now=8)
    assert [peek(ledger, campaign, number).state for number in (1, 2, 3)] == ["ready", "sent", "done"]


def test_batches_are_counted_by_what_became_of_them(ledger: Ledger) -> None:
    """Ready, sent and done batches, their attempts, and the sums of their tallies, also of what the same transaction has made."""
    campaign = opened_campaign(ledger)
    campaigns = ledger.campaigns
    with ledger.store.transaction() as tx:
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
    with ledger.store.transaction(write=False) as tx:
        progress = campaigns.progress(tx, [campaign.id, 77])
        assert [one.number for one in campaigns.unfinished(tx, campaign.id, ("sent",), 9)] == [2]
        assert campaigns.unfinished(tx, campaign.id, ("sent",), 9, sent_before=10) == []
        assert campaigns.unfinished(tx, campaign.id, ("sent", "done"), 9, refused_before=10) == []
        assert [one.number for one in campaigns.unfinished(tx, campaign.id, ("sent", "ready"), 9, refused_before=11)] == [2, 3]
        assert campaigns.notes(tx, campaign.id) == ["other code"]
        assert [one.keys for one in campaigns.keys_of(tx, campaign.id, 1, 2)] == [["é"], ["4", "5", "6"]]
        assert campaigns.owns(tx, campaign.id, {"é", "1"})
        assert not campaigns.owns(tx, campaign.id, {"1", "2"}), "the batch with those is done"
        assert campaigns.last_number(tx, 77) == 0
        assert campaigns.peek(tx, 77, 1) is None
    own = progress[campaign.id]
    assert (own.planned, own.ready, own.sent, own.done) == (16, 1, 1, 2)
    assert own.tally == Tally(migrated=1, failed=1, conflicts=1, skipped=10)
    assert progress[77].planned == 0


def test_what_was_sent_is_recalled(ledger: Ledger) -> None:
    """Batches that are sent become ready, with no note; those that are done stay."""
    campaign, other = opened_campaign(ledger), opened_campaign(ledger)
    for one in (campaign, other):
        published = batches(ledger, one, ["1"], ["2"])
        with ledger.store.transaction() as tx:
            ledger.campaigns.give_back(tx, one.id, 1, "other code")
        with ledger.store.transaction() as tx:
            ledger.campaigns.sent(tx, one.id, [replace(published[0], attempts=1), published[1]], now=8)
        with ledger.store.transaction() as tx:
            assert ledger.campaigns.notes(tx, one.id) == ["other code"]
    with ledger.store.transaction() as tx:
        ledger.campaigns.recall_sent(tx, campaign.id)
    with ledger.store.transaction(write=False) as tx:
        progress = ledger.campaigns.progress(tx, [campaign.id, other.id])
        assert ledger.campaigns.notes(tx, campaign.id) == []
    assert (progress[campaign.id].ready, progress[other.id].ready, progress[other.id].sent) == (2, 0, 2)


def test_keys_of_any_text_come_back(ledger: Ledger) -> None:
    """Names that a document could not have are keys like others, and campaigns have their own."""
    campaign, other = opened_campaign(ledger), opened_campaign(ledger)
    keys = ["", "a.b", "$set", "\0", "é😀", "\\ud800"]
    batches(ledger, campaign, keys)
    batches(ledger, other, ["o"])
    with ledger.store.transaction(write=False) as tx:
        assert [one.keys for one in ledger.campaigns.keys_of(tx, campaign.id, 0, 9)] == [keys]
        assert ledger.campaigns.last_number(tx, campaign.id) == 1


# -- who waits for whom -----------------------------------------------------------------------------------------------


def test_a_second_worker_on_a_batch_conflicts_at_once(mongo: str, ledger: Ledger) -> None:
    """Before it has done any work; and once the first has committed, it finds the batch done."""
    campaign, other = opened_campaign(ledger), opened(mongo)
    batches(ledger, campaign, ["1"])
    with ledger.store.transaction() as tx:
        batch = ledger.campaigns.claim(tx, campaign.id, 1)
        assert batch is not None
        assert batch.state == "ready"
        with pytest.raises(Retry), other.store.transaction() as second:
            other.campaigns.claim(second, campaign.id, 1)
        ledger.campaigns.finish(tx, batch, Tally(migrated=1), now=7)
    with other.store.transaction() as second:
        late = other.campaigns.claim(second, campaign.id, 1)
    assert late is not None
    assert late.state == "done"
    other.store.close()


def test_the_feeder_marks_batches_that_workers_have_in_hand(mongo: str, ledger: Ledger) -> None:
    """Its mark waits for the worker, whose work is not lost, and changes nothing about what that has done; the others are marked."""
    campaign, worker = opened_campaign(ledger), opened(mongo)
    published = batches(ledger, campaign, ["1"], ["2"])
    marked = threading.Event()

    def mark() -> None:
        with ledger.store.transaction() as tx:
            ledger.campaigns.sent(tx, campaign.id, published, now=8)
            ledger.campaigns.move(tx, campaign, "running", now=8)
        marked.set()

    feeder = threading.Thread(target=mark)
    with worker.store.transaction() as tx:
        batch = worker.campaigns.claim(tx, campaign.id, 1)
        assert batch is not None
        feeder.start()
        with plain(ledger) as (database, _):
            waiting = [{"$currentOp": {}}, {"$match": {"op": "update", "ns": f"{database.name}.batches"}}]
            server = database.client.admin
            until(lambda: any(one.get("writeConflicts") for one in server.aggregate(waiting)), what="the mark's waiting")
        assert not marked.is_set()
        worker.campaigns.finish(tx, batch, Tally(migrated=1), now=9)
    feeder.join(20)
    assert marked.is_set()
    assert (peek(ledger, campaign, 1).state, peek(ledger, campaign, 1).attempts) == ("done", 0)
    assert (peek(ledger, campaign, 2).state, peek(ledger, campaign, 2).sent_at) == ("sent", 8)
    assert get(ledger, campaign).state == "running"
    worker.store.close()


def test_a_batch_that_is_kept_too_long_is_marked_later(mongo: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The feeder does not wait for ever."""
    monkeypatch.setattr("ledger.mongo.campaigns.PATIENCE_S", 0.3)
    campaign, worker = opened_campaign(ledger), opened(mongo)
    published = batches(ledger, campaign, ["1"])
    with worker.store.transaction() as tx:
        assert worker.campaigns.claim(tx, campaign.id, 1)
        with pytest.raises(Retry), ledger.store.transaction() as feeder:
            ledger.campaigns.sent(feeder, campaign.id, published, now=8)
    with ledger.store.transaction() as feeder:
        ledger.campaigns.sent(feeder, campaign.id, published, now=9)
    assert (peek(ledger, campaign).state, peek(ledger, campaign).sent_at) == ("sent", 9)
    worker.store.close()


# -- how it is stored -------------------------------------------------------------------------------------------------


def test_progress_and_unfinished_batches_come_from_the_index(ledger: Ledger) -> None:
    """However many keys a batch has, they are not read to count it; nor are batches that are done, to find the others."""
    campaign = opened_campaign(ledger)
    batches(ledger, campaign, *([f"{number}"] * 50 for number in range(60)))
    with ledger.store.transaction() as tx:
        for number in range(1, 50):
            ledger.campaigns.finish(tx, Batch(campaign.id, number, [], "sent"), Tally(), now=7)
    with plain(ledger) as (database, _):
        group = {"_id": {"c": "$_id.campaign", "s": "$state"}, **{name: {"$sum": f"${name}"} for name in ("size", *COUNTS)}}
        pipeline = [{"$match": {"_id.campaign": {"$in": [campaign.id]}}}, {"$group": group}]
        stages, cost = explained(database, {"aggregate": "batches", "pipeline": pipeline, "cursor": {}})
        assert "COLLSCAN" not in stages
        assert (cost["totalDocsExamined"], cost["totalKeysExamined"]) == (0, 60)
        where = {"_id.campaign": campaign.id, "state": {"$in": ["ready", "sent"]}}
        stages, cost = explained(database, {"find": "batches", "filter": where, "sort": {"_id.number": 1}, "limit": 100})
        assert not stages & {"COLLSCAN", "SORT"}
        assert cost["totalDocsExamined"] == 11


def test_what_may_be_any_json_is_text_and_times_are_of_8_bytes(ledger: Ledger) -> None:
    """A document of a campaign as an administrator sees it."""
    campaign = opened_campaign(ledger, options={"a.b": 1})
    with plain(ledger) as (database, _):
        document = database.campaigns.find_one({"_id": campaign.id})
    assert document is not None
    assert document["options"] == '{"a.b": 1}'
    assert isinstance(document["opened_at"], Int64)
    assert document["fed"] is False
    assert "reason" not in document
