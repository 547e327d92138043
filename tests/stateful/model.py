"""What Backtrail should do, said a second time with plain dicts: rows, entities and campaigns. It shares no code with the engine.

A row carries a stamp beside its values: whoever writes a row gives it a new one, and going back gives it the old one again. So rows of one
stamp must be the same bytes whenever they are seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

TABLES: dict[str, tuple[str, ...]] = {
    "users": ("id", "kind", "email", "done", "score"),
    "facts": ("id", "user_id", "text"),
    "notes": ("id", "user_id", "code", "score"),
    "cards": ("id", "user_id", "handle", "title"),
    "badges": ("id", "card_id"),
}
"""Users are the entities. A migration reads facts, deletes notes, creates cards, and marks users as done; badges refer to cards."""

UNIQUE = {"notes": "code", "cards": "handle"}

Place = tuple[str, int]


@dataclass(frozen=True)
class Row:
    """A row; rows are equal if their values are."""

    values: dict[str, Any]
    stamp: int = field(compare=False)


@dataclass(frozen=True)
class Step:
    """One change of a row."""

    place: Place
    before: Row | None
    after: Row | None


@dataclass
class Life:
    """One entity as its history leaves it."""

    state: str = ""
    failed: bool = False
    campaign: int = 0
    doer: int = 0
    """The campaign that left it in its state."""
    events: int = 0
    standing: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)
    decision: Decision | None = None
    erased: bool = False


@dataclass(frozen=True)
class Decision:
    """What the migration decides about a user."""

    card: dict[str, Any]
    done: bool
    """Whether the user is to be marked."""
    notes: tuple[int, ...]
    """The notes that go."""
    torn: bool
    """Whether a conflict is noted."""


@dataclass
class Campaign:
    """One run."""

    id: int
    kind: str
    only: list[int] | None = None
    streams: str | None = None
    """Of the entities in this state, or of those that `failed`."""
    of: int | None = None
    """Of the entities that this campaign did."""
    stale: bool = False
    failed: bool = False
    skip: bool = False
    """Whether what drifted is left as it is."""
    size: int = 200
    batches: list[list[int]] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("migrated", "rolled_back", "skipped", "failed", "conflicts"), 0)
    )


class InTheWay(Exception):
    """The database would refuse the group: a value that must be unique is there twice, or somebody refers to a row that goes."""


class Rejected(Exception):
    """Some of the group fail after something was written."""

    def __init__(self, keys: Iterable[int]) -> None:
        super().__init__()
        self.keys = set(keys)


def action(campaign: Campaign, life: Life) -> str:
    """What a campaign does about an entity: each at most once, and nothing where a newer one has done something."""
    if life.campaign >= campaign.id:
        return "skip"
    choose: dict[str, Callable[[], str]] = {
        "migrate": lambda: _migrates(campaign, life),
        "rollback": lambda: "undo" if life.state == "migrated" else "skip",
        "redo": lambda: "redo" if life.state == "rolled_back" else "skip",
        "rerun": lambda: _reruns(campaign, life),
    }
    return choose[campaign.kind]()


def _migrates(campaign: Campaign, life: Life) -> str:
    if life.erased and campaign.only is None:
        return "skip"
    if life.state == "rolled_back":
        return "redo" if campaign.only is not None else "skip"
    return "skip" if life.state == "migrated" else "migrate"


def _reruns(campaign: Campaign, life: Life) -> str:
    if campaign.stale:
        return "refresh" if life.state == "migrated" else "skip"
    if campaign.failed and not life.failed:
        return "skip"
    return {"migrated": "again", "rolled_back": "redo"}.get(life.state, "migrate")


def backwards(life: Life) -> list[Step]:
    """The steps that take back what stands."""
    return [Step(step.place, step.after, step.before) for step in reversed(life.standing)]


def first(steps: Sequence[Step]) -> dict[Place, Row | None]:
    """Each row as it was before the steps."""
    return {step.place: step.before for step in reversed(steps)}


def last(steps: Sequence[Step]) -> dict[Place, Row | None]:
    """Each row as the steps left it."""
    return {step.place: step.after for step in steps}
