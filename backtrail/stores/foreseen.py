"""What writes would leave in SQL tables, as far as it is known before they are carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backtrail.image import Image, Shape, join_cells
from backtrail.row import NewRow
from backtrail.stores.base import Write
from backtrail.stores.rows import Cells
from backtrail.stores.tables import Table

Normal = Callable[[Table, Sequence[str], Sequence[Cells]], Sequence[Cells]]
"""Cells of some of a table's columns as the database would hold them."""


def foreseen(writes: Sequence[Write], table_of: Callable[[str], Table], normal: Normal) -> list[Image | None]:
    """For each write an image of the columns that are known beforehand; None for a row that goes.

    Columns that the database fills (defaults, generated ones, keys of new rows) are not in it.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    cells = [_known(write) for write in writes]
    for at, one in enumerate(cells):
        groups.setdefault((writes[at].table, tuple(one)), []).append(at)
    for (name, columns), places in groups.items():
        rows = [[cells[at][column] for column in columns] for at in places]
        for at, row in zip(places, normal(table_of(name), columns, rows) if columns else rows, strict=True):
            cells[at] = dict(zip(columns, row, strict=True))
    return [
        None if write.op == "delete" else _image(table_of(write.table), write, own)
        for write, own in zip(writes, cells, strict=True)
    ]


def _known(write: Write) -> dict[str, Any]:
    pairs = zip(write.columns, write.cells, strict=True)
    return {name: cell for name, cell in pairs if type(cell) is not NewRow}


def _image(table: Table, write: Write, cells: dict[str, Any]) -> Image:
    if write.op == "update" and write.record is not None:
        record: Any = write.record
        kept = {name: record.cell(name) for name in record.names() if name not in write.columns}
        cells = kept | cells
    columns = [column for column in table.columns if column.name in cells and not column.generated]
    shape = Shape(table.name, tuple((column.name, column.type) for column in columns))
    return Image(shape, join_cells(table.tag_all([cells[column.name] for column in columns])))
