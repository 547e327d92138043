"""The streams of a transaction that never commits: what is otherwise kept outside a transaction, where it would stay, is kept in memory."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from backtrail.image import Shape
from backtrail.stores.base import Transaction
from ledger.journal import load_shape
from ledger.keyring import Keyring
from ledger.mongo.collections import database_of
from ledger.mongo.journal import MongoJournal

FIRST_SHAPE = 2**40
"""The first number of a shape that only this transaction knows: no ledger comes so far."""


class UncommittedJournal(MongoJournal):
    """The streams of one transaction that never commits, whose numbers no counter has given."""

    def __init__(self, keyring: Keyring) -> None:
        super().__init__(keyring)
        # Far from every stream of the ledger, and from those of another rehearsal at the same time.
        self._last = 2**61 + (secrets.randbits(32) << 24)
        self._bodies: list[str] = []

    def _new_ids(self, tx: Transaction, number: int) -> Sequence[int]:
        self._last += number
        return range(self._last + 1 - number, self._last + 1)

    def _keep_shape(self, tx: Transaction, body: str) -> int:
        known = database_of(tx)["shapes"].find_one({"body": body})
        if known is not None:
            return int(known["_id"])
        if body not in self._bodies:
            self._bodies.append(body)
        return FIRST_SHAPE + self._bodies.index(body)

    def _load_shape(self, tx: Transaction, number: Any) -> Shape:
        if isinstance(number, int) and number >= FIRST_SHAPE:
            return load_shape(self._bodies[number - FIRST_SHAPE])
        return super()._load_shape(tx, number)
