"""Opens campaigns: everything that can be wrong is found here, before anything is changed."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backtrail.discovery import Found, find
from backtrail.errors import Quarantine, UnknownName, UsageError
from backtrail.keys import key_text, parse_key
from backtrail.migration import Keys
from backtrail.stores.base import KeyCensus, Transaction
from ledger.campaigns import GOING_BACK, UNFINISHED, Campaign, Kind
from ledger.keyring import is_token
from ledger.ledger import Ledger
from ledger.presence import milliseconds
from ledger.subject import places_of
from producer.drift import refuse_dependents, refuse_drift, refuse_on_whole
from producer.order import Order
from producer.sources import count
from producer.throttle import batch_size
from producer.waves import bounds, cut


def open_campaign(ledger: Ledger, found: Found, order: Order, *, dry_run: bool = False, jobs: int = 1) -> Campaign:
    """The campaign that was opened; in a dry run, the one that would be, and nothing is created.

    Args:
        ledger: where it is opened.
        found: the migration's code.
        order: what is to be done.
        dry_run: whether nothing is to be created.
        jobs: how many processes look for drift before a large rollback.

    Raises:
        UsageError: something is wrong with what was asked for; nothing was changed.
        DriftFound: a rollback would overwrite later writes; nothing was changed.
    """
    store = ledger.store
    if order.params:
        order = replace(order, options={**order.options, "own_params": True})  # they count, whatever was recorded
    if order.kind != "migrate":
        order = replace(order, params=_completed(found, order.params, last_params(ledger, found)))
    if order.kind not in GOING_BACK:
        found.instance(order.params)
    found = found.bound(order.params)
    store.check(found.cls)
    census = store.census(found.cls)
    keys = _parsed(order.only, census.types)
    demand_known(ledger, found, keys, order.kind)
    _demand_required(ledger, found, order)
    if not dry_run:
        ledger.create()
    with store.transaction(write=False) as tx:
        if not ledger.exists(tx):
            raise UsageError(f"nothing was ever migrated by {found.name}: there is nothing to roll back")
        ended = _ended_by(ledger, tx, order)
        _demand_owned(ledger, tx, found, order, keys, but=ended)
        keys = _without_erased(ledger, tx, found, keys)
    if order.kind == "rollback":
        refuse_dependents(ledger, found, order, keys)
    if order.kind == "rollback" and order.options.get("on_drift") != "skip":
        refuse_drift(ledger, found, order, keys, jobs)
    if not dry_run:
        ledger.journal.remember(store, [store.shape(name) for name in found.cls.writes])
    with store.transaction(write=not dry_run) as tx:
        if order.kind == "rollback":
            refuse_on_whole(ledger, tx, found)  # once more: to look for drift may have taken long
        campaign = _ordered(ledger, tx, found, order, keys, census)
        if dry_run:
            return campaign
        campaign = ledger.campaigns.open(tx, _in_waves(campaign))
        if keys is not None:
            batches, waves = cut(keys, 0, campaign.options.get("bounds", ()), batch_size(campaign))
            ledger.campaigns.add_batches(tx, campaign, 1, batches, waves)
        if ended is not None:
            _end(ledger, tx, ended, campaign)
    return campaign


def _ordered(
    ledger: Ledger, tx: Transaction, found: Found, order: Order, keys: Sequence[str] | None, census: KeyCensus
) -> Campaign:
    """The campaign that is to be opened, without its number."""
    places = places_of(found.cls)
    campaign = Campaign(
        id=0,
        migration=found.name,
        source=found.source,
        kind=order.kind,
        options={
            **order.options,
            **requirements(ledger, tx, found, order),
            "batch_size": order.batch_size,
            "only": keys is not None,
            **({} if places == [0] else {"subject": places}),
            **({"nulls": dict(census.nulls)} if census.nulls else {}),
        },
        params=order.params,
        key_types=census.types,
        fingerprint=found.fingerprint,
        null_keys=census.null,
        by=whoami(),
        reason=order.reason,
        fed=keys is not None,
        opened_at=milliseconds(tx),
    )
    return replace(campaign, total=len(keys) if keys is not None else _total(ledger, tx, campaign, census.total))


def _in_waves(campaign: Campaign) -> Campaign:
    waves = campaign.options.get("waves")
    return campaign if waves is None else replace(campaign, options=campaign.options | {"bounds": bounds(waves, campaign.total)})


def _ended_by(ledger: Ledger, tx: Transaction, order: Order) -> Campaign | None:
    """The halted campaign of which the order takes back what was done: to take it back is to end it."""
    if order.kind != "rollback" or order.options.get("from") != "campaign":
        return None
    other = ledger.campaigns.get(tx, int(order.options["campaign"]))
    return other if other is not None and other.state == "halted" else None


def _end(ledger: Ledger, tx: Transaction, campaign: Campaign, by: Campaign) -> None:
    now = milliseconds(tx)
    if not ledger.campaigns.move(tx, campaign, "cancelled", now=now, leaving="halted"):
        raise UsageError(
            f"{campaign.name} was let go on meanwhile: `backtrail pause {campaign.name}`, then `backtrail cancel {campaign.name}`"
        )
    ledger.campaigns.record_move(
        tx, campaign, moved("cancelled", now, f"{by.name} takes back what it did", campaign.fingerprint, None)
    )
    ledger.campaigns.recall_sent(tx, campaign.id)


def last_params(ledger: Ledger, found: Found, *, readable: bool = False) -> dict[str, Any]:
    """The parameters of the last campaign that migrated: those of a rerun, rollback or verification to which nothing else is said.

    Args:
        ledger: where it is.
        found: the migration.
        readable: the last that can be read, for whoever says of the others that they cannot.
    """
    with ledger.store.transaction(write=False) as tx:
        campaigns = ledger.campaigns
        if not ledger.exists(tx):
            return {}
        earlier = campaigns.all_readable(tx, found.name) if readable else campaigns.all(tx, migration=found.name)
    params = [campaign.params for campaign in earlier if campaign.kind not in GOING_BACK]
    return params[-1] if params else {}


def _completed(found: Found, given: Mapping[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """The last parameters, and in place of them those that are given; beside these, only what the migration still takes of the others."""
    model = found.cls.params_model() if given else None
    if model is not None:
        taken = {*model.model_fields, *(field.alias for field in model.model_fields.values())}
        last = {name: value for name, value in last.items() if name in taken}
    return last | dict(given)


def as_last(ledger: Ledger, found: Found) -> Found:
    """The migration with the names that its last campaign gave its tables."""
    return found.bound(last_params(ledger, found))


def mended(ledger: Ledger, campaign: Campaign) -> str | None:
    """The fingerprint of the migration's code as it is now, where that is not the campaign's and the campaign decides by it.

    Raises:
        UsageError: the code cannot be loaded, or does not fit the database or the campaign's parameters.
    """
    if campaign.kind in ("rollback", "redo"):
        return None
    found = find(campaign.source)
    if found.fingerprint == campaign.fingerprint:
        return None
    if found.name != campaign.migration:
        raise UsageError(
            f"{campaign.source} is now the migration {found.name}, and {campaign.name} is one of {campaign.migration}"
        )
    ledger.store.check(found.bound(campaign.params).cls)
    found.instance(campaign.params)
    return found.fingerprint


def moved(to: str, at: int, reason: str | None, code: str, mended_code: str | None) -> dict[str, Any]:
    """What a campaign remembers of being paused, let go on or ended."""
    return {"to": to, "by": whoami(), "at": at, "reason": reason} | ({"code": [code, mended_code]} if mended_code else {})


def whoami() -> str:
    """Who runs this command, on which machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{platform.node()}"


