"""Whether everything that a checkpoint covers is still there, and still the same: the one check that sees a tail cut off, or a ledger written anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backtrail.stores.base import Transaction
from ledger.checkpoint import Checkpoint, departure, read_checkpoint, uncovered, windows
from ledger.finding import Finding
from ledger.leaves import Leaf, Leaves
from ledger.ledger import Ledger
from ledger.merkle import Frontier
from ledger.note import Forged, VerifierKey
from ledger.streams import expansion_of
from ledger.walk import heads_in, with_events

NAME = "checkpoint"

LEAVES = 4096
"""How many leaves are hashed at once."""


class Sealed:
    """Compares the ledger with one checkpoint."""

    def __init__(self, ledger: Ledger, leaves: Leaves, note: str, key: VerifierKey, migration: str | None = None) -> None:
        """A comparison.

        Args:
            ledger: what is compared.
            leaves: its leaves.
            note: the checkpoint, from outside the database.
            key: whose signature it must have.
            migration: whose streams are compared, that of its `expand` among them; None for all. The root is over all of them either way.
        """
        self.ledger, self.leaves, self.note, self.key, self.migration = ledger, leaves, note, key, migration
        self.finding = Finding(NAME)

    def check(self, progress: Callable[[int], None] = lambda _: None) -> Finding:
        """What is not as it was sealed; `checked` counts leaves.

        Args:
            progress: called with the number of leaves compared since the last call.

        Raises:
            UsageError: the note is no checkpoint, or not of this key.
        """
        try:
            checkpoint = read_checkpoint(self.note, self.key)
        except Forged as error:
            self.finding.problem(f"the checkpoint itself: {error}")
            return self.finding
        self._compare(checkpoint.size, progress)
        self._root(checkpoint)
        self._rest(checkpoint.size)
        return self.finding

    # -- the streams ----------------------------------------------------------------------------------------------

    def _compare(self, size: int, progress: Callable[[int], None]) -> None:
        last = 0
        for after, until in windows(self.ledger, self.leaves):
            with self.ledger.store.transaction(write=False) as tx:
                progress(self._window(tx, after, until, size))
            last = until
        with self.ledger.store.transaction(write=False) as tx:
            self._gone(self._chosen(self.leaves.among(tx, last, None, size)))

    def _window(self, tx: Transaction, after: int, until: int, size: int) -> int:
        leaves = self._chosen(self.leaves.among(tx, after, until, size))
        sealed: dict[int, list[Leaf]] = {}
        for leaf in leaves:
            sealed.setdefault(leaf.stream, []).append(leaf)
        migrations = self.leaves.migrations(tx, after, until) if sealed else {}
        heads = heads_in(self.ledger.journal, tx, {one: migrations[one] for one in sealed if one in migrations})
        for head, events in with_events(self.ledger.journal, tx, [heads[one] for one in sealed if one in heads]):
            for leaf in sealed[head.id or 0]:
                wrong = "its events cannot even be read" if events is None else departure(head, events, leaf)
                if wrong is not None:
                    self.finding.problem(f"{head.label}: {wrong}")
                    break  # what was sealed later cannot be right either
        self.finding.checked += len(leaves)
        unread = [leaf for leaf in leaves if leaf.stream not in heads]
        self._gone([leaf for leaf in unread if leaf.stream not in migrations], count=False)
        self._gone([leaf for leaf in unread if leaf.stream in migrations], "its row cannot be read", count=False)
        return len(leaves)

    def _chosen(self, leaves: Sequence[Leaf]) -> list[Leaf]:
        if self.migration is None:
            return list(leaves)
        return [leaf for leaf in leaves if leaf.migration in (self.migration, expansion_of(self.migration))]

    def _gone(self, leaves: Sequence[Leaf], why: str = "the stream is gone", *, count: bool = True) -> None:
        """Says what streams have no row any more, or none that can be read: by their last leaves, since nothing else knows of them."""
        self.finding.checked += len(leaves) if count else 0
        for leaf in {leaf.stream: leaf for leaf in leaves}.values():
            self.finding.problem(
                f"(stream {leaf.stream} of {leaf.migration}): version {leaf.version} was sealed (leaf {leaf.number}), and {why}"
            )

    # -- the leaves -----------------------------------------------------------------------------------------------

    def _root(self, checkpoint: Checkpoint) -> None:
        """Hashes all leaves anew, whatever is kept of their tree."""
        edge, missing = Frontier(), 0
        first: int | None = None
        for at in range(0, checkpoint.size, LEAVES):
            count = min(LEAVES, checkpoint.size - at)
            with self.ledger.store.transaction(write=False) as tx:
                leaves = {leaf.number: leaf for leaf in self.leaves.read(tx, at, count)}
            for number in range(at, at + count):
                if number in leaves:
                    edge.add(leaves[number].hash)
                else:
                    missing, first = missing + 1, number if first is None else first
        if missing:
            self.finding.problem(
                f"{missing:,} of {checkpoint.size:,} leaves are missing, the first is leaf {first}: somebody removed them"
            )
        elif edge.root != checkpoint.root:
            self.finding.problem(self._other_root(checkpoint))

    def _other_root(self, checkpoint: Checkpoint) -> str:
        said = f"the {checkpoint.size:,} leaves in the database do not give the root that was signed"
        if self.finding.problems:
            return f"{said}: some were changed, perhaps those above"
        if self.migration is not None:
            return f"{said}: some were changed, or the ledger was written anew together with them"
        return f"{said}, and fit the ledger as it is: it was written anew together with them"

    def _rest(self, size: int) -> None:
        rest = uncovered(self.ledger, self.leaves, size)
        self.finding.sum({"leaves": size, "unsealed_streams": rest.streams, "unsealed_events": rest.events})
        if rest.events:
            self.finding.note = f"{rest.events:,} events of {rest.streams:,} streams came after it, and are not covered"
