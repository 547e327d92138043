"""Who makes the recalls of a batch: one process at a time, for they are paid for.

A message may come twice, and does where a batch takes long. What is done within a transaction needs no care for that; recalls are made
outside of any.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from backtrail.errors import BacktrailError, InHand
from backtrail.stores.base import Transaction
from ledger.ledger import Ledger

log = logging.getLogger(__name__)

SLOTS = 1024
"""So many leases there are at the most, since they stay in the ledger. Batches that share one wait for each other."""

HOLD_MS = 15_000
"""How long nobody else makes a batch's recalls after whoever did was killed together with its worker."""

RENEW_S = 4.0
"""How often whoever makes recalls says that it still does."""


@contextmanager
def holding(ledger: Ledger, campaign: int, number: int) -> Iterator[Callable[[], None]]:
    """A function to be called again and again meanwhile; until the end of the block, nobody else makes the recalls of the campaign's batch.

    Raises:
        InHand: another process makes them.
    """
    lease = _lease(campaign, number)
    owner = f"{socket.gethostname()} {os.getppid()} {os.getpid()} {uuid.uuid4().hex}"
    with ledger.writing() as tx:
        demand_free(ledger, tx, campaign, number)
        if (holder := ledger.presence.leader(tx, lease)) is not None:
            ledger.presence.leave(tx, holder)  # it is dead
        if ledger.presence.lead(tx, lease, owner, HOLD_MS) is None:
            raise InHand
    held = time.monotonic()

    def renew() -> None:
        nonlocal held
        if time.monotonic() - held > RENEW_S:
            held = time.monotonic()
            # Where it cannot be renewed, somebody may pay for the same, and no more.
            with suppress(BacktrailError), ledger.writing() as tx:
                ledger.presence.lead(tx, lease, owner, HOLD_MS)

    try:
        yield renew
    finally:
        with suppress(BacktrailError), ledger.writing() as tx:  # else it runs out by itself
            ledger.presence.leave(tx, owner)


def demand_free(ledger: Ledger, tx: Transaction, campaign: int, number: int) -> None:
    """Nothing, where nobody makes the recalls of the batch.

    Raises:
        InHand: another process makes them.
    """
    holder = ledger.presence.leader(tx, _lease(campaign, number))
    if holder is not None and not _is_dead(holder):
        raise InHand


def _lease(campaign: int, number: int) -> str:
    # Batches that are in the queue at once follow each other; those of two campaigns shall not meet.
    return f"recalls {(97 * campaign + number) % SLOTS}"


def _is_dead(owner: str) -> bool:
    """Whether it is known to be: only of processes of the same worker, whose numbers mean something here."""
    host, parent, process, _ = owner.split(" ")
    if (host, int(parent)) != (socket.gethostname(), os.getppid()):
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    return False
