"""Erasing a person: the key of their data is destroyed, what lies open is redacted, and nothing names them any more.

What stays is what says nothing of them: events with their hashes, tokens in place of keys, counts. So the ledger still verifies, and an entity that is
still in the application's tables is still known to be migrated.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backtrail.errors import BacktrailError, Retry, UsageError
from backtrail.keys import parse_key
from backtrail.stores.base import Transaction
from ledger.campaigns import UNFINISHED, Batch, Campaign
from ledger.entry import Entry, Fact, Head
from ledger.event import ERASED, OPEN, REDACTED, Event, commitment, origin
from ledger.integrity import folded_state
from ledger.journal import to_json
from ledger.keyring import is_token
from ledger.ledger import Ledger
from ledger.presence import milliseconds
from ledger.subject import text_at

PAGE = 50
"""How many batches are looked through in one transaction."""

TRIES = 5
"""How often a transaction is begun again that met a worker."""

GONE = "(erased)"
"""What stands where the person was named in a text."""


@dataclass
class Erased:
    """What became of a person's data: counts, and nothing that names them."""

    streams: int = 0
    redacted: int = 0
    """Events that lay open, and hold nothing now."""
    lists: int = 0
    """Batches and campaigns in which the person was named."""
    keys: int = 0
    """Keys that were destroyed."""
    before: int = 0
    """Streams that were erased before."""
    nameless: int = 0
    """Streams whose own key somebody destroyed: nobody can read them, nor say whose they are, and `verify` names them."""
    again: list[str] = field(default_factory=list)
    """Campaigns that were opened meanwhile, and may name the person anew."""

    @property
    def anything(self) -> bool:
        """Whether the person was in the ledger at all."""
        return bool(self.streams or self.lists or self.keys or self.before or self.nameless)


