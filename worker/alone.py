"""A batch over which processes died: its entities are done one by one, and whoever ends them is quarantined.

A process that is killed cannot say what it was at. Where several have died with one message in hand, the next writes down, outside the
transaction, which entity it begins with; who comes after it finds that.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from backtrail.errors import AuthorMistake, BacktrailError, WorkerDied
from ledger.campaigns import Batch, Campaign
from ledger.ledger import Ledger
from ledger.progress import Tally
from worker.isolate import Isolation
from worker.work import Work

log = logging.getLogger(__name__)

SUSPECT = 3
"""How many processes die with one message in hand before its entities are done one by one."""

TRIES = 6
"""How often an entity is tried alone: processes die for reasons of their own too, of the machine's memory or of a deploy."""

KILLERS = 3
"""From how many entities on, and no other in their batch that could be done, it is the author's mistake and not the users' data."""

_NOTE = re.compile(r"its worker died: step (\d+) of \d+, try (\d+)\Z")


def work_alone(load: Callable[[], Work], ledger: Ledger, campaign: Campaign, batch: Batch) -> Tally:
    """What became of the batch's entities, each in a transaction of its own.

    Args:
        load: gives the campaign's code, which may be what ends the process.
        ledger: where it is written down how far this came.
        campaign: the batch's campaign.
        batch: as it stands in the database.

    Raises:
        BacktrailError: as `work_through` says; AuthorMistake where the code kills whoever loads it, or whatever entity it gets.
    """
    log.warning("a batch is done one by one, for processes died of it", extra={"campaign": campaign.name, "batch": batch.number})
    steps = Steps(ledger, batch)
    if steps.tries(0) >= TRIES:
        raise AuthorMistake(f"a process that loads the code of {campaign.migration} dies: {TRIES} did, one after the other")
    with steps.trying(0):
        work = load()
    return Alone(work, batch.number, steps).through(batch.keys)


class Steps:
    """What is written down of a batch's entities: which one is being done, and for which time. Step 0 is the loading of the code."""

    def __init__(self, ledger: Ledger, batch: Batch) -> None:
        self.ledger, self.batch = ledger, batch
        found = _NOTE.match(batch.note or "")
        self._at, self._tries = (int(found[1]), int(found[2])) if found else (-1, 0)

    def tries(self, step: int) -> int:
        """How often the step was begun by somebody who did not come to its end."""
        return self._tries if step == self._at else 0

    @contextmanager
    def trying(self, step: int) -> Iterator[None]:
        """The step is written down for as long as it takes, and where this process dies in it, for good."""
        tries = self.tries(step)
        self._write(step, tries + 1)
        try:
            yield
        except BaseException:
            # Whatever it was, nobody died of it.
            with suppress(BacktrailError):
                self._write(step, tries)
            raise

    def _write(self, step: int, tries: int) -> None:
        note = f"its worker died: step {step} of {len(self.batch.keys)}, try {tries}"
        with self.ledger.writing() as tx:
            self.ledger.campaigns.remark(tx, self.batch.campaign, self.batch.number, note)


class Alone(Isolation):
    """One batch whose entities are done one by one."""

    def __init__(self, work: Work, number: int, steps: Steps) -> None:
        super().__init__(work, number)
        self.steps = steps

    def through(self, keys: Sequence[str], parts: int = 1) -> Tally:
        """What became of the entities."""
        done = self._done(keys)
        for at, key in enumerate(keys, 1):
            last = at == len(keys)
            if key in done:
                self._part([key], {}, finish=last)  # for the count
            elif self.steps.tries(at) >= TRIES:
                self._demand_somebody(done)
                self._part([key], {key: WorkerDied(f"its worker died {TRIES} times, with nothing else in hand")}, finish=last)
                done[key] = True
            else:
                with self.steps.trying(at):
                    self._part([key], {}, finish=last)
                done[key] = False
        return self.tally

    def _done(self, keys: Sequence[str]) -> dict[str, bool]:
        """The entities that this campaign has done, or a newer one, and whether each has failed."""
        with self.work.store.transaction(write=False) as tx:
            heads = self.work.ledger.journal.heads(tx, self.work.campaign.migration, keys, lock=False)
        return {key: head.failed for key, head in heads.items() if head.campaign >= self.work.campaign.id}

    def _demand_somebody(self, done: dict[str, bool]) -> None:
        if len(done) >= KILLERS and all(done.values()):
            raise AuthorMistake(
                f"the code of {self.work.campaign.migration} kills whoever runs it, for {len(done)} entities one after the other"
            )
