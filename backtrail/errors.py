"""What can go wrong, one class a condition, and what is to be done about it.

Every class says by its `remedy` what the program does with it:

    refuse      found before anything was changed: exit code 2 and one clear line
    quarantine  one entity cannot be done: its reason is recorded, the others go on
    halt        nobody can be done: the campaign stops and says why
    retry       the same work can succeed later: nothing is recorded against any entity

Messages name things (tables, columns, constraints, migrations), never the values of a user's columns: they travel through logs,
the queue and Flower.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

Remedy = Literal["refuse", "quarantine", "halt", "retry"]


class BacktrailError(Exception):
    """Something that Backtrail knows by name; its message is one line that says what and how to mend it."""

    remedy: ClassVar[Remedy] = "refuse"


class UsageError(BacktrailError):
    """A command, option, setting or name that cannot be meant so."""


class UnknownName(UsageError):
    """A name that does not exist; the message gives the nearest that does."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(map(repr, known[:12])) or 'none'}"
        super().__init__(f"no {kind} named {name!r}: {mend}")
        self.kind, self.name, self.known = kind, name, known


class UnsuitableDatabase(UsageError):
    """A database that cannot be reached, written or trusted with transactions."""


class UnsuitableBroker(UsageError):
    """A broker that cannot be reached or refuses the password."""


class LedgerTooNew(UsageError):
    """The ledger was written by a newer version of Backtrail."""


class LockedOut(UsageError):
    """The ledger is encrypted, and its secrets cannot be had here; another worker may have the master key."""


class LedgerTooOld(UnsuitableDatabase):
    """The ledger is in the form of an older version of Backtrail; nothing but `backtrail upgrade` and a starting worker changes that."""

    def __init__(self, step: object, ours: object) -> None:
        super().__init__(
            f"the ledger is in the form of an older version of Backtrail (its step {step}, ours {ours}): `backtrail upgrade` gives it ours, and"
            " workers of older versions then stand back"
        )


class Quarantine(BacktrailError):
    """One entity that cannot be done; the others go on."""

    remedy: ClassVar[Remedy] = "quarantine"

    refused: Any = None
    """The write that the database refused, where it says which."""

    entity: str | None = None
    """Whose write that is."""

    final: bool = False
    """Whether the database has given up the whole transaction over it."""


class BadValue(Quarantine):
    """A value that its column cannot hold."""


class TooManyRows(Quarantine):
    """`one` or `one_or_none` found several rows."""


class MissingRow(Quarantine):
    """`one` found no row."""


class ForeignRow(Quarantine):
    """A row that another entity has changed, or that is not this entity's."""


class CheckFailed(Quarantine):
    """The migration's `check` found something wrong about the migrated entity."""


class MigrateFailed(Quarantine):
    """The migration's own code raised an error for this entity."""


class ConstraintFailed(Quarantine):
    """The database refused the entity's rows."""

    clash: bool = False
    """Whether it is because another row holds a value that must be unique."""


def clash(message: str) -> ConstraintFailed:
    """The failure of a value that must be unique and is another row's."""
    failure = ConstraintFailed(message)
    failure.clash = True
    return failure


class WorkerDied(Quarantine):
    """Whatever worker process takes the entity in hand dies of it."""


class Drifted(Quarantine):
    """A row is not what the ledger says it should be, so that going back would overwrite later writes."""


class Tampered(Quarantine):
    """The entity's ledger is not what was appended, so that nothing is to be restored from it."""


class Erased(Quarantine):
    """The person's data in the ledger was made unreadable, so that nothing can be restored from it."""


class Referenced(Quarantine):
    """Rows of others refer to a row that would go away, or to a value that would change under them."""

    def __init__(self, message: str, rows: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.rows = list(rows)
        """Some of the rows that refer."""


class SideEffects(Quarantine):
    """A trigger, rule or cascade would write rows of which the ledger knows nothing."""


class TriggerInTheWay(Quarantine):
    """A trigger changes what is put back, and this database user may not put it back past the trigger."""


class Halt(BacktrailError):
    """Nobody can be done: the campaign stops until this is mended."""

    remedy: ClassVar[Remedy] = "halt"


class UndeclaredTable(Halt):
    """`migrate` wrote to a table that is not in `writes`, or read one that is not in `reads`."""


class UnknownField(Halt):
    """`migrate` named a table, column or read that does not exist."""


class ImpureMigration(Halt):
    """`migrate` decided differently on the same rows."""


class AuthorMistake(Halt):
    """The migration's code cannot be right for anybody."""


class SchemaChanged(Halt):
    """A table or column that the migration needs is gone or has another type."""


class PermissionMissing(Halt):
    """The database user may not do what the migration does."""


class StorageFull(Halt):
    """The database has no room, or its files cannot be written."""


class DatabaseFault(Halt):
    """The database failed in a way that Backtrail does not know."""


class OtherCode(BacktrailError):
    """This worker's code of the migration is not the campaign's; the batch goes back untouched."""

    remedy: ClassVar[Remedy] = "retry"


class InHand(BacktrailError):
    """Another process makes the recalls of the same batch; the batch goes back untouched, in case that one comes to no end."""

    remedy: ClassVar[Remedy] = "retry"

    def __init__(self) -> None:
        super().__init__("another process makes the batch's recalls")


class OtherRelease(BacktrailError):
    """This worker's release of Backtrail is too old for a message; its batch goes back untouched."""

    remedy: ClassVar[Remedy] = "retry"


class Retry(BacktrailError):
    """The same work can succeed later: deadlock, serialization failure, lock timeout, lost connection."""

    remedy: ClassVar[Remedy] = "retry"


class Contended(Retry):
    """Somebody else is writing a row or document that this transaction needs; the fewer entities it holds, the likelier it gets through."""


class TooLarge(Retry):
    """More than one transaction should hold: it is tried again with half of the entities."""


class RecallFailed(Retry):
    """A function given to `recall` failed; it is called again later."""


class RequirementMissing(Quarantine):
    """A migration that must come first has not been done for this entity."""


class DependentStands(Quarantine):
    """A migration that requires the one that would be taken back is migrated for this entity."""
