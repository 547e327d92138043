"""Keys of entities in collections: counted, typed, and paged in the server's own order of all types.

`$gt` of a query compares only values of one type: over null, numbers, text and ids it would skip most documents. `$gt` of an aggregation
expression compares all of them, and uses an index too.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from bson.raw_bson import RawBSONDocument

from backtrail.errors import UsageError
from backtrail.keys import KeyType, type_of
from backtrail.migration import Keys
from backtrail.stores.base import KeyCensus, KeyPage
from backtrail.stores.mongo.document import Element, everything, find, first, join, split
from backtrail.stores.mongo.record import equal_form, id_of, only
from backtrail.stores.mongo.values import decode, encode, key_kind, key_value

Filter = list[Element]


def where(keys: Keys) -> Filter:
    """The condition of `Keys(where=…)` as fields of a filter."""
    return [
        Element(
            name,
            0x03,
            join([encode(list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted], name="$in")]),
        )
        for name, wanted in keys.where.items()
    ]


def filtered(*parts: Filter) -> RawBSONDocument:
    """The filter that asks for all of the parts."""
    elements = [element for part in parts for element in part]
    if len({element.name for element in elements}) == len(elements):
        return RawBSONDocument(join(elements))
    each = [Element(str(at), 0x03, join([element])) for at, element in enumerate(elements)]
    return RawBSONDocument(join([Element("$and", 0x04, join(each))]))


def with_key(keys: Keys) -> Filter:
    """The condition that not all of the key is null or absent."""
    some = [Element(str(at), 0x03, join([encode({"$ne": None}, name=name)])) for at, name in enumerate(keys.columns)]
    return [Element("$or", 0x04, join(some))] if len(some) > 1 else [encode({"$ne": None}, name=keys.columns[0])]


def after(keys: Keys, last: Sequence[Element]) -> Filter:
    """The condition that a key comes after the last one."""

    def compared(operator: str, at: int) -> dict[str, Any]:
        return {operator: [f"${keys.columns[at]}", {"$literal": decode(last[at])}]}

    ways = [
        {"$and": [*(compared("$eq", before) for before in range(at)), compared("$gt", at)]} for at in range(len(keys.columns))
    ]
    # The first bound is what an index is entered by.
    return [encode({"$and": [compared("$gte", 0), {"$or": ways}]} if len(ways) > 1 else compared("$gt", 0), name="$expr")]


def dump(last: Sequence[Element]) -> str:
    """A key's values exactly, as a cursor keeps them."""
    return json.dumps([[element.kind, element.data.hex()] for element in last])


def load(text: str) -> list[Element]:
    """What `dump` gave as text."""
    return [Element("", kind, bytes.fromhex(data)) for kind, data in json.loads(text)]


NULL = Element("", 0x0A, b"")


def parts_of(keys: Keys, raw: bytes) -> list[Element]:
    """The values of the document's key; null for those that are absent.

    Raises:
        UsageError: one of them is a list, or lies in one.
    """
    found = []
    for name in keys.columns:
        values = _values(raw, name)
        if len(values) > 1 or (values and values[0].kind == 0x04):
            raise UsageError(f"{keys.table}.{name} is a list in some documents, which names no entity: see Keys(…, where=)")
        found.append(values[0] if values else NULL)
    return found


def _values(raw: bytes, name: str) -> Sequence[Element]:
    if "." in name:
        return everything(raw, name.split("."))
    value = first(raw, name)
    return () if value is None else (value,)


def key_of(keys: Keys, parts: Sequence[Element]) -> Any:
    """The entity's key.

    Raises:
        UsageError: a value of that kind is no key.
    """
    try:
        values = [(key_value if keys.key is None else decode)(part) for part in parts]
    except ValueError as error:
        raise UsageError(f"{keys.table}.{'+'.join(keys.columns)}: {error}; give Keys(…, key=) that makes one of it") from None
    value = values[0] if len(values) == 1 else tuple(values)
    return value if keys.key is None else keys.key(value)


