"""What is asked about all entities at once: that none is missing, that nothing is left of one that is gone, and the author's invariants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from backtrail.errors import BacktrailError, Retry
from backtrail.keys import key_text
from backtrail.migration import Invariant
from backtrail.stores.base import Transaction
from ledger.campaigns import Batch, Campaign, Unreadable
from ledger.examine import Scope
from ledger.finding import EXAMPLES, Findings
from ledger.streams import heads_of

KEYS = 5000
"""How many keys of a source are looked up at once."""

SETTLED = ("migrated", "rolled_back")
"""The states in which nobody has to do anything about an entity."""

NOT_MIGRATED = "not migrated"

BATCHES = 50
"""How many batches are looked through at once."""


def coverage(scope: Scope, source: int) -> Findings:
    """The entities of one of the sources of keys that are neither migrated nor rolled back by choice."""
    findings = Findings()
    finding, store, sources = findings["coverage"], scope.ledger.store, scope.cls.all_keys()
    with store.transaction(write=False) as tx:
        after: str | None = None
        while True:
            page = store.page(tx, sources, source, after, KEYS)
            keys = scope.chosen(list(_texts(page.keys)))
            finding.checked += len(keys)
            for key, state in _others(scope, tx, keys, SETTLED):
                if state not in SETTLED:
                    finding.problem(f"{key}: {state}")
            after = page.after
            if after is None:
                break
        finding.note = _note(scope, tx)
    return findings


def _note(scope: Scope, tx: Transaction) -> str | None:
    try:
        rolled_back = scope.ledger.journal.count(tx, scope.cls.name).get("rolled_back", 0)
    except scope.ledger.journal.unreadable:
        return None  # somebody made a state that is no text, and the stream is named
    return f"{rolled_back} were rolled back and stay so until somebody asks" if rolled_back else None


def _texts(keys: Iterable[Any]) -> Iterator[str]:
    return (
        key_text(key) for key in keys if key is not None and not (isinstance(key, tuple) and all(part is None for part in key))
    )


def lost(scope: Scope) -> Findings:
    """Streams of which something is left: entities that a batch has done, and events that belong to nobody."""
    findings = Findings()
    finding, ledger = findings["ledger"], scope.ledger
    with ledger.store.transaction(write=False) as tx:
        for number in ledger.campaigns.ids(tx):
            try:
                campaign = ledger.campaigns.get(tx, number)
            except Unreadable:
                # Of which migration it is cannot be read either.
                finding.problem(f"c{number}: its row cannot be read, nor can anybody say how it decided")
                continue
            # A migrate campaign leaves a stream for every entity of a batch that is done.
            if campaign is not None and (campaign.migration, campaign.kind) == (scope.cls.name, "migrate"):
                for problem in _without_stream(scope, tx, campaign):
                    finding.problem(problem)
        for example in _strays(scope, tx):
            finding.problem(example)
    return findings


def _without_stream(scope: Scope, tx: Transaction, campaign: Campaign) -> Iterator[str]:
    """What is to be said of the campaign's batches."""
    after = 0
    while numbers := scope.ledger.campaigns.numbers(tx, campaign.id, after, BATCHES):
        after = numbers[-1]
        batches, unreadable = _batches(scope, tx, campaign, numbers)
        yield from (f"batch {number} of {campaign.name}: it cannot be read" for number in unreadable)
        keys = scope.chosen([key for batch in batches if batch.state == "done" for key in batch.keys])
        gone = (key for key, state in _others(scope, tx, keys) if state == NOT_MIGRATED)
        yield from (f"{key}: {campaign.name} has done it, and its stream is gone" for key in gone)


def _batches(scope: Scope, tx: Transaction, campaign: Campaign, numbers: Sequence[int]) -> tuple[list[Batch], list[int]]:
    """The batches of these numbers, and the numbers of those that cannot be read."""
    campaigns = scope.ledger.campaigns
    try:
        return campaigns.keys_of(tx, campaign.id, numbers[0] - 1, len(numbers)), []
    except Unreadable:
        pass
    batches: list[Batch] = []
    unreadable: list[int] = []
    for number in numbers:
        try:
            batch = campaigns.peek(tx, campaign.id, number)
        except Unreadable:
            unreadable.append(number)
        else:
            batches += [] if batch is None else [batch]
    return batches, unreadable


def _others(scope: Scope, tx: Transaction, keys: Sequence[str], states: Sequence[str] | None = None) -> Iterator[tuple[str, str]]:
    """Those of the keys for which a quick look finds no stream (in one of the states), and the state that each is in."""
    journal, name = scope.ledger.journal, scope.cls.name
    known = journal.known(tx, name, keys, states)
    others = [key for key in keys if key not in known]
    heads, unreadable = heads_of(journal, tx, name, others)
    for key in others:
        yield key, heads[key].state if key in heads else "its row cannot even be read" if key in unreadable else NOT_MIGRATED


def _strays(scope: Scope, tx: Transaction) -> list[str]:
    """Some events without a stream: by those who look at all entities."""
    if not scope.whole:
        return []
    try:
        strays = scope.ledger.journal.strays(tx, EXAMPLES)
    except scope.ledger.journal.unreadable:
        return ["(stream ?): there are events whose stream's number cannot even be read"]
    return [f"(stream {stream}): it has events, and the row that says whose they are is gone" for stream in strays]


def invariant(scope: Scope, number: int) -> Findings:
    """The rows that one of the migration's invariants should not return."""
    findings = Findings()
    one = scope.cls.invariants[number]
    findings["invariants"].checked += 1
    for row in _violations(scope, one):
        findings["invariants"].problem(f"{one.name}: {row}")
    return findings


def _violations(scope: Scope, one: Invariant) -> list[str]:
    try:
        # Each in its own transaction: one that cannot be asked does not spoil the others.
        with scope.ledger.store.transaction(write=False) as tx:
            return tx.violations(one, EXAMPLES)
    except Retry:
        raise
    except BacktrailError as error:
        return [f"{type(error).__name__}: {error}"]
