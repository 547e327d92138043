"""Rows of streams as `verify` needs them: read although some cannot be read, and of the types that every row has."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from backtrail.errors import UnsuitableDatabase
from backtrail.stores.base import Transaction
from ledger.entry import Head
from ledger.journal import Journal

FIRST, LAST = -(2**63), 2**63 - 1
"""The ids that a database can hold. Ours are above 0, but not those of somebody who edits."""


def expansion_of(migration: str) -> str:
    """The name under which it is kept what the migration's `expand` did, as a stream with an empty key."""
    return f"expand:{migration}"


class Rows(NamedTuple):
    """Some streams in the order of their ids, the ids of others among them whose rows cannot be read, and the last id of all."""

    heads: list[Head]
    unreadable: list[int]
    last: int


def ids_after(journal: Journal, tx: Transaction, migration: str, after: int, limit: int) -> tuple[int, int] | None:
    """How many streams of a migration come next after a stream's id, and the id of the last of them; None where there is none."""
    try:
        ids = journal.ids(tx, migration, after, limit)
    except journal.unreadable:
        rows = rows_after(journal, tx, migration, after, limit)
        return None if rows is None else (len(rows.heads), rows.last)
    return (len(ids), ids[-1]) if ids else None


def rows_after(journal: Journal, tx: Transaction, migration: str, after: int, limit: int) -> Rows | None:
    """The next streams of a migration after a stream's id; None where there is none."""
    try:
        heads = journal.page(tx, migration, after, limit)
    except journal.unreadable:
        return _one_by_one(journal, tx, migration, after, limit)
    return Rows(heads, [], heads[-1].id or 0) if heads else None


def _one_by_one(journal: Journal, tx: Transaction, migration: str, after: int, limit: int) -> Rows | None:
    heads: list[Head] = []
    unreadable: list[int] = []
    while len(heads) + len(unreadable) < limit:
        try:
            one = journal.page(tx, migration, after, 1)
        except journal.unreadable:
            after = _end_of_unreadable(journal, tx, migration, after)
            unreadable.append(after)
            continue
        if not one:
            break
        heads += one
        after = one[0].id or 0
    return Rows(heads, unreadable, after) if heads or unreadable else None


def _end_of_unreadable(journal: Journal, tx: Transaction, migration: str, after: int) -> int:
    """The id after which reading works again: that of the row that cannot be read, or of the last of several in a row."""
    _demand_readable(journal, tx, migration)
    low, step = after, 1
    while low + step < LAST and not _works(journal, tx, migration, low + step):
        low, step = low + step, step * 2
    high = min(low + step, LAST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _works(journal, tx, migration, middle) else (middle, high)
    return high


def _demand_readable(journal: Journal, tx: Transaction, migration: str) -> None:
    """Nothing, where it is the row's fault: that no row is there can be read.

    Raises:
        UnsuitableDatabase: it is not.
    """
    try:
        journal.page(tx, migration, LAST, 1)
    except (TypeError, ValueError, KeyError) as error:
        raise UnsuitableDatabase(
            "no stream of the ledger can be read: what all of them need, its own secret, is damaged"
        ) from error


def _works(journal: Journal, tx: Transaction, migration: str, after: int) -> bool:
    try:
        journal.page(tx, migration, after, 1)
    except journal.unreadable:
        return False
    return True


def heads_of(journal: Journal, tx: Transaction, migration: str, keys: Sequence[str]) -> tuple[dict[str, Head], set[str]]:
    """The heads of those of the keys that have a stream, and the keys whose stream's row cannot be read."""
    try:
        return journal.heads(tx, migration, keys, lock=False), set()
    except journal.unreadable:
        if len(keys) == 1:
            return {}, set(keys)
    heads: dict[str, Head] = {}
    unreadable: set[str] = set()
    for key in keys:
        found, bad = heads_of(journal, tx, migration, [key])
        heads |= found
        unreadable |= bad
    return heads, unreadable


def _allowed() -> dict[str, tuple[type, ...]]:
    hints = typing.get_type_hints(Head)
    return {name: typing.get_args(hint) or (hint,) for name, hint in hints.items()}


_TYPES = _allowed()


def of_other_type(head: Head) -> str | None:
    """The first field of the row that holds a value of a type that it never has, which SQLite and MongoDB take; None where there is none."""
    return _of_other_type(tuple(map(type, head)))


@lru_cache(maxsize=128)
def _of_other_type(types: tuple[type, ...]) -> str | None:
    return next((name for name, found in zip(Head._fields, types, strict=True) if found not in _TYPES[name]), None)
