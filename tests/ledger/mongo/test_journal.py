"""Streams on MongoDB: appended once, however large, found by index, and what somebody edits is seen."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from bson.int64 import Int64

from backtrail.errors import Retry
from backtrail.image import Image, Ref, Shape, Written
from ledger.entry import Entry, Fact, Head
from ledger.event import KEPT, Event
from ledger.integrity import chain, flaw
from ledger.ledger import Ledger
from ledger.mongo.collections import spans
from tests.ledger.bodies import commitment, fields_of, open_body
from tests.ledger.mongo.helpers import FACTS, REF, SHAPE, append, events, explained, head, opened, plain

MIB = 1 << 20


def test_versions_go_on_where_they_ended(ledger: Ledger) -> None:
    """Three jobs on one stream give versions 1 to 9, and its document says where the stream stands."""
    append(ledger, Entry(Head("m", "1"), "migrated", FACTS), Entry(Head("m", "2"), "failed", FACTS[:1], failed=True))
    for campaign in (2, 3):
        append(ledger, Entry(head(ledger), "rolled_back", FACTS), campaign=campaign)
    now = head(ledger)
    assert (now.version, now.state, now.failed, now.campaign) == (9, "rolled_back", False, 3)
    assert head(ledger, "2").failed
    found = events(ledger)
    with ledger.store.transaction(write=False) as tx:
        last = ledger.journal.last_events(tx, [now])
        assert ledger.journal.count(tx, "m") == {"rolled_back": 1, "failed": 1}
        assert ledger.journal.matching(tx, "m", failed=True) == 1
        assert [one.key for one in ledger.journal.page(tx, "m", 0, 9, failed=False, campaign=3)] == ["1"]
        assert ledger.journal.page(tx, "m", 0, 9, state="migrated") == []
    assert [event.version for event in found] == list(range(1, 10))
    assert last["1"].hash == now.hash[:KEPT] == found[-1].hash
    assert len(now.hash) == 32
    assert found[1].ref == REF
    assert found[1].before_image == Image(SHAPE, b"i1")
    assert (found[0].data, found[0].ref, found[0].before) == ('{"job":"migrate"}', None, None)


def test_a_page_visits_every_stream_once(ledger: Ledger) -> None:
    """Pages of streams are in the order of their ids, and end."""
    append(ledger, *(Entry(Head("m", str(at)), "migrated", FACTS[:1]) for at in range(7)), Entry(Head("n", "1"), "x", FACTS[:1]))
    keys, after = [], 0
    with ledger.store.transaction(write=False) as tx:
        while page := ledger.journal.page(tx, "m", after, 3):
            keys += [one.key for one in page]
            after = page[-1].id or 0
    assert keys == [str(at) for at in range(7)]


def test_absent_fields_are_absent(ledger: Ledger) -> None:
    """An event of a document that was created has no place in the index, a note no shape; numbers are of 8 bytes."""
    created = Fact("created", written=Written(Ref("users", "i2"), None, Image(SHAPE, b"new")))
    append(ledger, Entry(Head("m", "1"), "migrated", [*FACTS, created]))
    with plain(ledger) as (database, _):
        first, updated, _, last = database.events.find().sort("_id", 1)
    assert set(first) == {"_id", "kind", "campaign", "at", "hash", "body"}
    assert set(updated) == {"_id", "kind", "campaign", "at", "shape", "hash", "ref", "body"}
    assert set(last) == set(updated) - {"ref"}
    assert fields_of(first["body"]) == [None, None, None, b'{"job":"migrate"}']
    assert fields_of(updated["body"]) == [b"i1", b"i1", b"i2", None]
    assert fields_of(last["body"]) == [b"i2", None, b"new", None]
    assert [len(one["hash"]) for one in (first, updated, last)] == [16] * 3
    assert isinstance(updated["_id"]["s"], Int64)
    assert isinstance(updated["ref"], Int64)


# -- races ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True], ids=["new stream", "known stream"])
def test_of_two_that_append_at_once_one_must_try_again(mongo: str, ledger: Ledger, known: bool) -> None:
    """Two transactions that have seen the same head cannot both append: the second is told to retry, and nothing of it stays."""
    other = opened(mongo)
    append(ledger, Entry(Head("m", "1" if known else "0"), "migrated", FACTS))
    other.journal.remember(other.store, [SHAPE])
    seen = head(ledger) if known else Head("m", "1")
    with ledger.store.transaction() as tx:
        ledger.journal.append(tx, 2, 1000, [Entry(seen, "migrated", FACTS)])
        with pytest.raises(Retry), other.store.transaction() as second:
            other.journal.append(second, 3, 1000, [Entry(seen, "migrated", FACTS)])
    assert (head(ledger).version, head(ledger).campaign) == (seen.version + 3, 2)
    assert len(events(ledger)) == seen.version + 3
    other.store.close()


def test_a_head_that_is_out_of_date_is_refused(ledger: Ledger) -> None:
    """Whoever read the head before another appended cannot append to it any more, nor begin the stream anew."""
    append(ledger, Entry(Head("m", "1"), "migrated", FACTS))
    old = head(ledger)
    append(ledger, Entry(old, "migrated", FACTS), campaign=2)
    for late in (old, Head("m", "1")):
        with pytest.raises(Retry):
            append(ledger, Entry(late, "migrated", FACTS), campaign=3)
    assert (head(ledger).version, head(ledger).campaign) == (6, 2)


def test_a_snapshot_from_before_is_refused(mongo: str, ledger: Ledger) -> None:
    """A transaction that began to read before another one committed sees the old head, and may not go on from it."""
    other = opened(mongo)
    append(ledger, Entry(Head("m", "1"), "migrated", FACTS))
    other.journal.remember(other.store, [SHAPE])
    with pytest.raises(Retry), other.store.transaction() as tx:
        old = other.journal.heads(tx, "m", ["1"], lock=True)["1"]
        append(ledger, Entry(head(ledger), "migrated", FACTS), campaign=2)
        assert other.journal.heads(tx, "m", ["1"], lock=True)["1"] == old
        other.journal.append(tx, 3, 1000, [Entry(old, "migrated", FACTS)])
    assert head(ledger).version == 6
    other.store.close()


def test_what_rolls_back_leaves_nothing(ledger: Ledger) -> None:
    """Streams, events and chunks of an aborted transaction are gone; the ids it took are not given again."""
    large = Fact("updated", written=Written(REF, Image(SHAPE, bytes(MIB)), Image(SHAPE, b"")))
    with pytest.raises(ZeroDivisionError), ledger.store.transaction() as tx:
        ledger.journal.append(tx, 1, 1000, [Entry(Head("m", "1"), "migrated", [large])])
        raise ZeroDivisionError
    with plain(ledger) as (database, _):
        assert [database[name].count_documents({}) for name in ("streams", "events", "chunks")] == [0, 0, 0]
    append(ledger, Entry(Head("m", "1"), "migrated", [large]))
    assert head(ledger).id == 2


def test_a_shape_is_kept_once_whoever_meets_it(mongo: str, ledger: Ledger) -> None:
    """Another process finds the number that the first one's shape has, also for one met in the middle of a transaction."""
    other = opened(mongo)
    new = Shape("met later")
    fact = Fact("updated", written=Written(Ref("met later", "i1"), Image(new, b"1"), Image(new, b"2")))
    for one, key in ((ledger, "1"), (other, "2")):
        append(one, Entry(Head("m", key), "migrated", [fact]))
    with ledger.store.transaction() as tx:
        assert ledger.journal.count(tx, "m") == {"migrated": 2}
        third = Shape("met just now")
        fact = Fact("updated", written=Written(Ref("x", "i1"), Image(third, b"1"), None))
        ledger.journal.append(tx, 2, 1000, [Entry(Head("m", "3"), "migrated", [fact])])
        own = ledger.journal.heads(tx, "m", ["3"], lock=False)["3"]
        assert ledger.journal.events(tx, [own.id or 0])[own.id or 0][0].shape == third
    with plain(ledger) as (database, _):
        assert database.shapes.count_documents({}) == 3
    assert events(ledger, "2")[0].shape == new
    other.store.close()