def _total(ledger: Ledger, tx: Transaction, campaign: Campaign, keys: int) -> int:
    if campaign.options.get("from") in ("streams", "campaign"):
        return count(ledger, tx, campaign)
    total = keys
    if campaign.options.get("sample") is not None:
        total = round(total * campaign.options["sample"])  # made exact when the last key is fed
    limit = campaign.options.get("limit")
    return total if limit is None else min(total, limit)


def _parsed(only: Iterable[str] | None, types: Sequence[str]) -> list[str] | None:
    if only is None:
        return None
    # The token of one that was erased is printed in place of its key, and is taken back.
    return list(dict.fromkeys(text if is_token(text) else key_text(parse_key(text, types)) for text in only))


def known_keys(ledger: Ledger, found: Found, only: Sequence[str]) -> list[str]:
    """The keys that somebody names, as the ledger writes them.

    Raises:
        UsageError: one is no key of the migration, or no entity of that key is or was there.
    """
    keys = _parsed(only or None, ledger.store.census(found.cls).types)
    demand_known(ledger, found, keys, "rerun")
    return keys or []


def demand_known(ledger: Ledger, found: Found, keys: Sequence[str] | None, kind: Kind) -> None:
    """Nothing, where every key is in the sources, spelled as they spell it, or has a stream."""
    if keys is None:
        return
    sources = ", ".join(f"{one.table}.{'+'.join(one.columns)}" for one in found.cls.all_keys())
    try:
        missing, spelled = _missing(ledger, found, keys, kind)
    except Quarantine as error:  # no row can hold it
        which = repr(keys[0]) if len(keys) == 1 else "of one of these keys"
        raise UsageError(f"{found.name} can have no entity {which}: keys are values of {sources}: {error}") from error
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        mend = f"it is known as {' or '.join(map(repr, spelled))}" if spelled else f"keys are values of {sources}"
        raise UsageError(f"{found.name} knows no entity {missing[0]!r}{more}: {mend}")


