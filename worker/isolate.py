"""A batch done whole if it can be, and halved until whoever spoils it stands alone: the others are migrated, that one is quarantined."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from backtrail.errors import (
    AuthorMistake,
    BacktrailError,
    ConstraintFailed,
    DatabaseFault,
    Quarantine,
    Referenced,
    Retry,
    SideEffects,
    TooLarge,
    TriggerInTheWay,
)
from backtrail.failpoint import reach
from backtrail.recall import RecallNeeded
from ledger.progress import Tally
from worker.execute import NAMED, SAME_MISTAKE, execute
from worker.hold import RENEW_S, holding
from worker.jobs import RecallsPending, Rejected
from worker.portion import TooLong
from worker.recalls import called
from worker.work import Work

log = logging.getLogger(__name__)

HOPELESS = (Referenced, SideEffects, TriggerInTheWay)
"""What no other order of the changes can mend."""

SIDE_BY_SIDE = 8
"""How many recalls of one batch are called at once."""

TOGETHER = 100
"""How many results are stored in one transaction at the most."""

KEEP_S = 20.0
"""How long one tries to store what was paid for."""


def work_through(work: Work, number: int, keys: Sequence[str], parts: int = 1) -> Tally:
    """What became of the batch's entities.

    Args:
        work: the campaign.
        number: its batch.
        keys: the batch's entities.
        parts: in how many transactions at first.

    Raises:
        BacktrailError: a condition that concerns the whole batch: Retry, Halt or OtherCode.
    """
    return Isolation(work, number).through(keys, parts)


class Isolation:
    """One batch on its way through transactions that commit. In a rehearsal (rehearse.py) they never do, and all else is the same."""

    def __init__(self, work: Work, number: int) -> None:
        self.work, self.number = work, number
        self.tally = Tally()

    def through(self, keys: Sequence[str], parts: int = 1) -> Tally:
        """What became of the entities, in so many transactions at first."""
        self._in_portions(keys, {}, max(1, -(-len(keys) // parts)), finish=True, whole=True)
        return self.tally

    def once(self, keys: list[str], failures: dict[str, Quarantine], *, finish: bool, ordered: bool) -> None:
        """Nothing; the jobs are done in one transaction, and counted.

        Raises:
            Rejected, RecallsPending, TooLong, NotGoing, BacktrailError: as `execute` says.
        """
        execute(self.work, self.number, keys, failures, finish=finish, tally=self.tally, ordered=ordered)

    def overtaken(self, keys: Sequence[str]) -> set[str]:
        """Those of the entities that a newer campaign has done, perhaps while this one was at it."""
        work = self.work
        with work.store.transaction(write=False) as tx:
            heads = work.ledger.journal.heads(tx, work.campaign.migration, keys, lock=False)
        return {key for key, head in heads.items() if head.campaign > work.campaign.id}

    def fetch(self, pending: RecallsPending) -> None:
        """Nothing; what was recalled is known from now on."""
        fetch(self.work, self.number, pending)

    def _in_portions(self, keys: Sequence[str], failures: dict[str, Quarantine], size: int, *, finish: bool, whole: bool) -> None:
        """Nothing; the entities are done, so many at once at the most: fewer, where those would take too long."""
        at = 0
        while True:
            end = at + self.work.portion.of(size)
            self._part(list(keys[at:end]), failures, finish=finish and end >= len(keys), whole=whole)
            if end >= len(keys):
                return
            at = end

    def _part(self, keys: list[str], failures: dict[str, Quarantine], *, finish: bool, whole: bool = False) -> None:
        ordered = False
        overtaken: set[str] = set()
        named = 0
        while True:
            try:
                self._cautiously(keys, failures, finish=finish, ordered=ordered)
            except Rejected as rejected:
                failures |= rejected.failures
                self.work.portion.refused(whole=True)
            except RecallsPending as pending:
                self.fetch(pending)
            except TooLong:
                self._in_portions(keys, failures, len(keys), finish=finish, whole=whole)
                return
            except TooLarge:
                if len(keys) < 2:
                    raise
                self._halves(keys, failures, finish=finish)
                return
            except Quarantine as failure:
                # The database refused the whole, and did not always say whom it means: perhaps only at the commit.
                left = [key for key in keys if key not in failures]
                if newer := self.overtaken(left) - overtaken:
                    # Once for each: those that were done before this began are skipped, and are not what is refused now.
                    overtaken |= newer
                    continue
                _demand_going_on(left, failure, self.tally)
                self.work.portion.refused(whole=True)
                blamed = _blamed(failure, left, ordered=ordered) if named < NAMED or len(left) < 2 else None
                if blamed is not None:
                    failures[blamed] = failure
                    named += 1
                elif len(left) > 1 and (ordered or not (whole and _may_change_hands(failure))):
                    self._log_halving(failure)
                    self._halves(keys, failures, finish=finish)
                    return
                else:
                    # One more try with the changes in the author's own order: of one entity alone, or of a whole batch.
                    ordered = True
            else:
                return

    def _cautiously(self, keys: list[str], failures: dict[str, Quarantine], *, finish: bool, ordered: bool) -> None:
        """`once`; and where somebody was refused and there was no savepoint to come back to, once more with one."""
        try:
            self.once(keys, failures, finish=finish, ordered=ordered)
        except Quarantine as failure:
            # Where the database did not say whom it refused, or changes are made one by one, a savepoint would not have helped.
            if self.work.caution.keeps_savepoints or failure.refused is None or ordered:
                raise
            self.work.caution.refused()
            self.once(keys, failures, finish=finish, ordered=ordered)

    def _halves(self, keys: list[str], failures: dict[str, Quarantine], *, finish: bool) -> None:
        half = len(keys) // 2
        self._part(keys[:half], failures, finish=False)
        reach("worker.halving")
        self._part(keys[half:], failures, finish=finish)

    def _log_halving(self, failure: Quarantine) -> None:
        fields = {"campaign": self.work.campaign.name, "batch": self.number}
        log.info("halving a batch: %s", type(failure).__name__, extra=fields)


def _demand_going_on(left: Sequence[str], failure: Quarantine, tally: Tally) -> None:
    """Nothing, where the failure is one for these entities to be tried apart.

    Raises:
        Halt: it is nobody's alone.
    """
    if tally.failed >= SAME_MISTAKE and not tally.migrated + tally.rolled_back and isinstance(failure, SideEffects):
        raise AuthorMistake(f"none of {tally.failed} entities can be done: {failure}") from failure
    if not left:
        raise DatabaseFault(f"failures cannot be recorded: {type(failure).__name__}") from failure


def _blamed(failure: Quarantine, left: Sequence[str], *, ordered: bool) -> str | None:
    """Whose failure it is alone; None where nobody knows, or where another order of the changes may mend it."""
    if len(left) < 2:
        return left[0] if ordered or isinstance(failure, HOPELESS) else None
    return failure.entity if failure.entity in left and (ordered or not _may_change_hands(failure)) else None


def _may_change_hands(failure: Quarantine) -> bool:
    """Whether values that must be unique may only have to change hands within the batch."""
    return isinstance(failure, ConstraintFailed) and failure.clash


def fetch(work: Work, number: int, pending: RecallsPending) -> None:
    """Nothing; every result that was asked for is stored, apart from the batch's own transaction, so that nothing is paid twice.

    Raises:
        InHand: another process makes the batch's recalls.
        RecallFailed: a call failed; the others' results are kept.
    """
    work.uses_recalls = True
    with holding(work.ledger, work.campaign.id, number) as renew:
        _fetch(work, pending, renew)


def _fetch(work: Work, pending: RecallsPending, renew: Callable[[], None]) -> None:
    with work.store.transaction(write=False) as tx:
        known = work.ledger.journal.recalls(tx, work.campaign.migration, {key: work.subject(key) for key, _ in pending.needed})
    wanted = [(key, needed) for key, needed in pending.needed if (needed.label, needed.digest) not in known.get(key, {})]
    failed: list[BaseException] = []
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        calls = {pool.submit(_called, needed): (key, needed) for key, needed in wanted}
        left: set[Future[object]] = set(calls)
        while left:
            # What has come while others were stored is stored together: a call that takes its time waits for nobody.
            done, left = wait(left, timeout=RENEW_S, return_when=FIRST_COMPLETED)
            renew()
            results = []
            for call in done:
                key, needed = calls[call]
                if (error := call.exception()) is not None:
                    failed.append(error)
                else:
                    results.append((key, (needed.label, needed.digest), call.result()))
            failed += _kept(work, results) if results else []
    if failed:
        raise failed[0]


def _called(needed: RecallNeeded) -> object:
    result = called(needed.label, needed.call)
    reach("worker.recall")
    return result


Result = tuple[str, tuple[str, str], object]
"""What an entity's recall gave: the entity's key, the label and digest of the call, the result."""


def _kept(work: Work, results: Sequence[Result]) -> list[BacktrailError]:
    """Nothing, where the results are stored; else what kept some of them from being."""
    failed: list[BacktrailError] = []
    for at in range(0, len(results), TOGETHER):
        some = results[at : at + TOGETHER]
        try:
            _keep(work, some)
        except BacktrailError as error:
            # What cannot be kept would be paid for again and again; the others' results are no worse for it.
            alone = len(some) == 1 or isinstance(error, Retry)
            failed += [error] if alone else [one for result in some for one in _kept(work, [result])]
    return failed


def _keep(work: Work, results: Sequence[Result]) -> None:
    """Nothing; the results are stored. They were paid for: of two that first seal something of one person, the second tries again."""
    for attempt in Retrying(
        retry=retry_if_exception_type(Retry),
        wait=wait_random_exponential(multiplier=0.02, max=1),
        stop=stop_after_delay(KEEP_S),
        reraise=True,
    ):
        with attempt, work.ledger.writing() as tx:
            stored = [(key, work.subject(key), call, result) for key, call, result in results]
            work.ledger.journal.store_recalls(tx, work.campaign.migration, stored)
