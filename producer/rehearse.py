"""A rehearsal as its command sees it: which entities, batch by batch, and what the worker's program (worker/rehearse.py) says of them."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from backtrail import program
from backtrail.discovery import Found
from backtrail.errors import BacktrailError, UsageError
from backtrail.keys import key_text, parse_key
from backtrail.settings import Settings
from backtrail.stores.base import KeyCensus
from ledger.campaigns import Campaign
from ledger.entry import Head
from ledger.ledger import Ledger
from ledger.state import action
from producer.campaign import requirements
from producer.dryrun import examined, imagined
from producer.order import Order
from producer.processes import environment_of
from producer.sources import in_sample, is_null

COUNTS = ("total", "migrated", "skipped", "failed", "conflicts", "unmapped", "recalls", "compared")

Advance = Callable[[int, int], None]
"""Is told how many entities are done, and how many there are about."""


def _quiet(done: int, total: int) -> None:
    """Nothing."""


class Stopped(BacktrailError):
    """A rehearsal that the database, or a bug, has ended before its time."""


@dataclass
class Rehearsed:
    """What was seen."""

    migration: str
    counts: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, str]] = field(default_factory=list)
    differences: list[dict[str, Any]] = field(default_factory=list)
    nulls: dict[str, int] = field(default_factory=dict)
    halted: str | None = None
    """What would halt the campaign."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every entity came back to what it was."""
        return not (self.failures or self.differences or self.halted)

    def add(self, answer: dict[str, Any]) -> None:
        """Counts one batch."""
        self.counts.update(answer["counts"])
        self.writes.update(answer["writes"])
        self.failures += answer["failures"]
        self.differences += answer["differences"]

    def document(self) -> dict[str, Any]:
        """All of it, for scripts."""
        return {
            "migration": self.migration,
            "ok": self.ok,
            **{name: self.counts[name] for name in COUNTS},
            "null_keys": sum(self.nulls.values()),
            "nulls": self.nulls,
            "writes": dict(self.writes),
            "failures": self.failures,
            "differences": self.differences,
            "halted": self.halted,
            "seconds": round(self.seconds, 3),
        }


def rehearse(ledger: Ledger, settings: Settings, found: Found, order: Order, advance: Advance = _quiet) -> Rehearsed:
    """What the campaign would do and leave behind if it were rolled back, entity by entity.

    Args:
        ledger: of the database; it need not exist.
        settings: for the worker's program.
        found: the migration.
        order: what is asked for.
        advance: is told after each batch how far it is.

    Raises:
        UsageError: something is wrong with what was asked for.
        Stopped: the database had no time, again and again.
    """
    bound, census = examined(ledger, found, order)
    campaign = imagined(bound, {**order.options, **_required(ledger, bound, order), "only": order.only is not None})
    result = Rehearsed(found.name, nulls=dict(census.nulls))
    begun = monotonic()
    total = _about(census.total, order)
    with _worker(settings) as ask:
        ask.tell(
            {
                "source": found.source,
                "fingerprint": found.fingerprint,
                "params": order.params,
                "options": campaign.options,
                "key_types": census.types,
            }
        )
        for keys, looked_at in batches(ledger, bound, order, campaign, census):
            result.counts["total"] += looked_at
            result.counts["skipped"] += looked_at - len(keys)
            answer = ask.answer(keys) if keys else {}
            if "end" in answer:
                result.halted = _halt(answer["end"])
                break
            if answer:
                result.add(answer)
            advance(result.counts["total"], max(total, result.counts["total"]))
    result.seconds = monotonic() - begun
    return result


def _required(ledger: Ledger, found: Found, order: Order) -> dict[str, Any]:
    with ledger.store.transaction(write=False) as tx:
        # Without a ledger nothing was ever migrated, by no migration.
        return requirements(ledger, tx, found, order) if ledger.exists(tx) else {"requires_each": list(found.cls.requires)}


