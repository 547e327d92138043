"""Reading whole batches: each collection once for all entities, and each document's bytes once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession

from backtrail.errors import SchemaChanged, TooLarge
from backtrail.image import Ref
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
            known = before.get(rows, {})
            known |= self._groups(rows, [ways for ways in wanted if ways not in known], budget)
            groups: Sequence[Sequence[MongoRecord]] = [known[ways] for ways in wanted]
            if budget is not None:
                self._last[rows] = known
                budget -= sum(len(record.raw) for group in groups for record in group)
            if any(ref.table == rows.table for images in earlier for ref in images):
                groups = [_as_earlier(rows, *one) for one in zip(groups, earlier, wanted, strict=True)]
            for rowsets, group in zip(found, groups, strict=True):
                rowsets[rows.name] = [*group]
        return found

    def forget(self, tables: Iterable[str]) -> None:
        """Nothing; what was read of these collections is read anew. Of others a session that sees one moment has to ask but once."""
        written = {*tables}
        self._last = {rows: groups for rows, groups in self._last.items() if rows.table not in written}

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
        found = self.store.raw(name).find_raw_batches(condition, projection, session=self.session, batch_size=BATCH)
        batch: bytes
        for batch in found:  # type: ignore[assignment] # the driver's own types know no raw batches of raw documents
            at, end = 0, len(batch)
            while at < end:
                stop = at + int.from_bytes(batch[at : at + 4], "little")
                yield batch[at:stop]
                at = stop


def _wanted(rows: Rows, key: Any, rowsets: Rowsets) -> list[Parts]:
    """What the fields of `by` must be equal to: one of these."""
    if rows.via is None:
        value = key if rows.key is None else rows.key(key)
        parts = value if isinstance(value, tuple) else (value,)
        if len(parts) != len(rows.by):
            raise SchemaChanged(f"Rows({rows.table!r}) finds rows by {len(rows.by)} fields, and the key has {len(parts)} values")
        return [tuple(encode(part) for part in parts)]
    name, field = rows.via
    found = (element for record in rowsets[name] for element in everything(record.raw, field.split(".")))  # type: ignore[attr-defined] # our own records
    return [(element,) for element in found if element.kind != ARRAY and equal_form(element) is not None]


def equal_to(by: Sequence[str], wanted: Sequence[Parts]) -> RawBSONDocument:
    """The filter for documents whose fields are equal to one of the wanted."""
    # A regular expression among them would be a pattern.
    return RawBSONDocument(join(asked(by, [parts for parts in wanted if all(part.kind != REGEX for part in parts)])))


class _Forms:
    """What documents' fields are equal to, in the form by which owners are looked up: of one owner there are many."""

    def __init__(self, by: Sequence[str]) -> None:
        self._by = by
        self._alone = by[0] if len(by) == 1 and "." not in by[0] else None
        self._known: dict[tuple[int, bytes] | None, Any] = {None: None}

    def of(self, record: MongoRecord) -> Iterable[tuple[Any, ...]]:
        """Every form that the document's fields have: several where one of them is a list."""
        if self._alone is not None:
            element = record.element(self._alone)
            if element is None or element.kind != ARRAY:
                return ((self._form(element),),)
        each = [[*map(self._form, everything(record.raw, name.split(".")))] or [None] for name in self._by]
        return product(*each)

    def _form(self, element: Element | None) -> Any:
        value = element and element[1:]
        if value not in self._known:
            self._known[value] = equal_form(element)
        return self._known[value]


def _as_earlier(rows: Rows, records: Sequence[MongoRecord], earlier: Earlier, wanted: Sequence[Parts]) -> list[MongoRecord]:
    """The records with those of known past as they were then; one that was not there goes, one that is gone comes back."""
    kept = [record for record in records if record.ref not in earlier]
    forms = {tuple(map(equal_form, parts)) for parts in wanted}
    found = _Forms(rows.by)
    for ref, image in earlier.items():
        if ref.table == rows.table and image is not None:
            record = MongoRecord(rows.table, image.data, whole=rows.columns is None)
            if any(form in forms for form in found.of(record)):
                kept.append(record)
    return kept


def _order(record: MongoRecord) -> tuple[int, Any]:
    return order_of(record.key)
