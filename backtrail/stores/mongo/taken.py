"""Which documents hold a value that must be unique and somebody else needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pymongo.errors import WriteError

from backtrail.errors import clash
from backtrail.image import Ref
from backtrail.stores.mongo.errors import DUPLICATE, translate
from backtrail.stores.mongo.record import MongoRecord

if TYPE_CHECKING:
    from backtrail.stores.mongo.store import MongoStore

LISTED = 10
"""How many documents are listed."""


@contextmanager
def naming_holders(store: MongoStore, name: str, own: Collection[Ref], *, wanted: bool) -> Iterator[None]:
    """Names who holds the unique value over which the writes of the block fail, if that is wanted.

    Args:
        store: the database.
        name: the collection that is written.
        own: the documents that are written.
        wanted: whether to look for them.

    Raises:
        ConstraintFailed: the keys of the documents that hold it.
    """
    try:
        yield
    except WriteError as error:
        if not wanted or error.code != DUPLICATE:
            raise
        found = [ref for ref in _holders(store, name, error) if ref not in own]
        shown = ", ".join(map(store.show_key, found[:LISTED]))
        who = f": it is held by {shown}{' …' if len(found) > LISTED else ''}; change or delete that first" if found else ""
        raise clash(f"{translate(error)}{who}") from error


def _holders(store: MongoStore, name: str, error: WriteError) -> list[Ref]:
    """The documents with the values that the server names; it names none under a collation."""
    details = error.details or {}
    values = details.get("keyValue")
    if values is None or "collation" in details:
        return []
    asked = {field: {"$eq": value} for field, value in values.items()}
    # Outside the transaction, which is over.
    return [MongoRecord(name, bytes(one.raw)).ref for one in store.raw(name).find(asked).limit(LISTED + 10)]
