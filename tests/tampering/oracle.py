"""Which entities an edit concerns, seen from the rows alone: whose row, events, shapes or pieces are not what they were."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tests.tampering.dump import Dump, Row

NO_NUMBER = re.compile(r"\(stream (?!-?\d)")
"""What `verify` says of an event that stands under no number: it may, and need not."""


def concerned(before: Dump, after: Dump) -> list[set[str]]:
    """For each stream that is not what it was, the names by which `verify` may call it: its key before and after, or its number."""
    old, new = _views(before), _views(after)
    found = []
    for number in sorted({*old, *new}, key=str):
        if old.get(number) == new.get(number):
            continue
        rows = [view[0] for view in (old.get(number), new.get(number)) if view is not None]
        # What stands under something that is no number at all was taken from a stream that must be named, and is of no use to anybody.
        if isinstance(number, int):
            names = {f"{row['key'][1] or row['migration'][1]}" for row in rows if row}
            gone = {f"(stream {number} of {row['migration'][1]})" for row in rows if row}
            found.append({f"(stream {number})"} | names | gone)
    return found


def named(examples: Iterable[str]) -> set[str]:
    """The entities that the examples name."""
    return {example.partition(": ")[0] for example in examples}


def verdict(concerns: list[set[str]], checks: dict[str, list[str]]) -> str | None:
    """What is wrong with what `verify` says about an edit that concerns these streams; None where it says just that."""
    everything = named(example for examples in checks.values() for example in examples)
    missed = [sorted(names) for names in concerns if not names & everything]
    if missed or not concerns:
        return f"not found: {missed}" if concerns else "the case changes no stream: name whom it concerns"
    others = {name for name in named(checks["ledger"]) - set().union(*concerns) if not NO_NUMBER.match(name)}
    return f"accuses {sorted(others)}, which are what they were" if others else None


def _views(dump: Dump) -> dict[Any, tuple[Row | None, list[Any]]]:
    shapes = {repr(row.get("id")): row for row in dump["shapes"]}
    views: dict[Any, tuple[Row | None, list[Any]]] = {_number(row["id"]): (_plain(row), []) for row in dump["streams"]}
    for event in dump["events"]:
        view = views.setdefault(_number(event["stream"]), (None, []))
        view[1].append(_plain({**event, "shape": shapes.get(repr(event.get("shape")), event.get("shape"))}))
    for piece in dump.get("chunks", ()):
        place = piece["id"] if isinstance(piece["id"], dict) else {}
        views.setdefault(_number(place.get("s")), (None, []))[1].append(_plain(piece))
    return {number: (row, sorted(events, key=repr)) for number, (row, events) in views.items()}


def _plain(row: Row) -> Row:
    # 1 equals True, and 1.0 too: what the database holds is told apart by its type.
    return {name: (type(value).__name__, value) for name, value in row.items()}


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else f"{value}"
