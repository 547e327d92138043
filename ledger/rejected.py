"""Messages that made no sense: how many there were, and the latest of them for a look."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from backtrail.stores.base import Transaction
from ledger.keyring import Keyring

KEPT = 500
"""So many messages at least are kept for a look, and at most twice as many; of older ones only the number is."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Messages that a worker rejected for one reason: one of them with a sample, or many that are only counted."""

    at: int
    """Milliseconds since 1970, UTC; of many, the latest."""
    worker: str
    fault: str
    count: int = 1
    size: int | None = None
    """The message's size in characters, where it is known."""
    sample: str | None = None
    """The beginning of the message. It may hold anything, personal data too: it is hidden in an encrypted ledger, and an erasure removes it."""


class Rejections(ABC):
    """The rejected messages of a ledger."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring

    def add(self, tx: Transaction, rejections: Sequence[Rejection]) -> None:
        """Nothing; they are counted and kept. Of those that were kept too long only the number stays."""
        self.keyring.open(tx)
        self.insert(tx, [replace(one, sample=self.keyring.hide_text(one.sample)) for one in rejections])
        self.insert(tx, self._forgotten(self.take(tx, KEPT)))

    def _forgotten(self, old: Sequence[Rejection]) -> list[Rejection]:
        found: dict[str, Rejection] = {}
        for one in old:
            known = found.get(one.fault)
            count = one.count + (known.count if known else 0)
            found[one.fault] = Rejection(max(one.at, known.at if known else 0), one.worker, one.fault, count)
        return list(found.values())

    def forget(self, tx: Transaction) -> None:
        """Nothing; they are still counted, and none of them can be read any more: nobody knows whose data is in them."""
        self.insert(tx, self._forgotten(self.take(tx, 0)))

    def all(self, tx: Transaction, limit: int) -> list[Rejection]:
        """The latest of them, the last one first."""
        self.keyring.open(tx)
        return [replace(one, sample=self.keyring.show_text(one.sample)) for one in self.latest(tx, limit)]

    @abstractmethod
    def count(self, tx: Transaction) -> int:
        """How many messages there were since the last `clear`."""

    @abstractmethod
    def by_fault(self, tx: Transaction) -> dict[str, int]:
        """How many messages there were, by what was wrong with them, the most frequent first."""

    @abstractmethod
    def clear(self, tx: Transaction) -> int:
        """How many messages there were; none of them is kept or counted any more."""

    @abstractmethod
    def insert(self, tx: Transaction, rejections: Sequence[Rejection]) -> None:
        """Nothing; these stand in the ledger too."""

    @abstractmethod
    def take(self, tx: Transaction, newest: int) -> list[Rejection]:
        """Once there are twice as many, those that are not among so many newest; they stand in the ledger no more."""

    @abstractmethod
    def latest(self, tx: Transaction, limit: int) -> list[Rejection]:
        """The latest of them as they stand, the last one first."""
