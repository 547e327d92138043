"""Deciding before the only write lock is taken, on databases where whoever writes keeps out everybody else.

A batch is read and decided in a transaction that only reads. Under the lock its rows are read once more; where they are still the same,
what was decided stands, with the time of then. Where one of them is not, or an entity has been worked on since, nothing of it is used.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from backtrail.changes import Decision
from backtrail.decide import decide, entity
from backtrail.errors import BacktrailError
from backtrail.recall import RecallNeeded
from backtrail.stores.base import Plan, Rowsets
from worker.work import Work


class Foreseen(NamedTuple):
    """What was decided about one entity, and from which rows; None where whatever stood in the way has to show itself under the lock."""

    rows: Rowsets
    decision: Decision | None = None
    plan: Plan | None = None

    def still(self, rows: Rowsets) -> bool:
        """Whether these rows are the same, byte by byte."""
        return rows.keys() == self.rows.keys() and all(
            len(records) == len(rows[name]) and all(one.same(other) for one, other in zip(records, rows[name], strict=True))
            for name, records in self.rows.items()
        )


class Ahead(NamedTuple):
    """What was decided about the entities of a batch, at one moment."""

    now: dt.datetime
    """Not before anything that had been committed by others when the rows were read."""
    foreseen: Mapping[str, Foreseen]


def look_ahead(work: Work, keys: Sequence[str]) -> Ahead | None:
    """What `migrate` decides about the entities; None where one of them has a stream, so that more than its rows decide."""
    texts = list(dict.fromkeys(keys))
    entities = [work.key(text) for text in texts]
    with work.store.transaction(write=False) as tx:
        if None in entities or work.ledger.journal.heads(tx, work.campaign.migration, texts, lock=False):
            return None
        cls = type(work.migration)
        found = tx.read(cls.reads, entities, lock=False, sources=cls.all_keys())
        now = tx.now  # after the first look, which decides what is seen
    return Ahead(now, {text: _foreseen(work, key, now, rows) for text, key, rows in zip(texts, entities, found, strict=True)})


def _foreseen(work: Work, key: Any, now: dt.datetime, rows: Rowsets) -> Foreseen:
    try:
        decision = decide(work.migration, entity(work.migration, key, now, rows, work.tables))
        return Foreseen(rows, decision, work.store.plan(decision))
    except (BacktrailError, RecallNeeded):
        return Foreseen(rows)
