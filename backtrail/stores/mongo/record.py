"""A document as a record: its bytes, and Python values of its fields one by one when asked for."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

from backtrail.image import Image, Ref, Shape
from backtrail.row import Record
from backtrail.stores.mongo.decoding import decoded
from backtrail.stores.mongo.document import ARRAY, DOCUMENT, FIXED, Element, Span, first, join, spans, split
from backtrail.stores.mongo.edited import cut
from backtrail.stores.mongo.values import key_value

_TYPE_ORDER = {
    kind: at
    for at, kind in enumerate(
        (0xFF, 0x06, 0x0A, 0x10, 0x02, 0x03, 0x04, 0x05, 0x07, 0x08, 0x09, 0x11, 0x0B, 0x0C, 0x0D, 0x0F, 0x7F)
    )
}
"""MongoDB's order of types, numbers and text each standing for all of their kind (mongodb.com/docs: Comparison/Sort Order)."""

_SAME_TYPE = {0x01: 0x10, 0x12: 0x10, 0x13: 0x10, 0x0E: 0x02}


class MongoRecord(Record):
    """A document."""

    __slots__ = ("_key", "_layout", "_ref", "_twice", "collection", "raw", "whole")

    def __init__(self, collection: str, raw: bytes, *, whole: bool = True) -> None:
        self.collection = collection
        self.raw = raw
        self.whole = whole
        # Each is made when needed: most records are only read, and many not even that.
        self._layout: dict[str, Span] | None = None
        self._twice = False
        self._key: Element | None = None
        self._ref: Ref | None = None

    @property
    def layout(self) -> dict[str, Span]:
        """Where the document's fields are, by name; of several of one name the first, which is the one that MongoDB reads."""
        layout = self._layout
        if layout is None:
            fields = spans(self.raw)
            layout = {span[0]: span for span in fields}
            if len(layout) < len(fields):
                self._twice = True
                # The order is that of the names' first fields.
                layout |= {span[0]: span for span in reversed(fields)}
            self._layout = layout
        return layout

    def element(self, name: str) -> Element | None:
        """The field of that name; None where there is none."""
        span = self.layout.get(name)
        return None if span is None else Element(name, span[1], self.raw[span[3] : span[4]])

    def cut(self, unset: Collection[str], rename: Mapping[str, str], set: Sequence[Element]) -> bytes | None:
        """The document with other fields, its `_id` first, in few pieces; None where that takes a look at each of its fields.

        Args:
            unset: names and paths that go.
            rename: new names.
            set: fields whose names may be paths.
        """
        layout = self.layout
        new = rename.values()
        apart = len({*new}) == len(rename) and layout.keys().isdisjoint(new) and "_id" not in unset and "_id" not in rename
        plain = _are_plain((*unset, *new, *[element[0] for element in set]))
        if self._twice or not (apart and plain) or next(iter(layout), "") != "_id":
            return None
        return cut(self.raw, layout, unset, rename, set)

    @property
    def key(self) -> Element:
        """The document's `_id`."""
        if self._key is None:
            self._key = id_of(self.raw)
        return self._key

    @property
    def ref(self) -> Ref:  # type: ignore[override] # as above
        if self._ref is None:
            self._ref = Ref(self.collection, key_of_ref(self.key))
        return self._ref

    def names(self) -> Sequence[str]:
        return tuple(self.layout)

    def has(self, name: str) -> bool:
        return name in (self._layout or self.layout)

    def value(self, name: str) -> Any:
        _, kind, _, at, stop = (self._layout or self.layout)[name]
        return decoded(kind, self.raw[at:stop], 0)

    def image(self) -> Image:
        return Image(shape_of(self.collection), self.raw)

    def alike(self, name: str, other: Record, theirs: str) -> bool:
        if not isinstance(other, MongoRecord):
            return False
        own, found = self.element(name), other.element(theirs)
        return own is not None and found is not None and own[1:] == found[1:]


