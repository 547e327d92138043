"""Runs the author's code on one entity: what `migrate` decides, what `check` finds. The author's mistakes come out by name."""

from __future__ import annotations

import datetime as dt
import linecache
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from backtrail.changes import Decision
from backtrail.entity import Entity, Record
from backtrail.errors import AuthorMistake, BacktrailError, CheckFailed, MigrateFailed
from backtrail.migration import Migration

Rowsets = Mapping[str, Sequence[Record]]
Recalls = Mapping[tuple[str, str], Any]

NOBODYS_FAULT = (NameError, ImportError, SyntaxError, NotImplementedError, RecursionError, MemoryError)
"""Errors that no entity's data can be blamed for."""


def entity(
    migration: Migration,
    key: Any,
    now: dt.datetime,
    rows: Rowsets,
    tables: Mapping[str, Collection[str] | None],
    recalls: Recalls | None = None,
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


def check(migration: Migration, subject: Entity) -> list[str]:
    """What `check` finds wrong about the migrated entity, as messages.

    Raises:
        CheckFailed: its own code raised an error for this entity.
    """
    try:
        return [str(message) for message in migration.check(subject)]
    except BacktrailError:
        raise
    except NOBODYS_FAULT as error:
        raise AuthorMistake(place(error)) from error
    except Exception as error:
        raise CheckFailed(place(error)) from error


def place(error: BaseException) -> str:
    """The error's class and the line of code that raised it. Its own text may quote people's data, and stays behind."""
    here = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not Path(frame.filename).is_relative_to(here) or "catalog" in Path(frame.filename).parts]
    if not theirs:
        return type(error).__name__
    frame = theirs[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {line}"
