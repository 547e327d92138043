"""An entity's rows as they would be without its own writes, so that `migrate` can be asked again about one that is migrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backtrail.entity import Record
from backtrail.image import Image, Ref, Written
from backtrail.migration import Migration, Rows
from backtrail.stores.base import Rowsets, Store
from ledger.history import originals


def without_own_writes(store: Store, migration: type[Migration], rowsets: Rowsets, changes: Sequence[Written]) -> Rowsets:
    """The rows of one entity with its standing changes taken away: created rows gone, others as they were before.

    Args:
        store: makes records of images.
        migration: says what is read.
        rowsets: the rows as they stand.
        changes: what the entity's events add up to.
    """
    touched = {rows.table for rows in migration.reads} & {change.ref.table for change in changes}
    if not touched:
        return rowsets
    before = originals(changes)
    result: Rowsets = {}
    for rows in migration.reads:
        records = rowsets[rows.name]
        if rows.table in touched:
            kept = [_as_before(store, record, before) for record in records]
            present = {record.ref for record in records}
            gone = [
                store.record(image)
                for ref, image in before.items()
                if image is not None and ref not in present and ref.table == rows.table
            ]
            anchors = _anchors(rows, rowsets, records)
            records = [record for record in kept if record is not None] + [
                record for record in gone if _belongs(rows, record, anchors)
            ]
            records.sort(key=lambda record: record.ref.key)
        result[rows.name] = records
    return result


def _as_before(store: Store, record: Record, before: Mapping[Ref, Image | None]) -> Record | None:
    if record.ref not in before:
        return record
    image = before[record.ref]
    return None if image is None else store.record(image)


def _anchors(rows: Rows, rowsets: Rowsets, records: Sequence[Record]) -> set[tuple[str, ...]] | None:
    """The values of `by` with which rows belong to the entity; None where only the key says so."""
    if rows.via is None:
        return {tuple(repr(record.value(name)) for name in rows.by) for record in records} or None
    name, column = rows.via
    return {(repr(record.value(column)),) for record in rowsets[name]}


def _belongs(rows: Rows, record: Record, anchors: set[tuple[str, ...]] | None) -> bool:
    return anchors is None or tuple(repr(record.value(name)) for name in rows.by) in anchors