def _about(keys: int, order: Order) -> int:
    """How many entities there are about."""
    if order.only is not None:
        return len(order.only)
    total = round(keys * float(order.options.get("sample", 1)))
    return min(total, int(order.options.get("limit", total)))


def _halt(end: dict[str, str]) -> str:
    """What would halt a campaign.

    Raises:
        UsageError, Stopped: something else has ended the rehearsal.
    """
    if end["remedy"] == "halt":
        return f"{end['error']}: {end['reason']}"
    if end["remedy"] == "refuse":
        raise UsageError(end["reason"])
    raise Stopped(f"the rehearsal was stopped: {end['error']}: {end['reason']}")


# -- which entities -----------------------------------------------------------------------------------------------


def batches(ledger: Ledger, found: Found, order: Order, campaign: Campaign, census: KeyCensus) -> Iterator[tuple[list[str], int]]:
    """Entities with something to do, in batches, and how many were looked at for each."""
    limit = order.options.get("limit")
    size, waiting, looked_at, taken = order.batch_size, list[str](), 0, 0
    for texts in _pages(ledger, found, order, census.types):
        todo = _todo(ledger, campaign, texts)
        if limit is not None:
            todo = todo[: limit - taken]
        taken += len(todo)
        waiting += todo
        looked_at += len(texts if limit is None else todo)
        while len(waiting) >= size:
            yield waiting[:size], looked_at - (len(waiting) - size)
            waiting, looked_at = waiting[size:], len(waiting) - size
        if limit is not None and taken >= limit:
            break
    if looked_at:
        yield waiting, looked_at


def _todo(ledger: Ledger, campaign: Campaign, texts: Sequence[str]) -> list[str]:
    with ledger.store.transaction(write=False) as tx:
        heads = ledger.journal.heads(tx, campaign.migration, texts, lock=False) if ledger.exists(tx) else {}
    return [text for text in texts if action(campaign, heads.get(text) or Head(campaign.migration, text)) != "skip"]


def _pages(ledger: Ledger, found: Found, order: Order, types: Sequence[str]) -> Iterator[list[str]]:
    """Keys page by page, each looked up in a transaction of its own: none stays open while a batch is played."""
    size = order.batch_size
    if order.only is not None:
        keys = list(dict.fromkeys(key_text(parse_key(text, types)) for text in order.only))
        yield from (keys[at : at + size] for at in range(0, len(keys), size))
        return
    sources = found.cls.all_keys()
    for source in range(len(sources)):
        after: str | None = None
        while True:
            with ledger.store.transaction(write=False) as tx:
                page = ledger.store.page(tx, sources, source, after, size)
            texts = [key_text(key) for key in page.keys if not is_null(key)]
            yield [text for text in texts if in_sample(text, order.options.get("sample"))]
            after = page.after
            if after is None:
                break


# -- the worker's program -----------------------------------------------------------------------------------------


class _Pipe:
    """A running program of the worker's that answers line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 -- both are pipes
        self.stdin, self.stdout = process.stdin, process.stdout

    def tell(self, what: Any) -> None:
        """Nothing; it was said, if anybody still listens."""
        try:
            self.stdin.write(json.dumps(what) + "\n")
            self.stdin.flush()
        except BrokenPipeError:
            return  # what it said last, or how it ended, says why

    def answer(self, what: Any) -> dict[str, Any]:
        """What it says to that.

        Raises:
            Stopped: it is gone.
        """
        self.tell(what)
        line = self.stdout.readline()
        if not line:
            raise Stopped(f"the program that rehearses ended with exit code {self.process.wait()}; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def _worker(settings: Settings) -> Iterator[_Pipe]:
    # Addresses hold passwords: they go through the environment, which other users cannot see, and not into the list of processes.
    process = subprocess.Popen(  # noqa: S603 -- our own module
        program.command("worker.rehearse"),
        env=program.environment(environment_of(settings)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield _Pipe(process)
    finally:
        # Whatever it is at goes with its transaction.
        process.terminate()
        process.communicate()
