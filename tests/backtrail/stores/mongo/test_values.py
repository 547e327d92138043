"""Values of documents in Python: what is read and written again has the same bytes, and what cannot be held says so."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import struct
import uuid
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from backtrail.changes import Create
from backtrail.errors import BadValue
from backtrail.keys import parse_key, part_text, type_of
from backtrail.row import NewRow
from backtrail.stores.mongo.document import Element, split
from backtrail.stores.mongo.record import equal_form
from backtrail.stores.mongo.values import decode, encode, key_kind, key_value, show
from backtrail.values import Opaque
from tests import hard_bson as hard
from tests.backtrail.stores.mongo.test_document import FIELDS, TREES


def field(value: bytes, name: str = "") -> Element:
    return Element(name, value[0], value[1:])


def value_of(raw: bytes) -> Any:
    return decode(field(raw))


@pytest.mark.parametrize("name", hard.DOCUMENTS)
def test_every_field_of_a_hard_document_is_written_as_it_was_read(name: str) -> None:
    """The exactness rule: encode after decode gives the same bytes; and people can be shown each."""
    for element in split(hard.DOCUMENTS[name]):
        assert encode(decode(element), name=element.name) == element
        json.dumps(show(element), ensure_ascii=False, allow_nan=False).encode()


@given(FIELDS)
def test_every_field_of_any_document_is_written_as_it_was_read(fields: list[hard.Pair]) -> None:
    """Whatever stands in whatever, and however often a name is there."""
    raw = hard.document(*fields)
    whole = Element("whole", 3, raw)
    assert encode(decode(whole), name="whole") == whole
    for element in split(raw):
        assert encode(decode(element), name=element.name) == element


@given(TREES)
def test_any_value_can_be_shown(tree: bytes) -> None:
    """As JSON with no NaN, in UTF-8."""
    json.dumps(show(field(tree)), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (hard.double(1.5), 1.5),
        (hard.text("a\0b"), "a\0b"),
        (hard.sub(("b", hard.int32(1)), ("a", hard.NULL)), {"b": 1, "a": None}),
        (hard.array(hard.int64(1), hard.array()), [bson.Int64(1), []]),
        (hard.binary(0, b"x"), b"x"),
        (hard.binary(4, bytes(16)), uuid.UUID(int=0)),
        (hard.binary(2, b"x"), bson.Binary(b"x", 2)),
        (hard.binary(128, b"x"), bson.Binary(b"x", 128)),
        (hard.object_id(5), bson.ObjectId((5).to_bytes(12, "big"))),
        (hard.TRUE, True),
        (hard.date(-1), dt.datetime(1969, 12, 31, 23, 59, 59, 999000, dt.UTC)),
        (hard.NULL, None),
        (hard.regex("a", "im"), bson.Regex("a", "im")),
        (hard.int32(5), 5),
        (hard.int64(5), bson.Int64(5)),
        (hard.timestamp(7, 8), bson.Timestamp(7, 8)),
        (hard.code("x"), bson.Code("x")),
        (hard.decimal(110, -2), decimal.Decimal("1.10")),
        (hard.MIN_KEY, bson.MinKey()),
        (hard.MAX_KEY, bson.MaxKey()),
        (hard.sub(("$id", hard.int32(1)), ("$ref", hard.text("c"))), {"$id": 1, "$ref": "c"}),
    ],
)
def test_authors_meet_pythons_own_types(raw: bytes, value: object) -> None:
    """The same alone and inside a document."""
    for found in (value_of(raw), value_of(hard.sub(("in", raw)))["in"], value_of(hard.array(hard.UNDEFINED, raw))[1]):
        assert found == value
        assert type(found) is type(value)
        assert not isinstance(value, decimal.Decimal) or str(found) == str(value)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (hard.UNDEFINED, "undefined"),
        (hard.symbol("abc"), "symbol abc"),
        (hard.pointer("d.c", 1), "DBPointer d.c 000000000000000000000001"),
        (hard.scoped("x"), "code with scope of 15 bytes"),
        (hard.date(hard.YEAR_10000), "+010000-01-01T00:00:00Z"),
        (hard.date(hard.YEAR_1 - 1), "+000000-12-31T23:59:59.999Z"),
        (hard.date(-hard.JAVASCRIPT_END), "-271821-04-20T00:00:00Z"),
        (hard.date(hard.JAVASCRIPT_END), "+275760-09-13T00:00:00Z"),
        (hard.date(-(2**63)), "-292275055-05-16T16:47:04.192Z"),
        (hard.date(2**63 - 1), "+292278994-08-17T07:12:55.807Z"),
        (hard.text(b"a\xff"), "a\\xff"),
        (hard.regex("a", "xi"), "/a/xi"),
        (hard.VALUES["decimal, signaling NaN"], "Decimal128 7e000000000000000000000000000000"),
        (hard.sub(("a", hard.NULL), ("a", hard.NULL)), "document of 11 bytes"),
        (hard.array_named(("1", hard.NULL)), "list of 8 bytes"),
        (b"\x08\x02", "bool 02"),
    ],
)
def test_what_python_cannot_hold_is_opaque(raw: bytes, text: str) -> None:
    """It shows a short text, is exact, and leaves what stands around it alone."""
    opaque = value_of(raw)
    assert opaque == Opaque(text, (raw[0], raw[1:]))
    assert str(opaque) == text
    assert value_of(hard.sub(("a", hard.int32(1)), ("b", hard.array(raw)))) == {"a": 1, "b": [opaque]}


def test_what_is_nested_beyond_all_measure_is_opaque_and_exact() -> None:
    """Documents in documents, as deep as no server takes them, raise nothing."""
    for levels in (90, 190, 3000):
        raw = hard.nested(levels, hard.UNDEFINED)
        assert encode(value_of(raw)) == field(raw)
        show(field(raw))


def test_doubles_keep_every_bit() -> None:
    """Minus zero and the payloads of NaN, signaling ones too."""
    for bits in (1 << 63, 0x7FF8 << 48, 0x7FF8_0000_DEAD_BEEF, 0x7FF0_0000_0000_0001, 0xFFFF << 48):
        raw = hard.double_bits(bits)
        assert isinstance(value_of(raw), (float, Opaque))
        assert encode([value_of(raw)]).data == hard.array(raw)[1:]


# What authors write


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (2**31, hard.int64(2**31)),
        (-(2**31), hard.int32(-(2**31))),
        (True, hard.TRUE),
        ((1, "x"), hard.array(hard.int32(1), hard.text("x"))),
        (dt.datetime(1970, 1, 1, 0, 0, 0, 1999), hard.date(1)),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC), hard.date(-1)),
        (dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), hard.date(0)),
        (bson.Decimal128("1.10"), hard.decimal(110, -2)),
        (decimal.Decimal("-0E+3"), hard.decimal(0, 3, negative=True)),
        (decimal.Decimal("1E+6144"), hard.decimal(10**33, 6111)),
        (decimal.Decimal(10**34 - 1), hard.decimal(10**34 - 1, 0)),
        (RawBSONDocument(hard.document(("a", hard.int32(1)))), hard.sub(("a", hard.int32(1)))),
        (bson.SON([("$ref", 1), ("_id", 2)]), hard.sub(("$ref", hard.int32(1)), ("_id", hard.int32(2)))),
        ({"a": 1, "_id": 2}, hard.sub(("a", hard.int32(1)), ("_id", hard.int32(2)))),
        (bson.Binary(b"x", 0), hard.binary(0, b"x")),
    ],
)
def test_values_are_written_as_the_driver_would(value: object, raw: bytes) -> None:
    """Alone, and inside what the codec does at once and what is walked."""
    assert encode(value) == field(raw)
    assert encode({"in": [value]}) == field(hard.sub(("in", hard.array(raw))))
    assert encode({"in": value, "o": Opaque("undefined", (6, b""))}) == field(hard.sub(("in", raw), ("o", hard.UNDEFINED)))


PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.binary(),
        st.uuids(),
        st.datetimes(),
        st.datetimes(timezones=st.just(dt.UTC)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=4),
    ),
    max_leaves=10,
)


@given(PLAIN)
def test_plain_values_are_written_as_the_driver_does(value: object) -> None:
    """By the codec and by the walk alike."""
    options: Any = bson.CodecOptions(uuid_representation=4)
    body = bson.encode({"": value}, codec_options=options)
    expected = Element("", body[4], body[6:-1])
    walked = encode([value, Opaque("undefined", (6, b""))])
    assert encode(value) == expected
    assert split(walked.data)[0][1:] == expected[1:]


class Stranger:
    """A class that no database knows."""


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [{"b": Stranger()}]}, r"field\.a\.0\.b: .*Stranger"),
        ({"a": {1, 2}}, r"field\.a: .*set"),
        (dt.date(2024, 1, 1), r"field: .*date"),
        (dt.time(1), r"field: .*time"),
        (1j, r"field: .*complex"),
        ({"a": 2**63}, r"field\.a: .*64 bits"),
        (-(2**63) - 1, r"field: .*64 bits"),
        ({"a": {7: 1}}, r"field\.a: .*field name of Python type int"),
        ({"secret\0": 1}, r"field: .*NUL"),
        ({"a": "\ud800"}, r"field\.a: .*surrogate"),
        ({"a\ud800": 1}, r"field: .*surrogate"),
        (decimal.Decimal("1" * 35), r"34 digits"),
        (decimal.Decimal("1." + "0" * 34), r"34 digits"),
        (decimal.Decimal("1E+6145"), r"34 digits|exponent"),
        (decimal.Decimal("1E-6177"), r"exponent"),
        (decimal.Decimal("NaN5"), r"payload"),
        ([decimal.Decimal("sNaN")], r"signals"),
        (bson.Code("x", {}), r"scope"),
        (Opaque("infinity"), r"another database"),
    ],
)
def test_what_no_document_can_hold_is_named_by_its_field(value: object, where: str) -> None:
    """By field and type, never by value."""
    with pytest.raises(BadValue, match=where) as caught:
        encode(value, name="field")
    assert "secret" not in str(caught.value)


def test_a_value_that_holds_itself_is_refused() -> None:
    """It is an error of this entity, not of the worker."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BadValue, match="nested"):
        encode(loop)


