"""Before a rollback is opened: nothing of what others wrote since, or built on it, may be overwritten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from backtrail.discovery import Found
from backtrail.errors import BacktrailError, UsageError
from backtrail.image import Image, Ref
from backtrail.keys import parse_key
from backtrail.stores.base import Difference, Transaction
from ledger.campaigns import UNFINISHED
from ledger.deleted import not_to_resurrect, told
from ledger.entry import Head
from ledger.examine import Scope
from ledger.history import back, expected, fold
from ledger.integrity import flaw
from ledger.journal import in_portions
from ledger.later import written_later
from ledger.ledger import Ledger
from ledger.processes import START, Pool, in_order
from producer.order import Order
from producer.sources import done_by

PAGE = 500

LARGE = 2000
"""Fewer entities than this are looked at sooner than other processes have begun."""


class DriftFound(BacktrailError):
    """A rollback that would overwrite later writes: which entities, and how their rows differ."""

    def __init__(self, drifted: dict[str, list[str]]) -> None:
        names = ", ".join(list(drifted)[:5]) + (" …" if len(drifted) > 5 else "")
        super().__init__(
            f"{len(drifted)} of the entities changed since they were migrated ({names}): --on-drift skip rolls back the others"
        )
        self.drifted = drifted


def refuse_dependents(ledger: Ledger, found: Found, order: Order, keys: Sequence[str] | None) -> None:
    """Nothing, where no migration that requires this one stands on what would be taken back."""
    with ledger.store.transaction(write=False) as tx:
        refuse_on_whole(ledger, tx, found)
        dependents = ledger.campaigns.requiring(tx, found.name)
    for name in (name for name, each in dependents.items() if each):
        _demand_none(found, name, _standing(ledger, name, _chosen(ledger, found, order, keys)))


def refuse_on_whole(ledger: Ledger, tx: Transaction, found: Found) -> None:
    """Nothing, where no migration that requires all of this one stands on it, or is on its way to. Of one that requires entities the worker asks."""
    for campaign in ledger.campaigns.all(tx, states=UNFINISHED):
        options = campaign.options
        if found.name in options.get("requires", ()) and found.name not in options["requires_each"]:
            raise UsageError(campaign.in_the_way(f"requires all of {found.name}"))
    for name, each in ledger.campaigns.requiring(tx, found.name).items():
        if not each:
            _demand_none(found, name, ledger.journal.count(tx, name).get("migrated", 0))


def _demand_none(found: Found, name: str, standing: int) -> None:
    if standing:
        raise UsageError(
            f"{name} requires {found.name}, and {standing} entities of it are migrated: `backtrail rollback {name}` comes first"
        )


def _standing(ledger: Ledger, name: str, pages: Iterable[list[Head]]) -> int:
    """How many of these entities are migrated by this migration."""
    number = 0
    for heads in pages:
        with ledger.store.transaction(write=False) as tx:
            others = ledger.journal.heads(tx, name, [head.key for head in heads], lock=False)
        number += sum(head.state == "migrated" for head in others.values())
    return number


def refuse_drift(ledger: Ledger, found: Found, order: Order, keys: Sequence[str] | None, jobs: int = 1) -> None:
    """Nothing, where nothing was written since to what would be taken back.

    Args:
        ledger: where the streams are.
        found: the migration's code.
        order: the rollback.
        keys: the entities; None for all that the order says.
        jobs: how many processes share the work, if it is enough for that.

    Raises:
        DriftFound: something was.
    """
    scope = Scope(ledger, found, None, code=False)
    resurrect = bool(order.options.get("resurrect"))
    drifted: dict[str, list[str]] = {}
    with _hands(scope, keys, jobs) as begin:
        pages = (Standing(heads, resurrect) for heads in _chosen(ledger, found, order, keys))
        for _, of_page in in_order(begin, pages, jobs):
            drifted |= of_page
    if drifted:
        raise DriftFound(drifted)


@contextmanager
def _hands(
    scope: Scope, keys: Sequence[str] | None, jobs: int
) -> Iterator[Callable[[Standing], Callable[[], dict[str, list[str]]]]]:
    """What begins to look at a page, now or when somebody waits for what it finds."""
    number = len(keys or ())
    if jobs > 1 and keys is None:
        with scope.ledger.store.transaction(write=False) as tx:
            number = scope.ledger.journal.count(tx, scope.cls.name).get("migrated", 0)
    if jobs < 2 or number < LARGE or START != "fork":
        yield lambda page: partial(page.find, scope)
        return
    with Pool(scope, None, jobs, mend="free some") as pool:
        yield pool.begin


@dataclass(frozen=True, slots=True)
class Standing:
    """A page of migrated entities that would be taken back."""

    heads: list[Head]
    resurrect: bool

    def find(self, scope: Scope) -> dict[str, list[str]]:
        """Those that cannot go back, and why."""
        drifted: dict[str, list[str]] = {}
        with scope.ledger.store.transaction(write=False) as tx:
            look = partial(find_drift, scope.ledger, tx, scope.found, scope.types, resurrect=self.resurrect)
            for some in in_portions(look, self.heads):
                drifted |= some
        return drifted


def find_drift(
    ledger: Ledger, tx: Transaction, migration: Found, types: Sequence[str], heads: Sequence[Head], *, resurrect: bool = False
) -> dict[str, list[str]]:
    """Of migrated entities, those that cannot go back, and why: every differing column, or who wrote the row since."""
    events = ledger.journal.events(tx, [head.id for head in heads if head.id is not None])
    found = {
        head.key: [f"its ledger is not what was appended: {wrong}"]
        for head in heads
        if (wrong := flaw(head, events[head.id or 0]))
    }
    # The worker says of one that was erased that it was: there is nothing to compare.
    sound = [head for head in heads if head.key not in found and not head.erased]
    changes = {head.key: fold(events[head.id or 0]).changes for head in sound}
    wanted = {key: expected(of_key) for key, of_key in changes.items()}
    live = tx.fetch([ref for rows in wanted.values() for ref in rows], lock=False)
    for head in sound:
        rows = {ref: image for ref, image in wanted[head.key].items() if ref in live or not resurrect}
        lines = [line for ref, image in rows.items() for line in _drift(ledger, tx, head, ref, image, live.get(ref))]
        if lines:
            found[head.key] = lines
    if not resurrect:
        left = [head.key for head in sound if head.key not in found]
        steps = [back(changes[key], live) for key in left]
        gone = not_to_resurrect(ledger.store, tx, migration.cls, [parse_key(key, types) for key in left], steps)
        found |= {left[at]: [told(migration.cls)] for at in gone}
    return found


def _drift(ledger: Ledger, tx: Transaction, head: Head, ref: Ref, left: Image | None, live: Image | None) -> list[str]:
    differences = ledger.store.differences(left, live)
    where = f"{ref.table} {ledger.store.show_key(ref)}" if differences else ""
    other = written_later(ledger, tx, head, ref, left, live) if differences else None
    if other is not None:
        return [f"{where}: written since by {other.migration}: roll that back first"]
    if differences and left is None:
        return [f"{where}: this key was taken again by a new row: delete that first, or give it another key"]
    if differences and live is None:
        return [f"{where}: this row was deleted since, and only --resurrect brings it back"]
    return [f"{where}: {one.column}: {_became(one)}" for one in differences]


def _became(one: Difference) -> str:
    if one.schema:
        return f"this column {one.schema}: make it what it was"
    return f"{one.expected!r} became {one.found!r}"


def _chosen(ledger: Ledger, found: Found, order: Order, keys: Sequence[str] | None) -> Iterator[list[Head]]:
    """The migrated entities that the rollback would take back, in pages.

    Each page is read in a transaction of its own, which is over when it is handed out: whoever looks at it opens another, and where readers
    and writers lock the whole file, a writer who waits for the first would let nobody begin the second.
    """
    for heads in _pages(ledger, found, keys):
        migrated = [head for head in heads if head.state == "migrated"]
        if keys is None and (other := order.options.get("campaign")) is not None:
            with ledger.store.transaction(write=False) as tx:
                own = done_by(ledger, tx, int(other), migrated)
            migrated = [head for head in migrated if head.id in own]
        yield migrated


def _pages(ledger: Ledger, found: Found, keys: Sequence[str] | None) -> Iterator[list[Head]]:
    if keys is not None:
        for at in range(0, len(keys), PAGE):
            with ledger.store.transaction(write=False) as tx:
                heads = ledger.journal.heads(tx, found.name, keys[at : at + PAGE], lock=False)
            yield list(heads.values())
        return
    after: int | None = 0
    while after is not None:
        with ledger.store.transaction(write=False) as tx:
            page = ledger.journal.page(tx, found.name, after, PAGE)
        yield page
        after = page[-1].id if page else None
