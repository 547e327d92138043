"""The streams of all migrations, window by window in the order of their ids, with their events: what sealing and looking at seals share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from backtrail.stores.base import Transaction
from ledger.entry import Head
from ledger.event import Event
from ledger.journal import Journal, in_portions
from ledger.streams import rows_after

WINDOW = 1000
"""How many streams are looked at in one transaction."""

AT_ONCE = 250
"""The events of how many streams are read at once."""

FEW = 20
"""Up to how many streams of a window are asked for one by one, rather than with all that lie between them."""

Pair = tuple[Head, list[Event] | None]


def heads_in(journal: Journal, tx: Transaction, wanted: Mapping[int, str]) -> dict[int, Head]:
    """Those of the streams with these ids, all of one window, whose rows can be read, by their ids.

    Args:
        journal: where they are.
        tx: where to read.
        wanted: the migration of each.
    """
    if len(wanted) <= FEW:
        pages = [rows_after(journal, tx, migration, number - 1, 1) for number, migration in wanted.items()]
    else:
        pages = [rows_after(journal, tx, migration, min(wanted) - 1, WINDOW) for migration in sorted(set(wanted.values()))]
    heads = [head for page in pages if page is not None for head in page.heads]
    return {head.id: head for head in heads if head.id is not None and head.id in wanted}


def with_events(journal: Journal, tx: Transaction, heads: Sequence[Head]) -> Iterator[Pair]:
    """Each of the streams with its events; None for those that cannot even be read."""
    for at in range(0, len(heads), AT_ONCE):
        for part in in_portions(partial(_read, journal, tx), heads[at : at + AT_ONCE]):
            yield from part


def _read(journal: Journal, tx: Transaction, heads: Sequence[Head]) -> list[Pair]:
    try:
        events = journal.events(tx, [head.id or 0 for head in heads])
    except journal.unreadable:
        if len(heads) == 1:
            return [(heads[0], None)]
        return [pair for head in heads for pair in _read(journal, tx, [head])]
    return [(head, events[head.id or 0]) for head in heads]
