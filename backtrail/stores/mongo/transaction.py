"""One transaction on a MongoDB database: a whole batch read at once, written at once, and read back as raw bytes.

It sees one moment, its snapshot, and a document that somebody else changed since cannot be written: MongoDB ends the transaction with a write
conflict, and it is made anew. So nothing is locked, and no update is lost.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure

from backtrail.errors import AuthorMistake, BadValue, ConstraintFailed, Quarantine, Retry, TooLarge
from backtrail.image import Image, Ref, Written
from backtrail.migration import Invariant, Keys, Rows
from backtrail.stores.base import Earlier, Put, Rowsets, Transaction, Write
from backtrail.stores.mongo import commands, plan
from backtrail.stores.mongo.document import DOCUMENT, Element, join, split
from backtrail.stores.mongo.edited import copied, with_id
from backtrail.stores.mongo.errors import DENIED, translate
from backtrail.stores.mongo.keys import asked
from backtrail.stores.mongo.reading import IN_LIMIT, MAX_BYTES, Reader, equal_to
from backtrail.stores.mongo.record import MongoRecord, id_of, key_from_ref, ref_of, shape_of
from backtrail.stores.mongo.taken import naming_holders
from backtrail.stores.mongo.values import show

if TYPE_CHECKING:
    from backtrail.stores.mongo.store import MongoStore

RawCollection = Collection[RawBSONDocument]


class MongoTransaction(Transaction):
    """A transaction in a session; one that only reads sees one moment too."""

    duplicate = DuplicateKeyError

    def __init__(self, store: MongoStore, session: ClientSession) -> None:
        self.store = store
        self.session = session
        self.connection = store.ledger_database
        self._now: dt.datetime | None = None
        self._reader = Reader(store, session)

    @property
    def now(self) -> dt.datetime:
        if self._now is None:
            self._now = self.store.clock()
        return self._now

    def bulk(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self.connection[table].insert_many([dict(zip(columns, row, strict=True)) for row in rows], session=self.session)

    # -- reading --------------------------------------------------------------------------------------------------

    def read(
        self,
        reads: Sequence[Rows],
        keys: Sequence[Any],
        *,
        lock: bool,
        sources: Sequence[Keys] = (),
        earlier: Sequence[Earlier] = (),
    ) -> list[Rowsets]:
        return self._reader.read(reads, keys, whole=lock, earlier=earlier)

    def fetch(self, refs: Iterable[Ref], *, lock: bool) -> dict[Ref, Image]:
        images: dict[Ref, Image] = {}
        for name, of_collection in _by_table(refs).items():
            by_id = {key_from_ref(ref.key)[1:]: ref for ref in of_collection}
            keys = [(Element("_id", *key),) for key in by_id]
            shape = shape_of(name)
            size = 0
            for at in range(0, len(keys), IN_LIMIT):
                for raw in self._reader.found(name, equal_to(("_id",), keys[at : at + IN_LIMIT])):
                    ref = by_id.get(id_of(raw)[1:])
                    if ref is not None:  # an _id that is only equal, 1.0 for 1, is another document
                        images[ref] = Image(shape, raw)
                        size += len(raw)
                    if lock and size > MAX_BYTES and len(by_id) > 1:
                        raise TooLarge(f"{len(by_id)} documents of {name} are more than one transaction should hold")
        return images

    def foreseen(self, writes: Sequence[Write]) -> list[Image | None]:
        given = _given(writes)
        return [_foreseen(write, given) for write in writes]

    def settle(self) -> None:
        """Nothing waits for the commit."""

    def violations(self, invariant: Invariant, limit: int) -> list[str]:
        if isinstance(invariant.query, str) or invariant.collection is None:
            raise AuthorMistake(f"invariant {invariant.name!r}: on MongoDB it is Invariant(name, [stages …], collection=…)")
        pipeline = [*(dict(stage) for stage in invariant.query), {"$limit": limit}]
        # Without the session: some stages, $indexStats for one, know no snapshot.
        return [_line(bytes(one.raw)) for one in self.store.raw(invariant.collection).aggregate(pipeline)]

    # -- writing --------------------------------------------------------------------------------------------------

    def apply(self, writes: Sequence[Write], *, ordered: bool = False) -> list[Written]:
        given = _given(writes)
        documents = {id(write): _document(write, given) for write in writes if write.op == "create"}
        if ordered:
            self._anew(writes, documents, given)
        else:
            for name, group in _by_table(writes).items():
                self._write_all(name, group, documents, given)
        refs = {id(write): write.ref or ref_of(write.table, documents[id(write)]) for write in writes}
        kept = {
            refs[at]: Image(shape_of(refs[at].table), document)
            for at, document in documents.items()
            if commands.is_kept(document)
        }
        # An update is the server's own work, down to the order of the fields that it adds.
        rest = [ref for write in writes if write.op != "delete" and (ref := refs[id(write)]) not in kept]
        live = kept | self.fetch(rest, lock=False)
        written = [_written(write, refs[id(write)], live) for write in writes]
        self._reader.wrote({change.ref: change.after for change in written})
        return written

    def _write_all(self, name: str, group: Sequence[Write], documents: Mapping[int, bytes], given: Mapping[int, Element]) -> None:
        collection = self.store.raw(name)
        deletes = [(key_from_ref(_known(write.ref).key),) for write in group if write.op == "delete"]
        if deletes:
            commands.delete(collection, join(asked(("_id",), deletes)), self.session)
        updates = [write for write in group if write.op == "update"]
        with _naming(updates):
            there = commands.update(collection, [_update(write, given) for write in updates], self.session)
        if there != len(updates):
            raise BadValue(f"a document of {name} that was read is not there any more")
        creates = [write for write in group if write.op == "create"]
        with _naming(creates):
            commands.insert(collection, [_keyed(documents[id(write)]) for write in creates], self.session)

    def _anew(self, writes: Sequence[Write], documents: Mapping[int, bytes], given: Mapping[int, Element]) -> None:
        """Takes all documents that change out of each other's way first, where two exchange a value that must be unique."""
        for name, group in _by_table([write for write in writes if write.op != "create"]).items():
            keys = [(key_from_ref(_known(write.ref).key),) for write in group]
            commands.delete(self.store.raw(name), join(asked(("_id",), keys)), self.session)
        for name, group in _by_table([write for write in writes if write.op != "delete"]).items():
            new = [documents[id(write)] if write.op == "create" else _updated(write, given) for write in group]
            with _naming(group):
                commands.insert(self.store.raw(name), [*map(_keyed, new)], self.session)

    # -- going back and forth -------------------------------------------------------------------------------------

    def put(self, puts: Sequence[Put], *, ordered: bool = False) -> dict[Ref, Image | None]:
        first: dict[Ref, Image | None] = {}
        last: dict[Ref, Image | None] = {}
        for put in puts:
            first.setdefault(put.ref, put.live)
            last[put.ref] = put.target
        changed = [ref for ref, target in last.items() if target != first[ref]]
        for name, refs in _by_table(changed).items():
            with naming_holders(self.store, name, refs, wanted=ordered):
                self._put_all(name, refs, first, last, ordered=ordered)
        # Read back, whatever was sent: what a rollback leaves is compared with what it should be before it is committed.
        live = self.fetch(last, lock=False)
        now = {ref: live.get(ref) for ref in last}
        self._reader.wrote(now)
        return now

    def _put_all(
        self,
        name: str,
        refs: Sequence[Ref],
        first: Mapping[Ref, Image | None],
        last: Mapping[Ref, Image | None],
        *,
        ordered: bool,
    ) -> None:
        collection = self.store.raw(name)
        targets = {ref: (key_from_ref(ref.key), target.data) for ref in refs if (target := last[ref]) is not None}
        instead = {ref for ref in targets if not ordered and first[ref] is not None and commands.can_replace(targets[ref][1])}
        # In order: what must be unique is free before it is taken again, by documents that go or, one by one, by all.
        going = [(key_from_ref(ref.key),) for ref in refs if first[ref] is not None and ref not in instead]
        if going:
            commands.delete(collection, join(asked(("_id",), going)), self.session)
        # A validator that came later must not keep a document from being what it was.
        with self._past_validators(wanted=ordered) as bypass:
            replaced = [targets[ref] for ref in targets if ref in instead]
            if commands.replace(collection, replaced, self.session, bypass=bypass) != len(replaced):
                raise BadValue(f"a document of {name} that was read is not there any more")
            commands.insert(collection, [targets[ref] for ref in targets if ref not in instead], self.session, bypass=bypass)

    @contextmanager
    def _past_validators(self, *, wanted: bool) -> Iterator[bool]:
        """Whether the writes of the block go past validators: not where the user turned out to lack the right to."""
        bypass = wanted and self.store.may_bypass
        try:
            yield bypass
        except OperationFailure as error:
            if not bypass or error.code not in DENIED:
                raise
            self.store.may_bypass = False
            raise Retry("the database user may not go past validators: once more without") from error


