"""The rows of some entities as they were before a rehearsal, compared with what they are after it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from backtrail.image import Image, Ref
from backtrail.stores.base import Store, Transaction
from ledger.history import originals
from worker.jobs import Job
from worker.work import Work

KEYLESS = "[]"
"""The key of a row whose table has none."""


@dataclass(frozen=True)
class Difference:
    """A row that is not what it was."""

    key: str
    table: str
    what: str
    columns: list[str]
    ref: Ref | None = None
    found: Image | None = None

    def document(self) -> dict[str, Any]:
        """The difference by names, without values."""
        return {"key": self.key, "table": self.table, "what": self.what, "columns": self.columns}


@dataclass
class Picture:
    """Rows as they were."""

    rows: dict[Ref, Image | None]
    """The rows that the entities read or wrote; None for one that was not there."""
    owners: dict[Ref, str]
    """By which entity each was met."""
    nameless: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)
    """Rows of tables without a key, by entity and table."""

    @classmethod
    def taken(cls, work: Work, tx: Transaction, keys: Sequence[str]) -> Picture:
        """The picture of all that the entities read, which is locked from now on."""
        owners, nameless = _met(work, tx, keys)
        found = tx.fetch(list(owners), lock=False)
        return cls({ref: found.get(ref) for ref in owners}, owners, nameless)

    @property
    def size(self) -> int:
        """How many rows it shows."""
        return len(self.rows) + sum(map(len, self.nameless.values()))

    def add(self, jobs: Iterable[Job]) -> None:
        """Nothing; what the jobs wrote beyond what was read is in the picture as it was before."""
        for job in jobs:
            for ref, image in originals([fact.written for fact in job.facts if fact.written is not None]).items():
                self.rows.setdefault(ref, image)
                self.owners.setdefault(ref, job.text)


def compared(before: Picture, work: Work, tx: Transaction, keys: Sequence[str], leaving_out: Collection[str]) -> list[Difference]:
    """How the rows differ from the picture, but for those of some entities."""
    owners, nameless = _met(work, tx, keys)
    live = tx.fetch(list(before.rows | dict.fromkeys(owners)), lock=False)
    found = []
    for ref in before.rows | dict.fromkeys(owners):
        was, now = before.rows.get(ref), live.get(ref)
        if was != now:
            found.append(_difference(work.store, before.owners.get(ref) or owners[ref], ref, was, now))
    for key, table in before.nameless | nameless:
        if before.nameless.get((key, table)) != nameless.get((key, table)):
            found.append(Difference(key, table, "is not what it was", []))
    return [one for one in found if one.key not in leaving_out]


def _difference(store: Store, key: str, ref: Ref, was: Image | None, now: Image | None) -> Difference:
    if was is None:
        return Difference(key, ref.table, "was left behind", [], ref, now)
    if now is None:
        return Difference(key, ref.table, "is gone", [], ref, now)
    columns = [one.column for one in store.differences(was, now)]
    return Difference(key, ref.table, "is not what it was", columns, ref, now)


def _met(work: Work, tx: Transaction, keys: Sequence[str]) -> tuple[dict[Ref, str], dict[tuple[str, str], list[bytes]]]:
    """The rows that the entities read, by the first that does; and the images of those that have no key."""
    migration = type(work.migration)
    owners: dict[Ref, str] = {}
    nameless: dict[tuple[str, str], list[bytes]] = {}
    rowsets = tx.read(migration.reads, [work.key(key) for key in keys], lock=True, sources=migration.all_keys())
    for key, rows in zip(keys, rowsets, strict=True):
        for record in (record for read in rows.values() for record in read):
            ref = record.ref
            if ref.key == KEYLESS:
                nameless.setdefault((key, ref.table), []).append(record.image().data)
            else:
                owners.setdefault(ref, key)
    return owners, {at: sorted(images) for at, images in nameless.items()}