def _missing(ledger: Ledger, found: Found, keys: Sequence[str], kind: Kind) -> tuple[list[str], list[str]]:
    """Those of the keys that are neither in the sources nor have a stream, and how the first of them is spelled there."""
    store = ledger.store
    types = store.census(found.cls).types
    with store.transaction(write=False) as tx:
        # Where a function makes the keys, the sources cannot be asked: then only a stream says that an entity is or was there.
        asked = kind == "migrate" or not any(one.key for one in found.cls.all_keys())
        named = [key for key in keys if asked and not is_token(key)]
        there = {named[at] for at in store.existing(tx, found.cls, [parse_key(key, types) for key in named])} if named else set()
        missing = [key for key in keys if key not in there]
        if missing and kind != "migrate" and ledger.exists(tx):
            streams = ledger.journal.heads(tx, found.name, missing, lock=False)
            missing = [key for key in missing if key not in streams]
        spelled = store.known_as(tx, found.cls, parse_key(missing[0], types)) if missing and missing[0] in named else []
    return missing, spelled


def _without_erased(ledger: Ledger, tx: Transaction, found: Found, keys: list[str] | None) -> list[str] | None:
    """The keys, those of entities that were erased as what is left of them: no list names them again."""
    heads = ledger.journal.heads(tx, found.name, keys, lock=False) if keys is not None else {}
    gone = {key: head.place for key, head in heads.items() if head.erased and head.place is not None}
    return keys if keys is None else [gone.get(key, key) for key in keys]


def _demand_owned(
    ledger: Ledger, tx: Transaction, found: Found, order: Order, keys: Sequence[str] | None, but: Campaign | None
) -> None:
    """Nothing, where no open campaign still owns one of the entities."""
    going = ledger.campaigns.all(tx, states=UNFINISHED, migration=found.name)
    if order.kind == "migrate" or not going:
        return
    for campaign in going:
        if but is not None and campaign.id == but.id:
            continue
        if keys is None or not campaign.fed or ledger.campaigns.owns(tx, campaign.id, set(keys)):
            raise UsageError(campaign.in_the_way("still owns these entities"))


def requirements(ledger: Ledger, tx: Transaction, found: Found, order: Order) -> dict[str, Any]:
    """Which required migrations are to be looked at entity by entity."""
    if order.kind == "rollback":
        return {}
    each = []
    for name in found.cls.requires:
        other = _required(ledger, tx, found, name)
        if _places(other.cls.all_keys()) == _places(found.cls.all_keys()):
            each.append(name)
            continue
        for campaign in ledger.campaigns.all(tx, states=UNFINISHED, migration=other.name):
            if campaign.kind == "rollback":
                raise UsageError(campaign.in_the_way(f"takes back what {found.name} requires all of"))
        done = ledger.journal.count(tx, other.name).get("migrated", 0)
        total = ledger.store.census(other.cls).total
        if done < total:
            raise UsageError(
                f"{found.name} requires {other.name}, of which {total - done} of {total} entities are not migrated: finish that first"
            )
    # Kept, so that a rollback of those knows who stands on them without this code.
    return {"requires": list(found.cls.requires), "requires_each": each} if found.cls.requires else {}


def _required(ledger: Ledger, tx: Transaction, found: Found, name: str) -> Found:
    """The migration of that name: an installed one, or as the last campaign of it found it."""
    try:
        return as_last(ledger, find(name))
    except UnknownName:
        opened = ledger.campaigns.all(tx, migration=name)
        if not opened:
            raise UsageError(
                f"{found.name} requires {name}, of which no campaign was ever opened here: that comes first"
            ) from None
        return as_last(ledger, find(opened[-1].source))


def _demand_required(ledger: Ledger, found: Found, order: Order) -> None:
    """Nothing, where what must come first has come far enough for this to begin."""
    if not found.cls.requires or order.kind == "rollback":
        return
    with ledger.store.transaction(write=False) as tx:
        if not ledger.exists(tx):
            raise UsageError(
                f"{found.name} requires {found.cls.requires[0]}, and no campaign was ever opened here: that comes first"
            )
        requirements(ledger, tx, found, order)


def _places(keys: Sequence[Keys]) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.table, one.columns) for one in keys]
