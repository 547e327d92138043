"""The feeder: one leader among all workers' companions; it pages keys, publishes, then marks, and keeps the queue short.

A crash between publishing and marking gives a message twice, never none.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from backtrail.discovery import Found, find
from backtrail.errors import Halt, Retry, UnsuitableBroker, UsageError
from ledger.campaigns import GOING, Batch, Campaign
from ledger.ledger import Ledger
from ledger.presence import LEASE_MS, milliseconds
from producer.queue import Queue
from producer.sources import next_page

log = logging.getLogger(__name__)

HIGH, LOW = 400, 200
"""Water marks: below the low one in the queue, batches are added up to the high one. A message is about a kilobyte."""

PAGE = 5_000
"""How many keys are paged at once."""

REFUSED_MS = 5_000
"""After how long a batch that a worker would not have, for its code was another, is sent again, perhaps to another worker."""

RESEND_MS = 120_000
"""After how long without an end a batch is sent again: its message may be lost, and a second one does no harm."""


class Feeder:
    """Feeds all campaigns of a ledger while it leads."""

    def __init__(self, ledger: Ledger, queue: Queue, owner: str) -> None:
        self.ledger, self.queue, self.owner = ledger, queue, owner
        self.fence: int | None = None
        self._renewed = 0.0
        self._workers: set[str] = set()
        self._lost = False
        self._found: dict[int, Found] = {}

    def step(self) -> bool:
        """Whether there was something to feed."""
        # A new leader does not know which messages are still there; those that a worker had in hand, or the broker held, went with them.
        # What is sent twice does no harm. Kept until it is done: the broker may be away just now.
        self._lost |= self._lead()
        if self.fence is None:
            return False
        with self.ledger.store.transaction(write=False) as tx:
            campaigns = self.ledger.campaigns.all(tx, states=GOING)
            workers = {worker.id for worker in self.ledger.presence.alive(tx)}
        self._lost |= not self._workers <= workers
        self._workers = workers
        # Code is loaded anew when a campaign goes on that was held: it may have been mended.
        going = {campaign.id for campaign in campaigns}
        self._found = {number: found for number, found in self._found.items() if number in going}
        if campaigns:
            self._lost |= self.queue.forgot()
        busy = False
        for campaign in campaigns:
            try:
                busy |= self._feed(campaign)
            except UnsuitableBroker:
                raise  # the broker is gone for a while, which is nothing that the campaign could do about
            except (Halt, UsageError) as error:
                self._halt(campaign, str(error))
        self._lost = False
        return busy

    def _lead(self) -> bool:
        """Whether this feeder leads since just now. The lease is renewed in good time, and not at every step: it costs a write."""
        if self.fence is not None and time.monotonic() - self._renewed < LEASE_MS / 3000:
            return False
        with self.ledger.store.transaction() as tx:
            self.ledger.keyring.open(tx)  # whoever cannot read the campaigns shall not lead those that can
            fence = self.ledger.presence.lead(tx, "feeder", self.owner)
        fresh, self.fence, self._renewed = fence is not None and fence != self.fence, fence, time.monotonic()
        return fresh

    def _halt(self, campaign: Campaign, reason: str) -> None:
        with self.ledger.store.transaction() as tx:
            self.ledger.campaigns.move(tx, campaign, "halted", now=milliseconds(tx), halted=reason)

    def _feed(self, campaign: Campaign) -> bool:
        if self._lost:
            self._send(campaign, ("sent",))
        with self.ledger.store.transaction(write=False) as tx:
            progress = self.ledger.campaigns.progress(tx, [campaign.id])[campaign.id]
            stale = self.ledger.campaigns.unfinished(tx, campaign.id, ("sent",), HIGH, milliseconds(tx) - RESEND_MS)
        if campaign.options.get("max_failed_share") is not None:
            self._hold_budget(campaign, progress.tally.failed, progress.tally.done)
        if stale:
            self._publish(campaign, stale)
        planned = progress.ready
        if not campaign.fed and progress.sent + progress.ready < LOW:
            planned += self._plan(campaign)
        if planned and progress.sent < HIGH:
            self._send(campaign, ("ready",), HIGH - progress.sent)
        elif campaign.fed and not progress.sent and not progress.ready:
            self._complete(campaign)
        return bool(planned or progress.sent)

    def _hold_budget(self, campaign: Campaign, failed: int, done: int) -> None:
        share = float(campaign.options["max_failed_share"])
        if failed > 50 and failed > share * done:
            raise Halt(
                f"{failed} of {done} entities failed: look at `backtrail status {campaign.name}`, mend, then `backtrail resume {campaign.name}`"
            )

    def _plan(self, campaign: Campaign) -> int:
        """The number of batches that were added; the campaign's cursor moves with them, in one transaction."""
        found = self._code(campaign)
        size = int(campaign.options["batch_size"])
        added = 0
        while not campaign.fed and added < HIGH:
            with self.ledger.store.transaction(write=False) as tx:
                page = next_page(self.ledger, tx, campaign, found.cls, max(PAGE, size))
            batches = [page.keys[at : at + size] for at in range(0, len(page.keys), size)]
            with self.ledger.store.transaction() as tx:
                if self.ledger.presence.lead(tx, "feeder", self.owner) != self.fence:
                    raise Retry("another feeder leads now")
                number = self.ledger.campaigns.last_number(tx, campaign.id)
                self.ledger.keyring.open(tx, again=True)  # keys go into lists as the ledger is now, open or sealed
                self.ledger.campaigns.add_batches(tx, campaign, number + 1, batches)
                if page.skipped:
                    self.ledger.campaigns.add_skipped(tx, campaign, number + 1 + len(batches), page.skipped, milliseconds(tx))
                total = None
                if page.last:
                    total = self.ledger.campaigns.progress(tx, [campaign.id])[campaign.id].planned
                self.ledger.campaigns.advance(tx, campaign, page.cursor, fed=page.last, total=total)
            campaign = replace(campaign, cursor=page.cursor, fed=page.last)
            added += len(batches)
        return added or int(campaign.fed)

    def _code(self, campaign: Campaign) -> Found:
        found = self._found.get(campaign.id)
        if found is None:
            found = find(campaign.source, fresh=campaign.source.rpartition(":")[0].endswith(".py")).bound(campaign.params)
            self._found[campaign.id] = found
        return found

    def _send(self, campaign: Campaign, states: tuple[str, ...], limit: int = HIGH) -> None:
        with self.ledger.store.transaction(write=False) as tx:
            before = milliseconds(tx) - REFUSED_MS
            batches = self.ledger.campaigns.unfinished(tx, campaign.id, states, limit, refused_before=before)
        if batches:
            self._publish(campaign, batches)

    def _publish(self, campaign: Campaign, batches: list[Batch]) -> None:
        self.queue.publish(campaign.id, [batch.number for batch in batches])
        with self.ledger.store.transaction() as tx:
            self.ledger.campaigns.sent(tx, campaign.id, batches, milliseconds(tx))
            if campaign.state == "open":
                # Somebody may have paused it since it was looked at; that must not let it go on.
                self.ledger.campaigns.move(tx, campaign, "running", now=milliseconds(tx), leaving="open")

    def _complete(self, campaign: Campaign) -> None:
        with self.ledger.store.transaction() as tx:
            progress = self.ledger.campaigns.progress(tx, [campaign.id])[campaign.id]
            if not progress.ready and not progress.sent:
                self.ledger.campaigns.move(tx, campaign, "completed", now=milliseconds(tx))
        self._found.pop(campaign.id, None)
