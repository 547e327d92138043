"""The feeder: one leader among all workers' companions; it pages keys, publishes, then marks, and keeps the queue short.

A crash between publishing and marking gives a message twice, never none.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from backtrail.errors import BacktrailError, Halt, OtherCode, Retry, UnsuitableBroker, UnsuitableDatabase, UsageError
from backtrail.failpoint import reach
from backtrail.stores.base import Transaction
from ledger.campaigns import GOING, SETTLED, Batch, Campaign
from ledger.ledger import Ledger
from ledger.presence import LEASE_MS, Worker, milliseconds
from ledger.progress import Progress
from producer.campaign import open_campaign
from producer.code import Codes, load
from producer.gate import Inspection
from producer.order import Order
from producer.queue import Queue
from producer.sources import looks_again, next_page
from producer.throttle import Throttle, batch_size
from producer.waves import OverLimit, cut, demand_limits, gate_of, is_last, is_planned, name_of, wave_of, with_gate

log = logging.getLogger(__name__)

HIGH = 60
"""The high water mark: so many batches are in the queue at the most. Below half of it, batches are added."""

A_PROCESS = 6
"""Where there are more processes: so many batches for each of them. It is what a hold or a pause finds in the queue, so it is not more."""

PAGE = 5_000
"""How many keys are paged at once."""

REFUSED_MS = (3_000, 7_000)
"""After how long a batch that a worker would not have, for its code was another, is sent again, perhaps to another worker: between these.

