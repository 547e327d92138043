"""Rows of tables that refer to each other in a circle, in steps that the database can check one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from backtrail.stores.base import Write


def without_circles(writes: Sequence[Write], late: Mapping[str, Sequence[str]]) -> list[Write]:
    """The writes, in which new rows get some columns later and rows that go lose them first.

    Args:
        writes: of any number of tables.
        late: by table, the columns that refer to rows which come later, and can be NULL.
    """
    lost = [
        Write("update", write.table, tuple(late[write.table]), [None] * len(late[write.table]), ref=write.ref)
        for write in writes
        if write.op == "delete" and write.table in late
    ]
    made: list[Write] = []
    caught_up: list[Write] = []
    for write in writes:
        columns = _sent(write, late.get(write.table, ())) if write.op == "create" else ()
        made.append(write if not columns else _without(write, columns))
        if columns:
            cells = [write.cells[write.columns.index(name)] for name in columns]
            caught_up.append(Write("update", write.table, columns, cells, ref=write.ref, row=write.row, waits=write.waits))
    return [*lost, *made, *caught_up]


def _sent(write: Write, columns: Sequence[str]) -> tuple[str, ...]:
    """Those of the columns that the write gives a value."""
    return tuple(name for name in columns if name in write.columns and write.cells[write.columns.index(name)] is not None)


def _without(write: Write, columns: Sequence[str]) -> Write:
    cells = [None if name in columns else cell for name, cell in zip(write.columns, write.cells, strict=True)]
    return replace(write, cells=cells)
