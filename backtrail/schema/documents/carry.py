"""Steps carried out and taken back, one by one; each does nothing where it stands, or is gone, already."""

from __future__ import annotations

from collections.abc import Callable

from pymongo.errors import OperationFailure

from backtrail.errors import UsageError
from backtrail.schema.documents.catalogue import current, validation
from backtrail.schema.documents.exact import Data, Document, Inserted, command
from backtrail.schema.documents.refusal import told
from backtrail.schema.step import Step

GONE = (26, 27)
"""What MongoDB answers where there is no such collection, or no such index."""

THERE_ALREADY = (48, 68)
"""What it answers where there is one already."""


def perform(database: Data, step: Step, *, unsure: bool = False) -> bool:
    """Whether the step had anything left to do.

    Args:
        database: where.
        step: what.
        unsure: whether it may be done already, though nothing shows it: then what it creates may be there.
    """
    with told(step):
        try:
            return _FORTH[step.operation](database, step)
        except OperationFailure as error:
            if unsure and error.code in THERE_ALREADY:
                return False
            raise


def take_back(database: Data, step: Step) -> None:
    """Nothing; what the step added is gone.

    Raises:
        UsageError: something that it did not add would go with it.
    """
    with told(f"undo of {step}"):
        _BACK[step.operation](database, step)


def _orders(step: Step) -> list[Document]:
    return [command(text) for text in step.back["commands"]]


def _run(database: Data, step: Step) -> None:
    for order in _orders(step):
        database.command(order)


def _create_collection(database: Data, step: Step) -> bool:
    new = current(database, str(step.table)) is None
    create, *indexes = _orders(step)
    if new:
        database.command(create)
    added = [_index(database, order) for order in indexes]
    return new or any(added)


def _create_index(database: Data, step: Step) -> bool:
    return _index(database, *_orders(step))


def _index(database: Data, order: Document) -> bool:
    answer = database.command(order)
    return bool(answer.get("numIndexesBefore") != answer.get("numIndexesAfter"))


def _set_validator(database: Data, step: Step) -> bool:
    if validation(current(database, str(step.table)) or {}) == command(step.back["after"]):
        return False
    _run(database, step)
    return True


def _insert(database: Data, step: Step) -> bool:
    inserted = Inserted(database, step)
    if inserted.absent:
        inserted.collection.insert_many(inserted.absent)
    return bool(inserted.absent)


def _execute(database: Data, step: Step) -> bool:
    _run(database, step)
    return True


def _drop_collection(database: Data, step: Step) -> None:
    name = str(step.table)
    options = current(database, name)
    if options is not None:
        count = 0 if "viewOn" in options else database[name].count_documents({})
        if count:
            raise UsageError(foreign(name, count))
        database.drop_collection(name)


def foreign(name: str, count: int) -> str:
    """What is said of documents in a collection that would go."""
    return f"{name} holds {count} documents that expand did not insert: roll back what wrote them, or move them away, first"


def _drop_index(database: Data, step: Step) -> None:
    _unless_gone(database, {"dropIndexes": step.table, "index": step.name})


def _unless_gone(database: Data, order: Document) -> None:
    try:
        database.command(order)
    except OperationFailure as error:
        if error.code not in GONE:
            raise


def _reset_validator(database: Data, step: Step) -> None:
    options = current(database, str(step.table))
    before = command(step.back["before"])
    if options is not None and validation(options) != before:
        database.command({"collMod": step.table, **before})


def _delete(database: Data, step: Step) -> None:
    inserted = Inserted(database, step)
    if inserted.changed:
        raise UsageError(changed(step, inserted.changed))
    for document in reversed(inserted.intact):
        inserted.collection.delete_one({"_id": document["_id"]})


def changed(step: Step, count: int) -> str:
    """What is said of inserted documents that are not what they were."""
    return f"{count} documents of {step.place} that expand inserted were changed since: change them back, or delete them, first"


def _unexecute(database: Data, step: Step) -> None:
    for text in step.back["undo"]:
        _unless_gone(database, command(text))


_FORTH: dict[str, Callable[[Data, Step], bool]] = {
    "create_collection": _create_collection,
    "create_index": _create_index,
    "set_validator": _set_validator,
    "insert": _insert,
    "execute": _execute,
}
_BACK: dict[str, Callable[[Data, Step], None]] = {
    "create_collection": _drop_collection,
    "create_index": _drop_index,
    "set_validator": _reset_validator,
    "insert": _delete,
    "execute": _unexecute,
}
