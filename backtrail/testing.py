"""Trying a migration on plain dicts, without a server: for authors' own tests."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from backtrail.changes import Create, Decision, NoteKind, Update
from backtrail.decide import LATER, demand_same_recall
from backtrail.entity import Entity
from backtrail.errors import BacktrailError, CheckFailed, RecallFailed, UsageError
from backtrail.keys import key_text
from backtrail.migration import Migration, bound, validate
from backtrail.recall import RecallNeeded
from backtrail.row import Record
from backtrail.stores.memory import MemoryTables, Write, exact

NOW = dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC)
"""The job's time where a trial is given none: always the same, so that what an author compares with is too."""


class TrialFailed(AssertionError):
    """The migration is not what it must be: it decides differently on the same rows, or cannot be undone and done again."""


@dataclass(frozen=True)
class TrialNote:
    """What the migration recorded about one entity."""

    key: Any
    kind: NoteKind
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """What became of the tables, and what the migration said."""

    tables: dict[str, list[dict[str, Any]]]
    """All rows after the migration: those that were given in their order, then the new ones."""
    notes: list[TrialNote]
    """The notes about the entities that were migrated."""
    failures: dict[Any, str]
    """Why an entity would be quarantined, by its key. None of its changes are in the tables."""
    migrated: list[Any]
    """The keys of the others."""
    accounts: dict[Any, dict[str, int]]
    """What `account` said of each, where the migration has it."""


