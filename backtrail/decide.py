"""Runs the author's code on one entity: what `migrate` decides, what `check` finds. The author's mistakes come out by name."""

from __future__ import annotations

import datetime as dt
import linecache
import sysconfig
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from backtrail.changes import Decision
from backtrail.entity import Entity
from backtrail.errors import AuthorMistake, BacktrailError, CheckFailed, ImpureMigration, MigrateFailed
from backtrail.migration import Migration
from backtrail.recall import RecallNeeded
from backtrail.row import Record

Rowsets = Mapping[str, Sequence[Record]]
Recalls = Mapping[tuple[str, str], Any]

NOBODYS_FAULT = (NameError, ImportError, SyntaxError, NotImplementedError, RecursionError, MemoryError, SystemExit)
"""Errors that no entity's data can be blamed for."""

LATER = dt.timedelta(seconds=1)
"""How much later it is for the decision that tells whether the time decides what is recalled."""

LIBRARIES = [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
"""Where code lies that no author wrote."""


def entity(
    migration: Migration,
    key: Any,
    now: dt.datetime,
    rows: Rowsets,
    tables: Mapping[str, Collection[str] | None],
    recalls: Recalls | None = None,
    missing: Callable[[RecallNeeded], Any] | None = None,
) -> Entity:
    """The entity as the migration meets it."""
    return Entity(
        key,
        migration=migration.name,
        now=now,
        rows=rows,
        writes=migration.writes,
        tables=tables,
        requires=migration.requires,
        recalls=recalls,
        missing=missing,
    )


def decide(migration: Migration, subject: Entity) -> Decision:
    """What `migrate` decides about the entity.

    Raises:
        MigrateFailed: its code raised an error for this entity.
        AuthorMistake: its code raised an error that no data can be blamed for.
        RecallNeeded: it needs a result that is not known yet.
    """
    try:
        migration.migrate(subject)
    except BacktrailError:
        raise
    except NOBODYS_FAULT as error:
        raise AuthorMistake(place(error)) from error
    except Exception as error:
        raise MigrateFailed(place(error)) from error
    return subject.decision


def demand_same_recall(migration: Migration, later: Entity, needed: RecallNeeded) -> None:
    """Nothing, where `migrate` recalls with the same arguments at a later time.

    Others would be asked for at every try, and paid for without end.

    Args:
        migration: whose `migrate` needs a result.
        later: the same entity with a later time, the same rows and the same known results.
        needed: what it needs.

    Raises:
        ImpureMigration: the arguments depend on the time, on chance or on what was decided before.
    """
    try:
        decide(migration, later)
    except RecallNeeded as other:
        if other.label == needed.label and other.digest != needed.digest:
            raise ImpureMigration(
                f"{migration.name}: what recall {needed.label!r} is called with differs from one decision to the next on the same rows:"
                " it must not depend on entity.now or chance, for what is called with other arguments is paid for again"
            ) from None
    except BacktrailError:
        return  # it shows itself where it is decided


def check(migration: Migration, subject: Entity) -> list[str]:
    """What `check` finds wrong about the migrated entity, as messages.

    Raises:
        CheckFailed: its own code raised an error for this entity.
    """
    try:
        messages = migration.check(subject)
        # A function that ends without a word finds nothing wrong, and one text is one message.
        return [messages] if isinstance(messages, str) else [str(message) for message in messages or ()]
    except BacktrailError:
        raise
    except RecallNeeded as needed:
        raise AuthorMistake(f"check recalls {needed.label!r}, which migrate did not") from needed
    except NOBODYS_FAULT as error:
        raise AuthorMistake(place(error)) from error
    except Exception as error:
        raise CheckFailed(place(error)) from error


def account(migration: Migration, subject: Entity) -> dict[str, int]:
    """What `account` says became of the migrated entity's fields.

    Raises:
        AuthorMistake: its code raised an error.
    """
    try:
        return dict(migration.account(subject) or {})
    except BacktrailError:
        raise
    except (Exception, RecallNeeded, SystemExit) as error:
        raise AuthorMistake(place(error)) from error


def place(error: BaseException) -> str:
    """The error's class and the author's line of code that it came from. Its own text may quote people's data, and stays behind."""
    here = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        frame for frame in frames if not Path(frame.filename).is_relative_to(here) or "catalog" in Path(frame.filename).parts
    ]
    if not theirs:
        return type(error).__name__
    # What a library raises is told by the line that called it.
    own = [frame for frame in theirs if not any(Path(frame.filename).is_relative_to(folder) for folder in LIBRARIES)]
    frame = (own or theirs)[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {line}"
