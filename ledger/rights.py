"""What a worker may do with each of the ledger's tables: the one place that says which of them are append-only.

Whoever adds a table or collection says here which it is; a test compares this with what the ledger creates.
"""

from __future__ import annotations

from enum import Enum


class Action(Enum):
    """What can be granted on a table; on MongoDB on a collection."""

    FIND = "find"
    INSERT = "insert"
    UPDATE = "update"
    REMOVE = "remove"


class Right(Enum):
    """What becomes of a table's rows once they are written."""

    APPEND_ONLY = "append-only"
    """They are evidence: nobody changes or removes them. On SQL triggers refuse it to everybody, on MongoDB a role."""
    KEPT = "kept"
    """They prove nothing: workers add rows and never change them, and whoever erases a person removes that person's."""
    SHED = "shed"
    """They are only for a look: workers add rows, and remove old ones."""
    CHANGED = "changed"
    """Workers change them, and never remove one."""
    PASSING = "passing"
    """They come and go."""
    COUNTED = "counted"
    """There from the start; workers change them."""
    FIXED = "fixed"
    """Only the owner writes them."""


_ADDED = (Action.FIND, Action.INSERT)

ACTIONS: dict[Right, tuple[Action, ...]] = {
    Right.APPEND_ONLY: _ADDED,
    Right.KEPT: (*_ADDED, Action.REMOVE),
    Right.SHED: (*_ADDED, Action.REMOVE),
    Right.CHANGED: (*_ADDED, Action.UPDATE),
    Right.PASSING: (*_ADDED, Action.UPDATE, Action.REMOVE),
    Right.COUNTED: (Action.FIND, Action.UPDATE),
    Right.FIXED: (Action.FIND,),
}
"""What a worker may do."""

RIGHTS: dict[str, Right] = {
    "events": Right.APPEND_ONLY,
    "shapes": Right.APPEND_ONLY,
    "chunks": Right.APPEND_ONLY,
    "leaves": Right.APPEND_ONLY,
    "nodes": Right.APPEND_ONLY,
    "checkpoints": Right.APPEND_ONLY,
    "recalls": Right.KEPT,
    "campaigns": Right.CHANGED,
    "batches": Right.CHANGED,
    "streams": Right.CHANGED,
    "leases": Right.CHANGED,
    "lookup": Right.CHANGED,
    "workers": Right.PASSING,
    "rejected": Right.SHED,
    "counters": Right.COUNTED,
    "version": Right.FIXED,
}
"""By the name of the table without schema or prefix."""

KEYS = "backtrail_keys"
"""The schema of the keys with which images are encrypted (on MongoDB the database of the data's name with `_` and this): all in it comes and goes."""

FLAG: dict[str, tuple[str, ...]] = {"streams": ("migration", "key", "state"), "lookup": ()}
"""What an application reads, by tables: those columns, or all. Where columns can be granted, it does not get what keeps hashes from being guessed."""

ERASED: dict[str, Action] = {"events": Action.UPDATE, "chunks": Action.REMOVE}
"""What an erasure does besides to what is append-only and was never encrypted; on SQL triggers let nothing else through."""


def right_of(name: str, schema: str | None = None) -> Right:
    """What becomes of the rows of the ledger's table of that name.

    Raises:
        KeyError: nobody has said it.
    """
    return Right.PASSING if schema == KEYS else RIGHTS[name]
