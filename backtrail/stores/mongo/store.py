"""MongoDB, as a replica set: multi-document transactions, and documents as raw bytes."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collation import Collation
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from backtrail.changes import Decision
from backtrail.errors import Retry, UnknownName, UsageError
from backtrail.flag import LEDGER
from backtrail.image import Image, Ref, Shape
from backtrail.keys import key_text
from backtrail.migration import Keys, Migration
from backtrail.row import Record
from backtrail.stores.base import Difference, KeyCensus, KeyPage, Plan, Store, Transaction
from backtrail.stores.health import Health, Trail
from backtrail.stores.mongo import keys as key_pages
from backtrail.stores.mongo import plan as plans
from backtrail.stores.mongo.abandoned import Abandoned
from backtrail.stores.mongo.connection import connected
from backtrail.stores.mongo.document import DOCUMENT, Element, split
from backtrail.stores.mongo.errors import DRIVER, translate
from backtrail.stores.mongo.examined import demand_sound
from backtrail.stores.mongo.health import health
from backtrail.stores.mongo.reading import documents
from backtrail.stores.mongo.record import MongoRecord, equal_form, key_from_ref, order_of, shape_of
from backtrail.stores.mongo.shown import show, type_names
from backtrail.stores.mongo.transaction import MongoTransaction, RawCollection
from backtrail.stores.mongo.values import encode, key_value

COMMIT_S = 15.0
"""How long a commit whose answer was lost is asked for again; it does no harm to commit twice."""

SIMPLE = Collation("simple")
"""Binary comparison, also where a collection's own finds upper and lower case equal."""