def in_order(keys: Keys, documents: Iterator[bytes], limit: int) -> tuple[list[Any], list[Element] | None]:
    """Up to `limit` different keys of documents in the keys' order, and the last one's values; None for those where there are no more."""
    found: list[Any] = []
    last: list[Element] | None = None
    form: Any = None
    before = b""
    for raw in documents:
        if raw == before:
            continue  # only the key's fields are read
        before = raw
        parts = parts_of(keys, raw)
        own = [equal_form(part) for part in parts]
        if own == form:
            continue
        if len(found) == limit:
            return found, last
        found.append(key_of(keys, parts))
        last, form = parts, own
    return found, None


def asked(columns: Sequence[str], wanted: Sequence[Sequence[Element]]) -> Filter:
    """The condition that the fields are equal to one of the wanted. A regular expression can be no key, and would be a pattern here.

    Of several fields each is asked for by itself, so that whoever asks has to look whether they belong together: the server makes a plan for
    every part of an `$or`. Keys that follow one another have hardly any other between them.
    """
    if not wanted:
        return [Element(columns[0], 0x03, join([Element("$in", 0x04, join([]))]))]
    return [_one_of(name, parts) for name, parts in zip(columns, zip(*wanted, strict=True), strict=True)]


def _one_of(name: str, parts: Sequence[Element]) -> Element:
    values = dict.fromkeys(part[1:] for part in parts)
    body = b"".join([b"%c%d\0%b" % (kind, at, data) for at, (kind, data) in enumerate(values)])
    return Element(name, 0x03, join([Element("$in", 0x04, b"%b%b\0" % (struct.pack("<i", len(body) + 5), body))]))


def group_of(keys: Keys) -> dict[str, Any]:
    """What the keys of a source are grouped by."""
    one, *others = (f"${name}" for name in keys.columns)
    return {"_id": {f"c{at}": name for at, name in enumerate((one, *others))} if others else one}


def form_of_group(raw: bytes, parts: int) -> tuple[Any, ...]:
    """The form of the key of a `$group`, in which parts that are absent are missing."""
    if parts == 1:
        return (equal_form(id_of(raw)),)
    found = {part.name: part for part in split(id_of(raw).data)}
    return tuple(equal_form(found.get(f"c{at}")) for at in range(parts))


def projected(keys: Keys) -> dict[str, Any]:
    """The projection of a key's fields."""
    paths = only(keys.columns)
    return paths if any(name.partition(".")[0] == "_id" for name in paths) else {**paths, "_id": 0}


# -- census -----------------------------------------------------------------------------------------------------------


def census_pipeline(sources: Sequence[Keys]) -> list[dict[str, Any]]:
    """What counts the sources' different keys by the types of their parts, with an example, and says which source has documents of each."""
    one, *others = sources
    pipeline = _keyed(one, 0)
    for number, other in enumerate(others, 1):
        pipeline.append({"$unionWith": {"coll": other.table, "pipeline": _keyed(other, number)}})
    if others:
        pipeline += [
            {"$group": {"_id": {"key": "$key", "source": "$source"}, "documents": {"$sum": 1}}},
            {"$group": {"_id": "$_id.key", "in": {"$push": {"source": "$_id.source", "documents": "$documents"}}}},
        ]
    else:
        alone = {"_id": "$key", "documents": {"$literal": 1}}
        once = {"$project": alone} if one.columns == ("_id",) else {"$group": {"_id": "$key", "documents": {"$sum": 1}}}
        pipeline += [once, {"$project": {"in": [{"source": {"$literal": 0}, "documents": "$documents"}]}}]
    types = {f"c{at}": {"$type": f"$_id.c{at}"} for at in range(len(one.columns))}
    by_type = {"_id": types, "keys": {"$sum": 1}, "example": {"$first": "$_id"}}
    return [*pipeline, {"$group": {**by_type, "in": {"$first": "$in"}, "sources": {"$addToSet": "$in.source"}}}]


