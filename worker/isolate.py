"""A batch done whole if it can be, and halved until whoever spoils it stands alone: the others are migrated, that one is quarantined."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from backtrail.decide import place
from backtrail.errors import DatabaseFault, Quarantine, RecallFailed, Retry, TooLarge
from ledger.campaigns import Tally
from worker.execute import execute
from worker.jobs import RecallsPending, Rejected
from worker.work import Work

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 8
"""How many recalls of one batch are called at once."""


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
    tally = Tally()
    size = max(1, -(-len(keys) // parts))
    for at in range(0, max(1, len(keys)), size):
        _part(work, number, list(keys[at : at + size]), {}, tally, finish=at + size >= len(keys))
    return tally


def _part(work: Work, number: int, keys: list[str], failures: dict[str, Quarantine], tally: Tally, *, finish: bool) -> None:
    ordered = False
    while True:
        try:
            execute(work, number, keys, failures, finish=finish, tally=tally, ordered=ordered)
        except Rejected as rejected:
            failures |= rejected.failures
        except RecallsPending as pending:
            fetch(work, pending)
        except TooLarge:
            if len(keys) < 2:
                raise
            _halves(work, number, keys, failures, tally, finish=finish)
            return
        except Quarantine as failure:
            # The database refused the whole without saying whom it means, perhaps only at the commit.
            left = [key for key in keys if key not in failures]
            if _overtaken(work, left):
                raise Retry("another campaign was first with some of these entities") from failure
            if len(left) > 1:
                log.info("halving a batch: %s", type(failure).__name__, extra={"campaign": work.campaign.name, "batch": number})
                _halves(work, number, keys, failures, tally, finish=finish)
                return
            if not left:
                raise DatabaseFault(f"failures cannot be recorded: {type(failure).__name__}") from failure
            if ordered:
                failures[left[0]] = failure
            # Alone, it gets one more try with its changes in the author's own order.
            ordered = True
        else:
            return


def _halves(work: Work, number: int, keys: list[str], failures: dict[str, Quarantine], tally: Tally, *, finish: bool) -> None:
    half = len(keys) // 2
    _part(work, number, keys[:half], failures, tally, finish=False)
    _part(work, number, keys[half:], failures, tally, finish=finish)


def _overtaken(work: Work, keys: Sequence[str]) -> bool:
    """Whether a newer campaign has done one of the entities while this one was at it."""
    with work.store.transaction(write=False) as tx:
        heads = work.ledger.journal.heads(tx, work.campaign.migration, keys, lock=False)
    return any(head.campaign > work.campaign.id for head in heads.values())


def fetch(work: Work, pending: RecallsPending) -> None:
    """Nothing; every result that was asked for is stored, each in a transaction of its own, so that nothing is paid twice.

    Raises:
        RecallFailed: a call failed; the others' results are kept.
    """
    work.uses_recalls = True
    failed: list[RecallFailed] = []

    def one(key: str, label: str, digest: str, call: object) -> None:
        try:
            result = call()  # type: ignore[operator] # RecallNeeded makes it of the author's function
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is retried and named
            failure = RecallFailed(f"recall {label!r} failed: {place(error)}")
            failure.__cause__ = error
            failed.append(failure)
            return
        with work.store.transaction() as tx:
            work.ledger.journal.store_recall(tx, work.campaign.migration, key, label, digest, result)

    with work.store.transaction(write=False) as tx:
        known = work.ledger.journal.recalls(tx, work.campaign.migration, [key for key, _ in pending.needed])
    wanted = [(key, needed) for key, needed in pending.needed if (needed.label, needed.digest) not in known.get(key, {})]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for key, needed in wanted:
            pool.submit(one, key, needed.label, needed.digest, needed.call)
    if failed:
        raise failed[0]
