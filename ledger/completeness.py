"""What is asked about all entities at once: that none is missing, that nothing is left of one that is gone, and the author's invariants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from backtrail.errors import BacktrailError, Retry
from backtrail.keys import key_text
from backtrail.migration import Invariant
from backtrail.stores.base import Transaction
from ledger.campaigns import Campaign
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
        for campaign in ledger.campaigns.all(tx, migration=scope.cls.name):
            # A migrate campaign leaves a stream for every entity of a batch that is done.
            if campaign.kind == "migrate":
                for key in _without_stream(scope, tx, campaign):
                    finding.problem(f"{key}: {campaign.name} has done it, and its stream is gone")
        for example in _strays(scope, tx):
            finding.problem(example)
    return findings


def _without_stream(scope: Scope, tx: Transaction, campaign: Campaign) -> Iterator[str]:
    after = 0
    while batches := scope.ledger.campaigns.keys_of(tx, campaign.id, after, BATCHES):
        after = batches[-1].number
        keys = scope.chosen([key for batch in batches if batch.state == "done" for key in batch.keys])
        yield from (key for key, state in _others(scope, tx, keys) if state == NOT_MIGRATED)


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