def test_rows_stand_for_their_keys_at_any_depth() -> None:
    """Though they are mappings; one whose key is not known is refused by its field."""
    row = NewRow("users", {"name": "x"}, 0)
    row.change = Create("users", {}, row)
    key = field(hard.object_id(9))
    assert encode(row, lambda _: key) == key
    assert encode({"a": [{"user": row}]}, lambda _: key) == field(
        hard.sub(("a", hard.array(hard.sub(("user", hard.object_id(9))))))
    )
    with pytest.raises(BadValue, match=r"x\.a\.0: .*not known"):
        encode({"a": [row]}, name="x")


# Keys


# Groups that a real server called equal, and each group apart from the others.
EQUAL = [
    [hard.int32(1), hard.int64(1), hard.double(1.0), hard.decimal(1, 0), hard.decimal(10, -1)],
    [hard.int32(0), hard.double(-0.0), hard.decimal(0, 3, negative=True)],
    [hard.double(0.5), hard.decimal(5, -1), hard.decimal(50, -2)],
    [hard.double(0.1)],
    [hard.decimal(1, -1), hard.decimal(10, -2)],
    [hard.double_bits(0x7FF8 << 48), hard.double_bits((0x7FF8 << 48) + 5), hard.decimal_bits(0x7C << 56, 0)],
    [hard.double(math.inf), hard.decimal_bits(0x78 << 56, 0)],
    [hard.double(2.0**53), hard.int64(2**53)],
    [hard.int64(2**53 + 1), hard.decimal(2**53 + 1, 0)],
    [hard.decimal(2**63, 0), hard.decimal(2**63 * 100, -2)],
    [hard.decimal(2**70, 0)],
    [hard.decimal(5**30, -30)],
    [hard.int64(2**63 - 1)],
    [hard.int64(-(2**63)), hard.double(-(2.0**63))],
    [hard.double(1e23)],
    [hard.decimal(1, 23)],
    [hard.decimal(10**34 - 1, 6111)],
    [hard.decimal(1, -6176)],
    [hard.TRUE],
    [hard.text("1")],
    [hard.text("a"), hard.symbol("a")],
]


