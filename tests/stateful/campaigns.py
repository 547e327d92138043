"""What campaigns do, by the model: whom they concern, and in which groups."""

from __future__ import annotations

from collections.abc import Iterable

from tests.stateful.attempt import Attempt
from tests.stateful.model import Campaign, InTheWay, Life, Rejected, action, backwards
from tests.stateful.world import World


def refused(world: World, campaign: Campaign) -> set[int] | None:
    """Those for whom a rollback is refused at once; None where somebody is unknown."""
    known = {*world.tables["users"], *(world.lives if campaign.kind != "migrate" else ())}
    if campaign.only is not None and not known.issuperset(campaign.only):
        return None
    if campaign.kind != "rollback" or campaign.skip:
        return set()
    return {key for key in _chosen(world, campaign) if world.drifted(key) or world.gone(key, backwards(world.lives[key]))}


def _chosen(world: World, campaign: Campaign) -> list[int]:
    migrated = [key for key, life in world.lives.items() if life.state == "migrated"]
    if campaign.only is not None:
        return [key for key in migrated if key in campaign.only]
    return [key for key in migrated if campaign.of is None or world.lives[key].doer == campaign.of]


def feed(world: World, campaign: Campaign) -> None:
    """Nothing; the campaign has its batches, and has counted those with nothing to do."""
    world.campaigns[campaign.id] = campaign
    keys = list(_asked(world, campaign))
    todo = keys if campaign.only is not None else [key for key in keys if _todo(world, campaign, key)]
    campaign.counts["skipped"] += len(keys) - len(todo)
    campaign.batches = [todo[at : at + campaign.size] for at in range(0, len(todo), campaign.size)]


def _asked(world: World, campaign: Campaign) -> Iterable[int]:
    if campaign.only is not None:
        return dict.fromkeys(campaign.only)
    if campaign.of is not None:
        return [key for batch in world.campaigns[campaign.of].batches for key in batch]
    if campaign.streams is not None:
        return [
            key
            for key, life in world.lives.items()
            if (life.failed if campaign.streams == "failed" else life.state == campaign.streams)
        ]
    return sorted(world.tables["users"])


def _todo(world: World, campaign: Campaign, key: int) -> bool:
    if campaign.of is not None and (key not in world.lives or world.lives[key].doer != campaign.of):
        return False
    return action(campaign, world.lives.get(key, Life())) != "skip"


def work(world: World, campaign: Campaign) -> None:
    """Nothing; all of its batches are done."""
    for batch in campaign.batches:
        _part(world, campaign, batch, set())


def _part(world: World, campaign: Campaign, keys: list[int], failing: set[int]) -> None:
    while True:
        attempt = Attempt(world, campaign, keys, failing)
        try:
            attempt.run()
        except Rejected as rejected:
            failing |= rejected.keys
        except InTheWay:
            left = [key for key in keys if key not in failing]
            if len(left) > 1:
                half = len(keys) // 2
                _part(world, campaign, keys[:half], failing)
                _part(world, campaign, keys[half:], failing)
                return
            failing |= set(left)
        else:
            attempt.commit()
            return
