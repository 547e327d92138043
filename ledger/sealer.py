"""Sealing: the heads of all streams become leaves of the tree, and its root is signed, while workers go on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from backtrail.errors import Retry, UsageError
from backtrail.stores.base import Transaction
from ledger import merkle
from ledger.checkpoint import (
    Checkpoint,
    Uncovered,
    Unsound,
    prove_consistency,
    read_checkpoint,
    reader,
    uncovered,
    unfit,
    windows,
)
from ledger.integrity import chain
from ledger.leaves import Kept, Leaf, Leaves
from ledger.ledger import Ledger
from ledger.merkle import Frontier, Node
from ledger.note import Forged, SigningKey, sign
from ledger.presence import LEASE_MS, milliseconds
from ledger.walk import WINDOW, heads_in, with_events

LEASE = "sealer"
"""The lease of the one that seals."""

LEAVES = 4096
"""How many leaves are put into the tree at once."""

TURN_S = LEASE_MS / 1000 + 1
"""For how long one waits for another sealer: as long as one that was killed seems to be at work."""

PATIENCE_S = 60
"""For how long a transaction is tried again."""

T = TypeVar("T")


class Occupied(UsageError):
    """Somebody else is making a checkpoint."""


@dataclass
class Seal:
    """What sealing came to."""

    checkpoint: Checkpoint
    note: str
    sealed: int = 0
    """How many leaves are new."""
    refused: list[str] = field(default_factory=list)
    """The streams that are not what was appended, and why; they were not sealed."""
    uncovered: Uncovered = field(default_factory=Uncovered)
    """What was appended since, or refused."""
    proofs: list[list[bytes]] = field(default_factory=list)
    """That the tree begins with that of each older checkpoint that was given."""


class Sealer:
    """Makes one checkpoint. Workers wait for nothing that it does: it writes rows that only it writes, in short transactions."""

    def __init__(self, ledger: Ledger, leaves: Leaves, key: SigningKey) -> None:
        self.ledger, self.leaves, self.key = ledger, leaves, key
        self._owner = f"sealer-{uuid.uuid4().hex}"
        self._fence: int | None = None

    def seal(
        self,
        *,
        by: str,
        reason: str | None = None,
        olds: Sequence[Checkpoint] = (),
        progress: Callable[[int], None] = lambda _: None,
    ) -> Seal:
        """The checkpoint over everything that was committed when it looked, kept in the database too.

        Args:
            by: who asks.
            reason: and why.
            olds: older checkpoints, from outside; nothing is signed that does not begin with them.
            progress: called with the number of streams looked at since the last call.

        Raises:
            Unsound: what was sealed before is not there any more.
            Occupied: somebody else is making a checkpoint.
        """
        with self._alone():
            edge = self._last()
            seal = Seal(Checkpoint(self.key.name, 0, merkle.EMPTY), "")
            self._gather(seal, progress)
            before = edge.size
            self._grow(edge)
            seal.checkpoint = Checkpoint(self.key.name, edge.size, edge.root)
            seal.proofs = [self._since(old, seal.checkpoint) for old in olds]
            seal.note = sign(seal.checkpoint.text, self.key)
            if edge.size != before or not before:
                self._keep(seal, by, reason)
        seal.uncovered = uncovered(self.ledger, self.leaves)
        return seal

    # -- one at a time --------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        patience = stop_after_delay(TURN_S)
        for attempt in Retrying(
            retry=retry_if_exception_type(Occupied), stop=patience, wait=wait_random_exponential(0.05, max=0.5), reraise=True
        ):
            with attempt:
                self._write(lambda _: None)
        try:
            yield
        finally:
            self._do(lambda tx: self.ledger.presence.leave(tx, self._owner), write=True)

    def _lead(self, tx: Transaction) -> None:
        fence = self.ledger.presence.lead(tx, LEASE, self._owner)
        if fence is None or (self._fence is not None and fence != self._fence):
            raise Occupied("another checkpoint of this ledger is being made: wait for its end, then try again")
        self._fence = fence

    def _write(self, act: Callable[[Transaction], T]) -> T:
        def leading(tx: Transaction) -> T:
            self._lead(tx)
            return act(tx)

        return self._do(leading, write=True)

    def _read(self, act: Callable[[Transaction], T]) -> T:
        return self._do(act, write=False)

    def _do(self, act: Callable[[Transaction], T], *, write: bool) -> T:
        patience, wait = stop_after_delay(PATIENCE_S), wait_random_exponential(0.02, max=1)
        for attempt in Retrying(retry=retry_if_exception_type(Retry), stop=patience, wait=wait, reraise=True):
            with attempt, self.ledger.store.transaction(write=write) as tx:
                return act(tx)
        raise AssertionError("tenacity ends with a result or an error")

    # -- leaves ---------------------------------------------------------------------------------------------------

    def _gather(self, seal: Seal, progress: Callable[[int], None]) -> None:
        """Every stream that does not stand where it was sealed last gets a leaf, unless it is not what was appended."""
        for after, until in windows(self.ledger, self.leaves):
            new, refused = self._read(lambda tx, after=after, until=until: self._changed(tx, after, until))  # type: ignore[misc]
            if new:
                self._write(lambda tx, new=new: self._add(tx, new))  # type: ignore[misc]
            seal.sealed += len(new)
            seal.refused += refused
            progress(WINDOW)

    def _changed(self, tx: Transaction, after: int, until: int) -> tuple[list[Leaf], list[str]]:
        """The leaves of the window's streams that have changed, with numbers still to be given; and what is wrong with those that get none."""
        changed = {one.stream: one for one in self.leaves.unsealed(tx, after, until)}
        journal = self.ledger.journal
        heads = heads_in(journal, tx, {number: one.migration for number, one in changed.items()})
        new: list[Leaf] = []
        refused = [f"{one.label}: its row cannot be read" for one in changed.values() if one.stream not in heads]
        for head, events in with_events(journal, tx, list(heads.values())):
            wrong = unfit(head, events, changed[head.id or 0].leaf)
            if wrong is None and events:
                new.append(Leaf(0, head.id or 0, head.migration, head.version, chain(head, events)[-1]))
            else:
                refused.append(f"{head.label}: {wrong}")
        return new, refused

    def _add(self, tx: Transaction, new: Sequence[Leaf]) -> None:
        first = self.leaves.size(tx)
        self.leaves.add(tx, [leaf._replace(number=number) for number, leaf in enumerate(new, first)])

    # -- the tree -------------------------------------------------------------------------------------------------

    def _last(self) -> Frontier:
        """The tree of the last checkpoint of this key that the database has, whose signature says that it is still the same."""
        return self._read(self._last_in)

    def _last_in(self, tx: Transaction) -> Frontier:
        kept = self.leaves.checkpoint(tx, self.key.verifier.label)
        if kept is None:
            return Frontier()
        try:
            last = read_checkpoint(kept.note, self.key.verifier)
        except (Forged, UsageError) as error:
            raise Unsound(f"the checkpoint over {kept.size:,} leaves in the database is not what was signed: {error}") from None
        edge = merkle.frontier(reader(self.leaves, tx), last.size)
        if edge.root != last.root:
            raise Unsound(
                f"the first {last.size:,} leaves are not those of the last checkpoint: somebody changed them; nothing was signed"
            )
        return edge

    def _grow(self, edge: Frontier) -> None:
        """Nothing; all leaves are in the tree, and what is kept of it is kept."""
        while leaves := self._read(lambda tx: self.leaves.read(tx, edge.size, LEAVES)):
            nodes: list[Node] = []
            for leaf in leaves:
                if leaf.number != edge.size:
                    raise Unsound(f"the leaf {edge.size} is missing: somebody removed it; nothing was signed")
                nodes += edge.add(leaf.hash)
            if nodes:
                self._write(lambda tx, nodes=nodes: self._keep_nodes(tx, nodes))  # type: ignore[misc]

    def _keep_nodes(self, tx: Transaction, nodes: Sequence[Node]) -> None:
        # Some are there already where a sealer was killed.
        known: dict[tuple[int, int], bytes] = {}
        for level in {node.level for node in nodes}:
            numbers = [node.number for node in nodes if node.level == level]
            known |= {(one.level, one.number): one.hash for one in self.leaves.nodes(tx, level, numbers[0], len(numbers))}
        if any(known.get((node.level, node.number), node.hash) != node.hash for node in nodes):
            raise Unsound("what is kept of the tree does not belong to its leaves: somebody changed it; nothing was signed")
        new = [node for node in nodes if (node.level, node.number) not in known]
        if new:
            self.leaves.add_nodes(tx, new)

    def _since(self, old: Checkpoint, new: Checkpoint) -> list[bytes]:
        return self._read(lambda tx: prove_consistency(reader(self.leaves, tx), old, new))

    def _keep(self, seal: Seal, by: str, reason: str | None) -> None:
        one = seal.checkpoint

        def keep(tx: Transaction) -> None:
            kept = self.leaves.checkpoint(tx, self.key.verifier.label)
            if kept is None or kept.size < one.size:
                kept = Kept(one.size, self.key.verifier.label, one.root, seal.note, milliseconds(tx), by, reason)
                self.leaves.add_checkpoint(tx, kept)

        self._write(keep)