# -- large events -----------------------------------------------------------------------------------------------------


def test_two_images_near_16_mb_are_one_event(ledger: Ledger) -> None:
    """Both come back byte for byte beside small events, and the stream has no flaw."""
    before, after = os.urandom(16_600_000), os.urandom(16_600_001)
    large = Fact("updated", written=Written(REF, Image(SHAPE, before), Image(SHAPE, after)))
    remark = Fact("remark", '{"text":"' + "é" * 1_500_000 + '"}')
    append(ledger, Entry(Head("m", "1"), "migrated", [FACTS[0], large, remark, FACTS[2]]))
    with plain(ledger) as (database, _):
        bodies = {one["_id"]["v"]: one["body"] for one in database.events.find()}
        assert (bodies[2], bodies[3]) == ({"chunks": 5}, {"chunks": 1})
        pieces = [(one["_id"]["v"], one["_id"]["n"], len(one["data"])) for one in database.chunks.find().sort("_id", 1)]
        assert [piece[:2] for piece in pieces] == [(2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (3, 0)]
        assert all(size == 8_000_000 for *_, size in pieces[:4])
    found = events(ledger)
    assert (found[1].before, found[1].after) == (before, after)
    assert found[2].data == remark.data
    assert flaw(head(ledger), found) is None
    with ledger.store.transaction(write=False) as tx:
        assert ledger.journal.others(tx, [REF])[REF][0][1].after == after


@pytest.mark.parametrize("size", [999_999, 1_000_000, 1_000_001, 8_000_000, 8_000_001])
def test_every_size_comes_back(ledger: Ledger, size: int) -> None:
    """On both sides of every border between one document and several."""
    about = size - 20
    image = bytes(size - (len(open_body(b"i1", None, bytes(about))) - about))
    assert len(open_body(b"i1", None, image)) == size, "the body is what the border is about"
    append(
        ledger, Entry(Head("m", "1"), "migrated", [Fact("created", written=Written(REF, None, Image(SHAPE, image))), FACTS[2]])
    )
    assert events(ledger)[0].after == image
    assert flaw(head(ledger), events(ledger)) is None
    with plain(ledger) as (database, _):
        assert database.chunks.count_documents({}) == (0 if size <= 1_000_000 else -(-size // 8_000_000))


CHUNK = {"_id.n": 0}


@pytest.mark.parametrize(
    "attack",
    [
        lambda chunks: chunks.delete_one(CHUNK),
        lambda chunks: chunks.update_one(CHUNK, {"$set": {"data": b"other"}}),
        lambda chunks: chunks.update_one(CHUNK, {"$set": {"data": "text"}}),
        lambda chunks: chunks.update_one(CHUNK, {"$unset": {"data": ""}}),
        lambda chunks: chunks.insert_one({"_id": {**chunks.find_one(CHUNK)["_id"], "n": 9}, "data": b"more"}),
        lambda chunks: chunks.delete_many({}),
    ],
    ids=["gone", "edited", "of another type", "without data", "one more", "all gone"],
)
def test_a_chunk_that_is_not_what_it_was_is_a_flaw(ledger: Ledger, attack: Any) -> None:
    """The stream is read all the same, and said to be something else than what was appended."""
    image = Image(SHAPE, os.urandom(9_000_000))
    append(ledger, Entry(Head("m", "1"), "migrated", [FACTS[0], Fact("updated", written=Written(REF, image, image)), FACTS[2]]))
    assert flaw(head(ledger), events(ledger)) is None
    with plain(ledger) as (database, _):
        attack(database.chunks)
    assert flaw(head(ledger), events(ledger)) == "version 2 (updated) is not what was appended"


def test_a_redaction_leaves_the_pieces_of_other_bodies(ledger: Ledger) -> None:
    """Of two large bodies in one stream, the redacted one's pieces are gone and the other's are not; the chain holds."""
    image = Image(SHAPE, os.urandom(9_000_000))
    large = Fact("updated", written=Written(REF, image, Image(SHAPE, b"i1")))
    append(
        ledger, Entry(Head("m", "1"), "migrated", [FACTS[0], large, large, FACTS[2]]), Entry(Head("m", "2"), "migrated", [large])
    )
    now, before = head(ledger), events(ledger)
    assert chain(now, before)[-1] == now.hash
    left = b"\0" + commitment(now.secret, before[1].body)
    with ledger.store.transaction() as tx:
        ledger.journal.redact(tx, now.id or 0, {2: left})
    with plain(ledger) as (database, _):
        pieces = [(one["_id"]["s"], one["_id"]["v"], one["_id"]["n"]) for one in database.chunks.find().sort("_id", 1)]
    other = head(ledger, "2").id
    assert pieces == sorted([(now.id, 3, 0), (now.id, 3, 1), (other, 1, 0), (other, 1, 1)])
    after = events(ledger)
    assert [event.body for event in after] == [before[0].body, left, before[2].body, before[3].body]
    assert [event.erased for event in after] == [False, True, False, False]
    assert chain(now, after)[-1] == now.hash


# -- what somebody edits ----------------------------------------------------------------------------------------------

EVENT_EDITS: dict[str, list[Any]] = {
    "kind": ["created", 1],
    "campaign": [1.0, True, "1"],
    "at": [1000.0, 1001],
    "shape": [99, None],
    "body": [
        open_body(b"i1", b"i0", b"i2"),
        b"",
        b"\2sealed",
        b"\0" + b"x" * 32,
        b"\0",
        "text",
        5,
        None,
        {"chunks": 1},
        {"chunks": "x"},
        {},
    ],
    "hash": [b"x" * 16, b"x" * 32, "x", b""],
    "ref": [5, "5", 5.0],
    "key": ["i1"],
    "before": [b"i1"],
    "data": [None],
}


def flawed(ledger: Ledger, key: str = "1") -> bool:
    """Whether the stream is said to be something else than what was appended, or cannot even be read, as `verify` puts up with."""
    try:
        return flaw(head(ledger, key), events(ledger, key)) is not None
    except ledger.journal.unreadable:
        return True


@pytest.mark.parametrize("field", EVENT_EDITS)
def test_an_edited_event_is_found(ledger: Ledger, field: str) -> None:
    """Whatever field somebody sets, adds or takes away, also to a value of another type."""
    append(ledger, Entry(Head("m", "1"), "migrated", FACTS))
    assert flaw(head(ledger), events(ledger)) is None
    with plain(ledger) as (database, _):
        where = {"_id.v": 2}
        original = database.events.find_one(where)
        assert original is not None
        changes: list[Any] = [{"$set": {field: value}} for value in EVENT_EDITS[field]]
        for change in [*changes, *([{"$unset": {field: ""}}] if field in original else [])]:
            assert database.events.update_one(where, change).modified_count == 1
            assert flawed(ledger), change
            database.events.replace_one(where, original)
    assert flaw(head(ledger), events(ledger)) is None


STREAM_EDITS = {
    "version": [2, 3.0, True],
    "head": [b"x" * 32, "x"],
    "state": ["rolled_back", 1],
    "failed": [True, 0],
    "campaign": [2, 1.0],
    "secret": [b"x" * 16, b"", "x"],
    "key": ["2", 1],
    "migration": ["n", 1],
    "origin": [b"x" * 32, "x", b""],
}


@pytest.mark.parametrize("field", STREAM_EDITS)
def test_an_edited_stream_is_found(ledger: Ledger, field: str) -> None:
    """Every field of the stream's document follows from its events or is in their hashes, in value and type."""
    append(ledger, Entry(Head("m", "1"), "migrated", FACTS))
    good = head(ledger)

    def wrong() -> bool:
        with ledger.store.transaction(write=False) as tx:
            try:
                heads = [one for name in ("m", "n") for one in ledger.journal.page(tx, name, 0, 9)]
                return not heads or flaw(heads[0], ledger.journal.events(tx, [good.id or 0])[good.id or 0]) is not None
            except ledger.journal.unreadable:
                return True

    assert not wrong()
    with plain(ledger) as (database, _):
        original = database.streams.find_one({"_id": good.id})
        assert original is not None
        changes: list[Any] = [{"$set": {field: value}} for value in STREAM_EDITS[field]]
        for change in [*changes, *([{"$unset": {field: ""}}] if field in original else [])]:
            assert database.streams.update_one({"_id": good.id}, change).modified_count == 1
            assert wrong(), change
            database.streams.replace_one({"_id": good.id}, original)
    assert not wrong()


def test_events_that_are_gone_moved_or_doubled_are_found(ledger: Ledger) -> None:
    """One that is deleted, one that stands in another stream, and one whose number has another type."""
    append(ledger, *(Entry(Head("m", str(key)), "migrated", FACTS) for key in (1, 2, 3, 4)))
    with plain(ledger) as (database, _):
        ids = {key: head(ledger, key).id for key in "1234"}
        database.events.delete_one({"_id": {"s": ids["1"], "v": 3}})
        moved = database.events.find_one_and_delete({"_id": {"s": ids["2"], "v": 2}})
        stands = database.events.find_one_and_delete({"_id": {"s": ids["3"], "v": 2}})
        assert moved is not None
        assert stands is not None
        database.events.insert_one({**moved, "_id": {"s": ids["3"], "v": 2}})
        retyped = database.events.find_one_and_delete({"_id": {"s": ids["4"], "v": 3}})
        assert retyped is not None
        database.events.insert_one({**retyped, "_id": {"s": ids["4"], "v": 3.0}})
    for key in "1234":
        assert flaw(head(ledger, key), events(ledger, key)) is not None, key


def test_strays_are_events_without_a_stream(ledger: Ledger) -> None:
    """Streams whose document is gone are found among those that have one, first, last and in between, up to the limit."""
    append(ledger, *(Entry(Head("m", str(key)), "migrated", FACTS) for key in range(1, 31)))

    def strays(limit: int = 100) -> list[int]:
        with ledger.store.transaction(write=False) as tx:
            return ledger.journal.strays(tx, limit)

    assert strays() == []
    with plain(ledger) as (database, _):
        database.streams.delete_many({"_id": {"$in": [1, 2, 7, 9, 11, 30]}})
        assert strays() == [1, 2, 7, 9, 11, 30]
        assert strays(3) == [1, 2, 7]
        database.streams.delete_many({})
        assert strays() == list(range(1, 31))
        database.events.delete_many({})
        assert strays() == []


# -- reading ----------------------------------------------------------------------------------------------------------


def test_neighbours_are_one_range() -> None:
    """Streams that a batch has made together are read by one range of the index, whatever order they are asked for in."""
    bounds = [(one["_id"]["$gte"]["s"], one["_id"]["$lt"]["s"]) for one in spans([9, 3, 1, 2, 8, 3])]
    assert bounds == [(1, 4), (8, 10)]
    assert spans([]) == []


def test_events_are_read_by_the_index_alone(ledger: Ledger) -> None:
    """Of many streams, only the events that were asked for are looked at; so it is with rows that others changed."""
    append(ledger, *(Entry(Head("m", str(key)), "migrated", FACTS) for key in range(300)))
    wanted = [*range(10, 20), 70, 72, 250]
    with ledger.store.transaction(write=False) as tx:
        found = ledger.journal.events(tx, wanted)
    assert list(found) == wanted
    assert all([event.version for event in stream] == [1, 2, 3] for stream in found.values())
    with plain(ledger) as (database, _):
        assert database.events.count_documents({}) == 900
        query = {"find": "events", "filter": {"$or": spans(wanted)}, "sort": {"_id": 1}}
        stages, cost = explained(database, query)
        assert "COLLSCAN" not in stages
        assert "SORT" not in stages
        assert cost["totalDocsExamined"] == 3 * len(wanted)
        stages, cost = explained(database, {"find": "events", "filter": {"ref": {"$in": [1, 2]}}})
        assert "COLLSCAN" not in stages
        assert cost["totalDocsExamined"] == 0


def test_others_are_those_that_changed_the_same_row(ledger: Ledger) -> None:
    """By its reference, of all migrations or of one, newest last, and not those that created it."""
    created = Fact("created", written=Written(REF, None, Image(SHAPE, b"i0")))
    elsewhere = Fact("updated", written=Written(Ref("users", "i9"), Image(SHAPE, b"a"), Image(SHAPE, b"b")))
    append(ledger, Entry(Head("m", "1"), "migrated", [created]), Entry(Head("m", "2"), "migrated", FACTS), campaign=1)
    append(ledger, Entry(Head("n", "1"), "migrated", [elsewhere, *FACTS]), campaign=2)
    with ledger.store.transaction(write=False) as tx:
        found = ledger.journal.others(tx, [REF, Ref("users", "i5")])
        assert list(found) == [REF]
        assert [(one.migration, one.key, event.campaign) for one, event in found[REF]] == [("m", "2", 1), ("n", "1", 2)]
        assert [event.after for _, event in found[REF]] == [b"i2", b"i2"]
        assert [one.migration for one, _ in ledger.journal.others(tx, [REF], "n")[REF]] == ["n"]


def test_any_text_is_a_key(ledger: Ledger) -> None:
    """Keys with dots, dollars and NULs, and the empty one, are keys like others."""
    keys = ["", "a.b", "$set", "\0", "é😀", "s" * 5000]
    append(
        ledger,
        *(
            Entry(Head("m", key), "migrated", [Fact("created", written=Written(Ref("t", key), None, Image(SHAPE, b"")))])
            for key in keys
        ),
    )
    with ledger.store.transaction(write=False) as tx:
        heads = ledger.journal.heads(tx, "m", keys, lock=True)
        found = ledger.journal.events(tx, [one.id or 0 for one in heads.values()])
    assert set(heads) == set(keys)
    assert all(flaw(one, found[one.id or 0]) != "" for one in heads.values())
    assert [found[heads[key].id or 0][0].ref for key in keys] == [Ref("users", key) for key in keys]


# -- recalls ----------------------------------------------------------------------------------------------------------


def test_the_first_result_of_a_recall_is_the_one_that_counts(mongo: str, ledger: Ledger) -> None:
    """What was paid for first stays, per entity, label and arguments; of two at once, the second tries again and finds it."""
    journal, other = ledger.journal, opened(mongo)
    for result in ({"title": "é😀", "a.b": 2**70}, "second"):
        with ledger.store.transaction() as tx:
            journal.store_recall(tx, "m", "1", "ann", ("title", "d1"), result)
    with ledger.store.transaction() as tx:
        journal.store_recall(tx, "m", "1", "ann", ("title", "d2"), None)
        with pytest.raises(Retry), other.store.transaction() as second:
            other.journal.store_recall(second, "m", "1", "ann", ("title", "d2"), "late")
    with ledger.store.transaction(write=False) as tx:
        found = journal.recalls(tx, "m", {"1": "ann", "2": "bob"})
    assert found == {"1": {("title", "d1"): {"title": "é😀", "a.b": 2**70}, ("title", "d2"): None}}
    other.store.close()


def test_a_recall_that_came_between_is_met_with_a_retry(mongo: str, ledger: Ledger) -> None:
    """A transaction that cannot see the result yet, for it began before, does not put another in its place."""
    other = opened(mongo)
    with pytest.raises(Retry), other.store.transaction() as tx:
        assert other.journal.recalls(tx, "m", {"1": "ann"}) == {}
        with ledger.store.transaction() as first:
            ledger.journal.store_recall(first, "m", "1", "ann", ("title", "d"), "first")
        other.journal.store_recall(tx, "m", "1", "ann", ("title", "d"), "late")
    with ledger.store.transaction(write=False) as tx:
        assert ledger.journal.recalls(tx, "m", {"1": "ann"}) == {"1": {("title", "d"): "first"}}
    other.store.close()


def test_the_oracle_of_flaws_is_awake(ledger: Ledger) -> None:
    """An event that is changed in memory alone is a flaw: the tests above would see one."""
    append(ledger, Entry(Head("m", "1"), "migrated", FACTS))
    good: list[Event] = events(ledger)
    assert flaw(head(ledger), good) is None
    assert flaw(head(ledger), [good[0], replace(good[1], body=open_body(b"i1", b"i1", b"i3")), good[2]]) is not None
