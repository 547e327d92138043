"""Whether the ledger and the data are what they should be: recomputed from every payload, compared with every live row, decided again."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from backtrail.changes import Decision
from backtrail.decide import Recalls, account, check, decide, entity
from backtrail.discovery import Found
from backtrail.entity import Entity, RecallNeeded
from backtrail.errors import BacktrailError, Retry
from backtrail.image import Image, Ref
from backtrail.keys import key_text, parse_key
from backtrail.migration import Migration
from backtrail.stores.base import Rowsets, Transaction
from ledger.campaigns import Campaign
from ledger.event import Event
from ledger.history import Standing, expected, fold
from ledger.integrity import flaw
from ledger.journal import Head, in_portions
from ledger.later import written_later
from ledger.ledger import Ledger
from ledger.redecide import reads_its_writes, without_own_writes

PAGE = 500
EXAMPLES = 10
"""How many examples a check keeps; it counts all."""


@dataclass
class Finding:
    """One check: how much was checked, how many problems there are, and some of them."""

    name: str
    checked: int = 0
    problems: int = 0
    examples: list[str] = field(default_factory=list)
    note: str | None = None
    sums: dict[str, int] = field(default_factory=dict)

    def problem(self, example: str) -> None:
        """Counts a problem, and keeps it if there is room."""
        self.problems += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)

    def document(self) -> dict[str, Any]:
        """The check as JSON shows it."""
        shown: dict[str, Any] = {
            "name": self.name,
            "ok": self.problems == 0,
            "checked": self.checked,
            "problems": self.problems,
            "examples": self.examples,
        }
        if self.note:
            shown["note"] = self.note
        if self.sums:
            shown["sums"] = self.sums
        return shown


@dataclass(slots=True)
class Subject:
    """One entity under verification."""

    head: Head
    standing: Standing
    campaign: Campaign | None = None
    """The one that decided what stands; its parameters and types of keys are those of then."""
    key: Any = None
    live: dict[Ref, Image] = field(default_factory=dict)
    rows: Rowsets = field(default_factory=dict)
    recalls: Recalls = field(default_factory=dict)


class Verifier:
    """Verifies one migration, a page of streams at a time."""

    def __init__(self, ledger: Ledger, found: Found, chosen: Callable[[str], bool] | None = None) -> None:
        """A verifier.

        Args:
            ledger: where the streams are.
            found: the migration's code as it is now.
            chosen: which keys are looked at; None for all.
        """
        self.ledger, self.found, self.chosen = ledger, found, chosen
        names = ("ledger", "drift", "coverage", "checks", "invariants", "decisions", "accounting")
        self.findings = {name: Finding(name) for name in names}
        self.types = ledger.store.census(found.cls).types
        self.writes = found.cls.writes
        self.tables = {
            name: ledger.store.columns(name) for name in {*found.cls.writes, *(rows.table for rows in found.cls.reads)}
        }
        self._campaigns: dict[int, Campaign | None] = {}
        self._migrations: dict[int, Migration] = {}

    def run(self, progress: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """The verification document.

        Args:
            progress: called with the number of entities verified since the last call.
        """
        after = 0
        while True:
            with self.ledger.store.transaction(write=False) as tx:
                heads = self.ledger.journal.page(tx, self.found.name, after, PAGE)
                some = [head for head in heads if self.chosen is None or self.chosen(head.key)]
                for _ in in_portions(partial(self._page, tx), some):
                    pass
            if not heads:
                break
            after = heads[-1].id or 0
            progress(len(heads))
        with self.ledger.store.transaction(write=False) as tx:
            self._coverage(tx)
            self._lost(tx)
        self._invariants()
        documents = [finding.document() for finding in self.findings.values()]
        return {"ok": all(one["ok"] for one in documents), "checks": documents}

    def _page(self, tx: Transaction, heads: Sequence[Head]) -> None:
        subjects = [Subject(head, fold(events)) for head, events in self._sound(tx, heads)]
        self._drift(tx, subjects)
        migrated = [subject for subject in subjects if subject.head.state == "migrated" and self._named(tx, subject)]
        self._read(tx, migrated)
        self._decisions(tx, migrated)
        self._checks(tx, migrated)
        self._accounting(tx, migrated)

    # -- the ledger -----------------------------------------------------------------------------------------------

    def _sound(self, tx: Transaction, heads: Sequence[Head]) -> Iterator[tuple[Head, list[Event]]]:
        """The streams that are what was appended, with their events; the others are named."""
        finding = self.findings["ledger"]
        for head, events in self._events(tx, heads):
            finding.checked += len(events)
            wrong = flaw(head, events)
            if wrong is None:
                yield head, events
            else:
                finding.problem(f"{head.key}: {wrong}")

    def _events(self, tx: Transaction, heads: Sequence[Head]) -> list[tuple[Head, list[Event]]]:
        if not heads:
            return []
        try:
            events = self.ledger.journal.events(tx, [head.id or 0 for head in heads])
        except self.ledger.journal.unreadable:
            if len(heads) == 1:
                self.findings["ledger"].problem(f"{heads[0].key}: its events cannot even be read")
                return []
            return [pair for head in heads for pair in self._events(tx, [head])]
        return [(head, events[head.id or 0]) for head in heads]

    def _named(self, tx: Transaction, subject: Subject) -> bool:
        """Whether the entity's campaign and key are known."""
        number = subject.standing.begun.campaign if subject.standing.begun else 0
        if number not in self._campaigns:
            self._campaigns[number] = self.ledger.campaigns.get(tx, number)
        subject.campaign = self._campaigns[number]
        try:
            subject.key = parse_key(subject.head.key, subject.campaign.key_types if subject.campaign else self.types)
        except BacktrailError as error:
            self.findings["ledger"].problem(f"{subject.head.key}: {error}")
            return False
        return True

    def _lost(self, tx: Transaction) -> None:
        """Streams of which something is left: entities that a batch has done, and events that belong to nobody."""
        finding = self.findings["ledger"]
        for campaign in self.ledger.campaigns.all(tx, migration=self.found.name):
            after = 0
            # A migrate campaign leaves a stream for every entity of a batch that is done.
            while campaign.kind == "migrate" and (batches := self.ledger.campaigns.keys_of(tx, campaign.id, after, PAGE // 10)):
                after = batches[-1].number
                keys = [key for batch in batches if batch.state == "done" for key in batch.keys]
                keys = [key for key in keys if self.chosen is None or self.chosen(key)]
                heads = self.ledger.journal.heads(tx, self.found.name, keys, lock=False)
                for key in keys:
                    if key not in heads:
                        finding.problem(f"{key}: {campaign.name} has done it, and its stream is gone")
        if self.chosen is None:
            for stream in self.ledger.journal.strays(tx, EXAMPLES):
                finding.problem(f"(stream {stream}): it has events, and the row that says whose they are is gone")

    # -- the data -------------------------------------------------------------------------------------------------

    def _drift(self, tx: Transaction, subjects: Sequence[Subject]) -> None:
        finding = self.findings["drift"]
        wanted = {subject.head.key: expected(subject.standing.changes) for subject in subjects}
        live = tx.fetch([ref for rows in wanted.values() for ref in rows], lock=False)
        for subject in subjects:
            rows = wanted[subject.head.key]
            finding.checked += len(rows)
            subject.live = {ref: live[ref] for ref in rows if ref in live}
            for ref, image in rows.items():
                differences = self.ledger.store.differences(image, live.get(ref))
                if differences and not written_later(self.ledger, tx, subject.head, ref, image, live.get(ref)):
                    columns = ", ".join(difference.column for difference in differences)
                    finding.problem(f"{subject.head.key}: {ref.table} {self.ledger.store.show_key(ref)}: {columns} changed since")

    def _coverage(self, tx: Transaction) -> None:
        """Every key has an entity that is migrated (or was rolled back by choice)."""
        finding = self.findings["coverage"]
        store, sources = self.ledger.store, self.found.cls.all_keys()
        missing = Counter[str]()
        for source in range(len(sources)):
            after: str | None = None
            while True:
                page = store.page(tx, sources, source, after, 5000)
                texts = [text for text in _texts(page.keys) if self.chosen is None or self.chosen(text)]
                heads = self.ledger.journal.heads(tx, self.found.name, texts, lock=False)
                finding.checked += len(texts)
                for text in texts:
                    state = heads[text].state if text in heads else "not migrated"
                    if state not in ("migrated", "rolled_back"):
                        missing[state] += 1
                        finding.problem(f"{text}: {state}")
                after = page.after
                if after is None:
                    break
        states = self.ledger.journal.count(tx, self.found.name)
        rolled_back = states.get("rolled_back", 0)
        if rolled_back:
            finding.note = f"{rolled_back} were rolled back and stay so until somebody asks"

    def _read(self, tx: Transaction, subjects: Sequence[Subject]) -> None:
        if not subjects:
            return
        found = tx.read(
            self.found.cls.reads, [subject.key for subject in subjects], lock=False, sources=self.found.cls.all_keys()
        )
        recalls = self.ledger.journal.recalls(tx, self.found.name, [subject.head.key for subject in subjects])
        for subject, rows in zip(subjects, found, strict=True):
            subject.rows, subject.recalls = rows, recalls.get(subject.head.key, {})

    # -- the author's code ----------------------------------------------------------------------------------------

    def _decisions(self, tx: Transaction, subjects: Sequence[Subject]) -> None:
        """`migrate` still decides the same, from the sources as they are, with the time, parameters and recalls of then."""
        finding = self.findings["decisions"]
        for subject, rows in zip(subjects, self._sources(tx, subjects), strict=True):
            finding.checked += 1
            try:
                decision = self._decide(subject, rows)
                same = self.ledger.store.plan(decision).digest.hex() == subject.standing.decision
                why = "stale: migrate would now decide otherwise"
            except RecallNeeded as needed:
                same, why = False, f"stale: it would recall {needed.label!r} anew"
            except BacktrailError as error:
                same, why = False, f"stale: migrate fails now ({type(error).__name__}: {error})"
            if same:
                continue
            if subject.campaign is not None and subject.campaign.fingerprint != self.found.fingerprint:
                why = "decided by other code"
            finding.problem(f"{subject.head.key}: {why}")

    def _sources(self, tx: Transaction, subjects: Sequence[Subject]) -> Sequence[Rowsets]:
        changes = [subject.standing.changes for subject in subjects]
        if not reads_its_writes(self.found.cls, changes):
            return [subject.rows for subject in subjects]
        return without_own_writes(tx, self.found.cls, [subject.key for subject in subjects], changes, lock=False)

    def _decide(self, subject: Subject, rows: Rowsets) -> Decision:
        begun = subject.standing.begun
        at = dt.datetime.fromtimestamp((begun.at if begun else 0) / 1000, tz=dt.UTC)
        migration = self._migration(subject.campaign)
        return decide(migration, entity(migration, subject.key, at, rows, self.tables, subject.recalls))

    def _migration(self, campaign: Campaign | None) -> Migration:
        number = 0 if campaign is None else campaign.id
        if number not in self._migrations:
            self._migrations[number] = self.found.instance({} if campaign is None else campaign.params)
        return self._migrations[number]

    def _checks(self, tx: Transaction, subjects: Sequence[Subject]) -> None:
        finding = self.findings["checks"]
        if self.found.cls.check is Migration.check:
            return
        for subject in subjects:
            finding.checked += 1
            try:
                messages = check(self._migration(subject.campaign), self._entity(tx, subject))
            except BacktrailError as error:
                messages = [f"{type(error).__name__}: {error}"]
            for message in messages:
                finding.problem(f"{subject.head.key}: {message}")

    def _entity(self, tx: Transaction, subject: Subject) -> Entity:
        """The entity as `check` gets it: rows as they are, and of written tables that are not read, those that it wrote."""
        rows = dict(subject.rows)
        for table in self.writes:
            if table not in rows:
                rows[table] = self.ledger.store.records([image for ref, image in subject.live.items() if ref.table == table])
        return entity(self._migration(subject.campaign), subject.key, tx.now, rows, self.tables, subject.recalls)

    def _accounting(self, tx: Transaction, subjects: Sequence[Subject]) -> None:
        finding = self.findings["accounting"]
        if self.found.cls.account is Migration.account:
            return
        for subject in subjects:
            try:
                counts = account(self._migration(subject.campaign), self._entity(tx, subject))
            except BacktrailError as error:
                finding.problem(f"{subject.head.key}: {type(error).__name__}: {error}")
                continue
            finding.checked += counts.get("in", 0)
            for name, count in counts.items():
                finding.sums[name] = finding.sums.get(name, 0) + count
            rest = sum(count for name, count in counts.items() if name != "in")
            if counts.get("in", 0) != rest:
                finding.problem(f"{subject.head.key}: {counts.get('in', 0)} fields went in, {rest} are accounted for")

    def _invariants(self) -> None:
        finding = self.findings["invariants"]
        for invariant in self.found.cls.invariants:
            finding.checked += 1
            try:
                # Each in its own transaction: one that cannot be asked does not spoil the others.
                with self.ledger.store.transaction(write=False) as tx:
                    rows = tx.violations(invariant, EXAMPLES)
            except Retry:
                raise
            except BacktrailError as error:
                rows = [f"{type(error).__name__}: {error}"]
            for row in rows:
                finding.problem(f"{invariant.name}: {row}")


def _texts(keys: Iterable[Any]) -> Iterator[str]:
    return (
        key_text(key) for key in keys if key is not None and not (isinstance(key, tuple) and all(part is None for part in key))
    )