def test_values_that_the_server_holds_equal_are_one_key() -> None:
    """Also in their text, which names the entity's stream; and no others are."""
    with decimal.localcontext(prec=5):  # an author's context has no say
        keys = [[key_value(field(raw)) for raw in group] for group in EQUAL]
    for group in keys:
        assert len({(type_of(key) == "bool", part_text(key)) for key in group}) == 1
        assert all(key is group[0] or key == group[0] for key in group)
    first = [(type(group[0]) in {bool, str} and type(group[0]), group[0]) for group in keys]
    assert len(set(first)) == len(EQUAL) > 10


@pytest.mark.parametrize("raw", [raw for group in EQUAL for raw in group])
def test_the_text_of_a_key_gives_the_value_again(raw: bytes) -> None:
    """What is read from it is equal to the value in the document, to the last digit."""
    text, kind = part_text(key_value(field(raw))), key_kind(field(raw))
    again = encode(parse_key(text, (kind,)))
    assert equal_form(again) == equal_form(field(raw))
    assert part_text(key_value(again)) == text


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (hard.int32(1), "int"),
        (hard.int64(1), "int"),
        (hard.double(1), "number"),
        (hard.decimal(1, 0), "decimal"),
        (hard.text("x"), "text"),
        (hard.symbol("x"), "text"),
        (hard.binary(4, bytes(16)), "uuid"),
        (hard.binary(0, b""), "bytes"),
        (hard.TRUE, "bool"),
        (hard.date(0), "datetime"),
        (hard.object_id(1), "objectid"),
    ],
)
def test_keys_have_the_kinds_of_all_stores(raw: bytes, kind: str) -> None:
    """Those that `parse_key` knows."""
    assert key_kind(field(raw)) == kind
    assert key_value(field(raw)) is not None


