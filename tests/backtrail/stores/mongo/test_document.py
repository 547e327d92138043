"""Documents in pieces: put together again they are the same bytes, and what is changed is all that changes."""

from __future__ import annotations

import copy
import struct
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backtrail.errors import BadValue
from backtrail.stores.memory import _set, _unset
from backtrail.stores.mongo import document as judged
from backtrail.stores.mongo import edited
from backtrail.stores.mongo.document import Element
from backtrail.stores.mongo.record import MongoRecord
from tests import hard_bson as hard

NAMES = st.sampled_from(["a", "b", "c", "0", "1"])
LEAVES = st.sampled_from(
    [value for name, value in hard.VALUES.items() if not name.startswith(("document", "list", "nested", "DBRef"))]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: hard.array(*values)),
        st.lists(st.tuples(NAMES, inner), max_size=4).map(lambda fields: hard.sub(*fields)),
    ),
    max_leaves=12,
)
FIELDS = st.lists(st.tuples(st.one_of(NAMES, st.binary(max_size=3).filter(lambda raw: 0 not in raw)), TREES), max_size=6)


def field(name: str, value: bytes) -> Element:
    return Element(name, value[0], value[1:])


@pytest.mark.parametrize("name", hard.DOCUMENTS)
def test_a_hard_document_in_pieces_is_the_same_document(name: str) -> None:
    """Every byte comes back, whatever the type and the name."""
    raw = hard.DOCUMENTS[name]
    assert len(raw) == struct.unpack_from("<i", raw)[0]
    assert judged.join(judged.split(raw)) == raw


def test_the_hard_documents_are_many_and_apart() -> None:
    """There are at least forty, no two of them alike, with every type that BSON has."""
    kinds = {value[0] for value in hard.VALUES.values()}
    assert len(set(hard.DOCUMENTS.values())) == len(hard.DOCUMENTS) > 40
    assert kinds == {*range(1, 0x14), 0x7F, 0xFF}
    assert set(hard.DOCUMENTS) >= hard.CHANGED | hard.REFUSED


@given(FIELDS)
def test_pieces_are_the_fields_in_order(fields: list[hard.Pair]) -> None:
    """Names, types and bytes of any tree are those that it was built of."""
    raw = hard.document(*fields)
    found = judged.split(raw)
    names = [name.encode() if isinstance(name, str) else name for name, _ in fields]
    assert [element.name.encode("utf-8", "surrogateescape") for element in found] == names
    assert [bytes([element.kind]) + element.data for element in found] == [value for _, value in fields]
    assert judged.join(found) == raw


@given(FIELDS, st.data())
def test_bytes_that_are_no_document_are_refused_or_come_back(fields: list[hard.Pair], data: st.DataObject) -> None:
    """A changed byte is either an error, or another document that also comes back."""
    raw = bytearray(hard.document(*fields))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    try:
        found = judged.split(bytes(raw))
    except ValueError:
        return
    assert judged.join(found) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\5\0\0\0",
        b"\5\0\0\0\1",
        b"\6\0\0\0\0",
        hard.document(("a", hard.int32(1)))[:-1],
        hard.document(("a", b"\x20")),
        hard.document(("a", b"\x02" + struct.pack("<i", -5) + b"x\0")),
        hard.document(("a", b"\x02" + struct.pack("<i", 0) + b"\0")),
        hard.document(("a", b"\x02" + struct.pack("<i", 2) + b"xy")),
        hard.document(("a", b"\x03" + struct.pack("<i", 4))),
        hard.document(("a", b"\x05" + struct.pack("<i", -9) + b"\0")),
        hard.document(("a", b"\x05" + struct.pack("<i", 2**31 - 1) + b"\0")),
        hard.document(("a", b"\x0b" + b"x")),
        hard.document(("a", b"\x0c" + struct.pack("<i", -1) + b"x\0")),
        hard.document(("a", b"\x0f" + struct.pack("<i", 4))),
        hard.document(("a", b"\x01" + b"1234567")),
    ],
)
def test_malformed_documents_are_value_errors(raw: bytes) -> None:
    """Wrong lengths and unknown types are found, and nothing runs on for ever."""
    with pytest.raises(ValueError, match=r"document|field|DBPointer|not found"):
        judged.split(raw)