Another time each time: Redis gives a message to whoever has waited longest, and workers ask anew every second. After the same time again and
again, it would be the same one that has.
"""

RESEND_MS = 120_000
"""After how long without an end a batch is sent again: its message may be lost, and a second one does no harm."""

TAKE_BACK_S = 3.0
"""How long a feeder waits that could not open the campaign that takes a wave back, before it tries again."""

BACK_S = 20.0
"""How long a feeder does not lead that could not feed a campaign: so long that several of its kind come round to one that can."""


class Feeder:
    """Feeds all campaigns of a ledger while it leads."""

    def __init__(self, ledger: Ledger, queue: Queue, owner: str, hold: Callable[[], str | None] = lambda: None) -> None:
        """A feeder.

        Args:
            ledger: whose campaigns it feeds.
            queue: where their messages go.
            owner: the name under which it leads.
            hold: says why nothing is to be sent just now, if so.
        """
        self.ledger, self.queue, self.owner = ledger, queue, owner
        self.held: str | None = None
        """Why nothing is sent just now."""
        self._hold = hold
        self._high = HIGH
        self._throttle = Throttle()
        self._inspections: dict[int, Inspection] = {}
        self._going: set[str] = set()
        self.fence: int | None = None
        self._renewed = 0.0
        self._workers: set[str] = set()
        self._lost = False
        self._codes = Codes()
        self._back_until = 0.0
        self._take_back_at = 0.0
        self._refused_ms = REFUSED_MS[0]

    @property
    def refuses(self) -> dict[str, str]:
        """Why campaigns cannot be fed from here, by their names."""
        return self._codes.refuses

    @property
    def news(self) -> dict[str, Any]:
        """What a worker says of its feeder: whether it leads, and why nothing is sent."""
        if self.fence is None:
            return {"leads": False}
        return {"leads": True, "held": {} if self.held is None else dict.fromkeys(sorted(self._going), self.held)}

    def step(self) -> bool:
        """Whether there was something to feed."""
        # A new leader does not know which messages are still there; those that a worker had in hand, or the broker held, went with them.
        # What is sent twice does no harm. Kept until it is done: the broker may be away just now.
        self._lost |= self._lead()
        if self.fence is None:
            return False
        with self.ledger.store.transaction(write=False) as tx:
            found = self.ledger.campaigns.all(tx, states=(*GOING, "halted"))
            alive = self.ledger.presence.alive(tx)
        campaigns = [campaign for campaign in found if campaign.state in GOING]
        self._meet(alive)
        self._keep({campaign.id for campaign in campaigns})
        self._going = {campaign.name for campaign in campaigns}
        if campaigns:
            self._lost |= self.queue.forgot(lambda: self._in_flight(campaigns))
            self._look_whether_held()
        busy = refused = False
        enough = cache(lambda: bool(campaigns) and self._enough_waits(campaigns))
        again = self._lost and not enough()
        for campaign in campaigns:
            try:
                busy |= self._feed(campaign, enough, again=again)
            except UnsuitableBroker:
                raise  # the broker is gone for a while, which is nothing that the campaign could do about
            except OtherCode:
                refused = True
            except (Halt, UsageError) as error:
                self._halt(campaign, error)
        self._lost &= not again
        for campaign in found:
            if _goes_back(campaign) and time.monotonic() >= self._take_back_at:
                self._take_back(campaign)
        if refused:
            self._stand_back(len(alive))
        return busy

    def _enough_waits(self, campaigns: Sequence[Campaign]) -> bool:
        """Whether as many messages wait as batches were sent: what was lost is not missed yet.

        Otherwise workers that die sooner than they work a queue off would make it longer and longer, with the same batches again and again.
        """
        waiting = self.queue.waiting()
        return waiting is not None and 0 < self._in_flight(campaigns) <= waiting

    def _meet(self, alive: Sequence[Worker]) -> None:
        workers = {worker.id for worker in alive}
        self._lost |= not self._workers <= workers
        self._workers = workers
        self._high = max(HIGH, A_PROCESS * sum(int(worker.info.get("processes", 1)) for worker in alive))

    def _keep(self, going: set[int]) -> None:
        self._codes.keep(going)
        self._throttle.keep(going)
        self._inspections = {number: one for number, one in self._inspections.items() if number in going}

    def _look_whether_held(self) -> None:
        held = self._hold()
        if held != self.held:
            log.warning("nothing is sent: %s", held) if held else log.warning("goes on: %s is over", self.held)
        self.held = held

    def _in_flight(self, campaigns: Sequence[Campaign]) -> int:
        with self.ledger.store.transaction(write=False) as tx:
            progress = self.ledger.campaigns.progress(tx, [campaign.id for campaign in campaigns])
        return sum(one.sent for one in progress.values())

    def _lead(self) -> bool:
        """Whether this feeder leads since just now. The lease is renewed in good time, and not at every step: it costs a write."""
        if time.monotonic() < self._back_until:
            return False
        if self.fence is not None and time.monotonic() - self._renewed < LEASE_MS / 3000:
            return False
        with self.ledger.writing() as tx:
            self.ledger.keyring.open(tx)  # whoever cannot read the campaigns shall not lead those that can
            fence = self.ledger.presence.lead(tx, "feeder", self.owner)
        if (fence is None) != (self.fence is None):
            log.info("this feeder leads" if fence is not None else "another feeder leads")
        fresh, self.fence, self._renewed = fence is not None and fence != self.fence, fence, time.monotonic()
        return fresh

    @contextmanager
    def _leading(self) -> Iterator[Transaction]:
        """A transaction of the leader's: one that was overtaken while it slept writes nothing."""
        with self.ledger.writing() as tx:
            if self.ledger.presence.lead(tx, "feeder", self.owner) != self.fence:
                raise Retry("another feeder leads now")
            yield tx

    def _stand_back(self, workers: int) -> None:
        """Nothing; another feeder may lead, if there is one: its code may be the campaign's."""
        if workers > 1:
            self.fence, self._back_until = None, time.monotonic() + BACK_S

    def _halt(self, campaign: Campaign, why: BacktrailError) -> None:
        with self._leading() as tx:
            text = str(why) if isinstance(why, OverLimit) else f"{why}; {campaign.ways}"
            if isinstance(why, OverLimit):
                gates = with_gate(campaign, why.gate)
                campaign = self._advance(tx, campaign, forgiven=why.forgiven, gates=gates, take_back=text)
            moved = self.ledger.campaigns.move(tx, campaign, "halted", now=milliseconds(tx), halted=text)
        log.warning("%s halts: %s", campaign.name, why)
        halted = replace(campaign, state="halted", halted=text)
        if moved and _goes_back(halted):
            self._take_back(halted)

    def _take_back(self, campaign: Campaign) -> None:
        """Nothing; the failed wave goes back by a campaign of its own, which ends the one that it is of; or that is tried again later."""
        options = {"on_drift": "skip", "from": "campaign", "campaign": campaign.id, "wave": wave_of(campaign)}
        order = Order("rollback", options=options, reason=campaign.halted, batch_size=int(campaign.options["batch_size"]))
        try:
            # A rollback goes on with any code.
            opened = open_campaign(self.ledger, load(replace(campaign, kind="rollback")), order)
        except BacktrailError as error:
            self._take_back_at = time.monotonic() + TAKE_BACK_S
            if not isinstance(error, UsageError) or isinstance(error, UnsuitableDatabase):
                log.warning("%s is not taken back yet: %s", campaign.name, error)
                return
            log.warning("%s is not taken back by itself: %s", campaign.name, error)
            with self._leading() as tx:
                self._advance(tx, campaign, take_back=None)
        else:
            log.warning("%s takes back the wave of %s that failed", opened.name, campaign.name)

    def _feed(self, campaign: Campaign, enough: Callable[[], bool], *, again: bool) -> bool:
        wave = wave_of(campaign)
        if again:
            self._send(campaign, ("sent",), self._high)
        with self.ledger.store.transaction(write=False) as tx:
            progress = self.ledger.campaigns.progress(tx, [campaign.id])[campaign.id]
            stale = self.ledger.campaigns.unfinished(tx, campaign.id, ("sent",), self._high, milliseconds(tx) - RESEND_MS)
        if progress.unsettled > SETTLED:
            with self._leading() as tx:
                self.ledger.campaigns.settle(tx, campaign.id, SETTLED)
        demand_limits(campaign, progress)
        if stale and not enough():
            self._publish(campaign, stale)
        ready = sum(one.ready for number, one in progress.waves.items() if number <= wave)
        if not is_planned(campaign) and progress.sent + ready < self._high / 2:
            ready += self._plan(campaign)
        if ready and self.held is None:
            self._send(campaign, ("ready",), self._high - progress.sent, progress.under_way)
        elif is_planned(campaign) and not progress.sent and not ready:
            return self._end(campaign, progress)
        return bool(ready or progress.sent)

    def _plan(self, campaign: Campaign) -> int:
        """The number of batches that were added; the campaign's cursor moves with them, in one transaction."""
        found = self._codes.of(campaign)
        size, bounds = batch_size(campaign), campaign.options.get("bounds", ())
        added = 0
        while not is_planned(campaign) and added < self._high:
            with self.ledger.store.transaction(write=False) as tx:
                page = next_page(self.ledger, tx, campaign, found.cls, max(PAGE, size))
            batches, waves = cut(page.keys, int(campaign.cursor.get("taken", 0)), bounds, size)
            with self._leading() as tx:
                number = self.ledger.campaigns.last_number(tx, campaign.id)
                self.ledger.keyring.open(tx, again=True)  # keys go into lists as the ledger is now, open or sealed
                self.ledger.campaigns.add_batches(tx, campaign, number + 1, batches, waves)
                reach("feeder.mid-plan")
                if page.skipped:
                    at, now = number + 1 + len(batches), milliseconds(tx)
                    self.ledger.campaigns.add_skipped(tx, campaign, at, page.skipped, now, wave_of(campaign))
                total = None
                if page.last:
                    total = self.ledger.campaigns.progress(tx, [campaign.id])[campaign.id].planned
                campaign = self._advance(tx, campaign, fed=page.last, total=total, **page.cursor)
            reach("feeder.after-plan")
            added += len(batches)
        return added or int(campaign.fed)

    def _advance(
        self, tx: Transaction, campaign: Campaign, *, fed: bool | None = None, total: int | None = None, **cursor: Any
    ) -> Campaign:
        """The campaign with what its cursor says now."""
        ahead = replace(campaign, cursor={**campaign.cursor, **cursor}, fed=campaign.fed if fed is None else fed)
        self.ledger.campaigns.advance(tx, campaign, ahead.cursor, fed=ahead.fed, total=total)
        return ahead

    def _send(self, campaign: Campaign, states: tuple[str, ...], limit: int, under_way: int = 0) -> None:
        if limit <= 0:
            return
        with self.ledger.store.transaction(write=False) as tx:
            # Only what was given back waits for another worker; what was lost is sent again whatever was noted about it.
            before = milliseconds(tx) - self._refused_ms if "ready" in states else None
            batches = self.ledger.campaigns.unfinished(
                tx, campaign.id, states, limit, refused_before=before, up_to_wave=wave_of(campaign)
            )
        fresh = "ready" in states  # what was lost was charged when it was sent first
        if fresh:
            batches = self._throttle.allowed(campaign, batches, under_way)
        if batches:
            self._publish(campaign, batches)
            if fresh:
                self._throttle.spent(campaign, batches)
            self._refused_ms = random.randint(*REFUSED_MS)  # noqa: S311 -- no secret

    def _publish(self, campaign: Campaign, batches: list[Batch]) -> None:
        reach("feeder.before-publish")
        self.queue.publish(campaign.id, [batch.number for batch in batches])
        reach("feeder.after-publish")
        with self.ledger.writing() as tx:
            self.ledger.campaigns.sent(tx, campaign.id, batches, milliseconds(tx))
            if campaign.state == "open":
                # Somebody may have paused it since it was looked at; that must not let it go on.
                self.ledger.campaigns.move(tx, campaign, "running", now=milliseconds(tx), leaving="open")

    # -- the end of a wave, and of all ------------------------------------------------------------------------------

    def _end(self, campaign: Campaign, progress: Progress) -> bool:
        """True: there may be more to do; every batch of the wave under way is done."""
        if is_last(campaign):
            self._complete(campaign)
        else:
            self._pass(campaign, progress.waves.get(wave_of(campaign), Progress()))
        return True

    def _pass(self, campaign: Campaign, progress: Progress) -> None:
        """Nothing; the entities of the wave are being verified, or were, and the next wave may begin.

        Raises:
            OverLimit: they are not what they should be.
        """
        wave = wave_of(campaign)
        inspection = self._inspections.get(campaign.id)
        if inspection is None or inspection.wave != wave:
            found = self._codes.of(campaign)
            inspection = self._inspections[campaign.id] = Inspection(self.ledger, found, campaign, wave, progress.planned)
        if inspection.go_on():
            return
        del self._inspections[campaign.id]
        wrong = inspection.wrong()
        seen = {"verify": wrong or "ok", "checked": inspection.checked, "problems": inspection.document()}
        reach("feeder.before-gate")
        if wrong is not None:
            raise OverLimit(f"{name_of(campaign)}: {wrong}: {campaign.ways}", wave, progress.tally, seen)
        with self._leading() as tx:
            passed = gate_of(wave, progress.tally, passed=True, **seen)
            self._advance(tx, campaign, gates=with_gate(campaign, passed), wave=wave + 1)
        log.info("%s of %s is done and verified", name_of(campaign), campaign.name)

    def _complete(self, campaign: Campaign) -> None:
        reach("feeder.before-complete")
        with self._leading() as tx:
            progress = self.ledger.campaigns.progress(tx, [campaign.id])[campaign.id]
            if progress.unfinished:
                return
            if looks_again(campaign):
                # Whoever came behind the cursor while it moved is found by a second look at the keys, and by no third one.
                self._advance(tx, campaign, fed=False, source=0, after=None, later=0)
            else:
                self.ledger.campaigns.move(tx, campaign, "completed", now=milliseconds(tx))


def _goes_back(campaign: Campaign) -> bool:
    """Whether the wave under way is still to be taken back: it was halted for what its gate found, and for nothing else since."""
    back = campaign.options.get("if_wave_fails") == "rollback" and campaign.state == "halted"
    return back and campaign.halted is not None and campaign.halted == campaign.cursor.get("take_back")
