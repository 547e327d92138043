"""Campaigns as Prometheus sees them: read from the database at every scrape, by ids alone and never by keys or names of people."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backtrail._version import __version__
from backtrail.errors import BacktrailError, UsageError
from backtrail.stores.base import Transaction
from ledger.campaigns import ARROWS, UNFINISHED, Campaign
from ledger.ledger import Ledger
from ledger.presence import milliseconds
from producer.overview import Looker, Overview
from producer.pace import Pace, time_left

log = logging.getLogger(__name__)

CACHE_S = 1.0
"""How long what was read is good for: several that scrape at once cost one look."""

RATE_MS = 60_000
"""Over how long the rate is taken: as Prometheus looks every 15 s or so, some looks."""

ENDED_MS = 3_600_000
"""For how long after its end a campaign is still told of, so that the last scrape has seen its end."""

ENDED = 20
"""Of how many campaigns that ended is told at the most: every one costs some thirty series."""

ERRORS = 20
"""How many classes of failures have series of their own in a campaign; the rest is `other`."""

CAMPAIGN = ("campaign", "migration", "kind")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name without prefix, its type, what it says, and its labels."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Its name as Prometheus has it."""
        return f"backtrail_{self.name}{'_total' if self.kind == 'counter' else ''}"

    def empty(self) -> Metric:
        """The metric without samples."""
        family = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return family(f"backtrail_{self.name}", self.help, labels=self.labels)


FAMILIES = (
    Family("up", "gauge", "Whether the database answered; all other metrics are missing while it does not."),
    Family("build_info", "gauge", "The release of this exporter; always 1.", ("version",)),
    Family("look_seconds", "gauge", "How long it took to read the database."),
    Family("campaigns", "gauge", "Campaigns of this database, by state.", ("state",)),
    Family("workers", "gauge", "Workers that showed a sign of life within the last 15 seconds."),
    Family("worker_releases", "gauge", "Different releases of Backtrail among those workers."),
    Family("feeder_leader", "gauge", "Whether one of those workers leads the feeding of the queue."),
    Family("rejected_messages", "counter", "Messages that made no sense to a worker; from 0 again once they are cleared."),
    Family("campaign_state", "gauge", "1 for the state in which the campaign is, 0 for all others.", (*CAMPAIGN, "state")),
    Family("campaign_entities", "gauge", "Entities of the campaign, done or not, as far as is known.", CAMPAIGN),
    Family(
        "campaign_pending_entities",
        "gauge",
        "Entities that are not done: how far the campaign lags behind its sources.",
        CAMPAIGN,
    ),
    Family("campaign_done_entities", "counter", "Entities that are done, by what became of them.", (*CAMPAIGN, "outcome")),
    Family("campaign_noted_entities", "counter", "Entities about which the migration recorded a note.", (*CAMPAIGN, "note")),
    Family(
        "campaign_failed_entities",
        "gauge",
        "Entities that failed and were not mended since, by class, counted over the first 2000.",
        (*CAMPAIGN, "error"),
    ),
    Family("campaign_batches", "gauge", "Batches planned so far, by state.", (*CAMPAIGN, "state")),
    Family(
        "campaign_oldest_sent_batch_age_seconds",
        "gauge",
        "How long ago the message was last sent of that batch under way for which it is longest; 0 where none is.",
        CAMPAIGN,
    ),
    Family(
        "campaign_last_progress_timestamp_seconds",
        "gauge",
        "When this exporter last saw more entities done than before; its first look, or the campaign's end, where it saw none.",
        CAMPAIGN,
    ),
    Family("campaign_rate_entities_per_second", "gauge", "Entities done a second, over the last minute of looks.", CAMPAIGN),
    Family("campaign_rate_limit_entities_per_second", "gauge", "What --rate allows; missing where nothing is limited.", CAMPAIGN),
    Family("campaign_eta_seconds", "gauge", "The time left at that rate; missing where nobody can know.", CAMPAIGN),
    Family("campaign_wave", "gauge", "The number of the wave under way, from 1; missing where there are no waves.", CAMPAIGN),
    Family("campaign_wave_bound_entities", "gauge", "How many entities are let through up to that wave's end.", CAMPAIGN),
    Family("campaign_held", "gauge", "Whether something keeps batches of the campaign from being sent just now.", CAMPAIGN),
    Family("campaign_refusals", "gauge", "Different reasons for which workers would not have batches of the campaign.", CAMPAIGN),
)
"""All metrics, in the order in which they are told."""


