"""Reading whole batches: each collection once for all entities, and each document's bytes once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession

from backtrail.errors import SchemaChanged, TooLarge
from backtrail.image import Image, Ref
from backtrail.migration import Rows
from backtrail.stores.base import Earlier, Rowsets
from backtrail.stores.mongo.document import ARRAY, Element, everything, join
from backtrail.stores.mongo.keys import asked
from backtrail.stores.mongo.record import MongoRecord, equal_form, only, order_of
from backtrail.stores.mongo.values import encode

if TYPE_CHECKING:
    from backtrail.stores.mongo.store import MongoStore

REGEX = 0x0B
IN_LIMIT = 2000
"""How many values go into one `$in`: at a few kilobytes an id, still far from the 16 MB of a message."""

BATCH = 10_000
"""How many documents one answer of the server holds at the most, where they are not more than the 16 MB of a message."""

MAX_BYTES = 32 * 1024 * 1024
"""As much is read for one transaction, unless one entity alone has more: twice that goes into the ledger, and all of it within 60 seconds."""

Parts = tuple[Element, ...]
Ways = tuple[Parts, ...]
"""What a document's fields must be equal to, so that it is an entity's: one of these."""


class Reader:
    """Reads in one session, which sees one moment."""

    def __init__(self, store: MongoStore, session: ClientSession) -> None:
        self.store, self.session = store, session
        self._last: dict[Rows, dict[Ways, list[MongoRecord]]] = {}
        self._written: dict[Ref, Image | None] = {}

    def read(self, reads: Sequence[Rows], keys: Sequence[Any], *, whole: bool, earlier: Sequence[Earlier]) -> list[Rowsets]:
        """The rows of each key in binary order of their primary keys.

        Args:
            reads: what is read.
            keys: the entities.
            whole: whether all of it is to be written about in one transaction, which then should not be too large.
            earlier: for each key, rows to be taken as they were instead.
        """
        found: list[Rowsets] = [{} for _ in keys]
        budget = MAX_BYTES if whole and len(keys) > 1 else None
        before, self._last = self._last, {}
        for rows in reads:
            wanted = [_wanted(rows, key, rowsets) for key, rowsets in zip(keys, found, strict=True)]
            known = self._now(rows, before.get(rows, {}))
            known |= self._groups(rows, [ways for ways in wanted if ways not in known], budget)
            groups: Sequence[Sequence[MongoRecord]] = [known[ways] for ways in wanted]
            self._last[rows] = known
            if budget is not None:
                budget -= sum({id(record): len(record.raw) for group in groups for record in group}.values())
            if any(ref.table == rows.table for images in earlier for ref in images):
                groups = [_as_earlier(rows, *one) for one in zip(groups, earlier, wanted, strict=True)]
            for rowsets, group in zip(found, groups, strict=True):
                rowsets[rows.name] = [*group]
        self._written = {}
        return found

    def wrote(self, images: Mapping[Ref, Image | None]) -> None:
        """Nothing; these documents are what this transaction has made of them. Of others, which see one moment, one has to ask but once."""
        self._written |= images

    def _now(self, rows: Rows, groups: dict[Ways, list[MongoRecord]]) -> dict[Ways, list[MongoRecord]]:
        """What was read, with the documents as this transaction has left them since."""
        if not groups or all(ref.table != rows.table for ref in self._written):
            return groups
        if rows.columns is not None:
            return {}  # the server knows best what it leaves of a document
        new = _by_form(rows, self._written)
        return {ways: _with(group, self._written, new, ways) for ways, group in groups.items()}

    def _groups(self, rows: Rows, wanted: Sequence[Ways], budget: int | None) -> dict[Ways, list[MongoRecord]]:
        groups: dict[Ways, list[MongoRecord]] = {ways: [] for ways in wanted}
        distinct = list(groups)
        for record, positions in self._matching(rows, distinct):
            for at in positions:
                groups[distinct[at]].append(record)
            if budget is not None:
                budget -= len(record.raw)
                if budget < 0:
                    raise TooLarge(f"the documents of {len(wanted)} entities are more than one transaction should hold")
        for group in groups.values():
            group.sort(key=_order)
        return groups

    def _matching(self, rows: Rows, wanted: Sequence[Sequence[Parts]]) -> Iterator[tuple[MongoRecord, Sequence[int]]]:
        """Each document that somebody wants, once, with the positions of those who do."""
        owners: dict[Any, list[int]] = defaultdict(list)
        values: dict[Any, Parts] = {}
        for at, ways in enumerate(wanted):
            for parts in ways:
                form = tuple(map(equal_form, parts))
                values.setdefault(form, parts)
                if at not in owners[form]:
                    owners[form].append(at)
        projection = None if rows.columns is None else only({"_id", *rows.by, *rows.columns})
        seen: set[Ref] = set()
        distinct = list(values.values())
        forms = _Forms(rows.by)
        for chunk in (distinct[at : at + IN_LIMIT] for at in range(0, len(distinct), IN_LIMIT)):
            for raw in self.found(rows.table, equal_to(rows.by, chunk), projection):
                record = MongoRecord(rows.table, raw, whole=rows.columns is None)
                positions = {at for form in forms.of(record) for at in owners.get(form, ())}
                if positions and (len(distinct) <= IN_LIMIT or record.ref not in seen):
                    seen.update([record.ref] if len(distinct) > IN_LIMIT else ())
                    yield record, sorted(positions)

    def found(self, name: str, condition: RawBSONDocument, projection: dict[str, Any] | None = None) -> Iterator[bytes]:
        """The documents that the filter finds, as the server's answers hold them: one after the other, without an object around each."""
        # All at once: the server's first answer would otherwise hold a hundred, and the next as many as fit.
        return documents(self.store.raw(name).find_raw_batches(condition, projection, session=self.session, batch_size=BATCH))


