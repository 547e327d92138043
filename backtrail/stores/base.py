"""What a store can do. Data goes in and out as exact records, writes and images; transactions are handed in, never global."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from backtrail.changes import Decision
from backtrail.image import Image, Ref, Shape, Written
from backtrail.keys import KeyType
from backtrail.migration import Invariant, Keys, Migration, Rows
from backtrail.row import NewRow, Record
from backtrail.stores.health import Health

Rowsets = dict[str, list[Record]]
"""What one entity's reads gave: records by the name of the read."""

Earlier = Mapping[Ref, Image | None]
"""What rows once were, None where there was none."""

Op = Literal["create", "update", "delete"]


@dataclass(slots=True)
class Write:
    """One change of one row, encoded for its store and ready to be carried out."""

    op: Op
    table: str
    columns: tuple[str, ...] = ()
    cells: list[Any] = field(default_factory=list)
    ref: Ref | None = None
    """Which row; None where the database still has to give the key."""
    record: Record | None = None
    """What was read of the row, for an update or a delete."""
    row: NewRow | None = None
    """The author's new row, for a create."""
    waits: bool = False
    """Whether one of the cells is a new row, whose key is still to be given."""


class Put(NamedTuple):
    """One step back (or forth again): the row as it stands, and as it is to be; None where there is no row."""

    ref: Ref
    live: Image | None
    target: Image | None


class Difference(NamedTuple):
    """One column that is not what it should be, as text; None for NULL, or for all of a row that is not there."""

    column: str
    expected: Any
    found: Any
    schema: str = ""
    """What became of the column itself: another type, or it is gone."""


class KeyPage(NamedTuple):
    """Some distinct keys in the column's own order, and where to go on (None: that was all)."""

    keys: list[Any]
    after: str | None


@dataclass(frozen=True)
class KeyCensus:
    """How many distinct keys there are, how many rows have none, and the types of the keys' parts."""

    total: int
    null: int
    types: tuple[KeyType, ...]
    nulls: Mapping[str, int] = field(default_factory=dict)
    """The rows without a key by table, those tables that have some."""


class Plan(NamedTuple):
    """A decision encoded for its store: the writes, and a digest that is equal for equal decisions."""

    writes: list[Write]
    digest: bytes

    @property
    def mark(self) -> str:
        """128 bits of the digest, as the ledger keeps it to tell one decision from another."""
        return urlsafe_b64encode(self.digest[:16]).decode().rstrip("=")


