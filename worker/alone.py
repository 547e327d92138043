"""A batch over which processes died: its entities are done one by one, and whoever ends them is quarantined.

A process that is killed cannot say what it was at. So whoever takes a batch in hand that came back writes that down first, outside the
transaction; where several did and came to no end, the next writes down which entity it begins with, and who comes after it finds that.
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
"""How many times a batch that came back is begun without an end before its entities are done one by one."""

WHOLE, LOADING, FIRST = 0, 1, 2
"""The steps: the whole batch, the loading of the code, and the first of the entities, each of which is one."""

TRIES = 6
"""How often an entity is tried alone: processes die for reasons of their own too, of the machine's memory or of a deploy."""

KILLERS = 3
"""From how many entities on, and no other in their batch that could be done, it is the author's mistake and not the users' data."""

_NOTE = re.compile(r"begun (\d+) times without an end: step (\d+)\Z")


def work_alone(load: Callable[[], Work], steps: Steps, campaign: Campaign) -> Tally:
    """What became of the batch's entities, each in a transaction of its own.

    Args:
        load: gives the campaign's code, which may be what ends the process.
        steps: the batch, and how far others came with it.
        campaign: the batch's campaign.

    Raises:
        BacktrailError: as `work_through` says; AuthorMistake where the code kills whoever loads it, or whatever entity it gets.
    """
    batch = steps.batch
    log.warning("a batch is done one by one, for processes died of it", extra={"campaign": campaign.name, "batch": batch.number})
    if steps.tries(LOADING) >= TRIES:
        raise AuthorMistake(f"a process that loads the code of {campaign.migration} dies: {TRIES} did, one after the other")
    with steps.trying(LOADING):
        work = load()
    steps.passed(LOADING)
    return Alone(work, batch.number, steps).through(batch.keys)


class Steps:
    """What is written down of a batch: which step was begun last, and how many times without an end."""

    def __init__(self, ledger: Ledger, batch: Batch) -> None:
        self.ledger, self.batch = ledger, batch
        found = _NOTE.match(batch.note or "")
        self._tries, self._at = (int(found[1]), int(found[2])) if found else (0, WHOLE)

    @property
    def alone(self) -> bool:
        """Whether others did its entities one by one already."""
        return self._at > WHOLE

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

    def passed(self, step: int) -> None:
        """Nothing; whoever dies from now on did not die in that step."""
        self._write(step, 0)

    def _write(self, step: int, tries: int) -> None:
        note = f"begun {tries} times without an end: step {step}"
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
        left = [(step, key) for step, key in enumerate(keys, FIRST) if key not in done]
        if done or not left:
            self._part([key for key in keys if key in done], {}, finish=not left)  # for the count
        for step, key in left:
            last = key == left[-1][1]
            if self.steps.tries(step) >= TRIES:
                self._demand_somebody(done)
                self._part([key], {key: WorkerDied(f"its worker died {TRIES} times, with nothing else in hand")}, finish=last)
                done[key] = True
            else:
                with self.steps.trying(step):
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