class Erasure:
    """The erasure of one person from one ledger. Done again, it does what a first one that was killed did not come to."""

    def __init__(self, ledger: Ledger, subject: str, migrations: Collection[str] = ()) -> None:
        """An erasure.

        Args:
            ledger: from where.
            subject: the text of that part of their keys that names the person.
            migrations: from the streams of these only; of all where there are none.

        Raises:
            UsageError: there is nobody without a name, and nobody whose name is a token.
        """
        if not subject.strip() or is_token(subject):
            raise UsageError("erase takes the text that names a person in the keys: a user's id, an e-mail")
        self.ledger, self.subject, self.migrations = ledger, subject, frozenset(migrations)
        self.done = Erased()

    def run(self, *, by: str, reason: str | None) -> Erased:
        """What became of the person's data.

        Args:
            by: who asked for it.
            reason: why; the person's name is taken out of it.

        Raises:
            UsageError: a campaign that may still act on the person is not over.
            Retry: workers were always first.
        """
        campaigns = self._campaigns()
        names = self._names(campaigns)
        facts = {"by": by, "reason": without(reason, names)}
        # Streams first: they are found by keys and by tokens, but a token in a list finds none that stands under a key.
        self._erase_streams(campaigns, facts)
        for campaign in campaigns:
            self._rewrite_batches(campaign)
            with self.ledger.store.transaction() as tx:
                self._rewrite_campaign(tx, campaign.id, names)
        with self.ledger.store.transaction() as tx:
            self.ledger.rejections.forget(tx)  # the person may be in any of them
        # What a worker had in hand, of a campaign that was cancelled just now, was waited for with its list.
        self._erase_streams(campaigns, facts)
        known = {campaign.id for campaign in campaigns}
        self.done.again = [one.name for one in self._chosen() if one.id not in known]
        return self.done

    def _campaigns(self) -> list[Campaign]:
        chosen = self._chosen()
        for one in chosen:
            if one.state in UNFINISHED:
                raise UsageError(
                    f"{one.name} of {one.migration} is {one.state}: let it end, or `backtrail cancel {one.name}`, first"
                )
        return chosen

    def _chosen(self) -> list[Campaign]:
        with self.ledger.store.transaction(write=False) as tx:
            every = self.ledger.campaigns.all(tx)
        return [one for one in every if not self.migrations or one.migration in self.migrations]

    # -- lists and campaigns --------------------------------------------------------------------------------------

    def _is_theirs(self, campaign: Campaign, key: str) -> bool:
        if is_token(key):
            return False
        try:
            places = campaign.options.get("subject", [0])
            return text_at(parse_key(key, campaign.key_types), places) == self.subject
        except BacktrailError:
            return key == self.subject

    def _rewrite_batches(self, campaign: Campaign) -> None:
        for batch in self._batches(campaign):
            if not any(self._is_theirs(campaign, key) for key in batch.keys):
                continue
            with self.ledger.store.transaction() as tx:
                locked = self.ledger.campaigns.claim(tx, campaign.id, batch.number)
                if locked is not None:
                    self._rewrite_batch(tx, campaign, locked)

    def _rewrite_batch(self, tx: Transaction, campaign: Campaign, batch: Batch) -> None:
        theirs = {key: self.ledger.keyring.token(campaign.migration, key) for key in batch.keys if self._is_theirs(campaign, key)}
        # A token finds the stream as the key did: a rollback of the campaign meets it, and says that it was erased.
        self.ledger.campaigns.rewrite_keys(tx, batch, [theirs.get(key, key) for key in batch.keys])
        # What was paid for by a job that was never done has no stream that leads to it.
        heads = self.ledger.journal.heads(tx, campaign.migration, list(theirs), lock=False)
        alone = {key: token for key, token in theirs.items() if key not in heads}
        self.ledger.journal.forget_recalls(tx, campaign.migration, [*alone, *alone.values()])
        self.done.lists += 1

    def _batches(self, campaign: Campaign) -> Iterator[Batch]:
        after: int | None = 0
        while after is not None:
            with self.ledger.store.transaction(write=False) as tx:
                page = self.ledger.campaigns.keys_of(tx, campaign.id, after, PAGE)
            yield from page
            after = page[-1].number if page else None

    def _names(self, campaigns: Sequence[Campaign]) -> list[str]:
        """What may stand for the person in a text: their keys, longest first. A number says nothing by itself, and would be found everywhere."""
        with self.ledger.store.transaction(write=False) as tx:
            heads = self._theirs(tx, campaigns, lock=False)
        self.done.before = sum(head.erased for head in heads)
        names = {self.subject, *(head.key for head in heads if not is_token(head.key))}
        return sorted((name for name in names if len(name) > 2 and not name.isdecimal()), key=len, reverse=True)

    def _rewrite_campaign(self, tx: Transaction, number: int, names: Sequence[str]) -> None:
        campaign = self.ledger.campaigns.get(tx, number)
        if campaign is None:
            return
        left = replace(
            campaign,
            options=_told_without(campaign.options, names),
            # A parameter's own name is the code's, whoever is called so.
            params={name: without(value, names) for name, value in campaign.params.items()},
            # Where the feeder ended is of use to nobody any more.
            cursor={},
            reason=without(campaign.reason, names),
            halted=without(campaign.halted, names),
        )
        if left != campaign:
            self.ledger.campaigns.rewrite(tx, left)
            self.done.lists += replace(left, cursor=campaign.cursor) != campaign

    # -- streams --------------------------------------------------------------------------------------------------

    def _erase_streams(self, campaigns: Sequence[Campaign], facts: dict[str, Any]) -> None:
        for left in reversed(range(TRIES)):
            before = replace(self.done)
            try:
                with self.ledger.store.transaction() as tx:
                    self._erase_all(tx, campaigns, facts)
            except Retry:
                self.done = before
                if not left:
                    raise
            else:
                return

    def _erase_all(self, tx: Transaction, campaigns: Sequence[Campaign], facts: dict[str, Any]) -> None:
        heads = self._streams(tx, campaigns)
        self.done.nameless = 0
        for head in heads:
            self._erase_stream(tx, head, facts)
        for migration in sorted({campaign.migration for campaign in campaigns}):
            self.done.keys += self.ledger.keyring.vault.destroy(tx, self.ledger.keyring.subject(migration, self.subject))
        # Whoever wrote with a key held it, and was waited for just now.
        if {head.id for head in self._streams(tx, campaigns)} - {head.id for head in heads}:
            raise Retry("a worker was first with an entity of this person")

    def _streams(self, tx: Transaction, campaigns: Sequence[Campaign]) -> list[Head]:
        """The person's streams that were not erased before, for the transaction's own."""
        return [head for head in self._theirs(tx, campaigns, lock=True) if not head.erased]

    def _theirs(self, tx: Transaction, campaigns: Sequence[Campaign], *, lock: bool) -> list[Head]:
        keyring = self.ledger.keyring
        names = {campaign.migration for campaign in campaigns}
        places = [self.subject, *(keyring.token(name, self.subject) for name in names)]
        subjects = [self.subject, *(keyring.subject(name, self.subject) for name in names)]
        heads = self.ledger.journal.subject_streams(tx, names, places, subjects, lock=lock)
        return [head for head in heads if self._is_of(head)]

    def _is_of(self, head: Head) -> bool:
        # A key that happens to read like the person's name, and whose person is somebody else.
        return head.subject is None or head.subject in (self.subject, self.ledger.keyring.subject(head.migration, self.subject))

    def _erase_stream(self, tx: Transaction, head: Head, facts: dict[str, Any]) -> None:
        journal, keyring, stream = self.ledger.journal, self.ledger.keyring, head.id or 0
        if is_token(head.key):
            if keyring.token(head.migration, self.subject) != head.key or not head.secret:
                self.done.nameless += 1
                return
            head = head._replace(key=self.subject)
        events = journal.events(tx, [stream])[stream]
        opened = [event for event in events if event.body[:1] == bytes([OPEN])]
        journal.redact(tx, stream, {event.version: bytes([REDACTED]) + commitment(head.secret, event.body) for event in opened})
        token = keyring.token(head.migration, head.key)
        journal.forget_recalls(tx, head.migration, [head.key, token])
        left = self._as_events_say(head, events)._replace(
            secret=b"",
            place=token,
            # By it whoever comes with the name again is told that this was done.
            subject=keyring.subject(head.migration, self.subject),
            name=None,
            origin=origin(head.secret, head.key),
        )
        journal.forget(tx, [left])
        # Nothing else says any more which tokens are the stream's own.
        tokens = {"key": left.place, "subject": left.subject}
        fact = Fact(ERASED, to_json({"state": left.state, "failed": left.failed, **tokens, **facts}))
        # In the name of the stream's last campaign: an erasure is no job, and changes nothing about whose turn it is.
        journal.append(tx, left.campaign, milliseconds(tx), [Entry(left, left.state, [fact], failed=left.failed)])
        self.done.streams += 1
        self.done.redacted += len(opened)

    def _as_events_say(self, head: Head, events: Sequence[Event]) -> Head:
        """The head with the state that the events add up to: an edited one would be made good for ever, once they cannot be read."""
        state, failed = folded_state(events)
        if not events or not state:
            return head
        last = events[-1]
        return head._replace(state=state, failed=failed, campaign=last.campaign, version=max(head.version, last.version))


def _told_without(options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The options with none of the names in what people said when they paused the campaign or let it go on; all else in them is our own words."""
    moves = [move | {"reason": without(move.get("reason"), names)} for move in options.get("moves", ())]
    return options | ({"moves": moves} if moves else {})


def without(value: Any, names: Sequence[str]) -> Any:
    """The JSON value with none of the names in any of its texts, however they are capitalized; names within other words are other names."""
    if not names:
        return value
    either = "|".join(re.escape(name) for name in names)
    return _replaced(value, re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])", re.IGNORECASE))


def _replaced(value: Any, names: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return names.sub(GONE, value)
    if isinstance(value, dict):
        return {_replaced(name, names): _replaced(one, names) for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, names) for one in value]
    return value
