"""One BSON document as bytes: read in pieces and put together again.

The layout is that of bsonspec.org, version 1.1. Names are text with `surrogateescape`, so that a name that is no UTF-8 survives.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

DOCUMENT, ARRAY, BINARY, NULL = 0x03, 0x04, 0x05, 0x0A

EMPTY_DOCUMENT = b"\x05\0\0\0\0"


class Element(NamedTuple):
    """One field: its name, the type byte and the bytes of the value."""

    name: str
    kind: int
    data: bytes


_int32 = struct.Struct("<i")
_length = _int32.unpack_from
_element = tuple.__new__  # a NamedTuple's own constructor takes three times as long

FIXED = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # bool
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    0x11: 8,  # timestamp
    0x12: 8,  # int64
    0x13: 16,  # Decimal128
    0x7F: 0,  # max key
    0xFF: 0,  # min key
}
"""Bytes of the value by type, where every value of the type has as many."""


STATED = {
    0x02: (4, 1),  # text
    0x03: (0, 5),  # document
    0x04: (0, 5),  # list
    0x05: (5, 0),  # binary, whose subtype is no part of the length
    0x0D: (4, 1),  # code
    0x0E: (4, 1),  # symbol
    0x0F: (0, 14),  # code with scope
}
"""Bytes beside the stated length, and the least length, by type, where the value begins with its length."""


def _regex_end(raw: bytes, at: int, end: int) -> int:
    return raw.index(0, raw.index(0, at, end) + 1, end) + 1


def _pointer_end(raw: bytes, at: int, end: int) -> int:
    size = _length(raw, at)[0]
    stop = int(at + 4 + size)
    if size < 1 or stop > end or raw[stop - 1]:
        raise ValueError("a DBPointer of the document has a wrong length")
    return stop + 12


_ENDS: dict[int, Callable[[bytes, int, int], int]] = {0x0B: _regex_end, 0x0C: _pointer_end}

Head = tuple[str, int, int, int]
_heads: dict[bytes, Head] = {}
_MAX_HEADS = 4096


def _head(head: bytes) -> Head:
    """Name, kind, size (-1: stated, -2: to be found) and bytes beside the size: documents of one collection have the same few heads."""
    kind = head[0]
    if kind in FIXED:
        size, beside = FIXED[kind], 0
    elif kind in STATED:
        size, beside = -1, STATED[kind][0]
    elif kind in _ENDS:
        size, beside = -2, 0
    else:
        raise ValueError(f"a field of the document has the unknown type {kind:#04x}")
    found = (head[1:].decode("utf-8", "surrogateescape"), kind, size, beside)
    if len(_heads) >= _MAX_HEADS:
        _heads.clear()  # documents whose names are data must not fill the memory
    _heads[head] = found
    return found


Span = tuple[str, int, int, int, int]
"""Where a field is in its document: its name, its type byte, where the field begins, where its value does, where both end."""


def split(raw: bytes) -> list[Element]:
    """The document's own fields in order, duplicates among them.

    Raises:
        ValueError: the bytes are no document.
    """
    return [_element(Element, (name, kind, raw[at:stop])) for name, kind, _, at, stop in spans(raw)]


def spans(raw: bytes, until: str | None = None) -> list[Span]:
    """Where the document's own fields are, in order, up to the first of that name, or all.

    Raises:
        ValueError: the bytes are no document.
    """
    try:
        return _spans(raw, until)
    except (struct.error, IndexError) as error:
        raise ValueError("the document ends too early") from error


def _spans(raw: bytes, until: str | None) -> list[Span]:
    end = _end(raw)
    at, heads, index, length = 4, _heads, raw.index, _length
    found: list[Span] = []
    append = found.append
    while at < end:
        start, stop = at, index(0, at + 1, end)
        name, kind, size, beside = heads.get(raw[at:stop]) or _head(raw[at:stop])
        at = stop + 1
        if size >= 0:
            stop = at + size
        elif size == -1:
            stated = length(raw, at)[0]
            stop = at + beside + stated
            if stated < STATED[kind][1] or stop > end or (raw[stop - 1] and kind != BINARY):
                raise ValueError("a field of the document has a wrong length")
        else:
            stop = _ENDS[kind](raw, at, end)
        append((name, kind, start, at, stop))
        if name == until:
            return found
        at = stop
    if at != end:
        raise ValueError("the last field of the document has a wrong length")
    return found


def _end(raw: bytes) -> int:
    """Where the closing NUL of the document is."""
    size = len(raw)
    if size < 5 or _length(raw)[0] != size or raw[-1]:
        raise ValueError("the document's length is not the one it states")
    return size - 1


def element_bytes(element: Element) -> bytes:
    """The field as it stands in a document."""
    name, kind, data = element
    return b"%c%b%b" % (kind, _names.get(name) or _name(name), data)


_names: dict[str, bytes] = {}


def _name(name: str) -> bytes:
    """The name as it stands in a document, with its NUL."""
    encoded = name.encode("utf-8", "surrogateescape") + b"\0"
    if encoded.index(0) < len(encoded) - 1:
        raise ValueError("the name of a field cannot hold NUL")
    if len(_names) >= _MAX_HEADS:
        _names.clear()  # as above
    _names[name] = encoded
    return encoded


def join(elements: Iterable[Element]) -> bytes:
    """The document of these fields."""
    body = b"".join(map(element_bytes, elements))
    return b"%b%b\0" % (_int32.pack(len(body) + 5), body)


def is_index(part: str) -> bool:
    """Whether the part of a path can be a place in a list."""
    return part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")


def place(holder: Sequence[Element], part: str, *, listed: bool) -> int | None:
    """Where the part of a path is among the fields; None where it is not."""
    if listed:
        return int(part) if is_index(part) and int(part) < len(holder) else None
    return next((at for at, element in enumerate(holder) if element.name == part), None)


def find(raw: bytes, path: Sequence[str]) -> Element | None:
    """The first field along the path, into documents by name and into lists by index; None where there is none."""
    found: Element | None = Element("", DOCUMENT, raw)
    for part in path:
        if found is None or found.kind not in (DOCUMENT, ARRAY):
            return None
        if found.kind == ARRAY:
            inner = split(found.data)
            at = place(inner, part, listed=True)
            found = None if at is None else inner[at]
        else:
            found = first(found.data, part)
    return found if path else None


def first(raw: bytes, name: str) -> Element | None:
    """The document's own first field of that name; None where there is none. What comes after it is not looked at.

    Raises:
        ValueError: the bytes up to there are no document.
    """
    found = spans(raw, name)
    if not found or found[-1][0] != name:
        return None
    _, kind, _, at, stop = found[-1]
    return Element(name, kind, raw[at:stop])


def everything(raw: bytes, path: Sequence[str]) -> list[Element]:
    """All values that MongoDB compares with another one at the path: through the documents of lists, and a list's members beside itself."""
    return list(_inside(raw, path))


def _inside(document: bytes, path: Sequence[str]) -> Iterator[Element]:
    element = find(document, path[:1])
    if element is not None:
        yield from _along(element, path[1:])


def _along(element: Element, rest: Sequence[str]) -> Iterator[Element]:
    if not rest:
        yield element
        if element.kind == ARRAY:
            yield from split(element.data)
    elif element.kind == DOCUMENT:
        yield from _inside(element.data, rest)
    elif element.kind == ARRAY:
        yield from _members(element, rest)


def _members(array: Element, rest: Sequence[str]) -> Iterator[Element]:
    members = split(array.data)
    for member in members:
        if member.kind == DOCUMENT:
            yield from _inside(member.data, rest)
    at = place(members, rest[0], listed=True)
    if at is None:
        return
    if len(rest) == 1:
        yield members[at]  # a list at a place in a list stands for itself only
    else:
        yield from _along(members[at], rest[1:])
