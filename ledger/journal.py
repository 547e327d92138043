"""Appends to streams and reads them, through the transaction it is handed.

The row of a stream (version, head, state) is a cache of its events and the flag that applications read; it is never evidence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

from backtrail.errors import TooLarge
from backtrail.image import Ref, Shape, Written
from backtrail.stores.base import Store, Transaction
from ledger.event import Event, digest, genesis

T = TypeVar("T")
R = TypeVar("R")

IN_LIMIT = 500
"""How many values go into one IN (…): databases take more, their parsers are not fast."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a stream stands: its last version and hash, the entity's state, and the campaign of its last job."""

    migration: str
    key: str
    id: int | None = None
    version: int = 0
    hash: bytes = b""
    state: str = ""
    failed: bool = False
    campaign: int = 0


class Fact(NamedTuple):
    """What is to be appended: an event without its place in a stream."""

    kind: str
    data: str | None = None
    written: Written | None = None


@dataclass(slots=True)
class Entry:
    """All that one job appends to one stream, and the state that it leaves the entity in."""

    head: Head
    state: str
    facts: list[Fact] = field(default_factory=list)
    failed: bool = False


class Placed(NamedTuple):
    """An event with the number of its stream."""

    stream: int
    event: Event


class Journal(ABC):
    """The streams of a ledger. Shapes are remembered for the life of the object."""

    unreadable: ClassVar[tuple[type[Exception], ...]]
    """What comes of values that no event ever had, such as text that is no text."""

    def __init__(self) -> None:
        # By digest, which a shape remembers: its own hash is made anew of all its columns' names each time.
        self._shape_ids: dict[bytes, int] = {}

    # -- heads ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def heads(self, tx: Transaction, migration: str, keys: Sequence[str], *, lock: bool) -> dict[str, Head]:
        """The heads of those of the keys that have a stream."""

    @abstractmethod
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

        Args:
            tx: where to read.
            migration: whose streams.
            after: the last id of the page before, 0 for the first.
            limit: how many at the most.
            state: only those in it.
            failed: only those whose last job failed, or did not.
            campaign: only those whose last job was this campaign's.
        """

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
        new = [entry for entry in entries if entry.head.id is None]
        ids = iter(self._new_ids(tx, len(new)))
        events: list[Placed] = []
        fresh: list[Head] = []
        moved: list[Head] = []
        for entry in entries:
            head = entry.head
            stream = next(ids) if head.id is None else head.id
            previous = head.hash or genesis(head.migration, head.key)
            version = head.version
            for fact in entry.facts:
                version += 1
                event = _event(version, campaign, at, fact)
                previous = event.hash = digest(previous, event)
                events.append(Placed(stream, event))
            now = Head(head.migration, head.key, stream, version, previous, entry.state, entry.failed, campaign)
            (fresh if head.id is None else moved).append(now)
        self._write(tx, fresh, moved, events)

    @abstractmethod
    def _new_ids(self, tx: Transaction, number: int) -> Sequence[int]:
        """So many ids that no stream has."""

    @abstractmethod
    def _write(self, tx: Transaction, fresh: Sequence[Head], moved: Sequence[Head], events: Sequence[Placed]) -> None:
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

    def _shape_id(self, tx: Transaction, shape: Shape) -> int:
        number = self._shape_ids.get(shape.digest)
        # What was made just now is not remembered here: this transaction may roll back, and the number with it.
        return self._keep_shape(tx, shape.dump()) if number is None else number

    @abstractmethod
    def _keep_shape(self, tx: Transaction, body: str) -> int:
        """The number of a shape, kept now if it was not before."""

    # -- reading --------------------------------------------------------------------------------------------------

    @abstractmethod
    def events(self, tx: Transaction, streams: Iterable[int]) -> dict[int, list[Event]]:
        """All events of each of the streams, in their order."""

    @abstractmethod
    def last_events(self, tx: Transaction, heads: Iterable[Head]) -> dict[str, Event]:
        """The last event of each stream, by the entity's key."""

    @abstractmethod
    def others(self, tx: Transaction, refs: Sequence[Ref], migration: str | None = None) -> dict[Ref, list[tuple[Head, Event]]]:
        """The events that changed one of these rows when it already existed, of all streams or of one migration's, newest last."""

    # -- recalls --------------------------------------------------------------------------------------------------

    @abstractmethod
    def recalls(self, tx: Transaction, migration: str, keys: Sequence[str]) -> dict[str, dict[tuple[str, str], Any]]:
        """The stored results of recalls, by the entity's key, then by label and digest of the arguments."""

    @abstractmethod
    def store_recall(self, tx: Transaction, migration: str, key: str, label: str, digest: str, result: Any) -> None:
        """Nothing; the result is kept, unless there is one already: the first that was paid for is the one that counts."""


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


def _event(version: int, campaign: int, at: int, fact: Fact) -> Event:
    written = fact.written
    if written is None:
        return Event(version, fact.kind, campaign, at, data=fact.data)
    image = written.after or written.before
    return Event(
        version,
        fact.kind,
        campaign,
        at,
        written.ref,
        None if image is None else image.shape,
        None if written.before is None else written.before.data,
        None if written.after is None else written.after.data,
        fact.data,
    )