class Exporter(Collector):
    """What is scraped: one look at the database for all that scrape at about the same time."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.looker = ledger, Looker(ledger)
        self._lock = threading.Lock()
        self._until = 0.0
        self._last: list[Metric] = []
        self._up = True
        self._paces: dict[str, Pace] = {}
        self._progress: dict[str, tuple[int, float]] = {}

    def describe(self) -> Iterable[Metric]:
        """The metrics without samples: to be registered, no database is needed."""
        return [family.empty() for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now; `backtrail_up` alone says 0 while the database does not answer."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._last, self._until = self._measured(), time.monotonic() + CACHE_S
            return self._last

    def _measured(self) -> list[Metric]:
        sheet = Sheet()
        sheet.add("build_info", 1, __version__)
        begun = time.monotonic()
        try:
            with self.ledger.store.transaction(write=False) as tx:
                self._survey(tx, sheet)
        except BacktrailError as error:
            if self._up:
                log.warning("nothing can be told just now: %s", error)
            self._up = False
            sheet = Sheet()
            sheet.add("build_info", 1, __version__)
        else:
            self._up = True
            sheet.add("look_seconds", time.monotonic() - begun)
        sheet.add("up", int(self._up))
        return sheet.metrics()

    def _survey(self, tx: Transaction, sheet: Sheet) -> None:
        every = self.ledger.campaigns.all(tx) if self.ledger.exists(tx) else []
        overview = Overview(milliseconds(tx), [], [], 0)
        if every or self.ledger.exists(tx):
            overview = self.looker.survey(tx, told_of(every, milliseconds(tx)))
        for state in ARROWS:
            sheet.add("campaigns", sum(campaign.state == state for campaign in every), state)
        _crew(sheet, overview)
        for document in overview.campaigns:
            self._campaign(tx, sheet, document, overview.at)

    def _campaign(self, tx: Transaction, sheet: Sheet, document: Mapping[str, Any], now: int) -> None:
        labels = tuple(document[name] for name in CAMPAIGN)
        _counts(sheet, labels, document)
        unfinished = document["state"] in UNFINISHED
        age = self._oldest(tx, int(document["campaign"][1:]), now) if unfinished else 0.0
        sheet.add("campaign_oldest_sent_batch_age_seconds", age, *labels)
        rate = self._rate(document, now)
        sheet.add("campaign_last_progress_timestamp_seconds", self._moved(document, now), *labels)
        sheet.add("campaign_rate_entities_per_second", rate, *labels)
        left = time_left(document["pending"], rate) if document["state"] == "running" or not unfinished else None
        if left is not None:
            sheet.add("campaign_eta_seconds", left, *labels)
        if document["rate_limit"] is not None:
            sheet.add("campaign_rate_limit_entities_per_second", float(document["rate_limit"]), *labels)
        _wave(sheet, labels, document["waves"])
        sheet.add("campaign_held", int(document["held"] is not None), *labels)
        sheet.add("campaign_refusals", len(document["refused"]), *labels)

    def _oldest(self, tx: Transaction, campaign: int, now: int) -> float:
        # What is in the queue at once is bounded by the feeder's water mark.
        sent = self.ledger.campaigns.unfinished(tx, campaign, ("sent",), 1000)
        return max((now - batch.sent_at for batch in sent if batch.sent_at is not None), default=0) / 1000

    def _rate(self, document: Mapping[str, Any], now: int) -> float:
        if document["state"] not in UNFINISHED:
            self._paces.pop(document["campaign"], None)
            return 0.0
        pace = self._paces.setdefault(document["campaign"], Pace(RATE_MS))
        pace.add(now, document["migrated"] + document["rolled_back"] + document["failed"])
        return float(document["rate_per_s"] if pace.per_s is None else pace.per_s)

    def _moved(self, document: Mapping[str, Any], now: int) -> float:
        name, done = document["campaign"], document["total"] - document["pending"]
        known = self._progress.get(name)
        if known is None or done != known[0]:
            self._progress[name] = known = (done, now / 1000)
        return known[1]


class Sheet:
    """Samples by metric."""

    def __init__(self) -> None:
        self._families = {family.name: (family, family.empty()) for family in FAMILIES}

    def add(self, name: str, value: float, *labels: str) -> None:
        """Nothing; the metric has that value for those labels."""
        family, metric = self._families[name]
        metric.add_sample(family.full_name, dict(zip(family.labels, labels, strict=True)), value)

    def metrics(self) -> list[Metric]:
        """All metrics that have samples."""
        return [metric for _, metric in self._families.values() if metric.samples]


def told_of(campaigns: Iterable[Campaign], now: int) -> list[Campaign]:
    """Those that are not over, and the last ones that ended lately: what is told of is bounded."""
    going, ended = [], []
    for campaign in campaigns:
        if campaign.state in UNFINISHED:
            going.append(campaign)
        elif now - (campaign.ended_at or 0) < ENDED_MS:
            ended.append(campaign)
    return sorted((*going, *sorted(ended, key=lambda one: one.ended_at or 0)[-ENDED:]), key=lambda one: one.id)


def _crew(sheet: Sheet, overview: Overview) -> None:
    sheet.add("workers", len(overview.workers))
    sheet.add("worker_releases", len({worker.get("release") for worker in overview.workers}))
    sheet.add("feeder_leader", int(overview.leader is not None))
    sheet.add("rejected_messages", overview.rejected)


def _counts(sheet: Sheet, labels: tuple[str, ...], document: Mapping[str, Any]) -> None:
    for state in ARROWS:
        sheet.add("campaign_state", int(document["state"] == state), *labels, state)
    sheet.add("campaign_entities", document["total"], *labels)
    sheet.add("campaign_pending_entities", document["pending"], *labels)
    for outcome in ("migrated", "rolled_back", "skipped", "failed"):
        sheet.add("campaign_done_entities", document[outcome], *labels, outcome)
    for note, name in (("conflict", "conflicts"), ("unmapped", "unmapped")):
        sheet.add("campaign_noted_entities", document[name], *labels, note)
    for error, count in _bounded(document["errors"]).items():
        sheet.add("campaign_failed_entities", count, *labels, error)
    for state, count in document["batches"].items():
        sheet.add("campaign_batches", count, *labels, state)


def _bounded(errors: Mapping[str, int]) -> dict[str, int]:
    counts = sorted(errors.items(), key=lambda one: (-one[1], one[0]))
    rest = sum(count for _, count in counts[ERRORS:])
    return dict(counts[:ERRORS]) | ({"other": rest} if rest else {})


def _wave(sheet: Sheet, labels: tuple[str, ...], waves: list[dict[str, Any]]) -> None:
    if not waves:
        return
    at = next((at for at, wave in enumerate(waves) if wave["state"] != "passed"), len(waves) - 1)
    sheet.add("campaign_wave", at + 1, *labels)
    sheet.add("campaign_wave_bound_entities", waves[at]["bound"], *labels)


def serve(ledger: Ledger, address: str, port: int) -> WSGIServer:
    """The server of the ledger's metrics, which answers from now on, in threads of its own.

    Raises:
        UsageError: nobody can listen there.
    """
    registry = CollectorRegistry()
    registry.register(Exporter(ledger))
    try:
        server, _ = start_http_server(port, address, registry)
    except OSError as error:
        raise UsageError(
            f"nothing can listen at {address}:{port} ({error.strerror}): take another --port or --address"
        ) from error
    return server
