"""Entities under verification: their events recomputed, their rows compared, the author's code asked again; a portion of streams at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from backtrail.changes import Decision
from backtrail.decide import Recalls, account, check, decide, entity
from backtrail.discovery import Found
from backtrail.entity import Entity
from backtrail.errors import BacktrailError
from backtrail.image import Image, Ref
from backtrail.keys import KeyType, parse_key
from backtrail.migration import Migration
from backtrail.recall import RecallNeeded
from backtrail.stores.base import Rowsets, Transaction
from ledger.campaigns import Campaign, Unreadable
from ledger.entry import Head
from ledger.event import Event
from ledger.finding import Findings
from ledger.history import Standing, expected, fold
from ledger.integrity import flaw
from ledger.journal import in_portions
from ledger.later import written_later
from ledger.ledger import Ledger
from ledger.redecide import reads_its_writes, without_own_writes
from ledger.streams import of_other_type
from ledger.subject import subject_of

PAGE = 500
"""How many streams are in memory at once."""


class Scope:
    """What is verified, and what was looked up once for all of it."""

    def __init__(
        self,
        ledger: Ledger,
        found: Found,
        chosen: Callable[[str], bool] | None,
        types: tuple[KeyType, ...] | None = None,
        *,
        code: bool = True,
    ) -> None:
        """A scope.

        Args:
            ledger: where the streams are.
            found: the migration's code as it is now.
            chosen: which keys are looked at; None for all.
            types: of the keys' parts, where somebody has asked the sources already.
            code: whether the author's code is asked again: `migrate`, `check` and `account`.
        """
        self.code = code
        self.ledger, self.found, self.cls = ledger, found, found.cls
        self._chosen = chosen
        self.whole = chosen is None
        self.types = ledger.store.census(found.cls).types if types is None else types
        tables = {*found.cls.writes, *(rows.table for rows in found.cls.reads)}
        self.tables = {name: ledger.store.columns(name) for name in tables}
        self._campaigns: dict[int, Campaign | None] = {}
        self._unreadable: set[int] = set()
        self._migrations: dict[int, Migration] = {}

    def chosen(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that are looked at."""
        return list(keys) if self._chosen is None else [key for key in keys if self._chosen(key)]

    def heads(self, heads: Sequence[Head]) -> list[Head]:
        """Those of the streams that are looked at."""
        chosen = self._chosen
        # Whoever edited a key so that it is none cannot be chosen by it, and is looked at.
        return [head for head in heads if chosen is None or not isinstance(head.key, str) or chosen(head.key)]

    def campaign(self, tx: Transaction, number: int) -> Campaign | None:
        """The campaign of that number, or None.

        Raises:
            Unreadable: it cannot be read.
        """
        if number in self._unreadable:
            raise Unreadable(f"c{number} cannot be read")
        if number not in self._campaigns:
            try:
                self._campaigns[number] = self.ledger.campaigns.get(tx, number)
            except Unreadable:
                self._unreadable.add(number)
                return self.campaign(tx, number)
        return self._campaigns[number]

    def migration(self, campaign: Campaign | None) -> Migration:
        """The migration with the parameters of that campaign."""
        number = 0 if campaign is None else campaign.id
        if number not in self._migrations:
            self._migrations[number] = self.found.instance({} if campaign is None else campaign.params)
        return self._migrations[number]


@dataclass(slots=True)
class Subject:
    """One entity under verification."""

    head: Head
    standing: Standing
    campaign: Campaign | None = None
    """The one that decided what stands; its parameters and types of keys are those of then."""
    key: Any = None
    person: str = ""
    """Whose data it is."""
    live: dict[Ref, Image] = field(default_factory=dict)
    rows: Rowsets = field(default_factory=dict)
    written: Rowsets | None = None
    """The rows with those of written tables that are not read, once somebody asked for them."""
    recalls: Recalls = field(default_factory=dict)


def examine(scope: Scope, tx: Transaction, heads: Sequence[Head]) -> Findings:
    """What is wrong with the entities of those streams, in halves as long as their images are too large to be in memory at once."""
    findings = Findings()
    # Each portion has findings of its own: one that turns out to be too large only after a while leaves nothing counted twice.
    for part in in_portions(lambda some: Examination(scope, tx).of(some), scope.heads(heads)):
        findings.add(part)
    return findings


def examine_expansion(scope: Scope, tx: Transaction, heads: Sequence[Head]) -> Findings:
    """What is wrong with those streams, which say what `expand` did: they are of no entity, and nobody's."""
    findings = Findings()
    for part in in_portions(lambda some: Examination(scope, tx).of_expansion(some), heads):
        findings.add(part)
    return findings