def test_the_first_value_along_a_path_is_found() -> None:
    """Documents by name, lists by index, and None beside them."""
    raw = hard.document(("a", hard.sub(("l", hard.array(hard.int32(1), hard.sub(("x", hard.TRUE)))))), ("a", hard.NULL))
    found = judged.find(raw, ["a", "l", "1", "x"])
    assert found == field("x", hard.TRUE)
    assert judged.find(raw, ["a"]) == judged.split(raw)[0]
    for path in (["b"], ["a", "l", "2"], ["a", "l", "x"], ["a", "l", "00"], ["a", "l", "0", "x"], ["a", "x"], []):
        assert judged.find(raw, path) is None


# What a real server answered: documents that {path: 1} matched, and those that it did not.
MATCHED = [
    ("a", hard.int32(1)),
    ("a", hard.array(hard.int32(0), hard.int32(1))),
    ("a.b", hard.array(hard.sub(("b", hard.int32(1))))),
    ("a.b", hard.array(hard.sub(("b", hard.array(hard.int32(1)))))),
    ("a.0", hard.array(hard.int32(1))),
    ("a.0", hard.sub(("0", hard.array(hard.int32(1))))),
    ("a.0", hard.array(hard.int32(2), hard.sub(("0", hard.int32(1))))),
    ("a.0.b", hard.array(hard.array(hard.sub(("b", hard.int32(1)))))),
]
UNMATCHED = [
    ("a", hard.array(hard.array(hard.int32(1)))),
    ("a.b", hard.array(hard.array(hard.sub(("b", hard.int32(1)))))),
    ("a.0", hard.array(hard.array(hard.int32(1)))),
    ("a.1", hard.array(hard.int32(1))),
    ("a.b", hard.int32(1)),
]


@pytest.mark.parametrize(
    ("path", "value", "matched"), [(*case, True) for case in MATCHED] + [(*case, False) for case in UNMATCHED]
)
def test_values_at_a_path_are_those_that_the_server_compares(path: str, value: bytes, *, matched: bool) -> None:
    """Through the documents of a list, its members beside itself, and a list at a place of a list as itself alone."""
    found = judged.everything(hard.document(("a", value)), path.split("."))
    assert (hard.int32(1) in [bytes([element.kind]) + element.data for element in found]) is matched


def test_the_id_comes_first() -> None:
    """As the server does on insert; a document that has it there, or has none, stays."""
    mixed = judged.split(hard.document(("a", hard.NULL), ("_id", hard.TRUE), ("b", hard.NULL)))
    assert [element.name for element in edited.id_first(mixed)] == ["_id", "a", "b"]
    for raw in (hard.document(("_id", hard.TRUE), ("a", hard.NULL)), hard.document(("a", hard.NULL)), hard.document()):
        assert judged.join(edited.id_first(judged.split(raw))) == raw


@given(FIELDS, TREES)
def test_a_document_without_an_id_is_given_one(fields: list[hard.Pair], value: bytes) -> None:
    """Before all other fields, whose bytes stay; one that it has is not touched."""
    raw = hard.document(("first", hard.NULL), *fields)
    expected = hard.document(("_id", value), ("first", hard.NULL), *fields)
    assert edited.with_id(raw, field("_id", value)) == expected
    assert edited.with_id(expected, field("_id", hard.int32(1))) == expected
    assert edited.with_id(hard.document(), field("_id", value)) == hard.document(("_id", value))


# copied() against plain dicts, as `trial` holds them

PLAIN = st.recursive(
    st.integers(-9, 9),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)


def built(value: object) -> bytes:
    if isinstance(value, dict):
        return hard.sub(*((name, built(item)) for name, item in value.items()))
    if isinstance(value, list):
        return hard.array(*map(built, value))
    return hard.NULL if value is None else hard.int32(value)


@example({"a": [1]}, [], {}, {"a.3.b": 5})
@example({"a": {"b": 1}, "c": 2}, ["a.b"], {"a": "b"}, {"a": 7})
@given(
    st.dictionaries(NAMES, PLAIN, max_size=5),
    st.lists(PATHS, max_size=2),
    st.dictionaries(NAMES, st.sampled_from(["x", "y"]), max_size=1),
    st.dictionaries(PATHS, PLAIN, max_size=3),
)
def test_a_copy_is_what_the_same_changes_make_of_a_dict(row: dict, unset: list, rename: dict, set: dict) -> None:
    """Unset, rename, set, through documents and lists; a path through a number is an error in both."""
    raw = built(row)[1:]
    model = copy.deepcopy(row)
    for name in unset:
        _unset(model, name.split("."))
    model = {rename.get(name, name): value for name, value in model.items()}
    elements = [field(name, built(value)) for name, value in set.items()]
    try:
        for name, value in set.items():
            _set(model, name.split("."), copy.deepcopy(value))
    except BadValue:
        with pytest.raises(ValueError, match=r"no field|no place"):
            edited.copied(raw, unset=unset, rename=rename, set=elements)
        return
    assert edited.copied(raw, unset=unset, rename=rename, set=elements) == built(model)[1:]