def _keyed(keys: Keys, number: int) -> list[dict[str, Any]]:
    condition = RawBSONDocument(join(where(keys)))
    # Null where it is absent, so that both are one key.
    key = {f"c{at}": {"$ifNull": [f"${name}", None]} for at, name in enumerate(keys.columns)}
    return [{"$match": condition}, {"$project": {"_id": 0, "key": key, "source": {"$literal": number}}}]


class Group(NamedTuple):
    """The keys whose parts have the same types: how many, one of them, and which sources have some."""

    keys: int
    example: list[Element | None]
    sources: set[int]
    documents: dict[int, int]
    """The documents of the example by source: all, where the example is the key that is none."""

    @property
    def is_key(self) -> bool:
        """Whether not all of the key is null."""
        return any(map(_is_there, self.example))


def groups_of(answer: Iterable[bytes], parts: int) -> list[Group]:
    """What the census pipeline gave."""
    found = []
    for raw in answer:
        said = {name: decode(element) for name in ("keys", "in", "sources") if (element := first(raw, name)) is not None}
        example = [find(raw, ("example", f"c{at}")) for at in range(parts)]
        sources = {number for numbers in said["sources"] for number in numbers}
        found.append(Group(said["keys"], example, sources, {one["source"]: one["documents"] for one in said["in"]}))
    return found


def _is_there(part: Element | None) -> TypeGuard[Element]:
    return part is not None and part.kind not in {0x0A, 0x06}


def totals(sources: Sequence[Keys], groups: Sequence[Group]) -> tuple[int, dict[str, int]]:
    """How many keys there are, and how many documents have none, by collection."""
    nulls: Counter[str] = Counter()
    for group in groups:
        if not group.is_key:
            nulls.update({sources[number].table: count for number, count in group.documents.items()})
    tables = dict.fromkeys(one.table for one in sources if nulls[one.table])
    return sum(group.keys for group in groups if group.is_key), {table: nulls[table] for table in tables}


def counted(sources: Sequence[Keys], groups: Sequence[Group], name: str) -> KeyCensus:
    """What the census found in the sources.

    Raises:
        UsageError: keys of mixed type, or of one that can be no key.
    """
    types = []
    for at in range(len(sources[0].columns)):
        kinds: dict[KeyType, set[int]] = {}
        for group in groups:
            part = group.example[at]
            if _is_there(part):
                kinds.setdefault(key_kind(part), set()).update(group.sources)
        columns = {
            kind: ", ".join(f"{sources[number].table}.{sources[number].columns[at]}" for number in sorted(numbers))
            for kind, numbers in kinds.items()
        }
        types.append(_one_kind(columns, name))
    total, nulls = totals(sources, groups)
    return KeyCensus(total, sum(nulls.values()), tuple(types), nulls)


def _one_kind(kinds: Mapping[KeyType, str], name: str) -> KeyType:
    """The type of a part of the keys, of which it is known where each type was found."""
    if kinds.keys() == {"int", "number"}:
        return "number"  # one type to MongoDB, and to whoever writes them
    if len(kinds) > 1:
        said = "; ".join(f"{kind} in {where_}" for kind, where_ in sorted(kinds.items()))
        raise UsageError(f"{name}: keys of mixed type ({said}): give Keys(…, key=) to make them alike, as docs/mongodb.md shows")
    if "other" in kinds:
        raise UsageError(f"{name}: values of {kinds['other']} are lists, documents or the like, and no keys: give Keys(…, key=)")
    return next(iter(kinds), "text")


def mapped_types(keys: Sequence[Any], table: str) -> tuple[KeyType, ...]:
    """The types of the keys that an author's function made.

    Raises:
        UsageError: they are of several types.
    """
    types = {tuple(map(type_of, key)) if isinstance(key, tuple) else (type_of(key),) for key in keys}
    if len(types) > 1:
        raise UsageError(f"keys of mixed type from Keys({table!r}, key=): the function must give one type")
    return types.pop() if types else ()


def page_of(keys: list[Any], last: list[Element] | None) -> KeyPage:
    """A page of keys with the cursor behind it."""
    return KeyPage(list(dict.fromkeys(keys)), None if last is None else dump(last))