def test_no_value_is_no_key() -> None:
    """Null, undefined and absent are None."""
    assert [key_value(element) for element in (field(hard.NULL), field(hard.UNDEFINED), None)] == [None, None, None]


@pytest.mark.parametrize(
    "raw",
    [
        hard.sub(),
        hard.array(),
        hard.regex("a", ""),
        hard.MIN_KEY,
        hard.binary(3, bytes(16)),
        hard.timestamp(1, 1),
        hard.date(2**63 - 1),
        hard.text(b"\xff"),
    ],
)
def test_what_can_be_no_key_is_a_value_error(raw: bytes) -> None:
    """Containers, and what Python does not have; the message has no value in it."""
    with pytest.raises(ValueError, match="can be no key"):
        key_value(field(raw))


# For people


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (hard.object_id(1), "000000000000000000000001"),
        (hard.date(0), "1970-01-01T00:00:00+00:00"),
        (hard.binary(128, b"\1"), "\\x01"),
        (hard.binary(4, bytes(16)), "00000000-0000-0000-0000-000000000000"),
        (hard.decimal(110, -2), "1.10"),
        (hard.double(math.nan), "nan"),
        (hard.VALUES["double, NaN with payload"], "nan 7ff80000deadbeef"),
        (hard.regex("a", "xi"), "/a/xi"),
        (hard.scoped("x", ("x", hard.TRUE)), {"code": "x", "scope": {"x": True}}),
        (
            hard.sub(("a", hard.TRUE), ("a (2)", hard.NULL), ("a", hard.FALSE), ("a", hard.NULL)),
            {"a": True, "a (2)": None, "a (3)": False, "a (4)": None},
        ),
        (hard.array_named(("0", hard.TRUE), ("0", hard.FALSE)), {"0": True, "0 (2)": False}),
        (hard.text(b"x" * 200 + b"\xff"), "x" * 200 + "\\xff"),
    ],
)
def test_people_are_shown_what_is_there(raw: bytes, shown: object) -> None:
    """Duplicates, payloads and invalid text stay visible."""
    assert show(field(raw)) == shown


def test_the_fixture_bits_are_what_they_are_called() -> None:
    """A signaling NaN is one: its quiet bit is clear."""
    (bits,) = struct.unpack("<Q", hard.VALUES["double, signaling NaN"][1:])
    assert not bits >> 51 & 1
    assert bits & (1 << 51) - 1