def documents(batches: Iterable[Any]) -> Iterator[bytes]:
    """The documents in raw batches, one after the other."""
    for batch in batches:
        at, end = 0, len(batch)
        while at < end:
            stop = at + int.from_bytes(batch[at : at + 4], "little")
            yield batch[at:stop]
            at = stop


def _wanted(rows: Rows, key: Any, rowsets: Rowsets) -> Ways:
    """What the fields of `by` must be equal to: one of these."""
    if rows.via is None:
        value = key if rows.key is None else rows.key(key)
        parts = value if isinstance(value, tuple) else (value,)
        if len(parts) != len(rows.by):
            raise SchemaChanged(f"Rows({rows.table!r}) finds rows by {len(rows.by)} fields, and the key has {len(parts)} values")
        return (tuple(encode(part) for part in parts),)
    name, field = rows.via
    found = (element for record in rowsets[name] for element in everything(record.raw, field.split(".")))  # type: ignore[attr-defined] # our own records
    return tuple((element,) for element in found if element.kind != ARRAY and equal_form(element) is not None)


def equal_to(by: Sequence[str], wanted: Sequence[Parts]) -> RawBSONDocument:
    """The filter for documents whose fields are equal to one of the wanted."""
    # A regular expression among them would be a pattern.
    return RawBSONDocument(join(asked(by, [parts for parts in wanted if all(part.kind != REGEX for part in parts)])))


class _Forms:
    """What documents' fields are equal to, in the form by which owners are looked up: of one owner there are many."""

    def __init__(self, by: Sequence[str]) -> None:
        self._by = by
        self._known: dict[tuple[int, bytes] | None, Any] = {None: None}

    def of(self, record: MongoRecord) -> Iterable[tuple[Any, ...]]:
        """Every form that the document's fields have: several where one of them is a list."""
        each = [self._of(record, name) for name in self._by]
        return [tuple(forms[0] for forms in each)] if all(len(forms) == 1 for forms in each) else product(*each)

    def _of(self, record: MongoRecord, name: str) -> Sequence[Any]:
        if "." not in name:
            element = record.element(name)
            if element is None or element.kind != ARRAY:
                return (self._form(element),)
        return [*map(self._form, everything(record.raw, name.split(".")))] or [None]

    def _form(self, element: Element | None) -> Any:
        value = element and element[1:]
        if value not in self._known:
            self._known[value] = equal_form(element)
        return self._known[value]


def _with(
    records: Sequence[MongoRecord], instead: Collection[Ref], new: Mapping[Any, Sequence[MongoRecord]], ways: Ways
) -> list[MongoRecord]:
    """The records, with new ones that an entity has by their forms instead of some."""
    kept = [record for record in records if record.ref not in instead]
    own = {id(record): record for parts in ways for record in new.get(tuple(map(equal_form, parts)), ())}
    return sorted([*kept, *own.values()], key=_order)


def _as_earlier(rows: Rows, records: Sequence[MongoRecord], earlier: Earlier, wanted: Ways) -> list[MongoRecord]:
    """The records with those of known past as they were then; one that was not there goes, one that is gone comes back."""
    return _with(records, earlier, _by_form(rows, earlier), wanted)


def _by_form(rows: Rows, images: Mapping[Ref, Image | None]) -> dict[Any, list[MongoRecord]]:
    """The documents of these images that the read may meet, by each form that its fields have."""
    forms = _Forms(rows.by)
    found: dict[Any, list[MongoRecord]] = defaultdict(list)
    for ref, image in images.items():
        if ref.table == rows.table and image is not None:
            record = MongoRecord(rows.table, image.data, whole=rows.columns is None)
            for form in {*forms.of(record)}:
                found[form].append(record)
    return found


def _order(record: MongoRecord) -> tuple[int, Any]:
    return order_of(record.key)
