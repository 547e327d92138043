"""From a message to what is done about it: work through the batch, try again, give it back, or halt its campaign."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from backtrail import job
from backtrail._version import __version__
from backtrail.decide import place
from backtrail.errors import (
    BacktrailError,
    Contended,
    DatabaseFault,
    Halt,
    InHand,
    LedgerTooNew,
    LockedOut,
    OtherCode,
    OtherRelease,
    RecallFailed,
    Retry,
    SchemaChanged,
    UnknownName,
    UnsuitableDatabase,
    UsageError,
)
from backtrail.failpoint import reach
from backtrail.settings import Settings
from backtrail.stores.base import Transaction
from ledger.campaigns import GOING, Batch, Campaign
from ledger.presence import milliseconds
from worker.alone import SUSPECT, WHOLE, Steps, work_alone
from worker.hold import demand_free
from worker.isolate import work_through
from worker.jobs import NotGoing
from worker.runtime import Runtime, runtime

log = logging.getLogger(__name__)

PATIENCE_S = 45.0
"""How long one delivery of a batch is tried again before it is given back, to be sent anew."""


REFUSAL_S = (0.25, 2.0)
"""How long a process rests that has refused a batch, at first and at most.

It is done with refusing sooner than others with working: without a rest it would empty the queue before them, again and again.
"""


class Rejected(Exception):
    """The message makes no sense and is thrown away."""


def answer(settings: Settings, args: Sequence[object], kwargs: Mapping[str, Any], worker: str, again: bool = False) -> str:
    """What `run` says to a message's arguments.

    Raises:
        Rejected: the message makes no sense.
    """
    # A newer version may have more to say; ours has not.
    v = kwargs.get("v")
    if args or (len(kwargs) != 3 and not (type(v) is int and v > job.FORMAT)):
        raise Rejected("a message with more than a batch")
    return run(settings, v, kwargs.get("campaign"), kwargs.get("batch"), worker, again)


def run(settings: Settings, v: object, campaign: object, batch: object, worker: str = "this worker", again: bool = False) -> str:
    """What became of the batch, in a few words that may be seen by anybody.

    A batch that it would not have goes back with the worker's name, which `status` shows. One over which processes died again and again is
    done entity by entity; `again` says that this is not the message's first delivery.

    Raises:
        Rejected: the message makes no sense.
    """
    newer: job.NewerFormat | None = None
    try:
        number, part = job.parse(v, campaign, batch)
    except job.NewerFormat as error:
        number, part, newer = error.campaign, error.batch, error
    except ValueError as error:
        raise Rejected(str(error)) from None
    reach("worker.received")
    here = runtime(settings)
    parts = 1
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type((Retry, UnsuitableDatabase)),
            wait=wait_random_exponential(multiplier=0.05, max=3),
            stop=stop_after_delay(PATIENCE_S),
            reraise=True,
        ):
            with attempt:
                try:
                    return _once(here, number, part, worker, parts, newer, again=again)
                except Contended:
                    # The shorter a transaction, the likelier it ends before somebody writes one of its documents.
                    parts *= 2
                    raise
    except (Retry, UnsuitableDatabase) as error:
        log.warning("a batch goes back: %s", error, extra={"campaign": f"c{number}", "batch": part})
        # A lock that is held goes away by itself; of a call that fails somebody has to know.
        _give_back(here, number, part, note=f"{worker}: {error}" if isinstance(error, RecallFailed) else None)
        return f"back: {type(error).__name__}"
    raise AssertionError("tenacity ends with a result or an error")


def _once(here: Runtime, number: int, part: int, worker: str, parts: int, newer: job.NewerFormat | None, *, again: bool) -> str:
    try:
        with here.store.transaction(write=False) as tx:
            campaign, batch = _looked_up(here, tx, number, part, newer)
            came_back = again or batch.attempts > 1
            if came_back:
                demand_free(here.ledger, tx, number, part)
        if batch.state == "done":
            return "done before"
        steps = Steps(here.ledger, batch)
        if steps.tries(WHOLE) >= SUSPECT or steps.alone:
            done = str(work_alone(lambda: here.work(campaign), steps, campaign))
        else:
            # The first delivery of a batch costs no write of its own.
            with steps.trying(WHOLE) if came_back else nullcontext():
                done = str(work_through(here.work(campaign), part, batch.keys, parts))
        here.refusals = 0
        return done  # noqa: TRY300 -- nothing more can fail
    except NotGoing:
        _give_back(here, number, part)
        return "back: the campaign is not going on"
    except (Halt, UnknownName) as error:
        # What this worker does not find, no other would.
        halt = error if isinstance(error, Halt) else SchemaChanged(str(error))
        _halt(here, number, part, halt)
        return f"halted: {type(halt).__name__}"
    except InHand as error:
        # Should whoever has it die, it comes round again; what was noted about it stays.
        _give_back(here, number, part, note=batch.note or f"{worker}: {error}")
        return "back: another process has it in hand"
    except (Rejected, Retry, UnsuitableDatabase):
        raise
    except BacktrailError as error:
        if isinstance(error, UsageError) and not isinstance(error, LedgerTooNew | LockedOut):
            # It lies in what was asked for, and not in this worker: it would be so every time, for whoever takes the batch.
            _halt(here, number, part, error)
            return f"halted: {type(error).__name__}"
        log.warning("a batch goes back: %s", error, extra={"campaign": f"c{number}", "batch": part})
        here.forget(number)
        _give_back(here, number, part, note=f"{worker}: {error}")
        _rest(here, error)
        return f"back: {type(error).__name__}"
    except Exception as error:
        # A bug of ours: it shows itself with all it has, and the campaign does not run into it a thousand times.
        log.exception("a bug in Backtrail stopped a batch")
        _halt(here, number, part, DatabaseFault(f"a bug in Backtrail: {place(error)}"))
        raise


def _looked_up(here: Runtime, tx: Transaction, number: int, part: int, newer: job.NewerFormat | None) -> tuple[Campaign, Batch]:
    """The campaign and its batch, of which something may be left to do.

    Raises:
        Rejected, NotGoing, OtherRelease, LedgerTooNew: as they say.
    """
    here.demand_ledger(tx)
    campaign = here.ledger.campaigns.get(tx, number)
    batch = here.ledger.campaigns.peek(tx, number, part)
    if batch is None or campaign is None:
        raise Rejected("a message of a batch that does not exist")
    if batch.state != "done" and campaign.state not in GOING:
        raise NotGoing
    if batch.state != "done" and newer is not None:
        raise OtherRelease(f"release {__version__} does not know {newer}: upgrade it")
    return campaign, batch


def _rest(here: Runtime, error: BacktrailError) -> None:
    """Nothing; a process that has refused a batch has rested."""
    if isinstance(error, OtherCode | OtherRelease | LedgerTooNew):
        time.sleep(min(REFUSAL_S[1], REFUSAL_S[0] * 2**here.refusals))
        here.refusals = min(here.refusals + 1, 10)


def _give_back(here: Runtime, number: int, part: int, note: str | None = None) -> None:
    reach("worker.giving-back")
    try:
        with here.store.transaction() as tx:
            here.ledger.campaigns.give_back(tx, number, part, note)
    except BacktrailError as error:
        # The feeder's sweep finds the batch again.
        log.warning("a batch could not be given back: %s", error, extra={"campaign": f"c{number}", "batch": part})


def _halt(here: Runtime, number: int, part: int, halt: BacktrailError) -> None:
    log.error("campaign c%s halts: %s", number, halt)
    here.forget(number)
    with here.ledger.writing() as tx:
        campaign = here.ledger.campaigns.get(tx, number)
        if campaign is not None:
            why = f"{type(halt).__name__}: {halt}; {campaign.ways}"
            here.ledger.campaigns.move(tx, campaign, "halted", now=milliseconds(tx), halted=why)
        here.ledger.campaigns.give_back(tx, number, part)
