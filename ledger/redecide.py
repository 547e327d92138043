"""An entity's rows as they would be without its own writes, so that `migrate` can be asked again about one that is migrated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backtrail.image import Written
from backtrail.migration import Migration
from backtrail.stores.base import Rowsets, Transaction
from ledger.history import originals


def without_own_writes(
    tx: Transaction, migration: type[Migration], keys: Sequence[Any], changes: Sequence[Sequence[Written]], *, lock: bool
) -> list[Rowsets]:
    """The rows of each entity with its standing changes taken away: created rows gone, the others as they were before.

    Rows that were found through one of them (`via`) are read anew: a change may have led to them, or away from them.

    Args:
        tx: where the rows are.
        migration: says what is read.
        keys: the entities.
        changes: what each entity's events add up to.
        lock: whether whole rows are locked.
    """
    earlier = [originals(one) for one in changes]
    return tx.read(migration.reads, keys, lock=lock, sources=migration.all_keys(), earlier=earlier)


def reads_its_writes(migration: type[Migration], changes: Sequence[Sequence[Written]]) -> bool:
    """Whether one of the changes is one that the migration would meet when it reads."""
    read = {rows.table for rows in migration.reads}
    return any(change.ref.table in read for one in changes for change in one)
