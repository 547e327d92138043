"""Entities that the application deleted: what was theirs is not brought back unless somebody says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backtrail.migration import Migration
from backtrail.stores.base import Put, Store, Transaction


def not_to_resurrect(
    store: Store, tx: Transaction, migration: type[Migration], keys: Sequence[Any], steps: Sequence[Sequence[Put]]
) -> set[int]:
    """The positions of those entities that are gone from every source of keys, and of which the steps would bring rows back.

    Steps that bring back a row of a source itself are another matter: then the migration took the entity away, not the application. Where
    a function makes the keys of the sources, nobody can tell.

    Args:
        store: the database.
        tx: the transaction to look in.
        migration: whose entities they are.
        keys: of the entities.
        steps: what would be done to the rows of each.
    """
    sources = {one.table for one in migration.all_keys()}
    brought = [{put.ref.table for put in puts if put.live is None and put.target is not None} for puts in steps]
    asked = [at for at, tables in enumerate(brought) if tables and not tables & sources]
    there = store.existing(tx, migration, [keys[at] for at in asked]) if asked else set()
    return {at for place, at in enumerate(asked) if place not in there}


def told(migration: type[Migration]) -> str:
    """What is to be said about such an entity."""
    sources = " and ".join(dict.fromkeys(one.table for one in migration.all_keys()))
    return f"its key is gone from {sources}: the application deleted this entity, and only --resurrect brings rows of it back"
