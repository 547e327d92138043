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
        assert [tuple(one) for one in found] == told
