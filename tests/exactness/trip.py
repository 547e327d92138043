"""There and back twice: what a look at the database shows before and after each campaign of one migration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from backtrail import Migration
from tests.engine import Engine
from tests.exactness.matrix import Cell

S = TypeVar("S")


class Trip(NamedTuple, Generic[S]):
    """What was seen; `back` and `end` must be like `before`, and `again` like `after`."""

    before: S
    after: S
    back: S
    again: S
    end: S


class Verdict(NamedTuple):
    """One value that was tried in one case, and what is wrong with it (empty: nothing)."""

    kind: str
    case: str
    wrong: str = ""


def trip(engine: Engine, cls: type[Migration], look: Callable[[], S], *, entities: int, once: bool = False) -> Trip[S]:
    """What `look` gives before and after a migration, its rollback, the redo of that, and (unless `once`) a second rollback.

    Raises:
        AssertionError: not every entity went along: a value was refused or a campaign halted.
    """
    before = look()
    _all("migrated", engine.migrate(cls), engine, cls, entities)
    after = look()
    went_back = engine.rollback(cls)
    _all("rolled_back", went_back, engine, cls, entities)
    back = look()
    _all("migrated", engine.redo(cls, went_back["campaign"]), engine, cls, entities)
    again = look()
    if once:
        return Trip(before, after, back, again, back)
    _all("rolled_back", engine.rollback(cls), engine, cls, entities)
    return Trip(before, after, back, again, look())


def _all(what: str, status: dict[str, Any], engine: Engine, cls: type[Migration], entities: int) -> None:
    if (status[what], status["state"]) != (entities, "completed"):
        reasons = sorted({f"{one['error']}: {one['reason']}" for one in engine.failures(cls).values()})
        raise AssertionError(
            f"{cls.name}: {status[what]} of {entities} {what}, {status['state']} {status.get('halted')}: {reasons[:5]}"
        )


def cells_of(store: str, verdicts: Iterable[Verdict]) -> Iterator[Cell]:
    """The cells of the matrix, in the order in which their kinds first came."""
    tried: dict[tuple[str, str], list[str]] = defaultdict(list)
    for verdict in verdicts:
        tried[verdict.kind, verdict.case].append(verdict.wrong)
    for (kind, case), wrong in tried.items():
        yield Cell(store, kind, case, len(wrong), tuple(filter(None, wrong)))


def unlike(seen: Trip[Any], row: Any, columns: Sequence[str] = ()) -> list[str]:
    """At which stops of the trip the row, or these columns of it, is not what it was."""

    def at(stop: Mapping[Any, Mapping[str, Any]]) -> Any:
        cells = stop.get(row)
        return None if cells is None else [(name, cells[name]) for name in columns or cells]

    stops = (("undone", seen.back, seen.before), ("redone", seen.again, seen.after), ("undone again", seen.end, seen.before))
    return [f"not exact when {name}" for name, one, other in stops if at(one) != at(other)]