@example([("a", hard.TRUE), ("b", hard.NULL)], ["a"], {"b": "x"}, {"x": hard.FALSE, "a": hard.NULL})
@example([("a", hard.TRUE), ("a", hard.NULL)], [], {}, {"b": hard.FALSE})
@given(
    FIELDS,
    st.lists(NAMES, max_size=2),
    st.dictionaries(NAMES, st.sampled_from(["x", "y", "c"]), max_size=2),
    st.dictionaries(st.one_of(NAMES, st.sampled_from(["_id", "x", "a.b"])), TREES, max_size=3),
)
def test_a_document_cut_in_few_pieces_is_the_copy(
    fields: list[hard.Pair], unset: list[str], rename: dict[str, str], new: dict[str, bytes]
) -> None:
    """The same bytes come of it, and it is possible at least where every name is there once, now and then, and none is a path."""
    raw = hard.document(("_id", hard.int32(7)), *fields)
    elements = [field(name, value) for name, value in new.items()]
    found = MongoRecord("any", raw).cut(unset, rename, elements)
    names = [name for name, _ in fields]
    if len({*names}) == len(names) and not rename and "a.b" not in new:
        assert found is not None
    if found is not None:
        assert found == edited.copied(raw, unset=unset, rename=rename, set=elements)


@given(FIELDS, TREES)
def test_what_a_copy_does_not_touch_is_the_same_bytes(fields: list[hard.Pair], value: bytes) -> None:
    """Around a field that is set, everything stays, duplicates and invalid names among it."""
    raw = hard.document(("first", hard.NULL), *fields, ("last", hard.UNDEFINED))
    expected = hard.document(("first", value), *fields, ("last", hard.UNDEFINED), ("new", value))
    assert edited.copied(raw, set=[field("first", value), field("new", value)]) == expected
    assert edited.copied(raw, unset=["first", "none", "last.x"]) == hard.document(*fields, ("last", hard.UNDEFINED))
    assert edited.copied(raw, rename={"first": "1st"}) == hard.document(("1st", hard.NULL), *fields, ("last", hard.UNDEFINED))


def test_a_name_that_is_there_twice_is_read_as_it_was_set() -> None:
    """The first is replaced and the others go; unset takes them all; renaming keeps each at its place."""
    raw = hard.document(("a", hard.TRUE), ("b", hard.NULL), ("a", hard.FALSE))
    assert edited.copied(raw, set=[field("a", hard.int32(1))]) == hard.document(("a", hard.int32(1)), ("b", hard.NULL))
    assert edited.copied(raw, unset=["a"]) == hard.document(("b", hard.NULL))
    assert edited.copied(raw, rename={"a": "b", "b": "a"}) == hard.document(("b", hard.TRUE), ("a", hard.NULL), ("b", hard.FALSE))


def test_a_list_is_not_filled_without_end() -> None:
    """An index far beyond the end is an error, as on the server."""
    with pytest.raises(ValueError, match="nulls"):
        edited.copied(hard.document(("a", hard.array())), set=[field("a.999999999", hard.NULL)])


def test_documents_nested_deep_are_copied() -> None:
    """A path through a hundred documents needs no stack worth naming."""
    assert sys.getrecursionlimit() >= 1000
    raw = hard.document(("inner", hard.nested(60, hard.NULL)))
    assert edited.copied(raw, set=[field("new", hard.TRUE)]) == hard.document(
        ("inner", hard.nested(60, hard.NULL)), ("new", hard.TRUE)
    )


def test_large_documents_come_back() -> None:
    """Fifteen megabytes in pieces are the same bytes."""
    raw = hard.large(15 * 2**20)
    assert len(raw) == 15 * 2**20
    assert judged.join(judged.split(raw)) == raw
