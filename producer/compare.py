"""What a dry run predicted, compared with the events that a campaign then wrote: entity by entity, by digests alone."""

from __future__ import annotations

import base64
import json
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from backtrail.errors import UsageError
from backtrail.image import Image
from backtrail.stores.base import Store, Transaction
from ledger.campaigns import Campaign
from ledger.entry import Head
from ledger.event import NOTES, Event
from ledger.keyring import is_token
from ledger.ledger import Ledger
from producer.prediction import KINDS, Digests

PAGE = 200
LISTED = 100
"""So many examples of each kind are told."""

Differing = dict[str, list[str]]
"""The columns that differ, by table; no column where the number of rows does, or which rows they are."""

STATES = {
    "as_predicted": "as predicted",
    "differs": "done otherwise than predicted",
    "did_not_fail": "predicted to fail, and did not",
    "failed": "failed, which was not predicted",
    "not_predicted": "done, and not predicted",
    "not_comparable": "recalled something, or depends on the time: not compared",
    "not_done": "not, or not yet, done by this campaign",
    "erased": "erased since: cannot be compared",
}
"""What can be said of an entity."""

CHANGED = tuple(KINDS.values())

PROBLEMS = ("differs", "did_not_fail", "failed", "not_predicted")


@dataclass
class Comparison:
    """What was found."""

    campaign: str
    migration: str
    same_code: bool
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rolled_back: int = 0
    """How many of those that were compared are rolled back by now."""

    @property
    def ok(self) -> bool:
        """Whether all that was done was predicted so."""
        return not any(self.counts[name] for name in PROBLEMS)

    def add(self, state: str, key: str, **more: Any) -> None:
        """Counts an entity."""
        self.counts[state] += 1
        found = self.examples.setdefault(state, [])
        if state in PROBLEMS and len(found) < LISTED:
            found.append({"key": key, **more})

    def document(self) -> dict[str, Any]:
        """All of it, for scripts."""
        return {
            "campaign": self.campaign,
            "migration": self.migration,
            "ok": self.ok,
            "same_code": self.same_code,
            "rolled_back": self.rolled_back,
            **{name: self.counts[name] for name in STATES},
            "examples": {name: self.examples.get(name, []) for name in PROBLEMS},
        }


class Predicted:
    """A file of predicted events."""

    def __init__(self, path: Path) -> None:
        """The file.

        Raises:
            UsageError: it is none, or cannot be read.
        """
        self.path = path
        self.header = next(self._lines(), {})
        if self.header.get("backtrail") != "prediction":
            raise UsageError(f"{path} holds no predicted events: backtrail enqueue M --dry-run --events FILE writes them")
        self.digests = Digests(base64.b64decode(self.header["salt"]))

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open(encoding="utf-8") as lines:
                for line in lines:
                    found = json.loads(line)
                    yield found if isinstance(found, dict) else {}
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise UsageError(f"{self.path} is no file of predicted events, or was cut off") from None

    def entities(self) -> Iterator[dict[str, Any]]:
        """What was predicted of each entity."""
        return islice(self._lines(), 1, None)


def compare(ledger: Ledger, tx: Transaction, campaign: Campaign, predicted: Predicted) -> Comparison:
    """How the campaign's events differ from those predicted.

    Raises:
        UsageError: the file is of another migration.
    """
    header = predicted.header
    if header["migration"] != campaign.migration:
        raise UsageError(f"{predicted.path} predicts {header['migration']}, and {campaign.name} is one of {campaign.migration}")
    result = Comparison(campaign.name, campaign.migration, header["fingerprint"] == campaign.fingerprint)
    seen = array("Q")
    entities = predicted.entities()
    while page := list(islice(entities, PAGE)):
        seen.extend(_number(one["key"]) for one in page)
        _compare_page(ledger, tx, campaign, predicted.digests, page, result)
    _find_unpredicted(ledger, tx, campaign, array("Q", sorted(seen)), result)
    return result


def _compare_page(
    ledger: Ledger, tx: Transaction, campaign: Campaign, digests: Digests, page: Sequence[dict[str, Any]], result: Comparison
) -> None:
    heads = ledger.journal.heads(tx, campaign.migration, [one["key"] for one in page], lock=False)
    events = _done(ledger, tx, campaign, heads.values())
    for one in page:
        head = heads.get(one["key"])
        own = events.get(head.id or 0, []) if head is not None else []
        if head is not None and head.erased:
            result.add("erased", one["key"])
        elif not own:
            result.add("not_done", one["key"])
        else:
            result.rolled_back += head is not None and head.state == "rolled_back"
            state, differing = _judged(ledger.store, digests, one, own)
            result.add(state, one["key"], **({"tables": differing} if differing else {}))