def trial(
    migration: type[Migration],
    tables: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    params: BaseModel | Mapping[str, Any] | None = None,
    now: dt.datetime | None = None,
    recalls: Mapping[str, Any] | None = None,
    primary_keys: Mapping[str, Sequence[str]] | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Trial:
    """What the migration makes of the tables, after it was decided twice, undone, and done again.

    Nothing that is given is changed. The dicts have no database behind them: no types, defaults, foreign keys or constraints but the
    primary key. A primary key that is left out gets the next number.

    Args:
        migration: the class.
        tables: rows by table; those that the migration writes may be left out.
        params: the values of the migration's parameters, or its model.
        now: the job's time, aware; default noon of 2025-01-01 UTC.
        recalls: by label the result of `recall`, or a function that is called instead; for other labels the migration's own is.
        primary_keys: the columns of the primary key by table; where it says nothing, `_id`, or else `id`.
        columns: all columns by table, so that mistyped ones are found; where it says nothing, any name goes.

    Raises:
        TrialFailed: two decisions on the same rows differ; undoing does not give back the rows; doing it again gives others;
            the fields of an entity are not all accounted for.
        BacktrailError: what would halt a campaign or refuse it: an undeclared table, say, or keys of mixed type.
    """
    validate(migration)
    filled = _filled(migration, params)
    migration = bound(migration, {} if filled is None else filled.model_dump())
    author = _Author(migration, filled, _milliseconds(now or NOW), recalls or {}, columns or {})
    memory = MemoryTables(tables, migration.writes, primary_keys)
    given = memory.exact()
    first = author.migrate_all(memory)
    result, after = memory.dump(), memory.exact()
    memory.undo(first.writes)
    _compare("after undoing, {table} is not what it was", given, memory.exact())
    again = author.migrate_all(memory)
    _compare("done again, {table} is not what it was the first time", after, memory.exact())
    if first.said() != again.said():
        raise TrialFailed(f"{migration.name}: done again after undoing, the notes or failures are others")
    return Trial(result, first.notes, first.failures, first.migrated, first.accounts)


@dataclass
class _Pass:
    """One pass over all entities."""

    writes: list[Write] = field(default_factory=list)
    notes: list[TrialNote] = field(default_factory=list)
    failures: dict[Any, str] = field(default_factory=dict)
    migrated: list[Any] = field(default_factory=list)
    accounts: dict[Any, dict[str, int]] = field(default_factory=dict)

    def said(self) -> Any:
        """All but the writes, to be compared."""
        notes = [(exact(note.key), note.kind, exact(note.data)) for note in self.notes]
        return notes, self.failures, self.migrated, self.accounts


class _TrialEntity(Entity):
    """An entity whose recalls can be given beforehand."""

    replaced: Mapping[str, Any] = {}

    def recall(self, label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if label in self.replaced:
            given = self.replaced[label]
            function = given if callable(given) else lambda *_, **__: given
        return super().recall(label, function, *args, **kwargs)


class _Author:
    """The migration's own methods, called as the worker calls them."""

    def __init__(
        self,
        migration: type[Migration],
        params: BaseModel | None,
        now: dt.datetime,
        recalls: Mapping[str, Any],
        columns: Mapping[str, Sequence[str]],
    ) -> None:
        # One object for all entities, as in a worker: what it kept from one to the next would show in the second decision.
        self.migration = migration()
        if params is not None:
            self.migration.params = params
        self.now = now
        self.replaced = recalls
        self.columns = columns
        self.known: dict[tuple[str, str], Any] = {}

    def migrate_all(self, memory: MemoryTables) -> _Pass:
        done = _Pass()
        for key in memory.keys(self.migration.all_keys()):
            writes: list[Write] = []
            try:
                decision = self._decide_twice(memory, key)
                writes = memory.apply(decision, key)
                account = self._check(memory, key, writes)
            except Exception as error:
                if isinstance(error, TrialFailed) or (isinstance(error, BacktrailError) and error.remedy != "quarantine"):
                    raise
                memory.undo(writes)
                done.failures[key] = str(error) if isinstance(error, BacktrailError) else f"{type(error).__name__}: {error}"
                continue
            done.writes += writes
            done.migrated.append(key)
            done.notes += [TrialNote(key, note.kind, note.data) for note in decision.notes]
            if account:
                done.accounts[key] = account
        return done

    def _decide_twice(self, memory: MemoryTables, key: Any) -> Decision:
        first, failure = self._outcome(memory, key)
        second, other_failure = self._outcome(memory, key)
        if type(failure) is not type(other_failure):
            raise TrialFailed(
                f"{self._about(key)}: migrate is not pure: of two runs on the same rows one ended with "
                f"{failure!r}, the other with {other_failure!r}"
            ) from (failure or other_failure)
        if failure is not None:
            raise failure
        difference = _first_difference(first, second)
        if difference is not None:
            raise TrialFailed(
                f"{self._about(key)}: migrate is not pure: on the same rows it first decided {difference[0]}, and then {difference[1]}"
            )
        return first

    def _outcome(self, memory: MemoryTables, key: Any) -> tuple[Decision, Exception | None]:
        try:
            return self._decide(memory, key), None
        except Exception as error:  # noqa: BLE001 -- an author's code may raise anything, and the second run is still to be seen
            return Decision(), error

    def _decide(self, memory: MemoryTables, key: Any) -> Decision:
        while True:
            entity = self._entity(key, memory.read(self.migration.reads, key), self.migration.writes)
            try:
                self.migration.migrate(entity)
            except RecallNeeded as needed:
                later = self._entity(key, memory.read(self.migration.reads, key), self.migration.writes, self.now + LATER)
                demand_same_recall(self.migration, later, needed)
                self.known[needed.label, needed.digest] = _called(needed)
                continue
            return entity.decision

    def _check(self, memory: MemoryTables, key: Any, writes: Sequence[Write]) -> dict[str, int]:
        problems = self.migration.check(self._written(memory, key, writes))
        messages = [problems] if isinstance(problems, str) else list(problems or ())
        if messages:
            raise CheckFailed("; ".join(messages))
        account = dict(self.migration.account(self._written(memory, key, writes)))
        rest = sum(number for name, number in account.items() if name != "in")
        if account.get("in", 0) != rest:
            raise TrialFailed(f"{self._about(key)}: of {account.get('in', 0)} fields {rest} are accounted for: {account}")
        return account

    def _written(self, memory: MemoryTables, key: Any, writes: Sequence[Write]) -> Entity:
        """The entity as `check` sees it: current rows, and its own in tables that are not read."""
        rows = memory.read(self.migration.reads, key)
        read = {source.table for source in self.migration.reads}
        for table in self.migration.writes:
            if table not in read:
                rows.setdefault(table, memory.written(table, writes))
        return self._entity(key, rows, ())

    def _entity(
        self, key: Any, rows: Mapping[str, Sequence[Record]], writes: Sequence[str], now: dt.datetime | None = None
    ) -> Entity:
        migration = self.migration
        entity = _TrialEntity(
            copy.deepcopy(key),
            migration=migration.name,
            now=now or self.now,
            rows=rows,
            writes=writes,
            tables=self.columns,
            requires=migration.requires,
            recalls=copy.deepcopy(self.known),
        )
        entity.replaced = self.replaced
        return entity

    def _about(self, key: Any) -> str:
        return f"{self.migration.name}, entity {key_text(key)}"


def _called(needed: RecallNeeded) -> Any:
    try:
        # As JSON and back, which is how the ledger keeps it.
        return json.loads(json.dumps(needed.call()))
    except Exception as error:
        raise RecallFailed(f"recall {needed.label!r} failed: {type(error).__name__}: {error}") from error


def _filled(migration: type[Migration], params: BaseModel | Mapping[str, Any] | None) -> BaseModel | None:
    model = migration.params_model()
    if model is None:
        if params:
            raise UsageError(f"{migration.name} takes no parameters")
        return None
    if isinstance(params, model):
        return params
    try:
        return model.model_validate(dict(params or {}))
    except ValidationError as error:
        raise UsageError(f"parameters of {migration.name}: {error}") from error


def _milliseconds(now: dt.datetime) -> dt.datetime:
    if now.tzinfo is None:
        raise UsageError("now= has no time zone: give one, as in datetime(2025, 1, 1, tzinfo=UTC)")
    now = now.astimezone(dt.UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _compare(message: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for table, rows in expected.items():
        if rows != found[table]:
            raise TrialFailed(message.format(table=table))


def _first_difference(first: Decision, second: Decision) -> tuple[str, str] | None:
    ones, others = _said(first), _said(second)
    for at in range(max(len(ones), len(others))):
        one, other = (said[at] if at < len(said) else ("nothing more", None) for said in (ones, others))
        if one != other:
            return one[0], other[0]
    return None


def _said(decision: Decision) -> list[tuple[str, Any]]:
    """Every change and note as text for a person, and in a form that is equal only where they are."""
    said: list[tuple[str, Any]] = []
    form: Any
    for change in decision.changes:
        if isinstance(change, Create):
            source = change.source and change.source.ref
            form = (change.table, exact(change.values), source, change.unset, exact(change.rename))
            said.append((f"to create a row of {change.table} with {change.values!r}", form))
        elif isinstance(change, Update):
            form = (change.record.ref, exact(change.set), tuple(change.unset))
            said.append((f"to give a row of {change.table} {change.set!r}, and unset {list(change.unset)!r}", form))
        else:
            said.append((f"to delete a row of {change.table}", change.record.ref))
    said += [(f"the {note.kind} {dict(note.data)!r}", exact(note.data)) for note in decision.notes]
    return said