class Transaction(ABC):
    """One transaction on the data and, through `connection`, on the ledger beside it."""

    connection: Any
    """The driver-level handle that the ledger of the same database writes through."""

    duplicate: ClassVar[type[Exception]]
    """What the driver raises for a key that exists already."""

    @abstractmethod
    def bulk(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Nothing; rows of Python values are in a table of the ledger."""

    def savepoint(self) -> AbstractContextManager[Any] | None:
        """A block of which nothing is left where it raises, and the transaction goes on; None on databases that cannot."""
        return None

    @property
    @abstractmethod
    def now(self) -> dt.datetime:
        """The database's time when the transaction began: aware, UTC, milliseconds."""

    @abstractmethod
    def read(
        self,
        reads: Sequence[Rows],
        keys: Sequence[Any],
        *,
        lock: bool,
        sources: Sequence[Keys] = (),
        earlier: Sequence[Earlier] = (),
    ) -> list[Rowsets]:
        """The rows of each key, in binary primary-key order; whole rows are locked if asked.

        Args:
            reads: what is read.
            keys: the entities.
            lock: whether whole rows are locked to the end of the transaction.
            earlier: for each key, rows to be taken as they were instead, wherever a read would meet them.
            sources: where the keys come from: under a case-insensitive collation, a row goes to the key that is spelled as it is.
        """

    @abstractmethod
    def apply(self, writes: Sequence[Write], *, ordered: bool = False) -> list[Written]:
        """What each write changed, read back from the database.

        Args:
            writes: of many entities at once.
            ordered: one by one in the given order, where the grouped order stumbled over a constraint.
        """

    @abstractmethod
    def put(self, puts: Sequence[Put], *, ordered: bool = False) -> dict[Ref, Image | None]:
        """Every row as it stands after it was made what its target says.

        Raises:
            Referenced: rows of others refer to one that would go away.
        """

    @abstractmethod
    def fetch(self, refs: Iterable[Ref], *, lock: bool) -> dict[Ref, Image]:
        """The images of those of the rows that exist."""

    @abstractmethod
    def foreseen(self, writes: Sequence[Write]) -> list[Image | None]:
        """For each write an image of what is known beforehand of the row that it leaves; None for one that goes. Nothing is written."""

    @abstractmethod
    def settle(self) -> None:
        """Nothing; what the database would look at only at the commit, it has looked at. For a transaction that never commits.

        Driver errors leave as they would at the commit.
        """

    @abstractmethod
    def violations(self, invariant: Invariant, limit: int) -> list[str]:
        """Up to `limit` of the rows that the invariant should not return, as text."""


class Store(ABC):
    """One database."""

    kind: str
    url: str
    one_writer: ClassVar[bool] = False
    """Whether a transaction that writes keeps out all others from its beginning."""
    locks_reads: ClassVar[bool] = True
    """Whether somebody may wait for a transaction that has only read so far."""
    dear_savepoints: ClassVar[bool] = False
    """Whether a transaction with a savepoint costs much more, also where nobody comes back to it."""

    @abstractmethod
    def transaction(self, *, write: bool = True, small: bool = False) -> AbstractContextManager[Transaction]:
        """A transaction that commits at the end of the block, or rolls back on any error.

        Driver errors leave as Backtrail's own, raised from the original.

        Args:
            write: whether it writes.
            small: whether a copy of what it changes may stay in memory, where the database would put that into files.
        """

    @abstractmethod
    def check(self, migration: type[Migration]) -> None:
        """Nothing, where every table and column that the migration names exists and can be used.

        Raises:
            UsageError: names the first thing that is wrong, and the mend.
        """

    @abstractmethod
    def columns(self, table: str) -> Sequence[str] | None:
        """The names of the table's columns; None where any name goes."""

    @abstractmethod
    def shape(self, table: str) -> Shape:
        """The shape of the table's images."""

    @abstractmethod
    def plan(self, decision: Decision) -> Plan:
        """The decision encoded.

        Raises:
            BadValue: a value that its column cannot hold.
        """

    @abstractmethod
    def census(self, migration: type[Migration]) -> KeyCensus:
        """The number and types of the migration's keys.

        Raises:
            UsageError: keys of mixed type.
        """

    @abstractmethod
    def page(self, tx: Transaction, keys: Sequence[Keys], source: int, after: str | None, limit: int) -> KeyPage:
        """The next distinct keys of one of the migration's sources that none of the sources before it has."""

    @abstractmethod
    def existing(self, tx: Transaction, migration: type[Migration], keys: Sequence[Any]) -> set[int]:
        """The positions of those of the keys that are still in one of the migration's sources, spelled as they are."""

    @abstractmethod
    def known_as(self, tx: Transaction, migration: type[Migration], key: Any) -> list[str]:
        """The texts of the keys in the migration's sources that the database finds equal to this one."""

    @abstractmethod
    def differences(self, expected: Image | None, found: Image | None) -> list[Difference]:
        """What differs between two images of one row, column by column; empty where they are identical."""

    @abstractmethod
    def show(self, image: Image) -> dict[str, Any]:
        """The image as JSON can show it, by column."""

    @abstractmethod
    def parts(self, image: Image) -> dict[str, bytes]:
        """The exact values of the image, by column."""

    @abstractmethod
    def show_key(self, ref: Ref) -> str:
        """The row's primary key as the program prints keys."""

    @abstractmethod
    def records(self, images: Sequence[Image]) -> list[Record]:
        """The rows of images of one table, as if they had just been read: in binary primary-key order."""

    def health(self, tx: Transaction) -> Health:
        """How the database bears what is done to it; of one that has no server there is nothing to tell."""
        return Health()

    @abstractmethod
    def forget(self) -> None:
        """Forgets what it knows of the schema, after somebody changed it."""

    @abstractmethod
    def close(self) -> None:
        """Gives all connections back."""


def in_columns(image: Image, names: Iterable[str]) -> Iterator[str]:
    """Those of the names that the image has."""
    known = set(image.shape.names)
    return (name for name in names if name in known)


Cells = tuple[Any, ...]
Where = Mapping[str, Any]