def _done(ledger: Ledger, tx: Transaction, campaign: Campaign, heads: Any) -> dict[int, list[Event]]:
    """What the campaign did, by stream; without what it only skipped."""
    found = ledger.journal.events(tx, [head.id for head in heads if head.id is not None and not head.erased])
    own = {stream: [event for event in events if event.campaign == campaign.id] for stream, events in found.items()}
    return {stream: events for stream, events in own.items() if events and not events[-1].facts.get("skipped")}


def _judged(store: Store, digests: Digests, one: Mapping[str, Any], events: Sequence[Event]) -> tuple[str, Differing]:
    failed = events[-1].kind == "failed"
    if "varies" in one or "recalls" in one:
        return "not_comparable", {}
    if "failed" in one:
        return ("as_predicted" if failed else "did_not_fail"), {}
    if failed:
        return "failed", {}
    differing = _differing(store, digests, one, events)
    return ("differs" if differing else "as_predicted"), differing


def _differing(store: Store, digests: Digests, one: Mapping[str, Any], events: Sequence[Event]) -> Differing:
    """What differs, in the order in which rows were written: each kind of change of each table for itself."""
    found: Differing = {}
    at = datetime.fromtimestamp(events[0].at / 1000, tz=UTC)
    wanted = _grouped((event["table"], event["kind"], event) for event in one["events"])
    changes = [event for event in events if event.ref is not None and event.kind in CHANGED]
    real = _grouped((event.ref.table, event.kind, event) for event in changes if event.ref is not None)
    for table, kind in wanted | real:
        pairs = list(zip(wanted.get((table, kind), []), real.get((table, kind), []), strict=False))
        columns = [name for expected, event in pairs for name in _columns(store, digests, one["key"], expected, event, at)]
        alike = len(wanted.get((table, kind), [])) == len(real.get((table, kind), []))
        if columns or not alike:
            found[table] = list(dict.fromkeys([*found.get(table, []), *filter(None, columns)]))
    notes = [[event.kind, digests.note(one["key"], event.facts)] for event in events if event.kind in NOTES]
    return found | ({"(notes)": []} if notes != one["notes"] else {})


def _grouped(events: Iterator[tuple[str, str, Any]]) -> dict[tuple[str, str], list[Any]]:
    groups: dict[tuple[str, str], list[Any]] = {}
    for table, kind, event in events:
        groups.setdefault((table, kind), []).append(event)
    return groups


def _columns(store: Store, digests: Digests, key: str, expected: Mapping[str, Any], event: Event, at: datetime) -> list[str]:
    """The columns that are not as predicted; one without a name where it is another row."""
    if event.ref is not None and expected.get("row") not in (None, digests.row(key, event.ref)):
        return [""]
    image = event.after_image
    if image is None:
        return []
    real = digests.columns(store, key, image)
    same = {*expected.get("timed", ()), *(name for name in expected.get("now", ()) if _is(store, image, name, at))}
    return [name for name, digest in expected["columns"].items() if name not in same and real.get(name) != digest]


def _is(store: Store, image: Image, column: str, moment: datetime) -> bool:
    """Whether the column holds the time of the job that wrote it."""
    (record,) = store.records([image])
    return record.has(column) and bool(record.value(column) == moment)


def _find_unpredicted(ledger: Ledger, tx: Transaction, campaign: Campaign, seen: array[int], result: Comparison) -> None:
    """Counts the entities that the campaign did and the file does not have."""
    after = 0
    while batches := ledger.campaigns.keys_of(tx, campaign.id, after, 10):
        after = batches[-1].number
        keys = [key for batch in batches for key in batch.keys if not is_token(key) and not _has(seen, _number(key))]
        heads: dict[str, Head] = ledger.journal.heads(tx, campaign.migration, keys, lock=False)
        done = _done(ledger, tx, campaign, heads.values())
        for key, head in heads.items():
            if (head.id or 0) in done:
                result.add("not_predicted", key)


def _number(key: str) -> int:
    """64 bits that stand for the key: a hundred million keys are held in less than a gigabyte."""
    return int.from_bytes(sha256(key.encode("utf-8", "surrogatepass")).digest()[:8])


def _has(numbers: array[int], number: int) -> bool:
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number