class MongoStore(Store):
    """A database of a MongoDB replica set."""

    kind = "mongodb"
    locks_reads = False

    def __init__(self, url: str, lock_timeout_ms: int) -> None:
        self.url = url
        self.lock_timeout_ms = lock_timeout_ms
        self.may_bypass = True
        """Whether the user may write past validators, as far as is known."""
        self._client: MongoClient[dict[str, Any]] | None = None
        self._name = ""
        self._collections: dict[str, Mapping[str, Any]] | None = None
        self._abandoned = Abandoned()
        self._trail = Trail()

    # -- connection -----------------------------------------------------------------------------------------------

    @property
    def client(self) -> MongoClient[dict[str, Any]]:
        """The client of this process, made when first asked for: after a fork, never before.

        Raises:
            UnsuitableDatabase: the server has no transactions, is too old, or refuses the password.
        """
        if self._client is None:
            self._client, self._name = connected(self.url)
        return self._client

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The database of the data."""
        return self.client.get_database(self._database_name())

    @property
    def ledger_database(self) -> Database[dict[str, Any]]:
        """The database of the ledger."""
        return self.client.get_database(self._database_name() + LEDGER, write_concern=WriteConcern("majority"))

    def _database_name(self) -> str:
        _ = self.client
        return self._name

    def raw(self, collection: str) -> RawCollection:
        """A collection of the data whose documents are raw bytes."""
        return cast(RawCollection, self.database.get_collection(collection, codec_options=RAW))

    def clock(self) -> dt.datetime:
        """The server's time: aware, UTC, milliseconds."""
        now: dt.datetime = self.client.admin.command("hello")["localTime"]
        return now.replace(tzinfo=dt.UTC)

    def health(self, tx: Transaction) -> Health:
        return health(self.client, self._trail)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def forget(self) -> None:
        self._collections = None

    # -- transactions ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self, *, write: bool = True, small: bool = False) -> Iterator[MongoTransaction]:
        try:
            with self.client.start_session(snapshot=not write) as session:
                if write:
                    yield from self._written(session)
                else:
                    yield MongoTransaction(self, session)
        except DRIVER as error:
            own = translate(error)
            self._abandoned.after(own, self._client)
            raise own from error
        except Retry as error:
            self._abandoned.after(error, self._client)
            raise

    def _written(self, session: ClientSession) -> Iterator[MongoTransaction]:
        session.start_transaction(
            read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority"), read_preference=ReadPreference.PRIMARY
        )
        try:
            yield MongoTransaction(self, session)
        except BaseException:
            # The server may have ended it already; then there is nothing to end.
            with contextlib.suppress(PyMongoError):
                session.abort_transaction()
            raise
        deadline = time.monotonic() + COMMIT_S
        while True:
            try:
                session.commit_transaction()
            except PyMongoError as error:
                if not error.has_error_label("UnknownTransactionCommitResult") or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    # -- collections ----------------------------------------------------------------------------------------------

    def collections(self) -> Mapping[str, Mapping[str, Any]]:
        """What the server says of each collection and view, by name."""
        if self._collections is None:
            try:
                self._collections = {one["name"]: one for one in self.database.list_collections()}
            except PyMongoError as error:
                raise translate(error) from error
        return self._collections

    def check(self, migration: type[Migration]) -> None:
        for keys in migration.all_keys():
            self._demand(keys.table)
        for rows in migration.reads:
            self._demand(rows.table)
        _demand_read(migration)
        for name in migration.writes:
            try:
                self._demand(name)
            except UnknownName as error:
                raise UsageError(f"{error}; if {migration.name} adds it, run: backtrail expand {migration.name}") from error
            self._demand_writable(name)
        for invariant in migration.invariants:
            demand_sound(self.database, invariant, self.collections(), migration.name)

    def _demand(self, name: str) -> None:
        if name not in self.collections():
            known = [one for one in self.collections() if not one.startswith("system.")]
            raise UnknownName("collection", name, known)

    def _demand_writable(self, name: str) -> None:
        said = self.collections()[name]
        if said["type"] != "collection" or said["options"].get("capped"):
            kind = "capped collection" if said["options"].get("capped") else said["type"]
            raise UsageError(f"{name} is a {kind}, which no transaction can write")

    def columns(self, table: str) -> Sequence[str] | None:
        return None

    def shape(self, table: str) -> Shape:
        return shape_of(table)

    # -- decisions and keys ---------------------------------------------------------------------------------------

    def plan(self, decision: Decision) -> Plan:
        return plans.plan(decision)

    def census(self, migration: type[Migration]) -> KeyCensus:
        sources = migration.all_keys()
        try:
            if not any(one.key for one in sources):
                return self._count(sources, migration.name)
            found = [self._count([one], migration.name) if one.key is None else self._mapped(one) for one in sources]
        except DRIVER as error:
            raise translate(error) from error
        types = [one.types for one in found if one.types]
        if len(set(types)) > 1:
            said = " and ".join(" + ".join(one) for one in dict.fromkeys(types))
            raise UsageError(f"{migration.name}: keys of mixed type, {said}: give Keys(…, key=) to make them alike")
        nulls = sum((Counter(one.nulls) for one in found), Counter[str]())
        return KeyCensus(sum(one.total for one in found), nulls.total(), types[0] if types else ("text",), dict(nulls))

    def _count(self, sources: Sequence[Keys], name: str) -> KeyCensus:
        return key_pages.counted(sources, self._groups(sources), name)

    def _groups(self, sources: Sequence[Keys]) -> list[key_pages.Group]:
        pipeline = key_pages.census_pipeline(sources)
        answer = self.raw(sources[0].table).aggregate(pipeline, allowDiskUse=True, collation=SIMPLE)
        return key_pages.groups_of((bytes(one.raw) for one in answer), len(sources[0].columns))

    def _mapped(self, keys: Keys) -> KeyCensus:
        total, nulls = key_pages.totals([keys], self._groups([keys]))
        with self.transaction(write=False) as tx:
            some = self.page(tx, [keys], 0, None, 1000).keys
        return KeyCensus(total, sum(nulls.values()), key_pages.mapped_types(some, keys.table), nulls)

    def page(self, tx: Transaction, keys: Sequence[Keys], source: int, after: str | None, limit: int) -> KeyPage:
        one = keys[source]
        condition = key_pages.filtered(
            key_pages.where(one),
            key_pages.with_key(one),
            key_pages.after(one, key_pages.load(after)) if after is not None else [],
        )
        cursor = self.raw(one.table).find_raw_batches(
            condition,
            key_pages.projected(one),
            sort=[(name, 1) for name in one.columns],
            session=_session(tx),
            collation=SIMPLE,
            allow_disk_use=True,
            batch_size=limit + 1,  # an answer as large as it may be would read on to the end, for every page
        )
        with contextlib.closing(cursor):
            found, last = key_pages.in_order(one, documents(cursor), limit)
        for earlier in keys[:source]:
            if one.key is None and earlier.key is None and found:
                parts = [_elements(key) for key in found]
                forms = [tuple(map(equal_form, one)) for one in parts]
                there = self._there(tx, earlier, dict(zip(forms, parts, strict=True)))
                found = [key for key, form in zip(found, forms, strict=True) if form not in there]
        return key_pages.page_of(found, last)

    def _there(self, tx: Transaction, keys: Keys, wanted: Mapping[Form, Sequence[Element]]) -> set[Form]:
        """Those of the wanted forms of keys that the source has, and maybe others."""
        found: set[Form] = set()
        parts = [*wanted.values()]
        for at in range(0, len(parts), 1000):
            asked = key_pages.asked(keys.columns, parts[at : at + 1000])
            condition = key_pages.filtered(key_pages.where(keys), asked)
            pipeline: list[Mapping[str, Any]] = [{"$match": condition}, {"$group": key_pages.group_of(keys)}]
            answer = self.raw(keys.table).aggregate_raw_batches(pipeline, session=_session(tx), collation=SIMPLE, batchSize=1000)
            found |= {key_pages.form_of_group(raw, len(keys.columns)) for raw in documents(answer)}
        return found

    def existing(self, tx: Transaction, migration: type[Migration], keys: Sequence[Any]) -> set[int]:
        parts = [_elements(key) for key in keys]
        forms = [tuple(map(equal_form, one)) for one in parts]
        left = dict(zip(forms, parts, strict=True))
        for one in migration.all_keys():
            if one.key is not None:
                return set(range(len(keys)))  # the function cannot be turned round, so nothing can be looked up
            # Most keys are in the first source, so that hardly anything is left to ask of the others.
            for form in self._there(tx, one, left):
                left.pop(form, None)
        return {at for at, form in enumerate(forms) if form not in left and _is_own_spelling(keys[at])}

    def known_as(self, tx: Transaction, migration: type[Migration], key: Any) -> list[str]:
        wanted = {tuple(map(equal_form, parts)): parts for parts in [_elements(key)]}
        sources = [one for one in migration.all_keys() if one.key is None]
        return [_as_held(key)] if any(form in self._there(tx, one, wanted) for one in sources for form in wanted) else []

    # -- images ---------------------------------------------------------------------------------------------------

    def differences(self, expected: Image | None, found: Image | None) -> list[Difference]:
        if expected == found:
            return []
        if expected is None or found is None:
            what = f"a document of {(expected or found).shape.table}"  # type: ignore[union-attr] # both None are equal
            return [Difference("(document)", None if expected is None else what, None if found is None else what)]
        old, new = _fields(expected.data), _fields(found.data)
        names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
        changed = [_difference(name, old.get(name, []), new.get(name, [])) for name in names]
        return changed or [Difference("(order of fields)", list(old), list(new))]

    def show(self, image: Image) -> dict[str, Any]:
        shown: dict[str, Any] = show(Element("", DOCUMENT, image.data))
        return shown

    def parts(self, image: Image) -> dict[str, bytes]:
        return {name: b"".join(b"%c" % one.kind + one.data for one in fields) for name, fields in _fields(image.data).items()}

    def show_key(self, ref: Ref) -> str:
        shown = show(key_from_ref(ref.key))
        return shown if isinstance(shown, str) else key_text(shown)

    def records(self, images: Sequence[Image]) -> list[Record]:
        records = [MongoRecord(image.shape.table, image.data) for image in images]
        return [*sorted(records, key=lambda record: order_of(record.key))]


