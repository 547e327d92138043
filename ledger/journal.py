"""Appends to streams and reads them, through the transaction it is handed.

The row of a stream (version, head, state) is a cache of its events and the flag that applications read; it is never evidence. In an encrypted
ledger it holds a token of the entity's key, and the key sealed; after an erasure the token is all that is left.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from backtrail.errors import TooLarge
from backtrail.image import Ref, Shape
from backtrail.jsontext import json_writer
from backtrail.stores.base import Store, Transaction
from ledger.entry import Entry, Head, Placed, Recall
from ledger.event import KEPT, SEALED, Event, digest, ref_number
from ledger.keyring import Keyring, conceal, reveal, unseal
from ledger.sealing import Sealing

T = TypeVar("T")
R = TypeVar("R")

Lock = Literal["own", "hold"]
"""To go on with the streams, or to hold them as they are, which several may do at once."""

IN_LIMIT = 500
"""How many values go into one IN (…): databases take more, their parsers are not fast."""

_SEALED = bytes([SEALED])


class Journal(ABC):
    """The streams of a ledger. Shapes are remembered for the life of the object."""

    unreadable: ClassVar[tuple[type[Exception], ...]]
    """What comes of values that no event ever had, such as text that is no text."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.sealing = Sealing(keyring)
        # By digest, which a shape remembers: its own hash is made anew of all its columns' names each time.
        self._shape_ids: dict[bytes, int] = {}

    # -- heads ----------------------------------------------------------------------------------------------------

    def heads(self, tx: Transaction, migration: str, keys: Sequence[str], *, lock: bool) -> dict[str, Head]:
        """The heads of those of the keys that have a stream, also where it holds a token of the key only."""
        return self._found(tx, migration, keys, "own" if lock else None)

    def held(self, tx: Transaction, migration: str, keys: Sequence[str]) -> dict[str, Head]:
        """The same; to the end of the transaction nobody goes on with these streams, and several may hold them at once."""
        return self._found(tx, migration, keys, "hold")

    def _found(self, tx: Transaction, migration: str, keys: Sequence[str], lock: Lock | None) -> dict[str, Head]:
        self.keyring.open(tx)
        found: dict[str, Head] = {}
        for chunk in chunks(keys):
            asked = {self.keyring.token(migration, key): key for key in chunk}
            for head in self._heads(tx, migration, [*chunk, *asked], lock):
                key = asked.get(head.key, head.key)
                found[key] = head if key == head.key else head._replace(key=key)
        return found

    def known(self, tx: Transaction, migration: str, keys: Sequence[str], states: Sequence[str] | None = None) -> set[str]:
        """Those of the keys that have a stream (in one of the states), and maybe not all of them where streams hold tokens: a quick look, for very many."""
        self.keyring.open(tx)
        found: set[str] = set()
        for chunk in chunks(keys):
            asked = {self.keyring.token(migration, key): key for key in chunk} if self.keyring.sealing else {}
            found |= {asked.get(place, place) for place in self._places(tx, migration, list(asked) or chunk, states)}
        return found

    @abstractmethod
    def _places(self, tx: Transaction, migration: str, places: Sequence[str], states: Sequence[str] | None) -> Iterable[str]:
        """Those of the places that a stream of the migration (in one of the states) has."""

    @abstractmethod
    def _heads(self, tx: Transaction, migration: str, places: Sequence[str], lock: Lock | None) -> Iterable[Head]:
        """The streams that stand under these keys or tokens, as they are there."""

    def page(
        self,
        tx: Transaction,
        migration: str,
        after: int,
        limit: int,
        *,
        state: str | None = None,
        failed: bool | None = None,
        campaign: int | None = None,
    ) -> list[Head]:
        """The next streams of a migration after a stream's id, in the order of their ids.

        The key of one that was erased is its token.

        Args:
            tx: where to read.
            migration: whose streams.
            after: the last id of the page before, 0 for the first.
            limit: how many at the most.
            state: only those in it.
            failed: only those whose last job failed, or did not.
            campaign: only those whose last job was this campaign's.
        """
        self.keyring.open(tx)
        return self._named(tx, self._page(tx, migration, after, limit, state, failed, campaign))

    @abstractmethod
    def _page(
        self,
        tx: Transaction,
        migration: str,
        after: int,
        limit: int,
        state: str | None,
        failed: bool | None,
        campaign: int | None,
    ) -> list[Head]:
        """The page, as the streams are there."""

    def ids(self, tx: Transaction, migration: str, after: int, limit: int) -> list[int]:
        """The ids of the next streams of a migration after a stream's id, in their order."""
        return [head.id or 0 for head in self._page(tx, migration, after, limit, None, None, None)]

    def _named(self, tx: Transaction, heads: Sequence[Head]) -> list[Head]:
        """The heads with the keys that stand sealed in them."""
        sealed = [head.subject for head in heads if head.name is not None and head.subject is not None]
        ciphers = self.keyring.ciphers(tx, sealed) if sealed else {}
        return [head if head.name is None else self.sealing.opened(head, ciphers) for head in heads]

    @abstractmethod
    def subject_streams(
        self, tx: Transaction, migrations: Collection[str], places: Sequence[str], subjects: Sequence[str], *, lock: bool
    ) -> list[Head]:
        """The streams of these migrations that stand under one of these keys or tokens, or are of one of these subjects."""

    @abstractmethod
    def matching(self, tx: Transaction, migration: str, *, state: str | None = None, failed: bool | None = None) -> int:
        """How many streams `page` would give in all."""

    @abstractmethod
    def count(self, tx: Transaction, migration: str) -> dict[str, int]:
        """The number of streams of a migration by their states."""

    @abstractmethod
    def strays(self, tx: Transaction, limit: int) -> list[int]:
        """The ids of some streams that have events and no row."""

    # -- appending ------------------------------------------------------------------------------------------------

    def append(self, tx: Transaction, campaign: int, at: int, entries: Sequence[Entry]) -> None:
        """Nothing; every entry's facts stand in its stream, chained, and the streams' rows say so.

        Raises:
            Retry: another transaction was first in one of the streams.
        """
        self.keyring.open(tx)
        new = sum(entry.head.id is None for entry in entries)
        ids, secrets = iter(self._new_ids(tx, new)), secrets_of(new)
        ciphers = self.sealing.ciphers(tx, [entry.head for entry in entries])
        events: list[Any] = []
        fresh: list[Head] = []
        moved: list[Head] = []
        for entry in entries:
            head = entry.head
            cipher = ciphers.get(self.sealing.subject(head) or "") if ciphers else None
            if head.id is None:
                head, to = self.sealing.begun(head, next(ids), next(secrets), cipher), fresh
            else:
                head, to = self.sealing.gone_on(head, cipher), moved
            stream, version, previous, secret = head.id or 0, head.version, head.hash, head.secret
            for fact in entry.facts:
                version += 1
                event = self.sealing.event(stream, version, campaign, at, fact, cipher)
                previous = digest(previous, event, secret)
                event.hash = previous[:KEPT]
                events.append(self._placed(tx, stream, event))
            to.append(head.moved(version, previous, entry.state, campaign, failed=entry.failed))
        self._write(tx, fresh, moved, events)

    @abstractmethod
    def _new_ids(self, tx: Transaction, number: int) -> Sequence[int]:
        """So many ids that no stream has."""

    def _placed(self, tx: Transaction, stream: int, event: Event) -> Any:
        """The event of that stream as `_write` takes it."""
        return Placed(stream, event)

    @abstractmethod
    def _write(self, tx: Transaction, fresh: Sequence[Head], moved: Sequence[Head], events: Sequence[Any]) -> None:
        """Nothing; new streams and events are inserted, and streams that go on stand where their heads say."""

    # -- shapes ---------------------------------------------------------------------------------------------------

    def remember(self, store: Store, shapes: Iterable[Shape]) -> None:
        """Nothing; the shapes are kept, committed, and known to this object by their numbers."""
        unknown = [shape for shape in shapes if shape.digest not in self._shape_ids]
        if not unknown:
            return
        with store.transaction() as tx:
            numbers = {shape.digest: self._shape_id(tx, shape) for shape in unknown}
        self._shape_ids |= numbers

    def remember_within(self, tx: Transaction, shapes: Iterable[Shape]) -> None:
        """Nothing; the shapes are known by the numbers that they have in this transaction, for an object that is used in no other."""
        self._shape_ids |= {shape.digest: self._shape_id(tx, shape) for shape in shapes}

    def _shape_id(self, tx: Transaction, shape: Shape) -> int:
        number = self._shape_ids.get(shape.digest)
        # What was made just now is not remembered here: this transaction may roll back, and the number with it.
        return self._keep_shape(tx, shape.dump()) if number is None else number

    @abstractmethod
    def _keep_shape(self, tx: Transaction, body: str) -> int:
        """The number of a shape, kept now if it was not before."""

    # -- reading --------------------------------------------------------------------------------------------------

    def events(self, tx: Transaction, streams: Iterable[int]) -> dict[int, list[Event]]:
        """All events of each of the streams, in their order."""
        self.keyring.open(tx)
        found = self._events(tx, list(streams))
        self._read(tx, ((stream, event) for stream, events in found.items() for event in events))
        return found

    @abstractmethod
    def _events(self, tx: Transaction, streams: Sequence[int]) -> dict[int, list[Event]]:
        """All events of each of the streams, with their bodies unread."""

    def last_events(self, tx: Transaction, heads: Iterable[Head]) -> dict[str, Event]:
        """The last event of each stream, by the entity's key."""
        self.keyring.open(tx)
        keys = {(head.id, head.version): head.key for head in heads if head.id is not None}
        found = [placed for chunk in chunks(list(keys)) for placed in self._events_at(tx, chunk)]
        self._read(tx, found)
        return {keys[stream, event.version]: event for stream, event in found}

    @abstractmethod
    def _events_at(self, tx: Transaction, places: Sequence[tuple[int, int]]) -> Iterable[Placed]:
        """The events of these streams with these versions, with their bodies unread."""

    def others(self, tx: Transaction, refs: Sequence[Ref], migration: str | None = None) -> dict[Ref, list[tuple[Head, Event]]]:
        """The events that changed one of these rows when it already existed, of all streams or of one migration's, newest last."""
        self.keyring.open(tx)
        numbers = {ref_number(self.keyring.lookup, ref): ref for ref in refs}
        found: dict[Ref, list[tuple[Head, Event]]] = {}
        for chunk in chunks(list(numbers)):
            pairs = self._numbered(tx, chunk, migration)
            self._read(tx, [Placed(head.id or 0, event) for head, event in pairs])
            heads = {head.id: head for head in self._named(tx, list({head.id: head for head, _ in pairs}.values()))}
            for head, event in sorted(pairs, key=lambda pair: (pair[1].at, pair[1].version)):
                ref = numbers[event.index or 0]
                if event.ref == ref:
                    found.setdefault(ref, []).append((heads[head.id], event))
        return found

    @abstractmethod
    def _numbered(self, tx: Transaction, numbers: Sequence[int], migration: str | None) -> list[tuple[Head, Event]]:
        """The events of rows with these numbers, with the heads of their streams, of all or of one migration's."""

    def _read(self, tx: Transaction, events: Iterable[tuple[int, Event]]) -> None:
        """Nothing; the events say what their bodies say, those that can be read."""
        sealed, read = [], self.sealing.read
        for stream, event in events:
            if event.body[:1] == _SEALED:
                sealed.append((stream, event))
            else:
                read(event, event.body)
        if not sealed:
            return
        subjects = self._subjects(tx, sorted({stream for stream, _ in sealed}))
        ciphers = self.keyring.ciphers(tx, subjects.values())
        for stream, event in sealed:
            try:
                cipher = ciphers[subjects[stream]]
                self.sealing.read(event, unseal(cipher, event.body[1:], b"%d:%d" % (stream, event.version)))
            except (KeyError, ValueError):
                event.erased = True

    @abstractmethod
    def _subjects(self, tx: Transaction, streams: Sequence[int]) -> dict[int, str]:
        """The tokens of the subjects of these streams."""

    # -- erasing --------------------------------------------------------------------------------------------------

    @abstractmethod
    def redact(self, tx: Transaction, stream: int, bodies: Mapping[int, bytes]) -> None:
        """Nothing; the events of these versions have these bodies, which keep the hashes, and are found by no row any more."""

    @abstractmethod
    def forget(self, tx: Transaction, heads: Sequence[Head]) -> None:
        """Nothing; the streams' rows say what these heads say, their keys and subjects with it."""

    # -- recalls --------------------------------------------------------------------------------------------------

    def recalls(self, tx: Transaction, migration: str, subjects: Mapping[str, str]) -> dict[str, dict[tuple[str, str], Any]]:
        """The stored results of recalls, by the entity's key, then by label and digest of the arguments.

        Args:
            tx: where to read.
            migration: whose.
            subjects: for each entity's key, whose data it is.
        """
        self.keyring.open(tx)
        # Under the key as well, open: what was paid for before the ledger was encrypted.
        places = {place: key for key in subjects for place in (key, self._place(migration, key))}
        ciphers = (
            self.keyring.ciphers(tx, [self.keyring.subject(migration, one) for one in subjects.values()])
            if self.keyring.sealing
            else {}
        )
        found: dict[str, dict[tuple[str, str], Any]] = {}
        for chunk in chunks(list(places)):
            for recall in self._recalls(tx, migration, chunk):
                key = places[recall.place]
                result = reveal(ciphers.get(self.keyring.subject(migration, subjects[key])), recall.result)
                found.setdefault(key, {})[recall.label, recall.digest] = result
        return found

    def store_recall(self, tx: Transaction, migration: str, key: str, subject: str, call: tuple[str, str], result: Any) -> None:
        """Nothing; the result of a call (label and digest of the arguments) is kept, unless there is one: the first that was paid for counts."""
        self.store_recalls(tx, migration, [(key, subject, call, result)])

    def store_recalls(
        self, tx: Transaction, migration: str, results: Sequence[tuple[str, str, tuple[str, str], Any]], *, new: bool = False
    ) -> None:
        """Nothing; the results of calls are kept as one alone would be: each with the entity's key, whose data it is, and the call.

        Raises:
            Retry: where all must be new, there is one of such a call.
        """
        self.keyring.open(tx)
        tokens = (
            {subject: self.keyring.subject(migration, subject) for _, subject, _, _ in results} if self.keyring.sealing else {}
        )
        ciphers = self.keyring.ciphers(tx, tokens.values(), write=True) if tokens else {}
        self._store_recalls(
            tx,
            migration,
            [
                Recall(self._place(migration, key), *call, conceal(ciphers[tokens[subject]], result) if tokens else result)
                for key, subject, call, result in results
            ],
            new=new,
        )

    def _place(self, migration: str, key: str) -> str:
        return self.keyring.token(migration, key) if self.keyring.sealing else key

    @abstractmethod
    def _recalls(self, tx: Transaction, migration: str, places: Sequence[str]) -> Iterable[Recall]:
        """The recalls that stand under these keys or tokens."""

    @abstractmethod
    def _store_recalls(self, tx: Transaction, migration: str, recalls: Sequence[Recall], *, new: bool) -> None:
        """Nothing; each of the recalls is kept, unless there is one of that call.

        Raises:
            Retry: there is one, and all must be new.
        """

    @abstractmethod
    def forget_recalls(self, tx: Transaction, migration: str, places: Sequence[str]) -> None:
        """Nothing; no result of a recall is kept under these keys or tokens."""


to_json = json_writer(item=",", key=":")
"""Data as the ledger keeps it."""


def secrets_of(streams: int) -> Iterator[bytes]:
    """A secret for each of so many new streams."""
    drawn = os.urandom(16 * streams)
    return (drawn[at : at + 16] for at in range(0, len(drawn), 16))


def in_portions(read: Callable[[Sequence[T]], R], items: Sequence[T]) -> Iterator[R]:
    """What reading the items gives: all at once, or in halves as long as that is too large."""
    try:
        found = read(items)
    except TooLarge:
        if len(items) < 2:
            raise
        half = len(items) // 2
        yield from in_portions(read, items[:half])
        yield from in_portions(read, items[half:])
    else:
        yield found


def load_shape(body: str | None) -> Shape:
    """The shape that was kept as this text; one that says so where it is gone or edited, whose events do not verify any more."""
    try:
        return Shape.load(body)  # type: ignore[arg-type] # None is what is gone
    except (TypeError, ValueError):
        return Shape("(lost)")


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The items in pieces of which each goes into one IN (…)."""
    return (items[at : at + IN_LIMIT] for at in range(0, len(items), IN_LIMIT))
