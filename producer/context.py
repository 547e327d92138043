"""What every command starts from: settings, the ledger of the database that they name, and the migration that is meant."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from backtrail import broker
from backtrail.discovery import Found, find
from backtrail.errors import LedgerTooOld, PermissionMissing, Retry, UnknownName, UnsuitableDatabase, UsageError
from backtrail.settings import Settings, load
from backtrail.stores import open_store
from backtrail.stores.base import Store, Transaction
from backtrail.urls import redact
from ledger.campaigns import Campaign
from ledger.keyring import read_masters
from ledger.ledger import Ledger
from producer.output import holds_all_text

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Context:
    """One command's surroundings."""

    overrides: dict[str, Any]
    json: bool = False
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    """Where results go, and nothing else: while a command runs, whatever an author's code prints goes to standard error."""

    @cached_property
    def settings(self) -> Settings:
        """The settings, options first."""
        return load(**{name: value for name, value in self.overrides.items() if value is not None})

    @cached_property
    def out(self) -> Console:
        """Where results go; wide where no terminal limits the width."""
        from rich.console import Console  # a tenth of a command's start, which --json does without

        width = None if self.stdout.isatty() else 200
        return Console(file=self.stdout, highlight=False, emoji=False, soft_wrap=True, width=width)

    @cached_property
    def err(self) -> Console:
        """Where progress and hints go."""
        from rich.console import Console

        return Console(file=sys.stderr, highlight=False, emoji=False, soft_wrap=True)

    def print_json(self, document: Any) -> None:
        """Prints one JSON document on standard output."""
        escaped = not holds_all_text(self.stdout)
        self.write(json.dumps(document, ensure_ascii=escaped, indent=2, default=str))

    def write(self, text: str, *, nl: bool = True) -> None:
        """Prints a text on standard output just as it is."""
        click.echo(text, file=self.stdout, nl=nl)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of the database, which was seen to answer.

        Raises:
            UnsuitableDatabase: there is no database, it does not answer, or its ledger has not the form of this version.
        """
        ledger, _ = self.look()
        return ledger

    def look(self, *, upgrade: bool = False) -> tuple[Ledger, bool]:
        """The ledger of the database, and whether it is there; with `upgrade` it is given the form of this version first.

        Raises:
            UnsuitableDatabase: there is no database, it does not answer, or its ledger has not the form of this version.
        """
        url = self.settings.database()
        if url.startswith("sqlite:"):
            path = Path(url.removeprefix("sqlite:///").partition("?")[0])
            if not path.is_file():
                raise UnsuitableDatabase(f"there is no database file {path}: check database_url")
        ledger = open_ledger(self.settings)
        try:
            with ledger.store.transaction(write=False) as tx:
                found = ledger.exists(tx)
        except LedgerTooOld:
            if not upgrade:
                raise
            _upgrade(ledger)
            found = True
        except Retry as error:
            raise UnsuitableDatabase(
                f"the database at {redact(url)} does not answer: is it running, and is the address right?"
            ) from error
        return ledger, found

    def answering(self) -> Store | None:
        """The database's store; None where it does not answer."""
        try:
            return self.ledger.store
        except UsageError as error:
            self.err.print(f"the database was not asked, so names are as the migrations have them: {error}", markup=False)
            return None

    def check_broker(self) -> None:
        """Nothing, where the broker of the settings, if any is named, can be used.

        Raises:
            UnsuitableBroker: it cannot.
        """
        if self.settings.broker_url is not None:
            broker.check(self.settings.broker_url, self.settings.queue)

    def migration(self, text: str) -> Found:
        """The migration that somebody names; the name alone will do for one that had a campaign in this database.

        Raises:
            UsageError: it names none.
        """
        try:
            return find(text)
        except UnknownName:
            source = None if self.settings.database_url is None else self._source_of(text)
            if source is None:
                raise
        return find(source)

    def _source_of(self, name: str) -> str | None:
        with self.ledger.store.transaction(write=False) as tx:
            campaigns = self.ledger.campaigns.all(tx, migration=name) if self.ledger.exists(tx) else []
        return campaigns[-1].source if campaigns else None

    def campaign(self, tx: Transaction, name: str) -> Campaign:
        """The campaign that somebody names.

        Raises:
            UnknownName: there is none of that name.
        """
        if not self.ledger.exists(tx):
            raise UnsuitableDatabase("no campaign was ever opened in this database")
        return self.ledger.campaigns.find(tx, name)


def _upgrade(ledger: Ledger) -> None:
    try:
        ledger.create()
    except PermissionMissing as error:
        raise PermissionMissing(
            "the ledger is in the form of an older version, and this database user may not change it: run `backtrail upgrade` as the"
            " ledger's owner, and what `backtrail grants` prints"
        ) from error


def open_ledger(settings: Settings) -> Ledger:
    """The ledger of the database that the settings name; it connects when first used, in whichever process."""
    store = open_store(settings.database(), lock_timeout_ms=max(settings.lock_timeout_ms, 5000))
    return Ledger(store, read_masters(settings.master_key_file))


def quiet_logs() -> None:
    """Nothing; libraries say on standard error only what somebody must know."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
