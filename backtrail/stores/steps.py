"""Steps back and forth as writes: of a row that stands, only what differs."""

from __future__ import annotations

from backtrail.errors import Drifted
from backtrail.image import split_cells
from backtrail.stores.base import Put, Write
from backtrail.stores.cells import untag
from backtrail.stores.tables import Table


def step_of(table: Table, put: Put) -> Write | None:
    """The write that makes the row what it is to be; None where it is that already.

    Raises:
        Drifted: a column of the image has another type now, or is gone.
    """
    if put.target is None:
        return None if put.live is None else Write("delete", table.name, ref=put.ref)
    target = dict(zip(put.target.shape.columns, split_cells(put.target.data), strict=True))
    for name, kind in target:
        column = table.by_name.get(name)
        if column is None or column.type != kind:
            raise Drifted(
                f"{table.name}.{name} was {kind} and is {column.type if column else 'gone'}: the row cannot be put back: make it what it was"
            )
    if put.live is None:
        names = [name for name, _ in target if not table.by_name[name].generated]
        return Write(
            "create", table.name, tuple(names), [untag(cell) for (name, _), cell in target.items() if name in names], put.ref
        )
    live = dict(zip(put.live.shape.columns, split_cells(put.live.data), strict=True))
    changed = [at for at in target if target[at] != live.get(at) and not table.by_name[at[0]].generated]
    if not changed:
        return None
    return Write("update", table.name, tuple(name for name, _ in changed), [untag(target[at]) for at in changed], ref=put.ref)
