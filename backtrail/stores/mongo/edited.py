"""One BSON document with other fields, every byte that nobody touches as it was."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence

from backtrail.stores.mongo.document import (
    ARRAY,
    DOCUMENT,
    EMPTY_DOCUMENT,
    NULL,
    Element,
    Span,
    element_bytes,
    is_index,
    join,
    place,
    split,
)

MAX_FILL = 1_500_000
"""As many nulls MongoDB puts into a list at most, to reach an index beyond its end."""

_ID = b"_id\0"


def id_first(elements: list[Element]) -> list[Element]:
    """The fields with `_id` before the others, as the server stores them."""
    at = place(elements, "_id", listed=False)
    if not at:  # there already, or nowhere
        return elements
    return [elements[at], *elements[:at], *elements[at + 1 :]]


def with_id(raw: bytes, key: Element) -> bytes:
    """The document, which has its `_id` first or none, with this one where it has none."""
    if raw[5:9] == _ID:
        return raw
    return b"%b%b%b" % (struct.pack("<i", len(raw) + len(key.data) + 5), element_bytes(key), raw[4:])


def cut(
    raw: bytes, layout: Mapping[str, Span], unset: Collection[str], rename: Mapping[str, str], set: Sequence[Element]
) -> bytes:
    """The document that `changed` would give, cut out of the old one in few pieces.

    Args:
        raw: the document.
        layout: where its fields are; no name is there twice.
        unset: names of its fields.
        rename: new names that no other field has.
        set: fields without paths.
    """
    new = {element.name: element for element in set}
    instead = dict.fromkeys(unset, b"")
    for old, name in rename.items():
        if old in layout and old not in instead:
            _, kind, _, at, stop = layout[old]
            instead[old] = element_bytes(new.pop(name) if name in new else Element(name, kind, raw[at:stop]))
    for name in [name for name in new if name in layout and name not in instead]:
        instead[name] = element_bytes(new.pop(name))
    pieces = []
    done = 4
    for name in sorted(instead.keys() & layout.keys(), key=lambda name: layout[name][2]):
        pieces += [raw[done : layout[name][2]], instead[name]]
        done = layout[name][4]
    body = b"".join([*pieces, raw[done:-1], *map(element_bytes, new.values())])
    return b"%b%b\0" % (struct.pack("<i", len(body) + 5), body)


def copied(
    raw: bytes, *, unset: Collection[str] = (), rename: Mapping[str, str] | None = None, set: Sequence[Element] = ()
) -> bytes:
    """The document with other fields, as `changed` has them; every other byte as it was.

    Raises:
        ValueError: a path to be set leads through a value that can hold no field.
    """
    return join(changed(split(raw), unset=unset, rename=rename, set=set))


def changed(
    fields: Iterable[Element],
    *,
    unset: Collection[str] = (),
    rename: Mapping[str, str] | None = None,
    set: Iterable[Element] = (),
) -> list[Element]:
    """The fields of a document with others, in the order unset, rename, set.

    Args:
        fields: of the document.
        unset: names and dotted paths that go, with all duplicates; in lists null takes the place.
        rename: new names of the document's own fields, which keep their place.
        set: fields whose names may be dotted paths; they keep the place of the first of that name, further ones go, new ones come last.

    Raises:
        ValueError: a path to be set leads through a value that can hold no field.
    """
    elements = [*fields]
    for name in unset:
        elements = _without(elements, name.split("."), listed=False)
    if rename:
        elements = [element._replace(name=rename[element.name]) if element.name in rename else element for element in elements]
    for value in set:
        if "." in value.name:
            elements = _with(elements, value.name.split("."), value, listed=False)
        else:
            _set_own(elements, value)
    return elements


def _set_own(holder: list[Element], value: Element) -> None:
    """Nothing; the list, which is the caller's own, has the field once."""
    name = value.name
    first_, *others = [at for at, element in enumerate(holder) if element[0] == name] or [len(holder)]
    holder[first_ : first_ + 1] = [value]
    for at in reversed(others):
        del holder[at]  # the new value must be the one that is read


def _without(holder: list[Element], path: Sequence[str], *, listed: bool) -> list[Element]:
    at = place(holder, path[0], listed=listed)
    if at is None:
        return holder
    element = holder[at]
    if len(path) > 1:
        if element.kind not in (DOCUMENT, ARRAY):
            return holder
        inner = _without(split(element.data), path[1:], listed=element.kind == ARRAY)
        return [*holder[:at], Element(element.name, element.kind, join(inner)), *holder[at + 1 :]]
    if listed:
        return [*holder[:at], Element(element.name, NULL, b""), *holder[at + 1 :]]
    return [element for element in holder if element.name != path[0]]


def _with(holder: list[Element], path: Sequence[str], value: Element, *, listed: bool) -> list[Element]:
    part = path[0]
    if listed and not is_index(part):
        raise ValueError(f"{part!r} is no place in a list")
    at = place(holder, part, listed=listed)
    if at is None:
        filled = _filled(holder, int(part)) if listed else holder
        return [*filled, _into(Element(part, DOCUMENT, EMPTY_DOCUMENT), path[1:], value)]
    rest = holder[at + 1 :]
    if not listed and len(path) == 1:
        rest = [element for element in rest if element.name != part]  # the new value must be the one that is read
    return [*holder[:at], _into(holder[at], path[1:], value), *rest]


def _into(element: Element, rest: Sequence[str], value: Element) -> Element:
    """The element with the value put at the rest of the path in it."""
    if not rest:
        return Element(element.name, value.kind, value.data)
    if element.kind not in (DOCUMENT, ARRAY):
        raise ValueError(f"no field {rest[0]!r} can be in a value that is neither a document nor a list")
    return Element(element.name, element.kind, join(_with(split(element.data), rest, value, listed=element.kind == ARRAY)))


def _filled(holder: list[Element], size: int) -> list[Element]:
    if size - len(holder) > MAX_FILL:
        raise ValueError(f"a list would need more than {MAX_FILL} nulls to reach a place in it")
    return [*holder, *(Element(str(at), NULL, b"") for at in range(len(holder), size))]
