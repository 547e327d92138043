"""Where the next entities of a campaign come from: page after page, from a cursor that survives everything."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from backtrail.keys import key_text
from backtrail.migration import Migration
from backtrail.stores.base import Transaction
from ledger.campaigns import Campaign
from ledger.entry import Head
from ledger.history import doer
from ledger.journal import in_portions
from ledger.ledger import Ledger
from ledger.progress import Progress
from ledger.state import action


class Page(NamedTuple):
    """The entities with something to do, how many had nothing, where to go on, and whether that was all."""

    keys: list[str]
    skipped: int
    cursor: dict[str, Any]
    last: bool


def next_page(ledger: Ledger, tx: Transaction, campaign: Campaign, migration: type[Migration], size: int) -> Page:
    """The next entities of the campaign after its cursor."""
    match campaign.options.get("from"):
        case "campaign":
            return _of_campaign(ledger, tx, campaign, size)
        case "streams":
            return _of_streams(ledger, tx, campaign, size)
        case _:
            return _of_keys(ledger, tx, campaign, migration, size)


def _of_keys(ledger: Ledger, tx: Transaction, campaign: Campaign, migration: type[Migration], size: int) -> Page:
    cursor = campaign.cursor
    source, after, taken = int(cursor.get("source", 0)), cursor.get("after"), int(cursor.get("taken", 0))
    page = ledger.store.page(tx, migration.all_keys(), source, after, size)
    keys = [key_text(key) for key in page.keys if not is_null(key)]
    keys = [key for key in keys if in_sample(key, campaign.options.get("sample"))]
    if "later" in cursor:
        known = ledger.journal.known(tx, campaign.migration, keys)
        keys = [key for key in keys if key not in known]
    heads = ledger.journal.heads(tx, campaign.migration, keys, lock=False)
    todo, skipped = _split(campaign, keys, heads)
    limit = campaign.options.get("limit")
    last = page.after is None and source + 1 == len(migration.all_keys())
    if limit is not None and taken + len(todo) >= limit:
        todo, last = todo[: max(0, limit - taken)], True
    ahead = {"source": source + (page.after is None), "after": page.after, "taken": taken + len(todo)}
    if "later" in cursor:
        return Page(todo, 0, ahead | {"later": cursor["later"] + len(todo)}, last)
    return Page(todo, skipped, ahead, last)


def looks_again(campaign: Campaign) -> bool:
    """Whether keys may have come behind the campaign's cursor, which nobody has looked for yet: only where it takes all that there are."""
    options = campaign.options
    return (
        campaign.kind == "migrate"
        and options.get("from") is None
        and not options.get("only")
        and options.get("limit") is None
        and "later" not in campaign.cursor
    )


def _of_streams(ledger: Ledger, tx: Transaction, campaign: Campaign, size: int) -> Page:
    after = int(campaign.cursor.get("after", 0))
    heads = ledger.journal.page(tx, campaign.migration, after, size, **_wanted(campaign))
    todo = [head.key for head in heads if action(campaign, head) != "skip"]
    cursor = {"after": heads[-1].id if heads else after}
    return Page(todo, len(heads) - len(todo), cursor, len(heads) < size)


def _of_campaign(ledger: Ledger, tx: Transaction, campaign: Campaign, size: int) -> Page:
    after, other = int(campaign.cursor.get("after", 0)), int(campaign.options["campaign"])
    batches, wave = ledger.campaigns.keys_of(tx, other, after, max(1, size // 100)), campaign.options.get("wave")
    keys = [key for batch in batches for key in batch.keys if wave in (None, batch.wave)]
    heads = ledger.journal.heads(tx, campaign.migration, keys, lock=False)
    own = done_by(ledger, tx, other, heads.values())
    todo = [key for key in keys if key in heads and heads[key].id in own and action(campaign, heads[key]) != "skip"]
    cursor = {"after": batches[-1].number if batches else after}
    return Page(todo, len(keys) - len(todo), cursor, len(batches) < max(1, size // 100))


def done_by(ledger: Ledger, tx: Transaction, campaign: int, heads: Collection[Head]) -> set[int]:
    """The ids of the streams whose entities are as that campaign left them: one that it skipped, or that another has done since, is not its own."""
    last = ledger.journal.last_events(tx, [head for head in heads if head.campaign == campaign])
    found = {head.id or 0 for head in heads if head.key in last and doer([last[head.key]]) == campaign}
    later = [head.id or 0 for head in heads if head.campaign >= campaign and head.id not in found]
    for page in in_portions(partial(ledger.journal.events, tx), later) if later else ():
        found |= {stream for stream, events in page.items() if doer(events) == campaign}
    return found


def _split(campaign: Campaign, keys: Sequence[str], heads: dict[str, Head]) -> tuple[list[str], int]:
    """Those of the keys with something to do, and the number of the others; keys that this campaign has done are neither."""
    todo, skipped = [], 0
    for key in keys:
        head = heads.get(key) or Head(campaign.migration, key)
        if action(campaign, head) != "skip":
            todo.append(key)
        elif head.campaign != campaign.id:
            skipped += 1
    return todo, skipped


def in_sample(key: str, share: float | None) -> bool:
    """Whether the entity is in a sample of that share; the same entities every time, and those of a smaller share in a larger one."""
    if share is None:
        return True
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") < share * 2**64


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which entities somebody chose: a share of them, or those that are named, or both; it can be pickled."""

    share: float | None
    named: frozenset[str]

    def __call__(self, key: str) -> bool:
        return in_sample(key, self.share) and (not self.named or key in self.named)


def is_null(key: Any) -> bool:
    """Whether the key names no entity: all of it is NULL."""
    return key is None or (isinstance(key, tuple) and all(part is None for part in key))


def count(ledger: Ledger, tx: Transaction, campaign: Campaign) -> int:
    """How many entities a campaign over streams or over another campaign's entities will look at."""
    if campaign.options.get("from") == "campaign":
        progress = ledger.campaigns.progress(tx, [int(campaign.options["campaign"])])[int(campaign.options["campaign"])]
        wave = campaign.options.get("wave")
        return progress.planned if wave is None else progress.waves.get(wave, Progress()).planned
    return ledger.journal.matching(tx, campaign.migration, **_wanted(campaign))


def _wanted(campaign: Campaign) -> dict[str, Any]:
    """Which streams a campaign over streams looks at."""
    return {"failed": True} if campaign.options.get("failed") else {"state": campaign.options.get("state", "migrated")}
