"""Checkpoints: a signed root over the heads of all streams, to be kept where whoever can change the database cannot change it.

The text of a checkpoint is https://c2sp.org/tlog-checkpoint (origin, number of leaves, root in base64), signed as `ledger.note` says, so
that the tools of transparency logs read it. Its origin is the name of the key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backtrail.errors import Tampered, UsageError
from backtrail.stores.base import Transaction
from ledger import merkle
from ledger.entry import Head
from ledger.event import Event
from ledger.integrity import chain, flaw
from ledger.leaves import Leaf, Leaves, Unsealed
from ledger.ledger import Ledger
from ledger.merkle import Node
from ledger.note import VerifierKey, decoded, opened
from ledger.walk import WINDOW

_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\Z")


class Unsound(Tampered):
    """What was sealed is not what is there any more, so that nothing is signed or proved."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How many leaves there were, and the root over them, as the log of that origin says."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def read_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """The checkpoint in a note that the key has signed.

    Raises:
        Forged: it was changed since.
        UsageError: it is no checkpoint, or not of this key.
    """
    lines = opened(note, key).split("\n")
    root = decoded(lines[2]) if len(lines) > 3 else None
    if root is None or len(root) != merkle.SIZE or not _SIZE.match(lines[1]) or not all(lines[:-1]):
        raise UsageError("this is no checkpoint: its lines are origin, number of leaves, root")
    if lines[0] != key.name:
        raise UsageError(f"it is a checkpoint of {lines[0]!r}, signed by the key of {key.name!r}: give the one of this ledger")
    return Checkpoint(lines[0], int(lines[1]), root)


@dataclass
class Uncovered:
    """How much no leaf covers."""

    streams: int = 0
    events: int = 0

    def add(self, stream: Unsealed) -> None:
        """Counts a stream that does not stand where it was sealed last."""
        if stream.events:
            self.streams += 1
            self.events += stream.events


def reader(leaves: Leaves, tx: Transaction) -> merkle.Read:
    """What gives kept hashes to `ledger.merkle`; leaves are hashed anew."""

    def read(level: int, first: int, count: int) -> Sequence[bytes]:
        found: Sequence[Leaf | Node] = leaves.nodes(tx, level, first, count) if level else leaves.read(tx, first, count)
        if [one.number for one in found] != [*range(first, first + count)]:
            raise Unsound(
                f"{'nodes' if level else 'leaves'} between {first << 8 * level} and {(first + count) << 8 * level} are missing"
            )
        return [one.hash for one in found]

    return read


def uncovered(ledger: Ledger, leaves: Leaves, size: int | None = None) -> Uncovered:
    """How much the first `size` leaves, or all, do not cover."""
    found = Uncovered()
    for after, until in windows(ledger, leaves):
        with ledger.store.transaction(write=False) as tx:
            for stream in leaves.unsealed(tx, after, until, size):
                found.add(stream)
    return found


def windows(ledger: Ledger, leaves: Leaves) -> Iterator[tuple[int, int]]:
    """The ids after which a window of streams begins, and with which it ends, up to the last."""
    after = 0
    while True:
        with ledger.store.transaction(write=False) as tx:
            until = leaves.window(tx, after, WINDOW)
        if until is None:
            return
        yield after, until
        after = until


def unfit(head: Head, events: Sequence[Event] | None, leaf: Leaf | None) -> str | None:
    """Why the stream cannot be sealed, or None: it is not what was appended, or does not go on from where it was sealed last."""
    if events is None:
        return "its events cannot even be read"
    return (None if leaf is None else departure(head, events, leaf)) or flaw(head, events)


def departure(head: Head, events: Sequence[Event], leaf: Leaf) -> str | None:
    """In what the stream is not the one that was sealed in the leaf, or None."""
    sealed = f"version {leaf.version} was sealed (leaf {leaf.number})"
    if head.migration != leaf.migration:
        return f"{sealed} as a stream of {leaf.migration}, and its row says {head.migration}"
    if not 0 < leaf.version <= len(events):
        return f"{sealed}, and its events end at version {len(events)}"
    if chain(head, events)[leaf.version - 1] == leaf.head:
        return None
    return f"{sealed}, and is another now: {flaw(head, events) or 'its events were written anew, with good hashes'}"


def prove_consistency(read: merkle.Read, old: Checkpoint, new: Checkpoint) -> list[bytes]:
    """The proof that the tree of one checkpoint begins with that of an older one, verified.

    Raises:
        Unsound: it does not.
    """
    if old.size > new.size:
        raise Unsound(f"the older checkpoint covers {old.size:,} leaves, and there are {new.size:,}: some were removed")
    proof = merkle.consistency(read, old.size, new.size)
    if not merkle.consistent(old.size, new.size, proof, old.root, new.root):
        raise Unsound(f"the first {old.size:,} leaves are not those of the older checkpoint: the ledger was written anew")
    return proof


def prove_inclusion(read: merkle.Read, leaf: Leaf, checkpoint: Checkpoint) -> list[bytes]:
    """The proof that the leaf is under the root of the checkpoint, verified.

    Raises:
        Unsound: it is not.
    """
    proof = merkle.inclusion(read, leaf.number, checkpoint.size)
    if not merkle.includes(leaf.hash, leaf.number, checkpoint.size, proof, checkpoint.root):
        raise Unsound(
            "the leaves in the database do not give the root of the checkpoint: backtrail verify --checkpoint FILE says more"
        )
    return proof
