"""What a document tells about itself without its values being looked at."""

from __future__ import annotations

import struct
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId

from backtrail.stores.mongo.document import Element
from backtrail.stores.mongo.record import MongoRecord, by_id, equal_form

ID = ObjectId("00000000000000000000000d")


def record(**fields: Any) -> MongoRecord:
    return MongoRecord("users", bson.encode({"_id": ID, **fields}))


@pytest.mark.parametrize(
    ("own", "theirs", "alike"),
    [
        ({"a": {"b": [1, "x"]}}, {"c": {"b": [1, "x"]}}, True),
        ({"a": 1}, {"c": Int64(1)}, False),
        ({"a": 1}, {"c": 1.0}, False),
        ({"a": ""}, {"c": None}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"b": 1}, {"b": 1}, False),
    ],
)
def test_fields_are_alike_byte_by_byte(own: dict[str, Any], theirs: dict[str, Any], *, alike: bool) -> None:
    """Also under another name; what only one of the documents has is like nothing."""
    assert record(**own).alike("a", record(**theirs), "c") is alike


@pytest.mark.parametrize(
    "key",
    [ID, "a", 7, Int64(7), 7.0, {"$gt": 1}, bson.Regex("^a"), None, True, b"x", bson.MinKey()],
    ids=lambda key: type(key).__name__,
)
def test_a_document_is_asked_for_by_an_id_that_means_itself(key: Any) -> None:
    """Whatever the `_id` is, it is neither an operator nor a pattern."""
    raw = bson.encode({"_id": key})
    condition = bson.decode(by_id(Element("_id", raw[4], raw[9:-1])))["_id"]
    asked = condition["$eq"] if isinstance(condition, dict) else condition
    assert bson.encode({"_id": asked}) == raw
    assert isinstance(condition, dict) or not isinstance(asked, bson.Regex)


def test_ids_of_objects_are_equal_to_themselves_alone() -> None:
    """Neither to text nor to bytes with the same content."""
    data = ID.binary
    forms = {
        equal_form(Element("", 0x07, data)),
        equal_form(Element("", 0x05, struct.pack("<i", 12) + b"\0" + data)),
        equal_form(Element("", 0x02, struct.pack("<i", 25) + str(ID).encode() + b"\0")),
    }
    assert len(forms) == 3
    assert equal_form(Element("a", 0x07, data)) == equal_form(Element("b", 0x07, data))