@lru_cache(maxsize=1024)
def _are_plain(names: tuple[str, ...]) -> bool:
    """Whether none of the names is a path, or no name at all."""
    return not any("." in name or "\0" in name for name in names)


@cache
def shape_of(collection: str) -> Shape:
    """The shape of a collection's documents, which says nothing but its name."""
    return Shape(collection)


def key_of_ref(key: Element) -> str:
    """An `_id` as a ref has it: its type byte and its bytes, in hex."""
    return f"{key.kind:02x}{key.data.hex()}"


def key_from_ref(text: str) -> Element:
    """The `_id` of a ref."""
    return Element("_id", int(text[:2], 16), bytes.fromhex(text[2:]))


def ref_of(collection: str, raw: bytes) -> Ref:
    """The ref of a document."""
    return Ref(collection, key_of_ref(id_of(raw)))


def id_of(raw: bytes) -> Element:
    """The document's `_id`, at its begin in most of them.

    Raises:
        KeyError: it has none.
    """
    size = FIXED.get(raw[4]) if raw[5:9] == b"_id\0" else None
    if size is not None:
        return Element("_id", raw[4], raw[9 : 9 + size])
    key = first(raw, "_id")
    if key is None:
        raise KeyError("_id")
    return key


def by_id(key: Element) -> bytes:
    """The filter, as a document, that finds the document of that `_id`."""
    if key.kind in _PLAIN_KEYS:
        return join([Element("_id", key.kind, key.data)])
    return join([Element("_id", 0x03, join([Element("$eq", key.kind, key.data)]))])


_OBJECT_ID = 0x07
_PLAIN_KEYS = {0x02, 0x05, _OBJECT_ID, 0x09, 0x10, 0x12}
"""Types of an `_id` that mean nothing but themselves in a filter, for which the server then makes no plan."""


def only(paths: Iterable[str]) -> dict[str, Any]:
    """The projection of the paths; one that leads into another one of them is no part of it, because the server takes no such pair."""
    names = set(paths)
    return {name: 1 for name in sorted(names) if not any(name[:at] in names for at, letter in enumerate(name) if letter == ".")}


def order_of(element: Element) -> tuple[int, Any]:
    """What sorts values as MongoDB does: by type, numbers and dates by value, documents field by field, all others by their bytes."""
    kind = _SAME_TYPE.get(element.kind, element.kind)
    rank = _TYPE_ORDER.get(kind, len(_TYPE_ORDER))
    if kind == 0x10:
        return rank, _order_of_number(element)
    if kind in _WHOLE_NUMBERS:
        return rank, struct.unpack(_WHOLE_NUMBERS[kind], element.data)[0]
    if kind in {DOCUMENT, ARRAY}:
        return rank, [_order_of_field(field, named=kind == DOCUMENT) for field in split(element.data)]
    if kind == 0x05:
        return rank, (len(element.data), element.data[4:])
    # Text begins with its length, which is no part of the order.
    return rank, element.data[4:] if kind == 0x02 else element.data


_WHOLE_NUMBERS = {0x09: "<q", 0x11: "<Q"}


def _order_of_number(element: Element) -> tuple[int, Any]:
    try:
        value = key_value(element)
    except ValueError:  # a number that Python does not have
        return -2, element.data
    return (-1, 0) if value != value else (0, value)  # noqa: PLR0124 -- NaN, which comes before all numbers


def _order_of_field(field: Element, *, named: bool) -> tuple[int, str, Any]:
    rank, value = order_of(field)
    return rank, field.name if named else "", value


def equal_form(element: Element | None) -> Any:
    """A form that is equal for values that MongoDB finds equal; None for null, undefined and absent."""
    if element is not None and element[1] == _OBJECT_ID:
        return element[1:]  # which is equal to itself alone
    try:
        value = key_value(element)
    except ValueError:
        return None if element is None else (element.kind, element.data)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None if value is None else (type(value), value)  # True is 1 in Python, and not in MongoDB
    return "NaN" if value != value else value  # noqa: PLR0124 -- NaN is unequal to itself in Python, and equal in MongoDB
