"""What differs between two images of a document, as a person is told."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId

from backtrail.image import Image, Shape
from backtrail.stores.mongo.store import MongoStore

SHAPE = Shape("users")
ID = ObjectId("00000000000000000000000d")


def image(document: dict[str, Any]) -> Image:
    return Image(SHAPE, bson.encode(document))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": ID}, {"a": str(ID)}, [("a", f"{ID} (ObjectId)", f"{ID} (text)")]),
        ({"a": 5}, {"a": Int64(5)}, [("a", "5 (int32)", "5 (int64)")]),
        ({"a": [1, {"b": Decimal128("1")}]}, {"a": [1, {"b": "1"}]}, None),
        ({"a": None}, {}, [("a", None, "(absent)")]),
        ({}, {"a": None}, [("a", "(absent)", None)]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, [("(order of fields)", ["a", "b"], ["b", "a"])]),
    ],
)
def test_differences_that_a_person_can_tell_apart(old: Any, new: Any, told: Any) -> None:
    """What looks alike is told by its type, and what is absent is not null."""
    found = MongoStore("mongodb://127.0.0.1/x", 1).differences(image(old), image(new))
    if told is None:
        (one,) = found
        assert one.expected.endswith("(list of int32, document of Decimal128)")
        assert one.found.endswith("(list of int32, document of text)")
    else:
        assert [tuple(one)[:3] for one in found] == told


def test_an_absent_field_is_not_the_text_that_says_so() -> None:
    """A text that reads like our word for an absent field is told apart from it, whichever of the two it is."""
    differences = MongoStore("mongodb://127.0.0.1/x", 1).differences
    for old, new in (({"a": "(absent)"}, {}), ({}, {"a": "(absent)"})):
        (found,) = differences(image(old), image(new))
        assert found.expected != found.found
        assert (found.expected if old else found.found) == "(absent) (text)"


def twice(name: str, first: int, second: int) -> Image:
    """A document with two fields of one name, which BSON can hold and no dict can."""
    raw = b"".join(b"\x10" + name.encode() + b"\0" + value.to_bytes(4, "little") for value in (first, second))
    return Image(SHAPE, (len(raw) + 5).to_bytes(4, "little") + raw + b"\0")


def test_a_document_that_is_not_there_differs_as_a_whole() -> None:
    """What there is is named by its collection, and no value of it is shown."""
    differences = MongoStore("mongodb://127.0.0.1/x", 1).differences
    one = image({"a": "secret"})
    assert [tuple(found)[:3] for found in differences(one, None)] == [("(document)", "a document of users", None)]
    assert [tuple(found)[:3] for found in differences(None, one)] == [("(document)", None, "a document of users")]
    assert differences(None, None) == differences(one, one) == []


def test_fields_of_one_name_are_told_together() -> None:
    """All their values, in their order."""
    found = MongoStore("mongodb://127.0.0.1/x", 1).differences(twice("a", 1, 2), twice("a", 1, 3))
    assert [tuple(one)[:3] for one in found] == [("a", [1, 2], [1, 3])]