@contextmanager
def _naming(writes: Sequence[Write]) -> Iterator[None]:
    """Nothing; what is refused of these writes leaves with the one that it is about."""
    try:
        yield
    except commands.Refused as refused:
        failure = translate(refused)
        if isinstance(failure, Quarantine):
            failure.refused = writes[refused.position]
            if isinstance(failure, ConstraintFailed) and [*(refused.details or {}).get("keyPattern", ())] == ["_id"]:
                failure.clash = False  # whatever was to go, is gone by then, and no other document gets another _id
        raise failure from refused


def _by_table(items: Iterable[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        groups[item.table].append(item)
    return groups


def _known(ref: Ref | None) -> Ref:
    assert ref is not None  # noqa: S101 -- only creates have no key yet
    return ref


def _given(writes: Sequence[Write]) -> dict[int, Element]:
    """The `_id` of every new document, by the identity of its row."""
    given: dict[int, Element] = {}
    for write in writes:
        if write.op == "create" and write.row is not None:
            first_ = plan.namesake(write.row)
            if id(first_) not in given:
                given[id(first_)] = plan.own_key(first_) or plan.new_key()
            given[id(write.row)] = given[id(first_)]
    return given


def _document(write: Write, given: Mapping[int, Element]) -> bytes:
    base, *cells = write.cells
    key = given[id(write.row)]._replace(name="_id")
    if not cells:
        return with_id(base, key)
    elements = [plan.resolved(cell, given) for cell in cells]
    return plan.document(split(base), [*elements, key], write.table)


def _update(write: Write, given: Mapping[int, Element]) -> tuple[Element, bytes]:
    assert isinstance(write.record, MongoRecord)  # noqa: S101 -- updates are of documents that were read
    return write.record.key, plan.operators(write.record.raw, *_changes(write, given))


def _changes(write: Write, given: Mapping[int, Element]) -> tuple[list[Element], list[str]]:
    """What is set, and what is taken out."""
    set_ = [plan.resolved(cell, given) for cell in write.cells if cell is not None]
    return set_, [name for name, cell in zip(write.columns, write.cells, strict=True) if cell is None]


def _keyed(document: bytes) -> tuple[Element, bytes]:
    return id_of(document), document


def _updated(write: Write, given: Mapping[int, Element]) -> bytes:
    assert isinstance(write.record, MongoRecord)  # noqa: S101 -- as above
    set_, unset = _changes(write, given)
    return copied(write.record.raw, unset=unset, set=set_)


def _foreseen(write: Write, given: Mapping[int, Element]) -> Image | None:
    """The document, without the fields that have an `_id` which is still to be given."""
    if write.op == "delete":
        return None
    whole = _updated(write, given) if write.op == "update" else _document(write, given)
    later = {cell.name.partition(".")[0] for cell in write.cells if isinstance(cell, plan.Pending)}
    if write.op == "create" and write.row is not None and plan.own_key(plan.namesake(write.row)) is None:
        later.add("_id")
    return Image(shape_of(write.table), join([element for element in split(whole) if element.name not in later]))


def _written(write: Write, ref: Ref, live: Mapping[Ref, Image]) -> Written:
    before = write.record.image() if write.record is not None else None
    if write.op == "delete":
        return Written(ref, before, None)
    if ref not in live:
        raise BadValue(f"a document of {write.table} was written and is not there")
    return Written(ref, before, live[ref])


def _line(raw: bytes) -> str:
    shown = show(Element("", DOCUMENT, raw))
    return json.dumps(shown, ensure_ascii=False) if len(shown) > 1 else str(next(iter(shown.values()), ""))
