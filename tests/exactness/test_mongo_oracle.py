"""The oracle for MongoDB tells what is hard to tell apart, and what the matrix makes of a difference."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.stores.mongo import commands
from tests import hard_bson as hard
from tests.engine import Engine, migration
from tests.exactness import mongo_values as values
from tests.exactness.mongo import Journey, journeys, judged
from tests.exactness.mongo_oracle import insert, look
from tests.exactness.trip import Trip


def test_near_pairs(mongo: str) -> None:
    """Values that a codec or the server takes for each other are different documents, each read as it was put there."""
    pairs = [(values.VALUES[one], values.VALUES[other]) for one, other in values.NEAR.items()]
    assert len(pairs) > 20
    assert all(one != other for one, other in pairs)
    made = [
        hard.document(("_id", hard.int32(at)), ("value", value))
        for at, value in enumerate(value for pair in pairs for value in pair)
    ]
    insert(mongo, "near", [(hard.int32(at), raw) for at, raw in enumerate(made)], index="value")
    seen = look(mongo, "near")
    assert seen == Counter(("near", raw) for raw in made)
    bare = [raw[13:] for raw in made]  # without length and _id
    assert all(one != other for one, other in zip(bare[0::2], bare[1::2], strict=True))


def test_order_and_absence(mongo: str) -> None:
    """Two orders of fields are two documents, and so are null, undefined and nothing."""
    bodies: list[tuple[hard.Pair, ...]] = [
        (("a", hard.NULL), ("b", hard.NULL)),
        (("b", hard.NULL), ("a", hard.NULL)),
        (("a", hard.NULL),),
        (("a", hard.UNDEFINED),),
        (),
        (("a", hard.NULL), ("a", hard.NULL)),
    ]
    made = [hard.document(("_id", hard.int32(at)), *fields) for at, fields in enumerate(bodies)]
    insert(mongo, "shapes", [(hard.int32(at), raw) for at, raw in enumerate(made)], index="a")
    assert look(mongo, "shapes") == Counter(("shapes", raw) for raw in made)
    assert len({raw[13:] for raw in made}) == len(made)


def test_every_type_is_tried() -> None:
    """The matrix has every type of BSON as a value, and every type that the server takes as `_id`."""
    assert set(values.by_type(values.VALUES)) == set(values.TYPES.values())
    no_id = {"array", "undefined", "regex"}
    assert set(values.by_type(values.IDS)) == set(values.TYPES.values()) - no_id
    assert {value[5] for value in values.VALUES.values() if value[0] == 0x05} == set(range(256))


def only(name: str, *labels: str) -> Journey:
    """The journey of that name with the trials of those values alone."""
    journey = next(one for one in journeys() if one.name == name)
    trials = [trial for trial in journey.trials if trial.label in labels]
    assert len(trials) == 7 * len(labels)
    return journey._replace(trials=trials)


@pytest.mark.parametrize(
    ("label", "other"),
    [("double, zero", "double, minus zero"), ("decimal 1.10", "decimal 1.1"), ("double, NaN with payload", "double, quiet NaN")],
)
def test_a_difference_is_named(label: str, other: str) -> None:
    """A document that came back with another value is wrong, named with its value and the stop at which it was seen."""
    journey = only("values", label)
    (trial,) = (one for one in journey.trials if one.how == "deleted")
    journey = journey._replace(trials=[trial])
    before, after = Counter(journey.before(trial)), Counter(journey.after(trial))
    changed = Counter([(name, raw.replace(values.VALUES[label][1:], values.VALUES[other][1:])) for name, raw in before])
    assert changed != before
    assert next(journey.verdicts(Trip(before, after, before, after, before))).wrong == ""
    wrong = [verdict.wrong for verdict in journey.verdicts(Trip(before, after, changed, after, before)) if verdict.wrong]
    assert wrong[0] == f"{label} (deleted): not exact back"
    assert len(wrong) == 3 + 1  # in three places, and a document that nobody asked for


def test_an_exact_store(mongo: str) -> None:
    """Nothing is wrong with the hardest values as the store is."""
    verdicts = list(judged(mongo, only("values", "double, NaN with payload", "timestamp, zero")))
    assert len(verdicts) == 2 * 7 * 3
    assert [verdict.wrong for verdict in verdicts if verdict.wrong] == []


def test_a_store_that_is_not_exact(monkeypatch: pytest.MonkeyPatch, mongo: str) -> None:
    """Documents inserted without care for timestamps of zero are refused by the store's own read-back, and nothing stays changed."""
    monkeypatch.setattr(commands, "is_kept", lambda document: True)
    shapes = next(one for one in journeys() if one.name == "shapes")
    journey = shapes._replace(
        trials=[one for one in shapes.trials if (one.label, one.how) == ("timestamp, zero, alone", "deleted")]
    )
    assert len(journey.trials) == 1
    with pytest.raises(AssertionError, match="0 of 1 rolled_back"):
        list(judged(mongo, journey))


UNFIT: dict[str, Any] = {
    "integer": 2**63,
    "digits": Decimal("1." + "1" * 35),
    "exponent": Decimal("1e7000"),
    "NaN": Decimal("NaN12"),
    "text": "half \ud800",
    "name": {"a\0b": 1},
    "set": {1},
}


def test_values_that_no_document_holds(on_mongo: Engine) -> None:
    """What BSON cannot hold, or holds otherwise, quarantines its entity, and its document stays as it is."""
    keys = [hard.text(name) for name in UNFIT]
    insert(on_mongo.url, "old", [(key, hard.document(("_id", key), ("value", hard.double(-0.0)))) for key in keys], index="value")
    before = look(on_mongo.url, "old")

    def change(entity: Any) -> None:
        entity.update(entity.one("old"), {"value": UNFIT[entity.key]})

    cls: type[Migration] = migration(change, keys=Keys("old", "_id"), reads=(Rows("old", by="_id"),), writes=("old",))
    assert on_mongo.migrate(cls)["failed"] == len(UNFIT)
    assert {one["error"] for one in on_mongo.failures(cls).values()} == {"BadValue"}
    assert look(on_mongo.url, "old") == before
    assert len(before) == len(UNFIT)