def _demand_read(migration: type[Migration]) -> None:
    """Refuses a `via` through a field that is not read: it would find nothing, and nobody would notice."""
    seen = {rows.name: rows for rows in migration.reads}
    for rows in migration.reads:
        if rows.via is None:
            continue
        source, path = seen[rows.via[0]], rows.via[1]
        read = {"_id", *source.by, *(source.columns or ())}
        if source.columns is not None and not any(f"{path}.".startswith(f"{name}.") for name in read):
            raise UsageError(f"{migration.name}: {source.name!r} does not read the field {path!r} that {rows.name!r} needs")


Form = tuple[Any, ...]
"""A key in a form that is equal for keys that MongoDB finds equal."""

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


def _session(tx: Transaction) -> ClientSession:
    assert isinstance(tx, MongoTransaction)  # noqa: S101 -- transactions of this store come from this store
    return tx.session


def _elements(key: Any) -> list[Element]:
    return [*map(encode, key if isinstance(key, tuple) else (key,))]


def _as_held(key: Any) -> str:
    """The text of the key as paging gives it, whatever documents hold of what is equal."""
    values = [key_value(part) for part in _elements(key)]
    return key_text(tuple(values) if isinstance(key, tuple) else values[0])


def _is_own_spelling(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return not any(isinstance(part, (dt.datetime, Decimal)) for part in parts) or key_text(key) == _as_held(key)


def _fields(raw: bytes) -> dict[str, list[Element]]:
    """The document's fields by name, duplicates together."""
    found: dict[str, list[Element]] = {}
    for element in split(raw):
        found.setdefault(element.name, []).append(element)
    return found


def _difference(name: str, expected: Sequence[Element], found: Sequence[Element]) -> Difference:
    shown = [_shown(elements) for elements in (expected, found)]
    if shown[0] == shown[1]:
        # What looks alike is of another type, or its parts are.
        shown = [f"{text} ({type_names(elements)})" for text, elements in zip(shown, (expected, found), strict=True)]
    return Difference(name, *shown)


def _shown(elements: Sequence[Element]) -> Any:
    """The values of all fields of one name; one that is absent says so, since null is another thing."""
    if not elements:
        return "(absent)"
    return show(elements[0]) if len(elements) == 1 else [show(element) for element in elements]
