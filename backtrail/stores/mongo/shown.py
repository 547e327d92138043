"""Values of documents as JSON can show them to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backtrail.image import jsonable
from backtrail.stores.mongo.decoding import MAX_WALK, decoded, opaque_text
from backtrail.stores.mongo.document import ARRAY, DOCUMENT, Element, split


def show(element: Element) -> Any:
    """The value as JSON can show it: ids and decimals as text, dates in ISO form, bytes in hex, duplicate names counted."""
    return _shown(element.kind, element.data, 0)


def _shown(kind: int, data: bytes, depth: int) -> Any:
    if kind in {DOCUMENT, ARRAY} and depth < MAX_WALK * 2:
        try:
            elements = split(data)
        except ValueError:
            return opaque_text(kind, data)
        items = [_shown(element.kind, element.data, depth + 1) for element in elements]
        if kind == ARRAY and all(element.name == str(at) for at, element in enumerate(elements)):
            return items
        return dict(zip(_names(element.name for element in elements), items, strict=True))
    return jsonable(decoded(kind, data, 0))


def _names(names: Iterable[str]) -> list[str]:
    """The names, each of which is another: the second `a` is `a (2)`."""
    found: dict[str, None] = {}
    for name in names:
        shown = tried = jsonable(name)
        count = 1
        while tried in found:
            count += 1
            tried = f"{shown} ({count})"
        found[tried] = None
    return list(found)
