"""Values of documents as JSON can show them to people."""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Iterable
from typing import Any

from backtrail.image import jsonable
from backtrail.stores.mongo.decoding import NAMES, decoded, opaque_text
from backtrail.stores.mongo.document import ARRAY, BINARY, DOCUMENT, Element, split

MAX_DEPTH = 128
"""Levels of documents that are shown; deeper ones show their size."""

UUID = 4
_NAN = struct.pack("<d", math.nan)


def show(element: Element) -> Any:
    """The value as JSON can show it: ids and decimals as text, dates in ISO form, bytes in hex, duplicate names counted."""
    return _shown(element.kind, element.data, 0)


def type_names(elements: Iterable[Element]) -> str:
    """The types of the values, those of what is in them too."""
    return ", ".join(map(_type_name, elements))


def _type_name(element: Element) -> str:
    name = NAMES.get(element.kind, f"type {element.kind:#04x}")
    if element.kind not in {DOCUMENT, ARRAY}:
        return name
    return f"{name} of {type_names(split(element.data)) or 'nothing'}"


def _shown(kind: int, data: bytes, depth: int) -> Any:
    if kind in {DOCUMENT, ARRAY} and depth < MAX_DEPTH:
        return _container(kind, data, depth)
    if kind == 0x0F:  # code with scope: length, text, document
        (size,) = struct.unpack_from("<i", data, 4)
        return {"code": _utf8(data[8 : 7 + size]), "scope": _shown(DOCUMENT, data[8 + size :], depth)}
    if kind in {0x02, 0x0D}:
        return _utf8(data[4:-1])
    if kind == BINARY and data[4] != UUID:
        return "\\x" + data[5:].hex()
    value = decoded(kind, data, 0)
    if isinstance(value, float) and value != value and data != _NAN:  # noqa: PLR0124 -- NaN alone is unequal to itself
        return f"nan {data[::-1].hex()}"
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if kind in {0x0B, 0x7F, 0xFF}:
        return opaque_text(kind, data)
    return jsonable(value)


def _container(kind: int, data: bytes, depth: int) -> Any:
    try:
        elements = split(data)
    except ValueError:
        return opaque_text(kind, data)
    items = [_shown(element.kind, element.data, depth + 1) for element in elements]
    if kind == ARRAY and all(element.name == str(at) for at, element in enumerate(elements)):
        return items
    return dict(zip(_names(element.name for element in elements), items, strict=True))


def _utf8(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _names(names: Iterable[str]) -> list[str]:
    """The names, each of which is another: the second `a` is `a (2)`."""
    found: dict[str, None] = {}
    for name in names:
        shown = tried = _utf8(name.encode("utf-8", "surrogateescape"))
        count = 1
        while tried in found:
            count += 1
            tried = f"{shown} ({count})"
        found[tried] = None
    return list(found)
