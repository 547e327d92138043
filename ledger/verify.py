"""Whether the ledger and the data are what they should be: recomputed from every payload, compared with every live row, decided again."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from backtrail.changes import Decision
from backtrail.decide import check, decide, entity
from backtrail.discovery import Found
from backtrail.entity import RecallNeeded
from backtrail.errors import BacktrailError, SchemaChanged
from backtrail.image import Image, Ref
from backtrail.keys import parse_key
from backtrail.migration import Migration
from backtrail.stores.base import Rowsets, Transaction
from ledger.campaigns import Campaign
from ledger.event import Event, digest, genesis
from ledger.history import Standing, expected, fold
from ledger.journal import Head
from ledger.ledger import Ledger
from ledger.redecide import without_own_writes

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
    key: Any
    events: Sequence[Event]
    standing: Standing
    live: dict[Ref, Image] = field(default_factory=dict)
    rows: Rowsets = field(default_factory=dict)

    @property
    def drifted(self) -> bool:
        """Whether a row is not as the events left it, or was not looked at."""
        return any(self.live.get(ref) != image for ref, image in expected(self.standing.changes).items())


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
        self.uses_recalls = True

    def run(self, progress: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """The verification document.

        Args:
            progress: called with the number of entities verified since the last call.
        """
        after = 0
        while True:
            with self.ledger.store.transaction(write=False) as tx:
                heads = self.ledger.journal.page(tx, self.found.name, after, PAGE)
                if heads:
                    self._page(tx, [head for head in heads if self.chosen is None or self.chosen(head.key)])
            if not heads:
                break
            after = heads[-1].id or 0
            progress(len(heads))
        with self.ledger.store.transaction(write=False) as tx:
            self._coverage(tx)
            self._invariants(tx)
        documents = [finding.document() for finding in self.findings.values()]
        return {"ok": all(one["ok"] for one in documents), "checks": documents}

    def _page(self, tx: Transaction, heads: Sequence[Head]) -> None:
        if not heads:
            return
        events = self.ledger.journal.events(tx, [head.id or 0 for head in heads])
        subjects = []
        for head in heads:
            own = events[head.id or 0]
            sound = self._integrity(head, own)
            if sound:
                subjects.append(Subject(head, parse_key(head.key, self.types), own, fold(own)))
        self._drift(tx, subjects)
        migrated = [subject for subject in subjects if subject.head.state == "migrated"]
        self._read(tx, migrated)
        self._decisions(tx, migrated)
        self._checks(migrated)
        self._accounting(migrated)

    # -- the ledger -----------------------------------------------------------------------------------------------

    def _integrity(self, head: Head, events: Sequence[Event]) -> bool:
        """Whether every event is what was once appended, nothing is missing, and the stream's row says the same."""
        finding = self.findings["ledger"]
        finding.checked += len(events)
        previous = genesis(head.migration, head.key)
        for at, event in enumerate(events, 1):
            if event.version != at:
                finding.problem(f"{head.key}: version {at} is missing")
                return False
            if digest(previous, event) != event.hash:
                finding.problem(f"{head.key}: version {at} ({event.kind}) is not what was appended")
                return False
            previous = event.hash
        if head.version != len(events) or head.hash != previous:
            finding.problem(f"{head.key}: the stream ends at version {len(events)}, and its row says {head.version}")
            return False
        state, failed = folded_state(events)
        if (head.state, head.failed) != (state, failed):
            finding.problem(f"{head.key}: its state is {head.state!r}, and its events say {state!r}")
            return False
        return True

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
                if differences and not self._written_later(tx, subject.head, ref, live.get(ref)):
                    columns = ", ".join(difference.column for difference in differences)
                    finding.problem(f"{subject.head.key}: {ref.table} {self.ledger.store.show_key(ref)}: {columns} changed since")

    def _written_later(self, tx: Transaction, head: Head, ref: Ref, live: Image | None) -> bool:
        """Whether another stream's last write of the row is what is there."""
        others = [event for other, event in self.ledger.journal.others(tx, [ref]).get(ref, ()) if other.id != head.id]
        return bool(others) and others[-1].after == (None if live is None else live.data)

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
        found = tx.read(self.found.cls.reads, [subject.key for subject in subjects], lock=False)
        for subject, rows in zip(subjects, found, strict=True):
            subject.rows = rows

    # -- the author's code ----------------------------------------------------------------------------------------

    def _decisions(self, tx: Transaction, subjects: Sequence[Subject]) -> None:
        """`migrate` still decides the same, from the sources as they are, with the time, parameters and recalls of then."""
        finding = self.findings["decisions"]
        recalls = self.ledger.journal.recalls(tx, self.found.name, [subject.head.key for subject in subjects])
        for subject in subjects:
            finding.checked += 1
            campaign = self._campaign(tx, subject)
            rows = without_own_writes(self.ledger.store, self.found.cls, subject.rows, subject.standing.changes)
            try:
                decision = self._decide(subject, rows, recalls.get(subject.head.key, {}), campaign)
                same = self.ledger.store.plan(decision).digest.hex() == subject.standing.decision
                why = "stale: migrate would now decide otherwise"
            except RecallNeeded as needed:
                same, why = False, f"stale: it would recall {needed.label!r} anew"
            except BacktrailError as error:
                same, why = False, f"stale: migrate fails now ({type(error).__name__}: {error})"
            if same:
                continue
            if campaign is not None and campaign.fingerprint != self.found.fingerprint:
                why = "decided by other code"
            finding.problem(f"{subject.head.key}: {why}")

    def _decide(self, subject: Subject, rows: Rowsets, recalls: Any, campaign: Campaign | None) -> Decision:
        begun = subject.standing.begun
        at = dt.datetime.fromtimestamp((begun.at if begun else 0) / 1000, tz=dt.UTC)
        migration = self._migration(campaign)
        return decide(migration, entity(migration, subject.key, at, rows, self.tables, recalls))

    def _campaign(self, tx: Transaction, subject: Subject) -> Campaign | None:
        number = subject.standing.begun.campaign if subject.standing.begun else 0
        if number not in self._campaigns:
            self._campaigns[number] = self.ledger.campaigns.get(tx, number)
        return self._campaigns[number]

    def _migration(self, campaign: Campaign | None) -> Migration:
        number = 0 if campaign is None else campaign.id
        if number not in self._migrations:
            self._migrations[number] = self.found.instance({} if campaign is None else campaign.params)
        return self._migrations[number]

    def _checks(self, subjects: Sequence[Subject]) -> None:
        finding = self.findings["checks"]
        if self.found.cls.check is Migration.check:
            return
        for subject in subjects:
            finding.checked += 1
            try:
                messages = check(self._migration(None), self._entity(subject))
            except BacktrailError as error:
                messages = [f"{type(error).__name__}: {error}"]
            for message in messages:
                finding.problem(f"{subject.head.key}: {message}")

    def _entity(self, subject: Subject) -> Any:
        """The entity as `check` gets it: rows as they are, and of written tables that are not read, those that it wrote."""
        rows = dict(subject.rows)
        for table in self.writes:
            if table not in rows:
                refs = sorted((ref for ref in subject.live if ref.table == table), key=lambda ref: ref.key)
                rows[table] = [self.ledger.store.record(subject.live[ref]) for ref in refs]
        migration = self._migration(None)
        return entity(migration, subject.key, dt.datetime.now(dt.UTC), rows, self.tables)

    def _accounting(self, subjects: Sequence[Subject]) -> None:
        finding = self.findings["accounting"]
        if self.found.cls.account is Migration.account:
            return
        migration = self._migration(None)
        for subject in subjects:
            try:
                counts = dict(migration.account(self._entity(subject)))
            except BacktrailError as error:
                finding.problem(f"{subject.head.key}: {type(error).__name__}: {error}")
                continue
            finding.checked += counts.get("in", 0)
            for name, count in counts.items():
                finding.sums[name] = finding.sums.get(name, 0) + count
            rest = sum(count for name, count in counts.items() if name != "in")
            if counts.get("in", 0) != rest:
                finding.problem(f"{subject.head.key}: {counts.get('in', 0)} fields went in, {rest} are accounted for")

    def _invariants(self, tx: Transaction) -> None:
        finding = self.findings["invariants"]
        for invariant in self.found.cls.invariants:
            finding.checked += 1
            try:
                rows = tx.violations(invariant, EXAMPLES)
            except SchemaChanged as error:
                rows = [str(error)]
            for row in rows:
                finding.problem(f"{invariant.name}: {row}")


def folded_state(events: Sequence[Event]) -> tuple[str, bool]:
    """The state and the failed mark that a stream's events add up to."""
    state, failed = "", False
    for event in events:
        if event.kind == "end":
            state, failed = str(event.facts.get("state")), False
        elif event.kind == "failed":
            state, failed = state or "failed", True
    return state, failed


def _texts(keys: Iterable[Any]) -> Iterator[str]:
    from backtrail.keys import key_text

    return (
        key_text(key) for key in keys if key is not None and not (isinstance(key, tuple) and all(part is None for part in key))
    )