class Examination:
    """One portion of streams under verification."""

    def __init__(self, scope: Scope, tx: Transaction) -> None:
        self.scope, self.tx = scope, tx
        self.ledger, self.store, self.cls = scope.ledger, scope.ledger.store, scope.cls
        self.findings = Findings()

    def of(self, heads: Sequence[Head]) -> Findings:
        """What is wrong with the entities of those streams."""
        subjects = [Subject(head, fold(events)) for head, events in self._sound(heads)]
        self._drift(subjects)
        named = [subject for subject in subjects if self._named(subject)]
        if not self.scope.code:
            return self.findings
        migrated = [subject for subject in named if subject.head.state == "migrated"]
        self._read(migrated)
        self._decisions(migrated)
        self._checks(migrated)
        self._accounting(migrated)
        return self.findings

    def of_expansion(self, heads: Sequence[Head]) -> Findings:
        """What is wrong with those streams of `expand`."""
        for head, _ in self._sound(heads):
            if head.subject is not None:
                self.findings["ledger"].problem(f"{head.label}: its row says that it is a person's")
        return self.findings

    # -- the ledger -----------------------------------------------------------------------------------------------

    def _sound(self, heads: Sequence[Head]) -> Iterator[tuple[Head, list[Event]]]:
        """The streams that are what was appended and can be read, with their events; what is wrong with the others is said."""
        finding = self.findings["ledger"]
        for head, events in self._events(self._typed(heads)):
            finding.checked += len(events)
            wrong = flaw(head, events)
            if wrong is not None:
                finding.problem(f"{head.label}: {wrong}")
            elif head.erased:
                finding.sum({"erased": 1})
            else:
                yield head, events

    def _typed(self, heads: Sequence[Head]) -> list[Head]:
        """The streams whose rows hold what a row can hold; the others are named."""
        sound = []
        for head in heads:
            wrong = of_other_type(head)
            if wrong is None:
                sound.append(head)
            else:
                self.findings["ledger"].problem(f"{head.label}: its row holds a value of another type as {wrong}")
        return sound

    def _events(self, heads: Sequence[Head]) -> list[tuple[Head, list[Event]]]:
        if not heads:
            return []
        try:
            events = self.ledger.journal.events(self.tx, [head.id or 0 for head in heads])
        except self.ledger.journal.unreadable:
            if len(heads) == 1:
                self.findings["ledger"].problem(f"{heads[0].label}: its events cannot even be read")
                return []
            return [pair for head in heads for pair in self._events([head])]
        return [(head, events[head.id or 0]) for head in heads]

    def _named(self, subject: Subject) -> bool:
        """Whether the entity's campaign and key are known, and it is the person's whose it should be."""
        head, begun = subject.head, subject.standing.begun
        try:
            subject.campaign = self.scope.campaign(self.tx, begun.campaign if begun else head.campaign)
        except Unreadable:
            return False  # the campaign itself is named, once
        try:
            subject.key = parse_key(head.key, subject.campaign.key_types if subject.campaign else self.scope.types)
            person = subject_of(self.cls, subject.key)
        except BacktrailError as error:
            self.findings["ledger"].problem(f"{head.key}: {error}")
            return False
        subject.person = person
        # Where the row is sealed, its events cannot be read with another person's key.
        if head.name is None and head.subject not in self._persons(head.key, person):
            self.findings["ledger"].problem(f"{head.key}: its row says that it is another person's")
        return True

    def _persons(self, key: str, person: str) -> set[str | None]:
        """What the row of an open stream can name the person by; as a token, if it went on after the ledger was encrypted."""
        keyring = self.ledger.keyring
        return {None if person == key else person} | ({keyring.subject(self.cls.name, person)} if keyring.sealing else set())

    # -- the data -------------------------------------------------------------------------------------------------

    def _drift(self, subjects: Sequence[Subject]) -> None:
        finding = self.findings["drift"]
        wanted = {subject.head.key: expected(subject.standing.changes) for subject in subjects}
        live = self.tx.fetch([ref for rows in wanted.values() for ref in rows], lock=False)
        for subject in subjects:
            rows = wanted[subject.head.key]
            finding.checked += len(rows)
            if self.scope.code:
                subject.live = {ref: live[ref] for ref in rows if ref in live}
            for ref, image in rows.items():
                columns = self._changed(subject.head, ref, image, live.get(ref))
                if columns:
                    finding.problem(f"{subject.head.key}: {ref.table} {self.store.show_key(ref)}: {columns} changed since")

    def _changed(self, head: Head, ref: Ref, image: Image | None, live: Image | None) -> str:
        """The columns in which the row is not as it was left, by nobody whom the ledger knows."""
        if image == live:
            return ""
        differences = self.store.differences(image, live)
        if not differences or written_later(self.ledger, self.tx, head, ref, image, live):
            return ""
        return ", ".join(difference.column for difference in differences)

    def _read(self, subjects: Sequence[Subject]) -> None:
        if not subjects:
            return
        keys = [subject.key for subject in subjects]
        found = self.tx.read(self.cls.reads, keys, lock=False, sources=self.cls.all_keys())
        recalls = self._recalls(subjects)
        for subject, rows in zip(subjects, found, strict=True):
            subject.rows, subject.recalls = rows, recalls.get(subject.head.key, {})

    def _recalls(self, subjects: Sequence[Subject]) -> dict[str, dict[tuple[str, str], Any]]:
        """The recalls by the entity's key; those that cannot be read are missing, so that `migrate` would ask anew."""
        wanted = {subject.head.key: subject.person for subject in subjects}
        try:
            return self.ledger.journal.recalls(self.tx, self.cls.name, wanted)
        except self.ledger.journal.unreadable:
            if len(subjects) == 1:
                return {}
        return {key: recalls for subject in subjects for key, recalls in self._recalls([subject]).items()}

    # -- the author's code ----------------------------------------------------------------------------------------

    def _decisions(self, subjects: Sequence[Subject]) -> None:
        """`migrate` still decides the same, from the sources as they are, with the time, parameters and recalls of then."""
        finding = self.findings["decisions"]
        for subject, rows in zip(subjects, self._sources(subjects), strict=True):
            finding.checked += 1
            why = self._stale(subject, rows)
            if why is not None:
                finding.problem(f"{subject.head.key}: {why}")

    def _stale(self, subject: Subject, rows: Rowsets) -> str | None:
        try:
            decision = self._decide(subject, rows)
            if self.store.plan(decision).mark == subject.standing.decision:
                return None
            why = "stale: migrate would now decide otherwise"
        except RecallNeeded as needed:
            why = f"stale: it would recall {needed.label!r} anew"
        except BacktrailError as error:
            why = f"stale: migrate fails now ({type(error).__name__}: {error})"
        if subject.campaign is not None and subject.campaign.fingerprint != self.scope.found.fingerprint:
            return "decided by other code"
        return why

    def _sources(self, subjects: Sequence[Subject]) -> Sequence[Rowsets]:
        changes = [subject.standing.changes for subject in subjects]
        if not reads_its_writes(self.cls, changes):
            return [subject.rows for subject in subjects]
        return without_own_writes(self.tx, self.cls, [subject.key for subject in subjects], changes, lock=False)

    def _decide(self, subject: Subject, rows: Rowsets) -> Decision:
        begun = subject.standing.begun
        at = dt.datetime.fromtimestamp((begun.at if begun else 0) / 1000, tz=dt.UTC)
        migration = self.scope.migration(subject.campaign)
        return decide(migration, entity(migration, subject.key, at, rows, self.scope.tables, subject.recalls))

    def _checks(self, subjects: Sequence[Subject]) -> None:
        if self.cls.check is Migration.check:
            return
        finding = self.findings["checks"]
        for subject in subjects:
            finding.checked += 1
            try:
                messages = check(self.scope.migration(subject.campaign), self._entity(subject))
            except BacktrailError as error:
                messages = [f"{type(error).__name__}: {error}"]
            for message in messages:
                finding.problem(f"{subject.head.key}: {message}")

    def _entity(self, subject: Subject) -> Entity:
        """The entity as `check` gets it: rows as they are, and of written tables that are not read, those that it wrote."""
        if subject.written is None:
            subject.written = dict(subject.rows)
            for table in self.cls.writes:
                if table not in subject.written:
                    images = [image for ref, image in subject.live.items() if ref.table == table]
                    subject.written[table] = self.store.records(images)
        migration = self.scope.migration(subject.campaign)
        return entity(migration, subject.key, self.tx.now, subject.written, self.scope.tables, subject.recalls)

    def _accounting(self, subjects: Sequence[Subject]) -> None:
        if self.cls.account is Migration.account:
            return
        finding = self.findings["accounting"]
        for subject in subjects:
            try:
                counts = account(self.scope.migration(subject.campaign), self._entity(subject))
            except BacktrailError as error:
                finding.problem(f"{subject.head.key}: {type(error).__name__}: {error}")
                continue
            went_in = counts.get("in", 0)
            finding.checked += went_in
            finding.sum(counts)
            rest = sum(count for name, count in counts.items() if name != "in")
            if went_in != rest:
                finding.problem(f"{subject.head.key}: {went_in} fields went in, {rest} are accounted for")
