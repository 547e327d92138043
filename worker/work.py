"""What a worker process keeps for a campaign: its migration's code and parameters, and the handles to data and ledger."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from backtrail.discovery import Found, find
from backtrail.errors import BacktrailError, Halt, OtherCode, SchemaChanged, UsageError
from backtrail.keys import parse_key
from backtrail.migration import Migration
from backtrail.stores.base import Store, Transaction
from ledger.campaigns import GOING_BACK, Campaign
from ledger.keyring import is_token
from ledger.ledger import Ledger
from ledger.subject import subject_of
from worker.caution import Caution
from worker.portion import HOLD_S, OPEN_S, Portion


@dataclass
class Work:
    """One campaign as a worker process does it."""

    store: Store
    ledger: Ledger
    campaign: Campaign
    migration: Migration
    tables: dict[str, Collection[str] | None]
    found: Found
    uses_recalls: bool = False
    calls: bool = True
    """Whether what `migrate` recalls may be called."""
    portion: Portion = field(init=False)
    caution: Caution = field(init=False)
    checks: bool = field(init=False)
    _earlier: dict[int, Migration | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.portion = Portion(HOLD_S if self.store.locks_reads else OPEN_S)
        self.caution = Caution(dear=self.store.dear_savepoints)
        self.checks = type(self.migration).check is not Migration.check

    def as_of(self, tx: Transaction, campaign: int) -> Migration | None:
        """The migration with the parameters that an earlier campaign gave it; None where it does not take those any more."""
        if campaign == self.campaign.id:
            return self.migration
        if campaign not in self._earlier:
            row = self.ledger.campaigns.get(tx, campaign)
            try:
                self._earlier[campaign] = self.migration if row is None else self.found.instance(row.params)
            except UsageError:
                self._earlier[campaign] = None
        return self._earlier[campaign]

    def key(self, text: str) -> Any:
        """The entity's key from its text, with its type; None for one that was erased, of whom a list has a token."""
        return None if is_token(text) else parse_key(text, self.campaign.key_types)

    def subject(self, text: str) -> str:
        """Whose data the entity is."""
        return text if is_token(text) else subject_of(type(self.migration), self.key(text))


def load(store: Store, ledger: Ledger, campaign: Campaign) -> Work:
    """The campaign, ready to be worked on.

    Raises:
        OtherCode: this worker's code of the migration is not the campaign's, or cannot be loaded.
        Halt: the schema or the parameters do not fit the migration any more.
    """
    found = _code(campaign).bound(campaign.params)
    try:
        store.forget()
        store.check(found.cls)
        # Going back needs no parameters: what was done stands in the ledger.
        migration = found.cls() if campaign.kind in GOING_BACK else found.instance(campaign.params)
    except UsageError as error:
        raise SchemaChanged(str(error)) from error
    tables = {name: columns_of(store, name) for name in {*found.cls.writes, *(rows.table for rows in found.cls.reads)}}
    ledger.journal.remember(store, [store.shape(name) for name in found.cls.writes])
    return Work(store, ledger, campaign, migration, tables, found)


def columns_of(store: Store, table: str) -> Collection[str] | None:
    """The names of the table's columns, for looking them up fast; None where any name goes."""
    columns = store.columns(table)
    return None if columns is None else frozenset(columns)


def _code(campaign: Campaign) -> Found:
    try:
        found = find(campaign.source)
        if found.fingerprint != campaign.fingerprint and ".py:" in campaign.source:
            found = find(campaign.source, fresh=True)
    except Halt:
        raise
    except BacktrailError as error:
        raise OtherCode(f"cannot load {campaign.migration}: {error}") from error
    # Going back needs no code of the author's, so that a rollback is never held up by a changed file.
    if found.fingerprint != campaign.fingerprint and campaign.kind not in GOING_BACK:
        raise OtherCode(
            f"its code of {campaign.migration} is not the campaign's: deploy the same code and restart it, or, where this code is the right"
            f" one, `backtrail pause {campaign.name}` and `backtrail resume {campaign.name}`"
        )
    return found
