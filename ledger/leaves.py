"""Sealed heads of streams as leaves of one tree, in the order in which they were sealed; beside them, what is kept of the tree, and checkpoints.

A leaf is the netstrings (https://cr.yp.to/proto/netstrings.txt) of the format's name, the stream's number, the migration, the version
(numbers in decimal) and the hash of the stream's event of that version. No key of an entity is in it: the hash stands for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from backtrail.errors import UnsuitableDatabase
from backtrail.stores.base import Store, Transaction
from ledger.merkle import Node, leaf_hash

FORMAT = b"backtrail-leaf-1"


class Leaf(NamedTuple):
    """The head of a stream when it was sealed; numbers of leaves count from 0."""

    number: int
    stream: int
    migration: str
    version: int
    head: bytes

    @property
    def data(self) -> bytes:
        """The leaf itself, as it is hashed."""
        fields = (FORMAT, b"%d" % self.stream, self.migration.encode("utf-8", "surrogatepass"), b"%d" % self.version, self.head)
        return b"".join([b"%d:%b," % (len(field), field) for field in fields])

    @property
    def hash(self) -> bytes:
        """Its hash in the tree."""
        return leaf_hash(self.data)


class Unsealed(NamedTuple):
    """A stream that does not stand where it was sealed last: by its row, `version`, and by its last leaf, if it has one.

    A version of -1 is one that no row ever had.
    """

    stream: int
    migration: str
    key: str
    version: int
    leaf: Leaf | None

    @property
    def label(self) -> str:
        """What messages call it: by its key, its own name or its number."""
        return self.key or self.migration or f"(stream {self.stream})"

    @property
    def events(self) -> int:
        """How many events no leaf covers."""
        return max(0, self.version - (0 if self.leaf is None else self.leaf.version))


class Kept(NamedTuple):
    """A checkpoint as the database keeps it: for looking up, not as evidence. `signer` is the key's label."""

    size: int
    signer: str
    root: bytes
    note: str
    at: int
    by: str
    reason: str | None


class Leaves(ABC):
    """The leaves of a ledger. All of it is only ever appended; none of it is ever touched by a worker."""

    @abstractmethod
    def size(self, tx: Transaction) -> int:
        """The number that the next leaf gets."""

    @abstractmethod
    def add(self, tx: Transaction, leaves: Sequence[Leaf]) -> None:
        """Nothing; the leaves are there.

        Raises:
            Retry: somebody else was first with one of their numbers, or sealed one of these streams at the same version.
        """

    @abstractmethod
    def read(self, tx: Transaction, first: int, count: int) -> list[Leaf]:
        """Those of the leaves from that number on that are there, at most so many numbers, in their order."""

    @abstractmethod
    def of(self, tx: Transaction, stream: int, size: int) -> Leaf | None:
        """The last leaf of a stream among the first `size`."""

    @abstractmethod
    def nodes(self, tx: Transaction, level: int, first: int, count: int) -> list[Node]:
        """Those of the kept hashes that are there, in their order."""

    @abstractmethod
    def add_nodes(self, tx: Transaction, nodes: Sequence[Node]) -> None:
        """Nothing; the hashes are kept."""

    @abstractmethod
    def checkpoint(self, tx: Transaction, signer: str | None = None) -> Kept | None:
        """The largest checkpoint there is, or that this signer made."""

    @abstractmethod
    def add_checkpoint(self, tx: Transaction, kept: Kept) -> None:
        """Nothing; the checkpoint is kept."""

    @abstractmethod
    def window(self, tx: Transaction, after: int, limit: int) -> int | None:
        """The id of the stream that is so many after an id, or of the last; None where there is none after it."""

    @abstractmethod
    def unsealed(self, tx: Transaction, after: int, until: int, size: int | None = None) -> list[Unsealed]:
        """The streams with ids after one and up to another that do not stand where they were sealed last, in the order of their ids.

        Args:
            tx: where to read.
            after: the last id that is not wanted.
            until: the last id that is.
            size: only the first so many leaves count; None for all.
        """

    @abstractmethod
    def among(self, tx: Transaction, after: int, until: int | None, size: int) -> list[Leaf]:
        """Those of the first `size` leaves whose streams have ids after one and up to another, or any after it; by stream and version."""

    @abstractmethod
    def migrations(self, tx: Transaction, after: int, until: int) -> dict[int, str]:
        """The migration of each stream that has a row, by its id, of those after one and up to another; empty where it is no text."""


def unsealed_of(stream: int, migration: Any, key: Any, version: Any, leaf: Leaf | None) -> Unsealed:
    """The stream that was read, whatever somebody has put into its row."""
    number = int(version) if isinstance(version, int) and not isinstance(version, bool) else -1
    return Unsealed(stream, text_of(migration), text_of(key), number, leaf)


def text_of(value: Any) -> str:
    """The text that was read, or its UTF-8; empty where it is neither."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return ""
    return value if isinstance(value, str) else ""


def leaf_of(number: Any, stream: Any, migration: Any, version: Any, head: Any) -> Leaf:
    """The leaf that was read; what somebody has put there that no leaf ever held becomes something that none ever held."""
    numbers = [int(one) if isinstance(one, int) and not isinstance(one, bool) else -1 for one in (number, stream, version)]
    return Leaf(numbers[0], numbers[1], text_of(migration), numbers[2], bytes(head) if isinstance(head, bytes) else b"")


def leaves_of(store: Store) -> Leaves:
    """The leaves of the ledger in that store."""
    # Each kind is loaded only where it is used: it brings a driver that the others need not have.
    if store.kind == "mongodb":
        from ledger.mongo.leaves import MongoLeaves

        return MongoLeaves()
    if store.kind in {"sqlite", "postgres"}:
        from ledger.sql.leaves import SqlLeaves

        return SqlLeaves("postgresql" if store.kind == "postgres" else "sqlite")
    raise UnsuitableDatabase("there is no ledger for this kind of database")
