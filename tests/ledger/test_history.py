"""What streams add up to, against a model that is a dict."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backtrail.image import Image, Ref, Shape, Written
from ledger.event import Event
from ledger.history import Standing, back, counts, expected, fold, forth, kind_of, originals
from ledger.integrity import folded_state

SHAPE = Shape("t", (("id", "int"), ("v", "int")))
REFS = [Ref("t", f"i{number}") for number in range(3)]


def image(value: int | None) -> Image | None:
    return None if value is None else Image(SHAPE, f"i{value}".encode())


class Model:
    """One entity as a person would think of it: rows in a dict, a snapshot from before, and the events that a worker would write."""

    def __init__(self, rows: dict[Ref, int]) -> None:
        self.rows = dict(rows)
        self.events: list[Event] = []
        self.before: dict[Ref, int] | None = None  # the rows before what stands
        self.after: dict[Ref, int] | None = None  # the rows after what was taken back
        self.decisions = 0
        self.state, self.failed = "", False

    def say(self, kind: str, data: dict[str, Any] | None = None, written: Written | None = None) -> None:
        shape = None if written is None else SHAPE
        event = Event(len(self.events) + 1, kind, 1, 0, data=None if data is None else json.dumps(data))
        if written is not None:
            event.ref, event.shape = written.ref, shape
            event.before = None if written.before is None else written.before.data
            event.after = None if written.after is None else written.after.data
        self.events.append(event)

    def write(self, ref: Ref, value: int | None) -> Written:
        written = Written(ref, image(self.rows.get(ref)), image(value))
        if value is None:
            self.rows.pop(ref, None)
        else:
            self.rows[ref] = value
        return written

    def decide(self, changes: list[tuple[int, int | None]]) -> None:
        self.before = dict(self.rows)
        for number, value in changes:
            if self.rows.get(REFS[number]) != value:
                written = self.write(REFS[number], value)
                self.say(kind_of(written), written=written)
        self.decisions += 1
        self.after = dict(self.rows)
        self.say("end", {"state": "migrated", "decision": f"d{self.decisions}"})
        self.state, self.failed = "migrated", False

    def live(self) -> dict[Ref, Image]:
        return {ref: found for ref, value in self.rows.items() if (found := image(value)) is not None}

    def put(self, steps: Any, kind: str | None) -> None:
        for step in steps:
            value = None if step.target is None else int(step.target.data[1:])
            written = self.write(step.ref, value)
            assert written.before == step.live, "each step starts from the row as it stands"
            self.say(kind or kind_of(written), written=written)

    # -- what a worker can do ---------------------------------------------------------------------------------

    def migrate(self, changes: list[tuple[int, int | None]]) -> None:
        if self.state == "migrated":
            return
        self.say("begin", {"job": "migrate"})
        self.decide(changes)

    def rollback(self, _: Any) -> None:
        if self.state != "migrated":
            return
        assert self.before is not None
        self.say("begin", {"job": "rollback"})
        self.put(back(fold(self.events).changes, self.live()), "compensated")
        assert self.rows == self.before
        self.say("end", {"state": "rolled_back"})
        self.state, self.failed = "rolled_back", False

    def redo(self, _: Any) -> None:
        if self.state != "rolled_back":
            return
        self.say("begin", {"job": "redo"})
        self.put(forth(fold(self.events).undone, self.live()), None)
        assert self.rows == self.after
        self.say("end", {"state": "migrated"})
        self.state, self.failed = "migrated", False

    def rerun(self, changes: list[tuple[int, int | None]]) -> None:
        self.say("begin", {"job": "rerun"})
        if self.state == "migrated":
            self.put(back(fold(self.events).changes, self.live()), "compensated")
        self.decide(changes)

    def fail(self, _: Any) -> None:
        self.say("begin", {"job": "rerun"})
        self.say("failed", {"error": "BadValue", "reason": "…"})
        self.state, self.failed = self.state or "failed", True

    def skip(self, _: Any) -> None:
        if self.state not in ("migrated", "rolled_back"):
            return
        self.say("begin", {"job": "rollback"})
        self.say("remark", {"text": "drifted"})
        self.say("end", {"state": self.state, "skipped": True})
        self.failed = False


changes = st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(0, 9))), max_size=5)
jobs = st.lists(st.tuples(st.sampled_from(["migrate", "rollback", "redo", "rerun", "fail", "skip"]), changes), max_size=8)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(REFS), st.integers(0, 9)), jobs)
def test_any_sequence_of_jobs_adds_up_to_what_the_model_says(rows: dict[Ref, int], work: list[tuple[str, Any]]) -> None:
    """After every job the fold knows what stands, what it came from, what a redo brings, and the state."""
    model = Model(rows)
    for name, wanted in work:
        getattr(model, name)(wanted)
        standing = fold(model.events)
        assert folded_state(model.events) == (model.state, model.failed)
        if model.state == "migrated":
            assert model.before is not None
            touched = expected(standing.changes)
            assert {ref: image(model.rows.get(ref)) for ref in touched} == touched
            assert {ref: image(model.before.get(ref)) for ref in touched} == originals(standing.changes)
            assert {ref for ref in REFS if model.rows.get(ref) != model.before.get(ref)} <= set(touched)
            assert standing.undone == []
        else:
            assert standing.changes == []
        assert standing.decision == (f"d{model.decisions}" if model.decisions else None)


def test_the_begin_is_that_of_the_job_that_decided() -> None:
    """A redo keeps the time and campaign of the decision it brings again."""
    events = [
        Event(1, "begin", 1, 100, data="{}"),
        Event(2, "end", 1, 100, data='{"state":"migrated","decision":"d"}'),
        Event(3, "begin", 2, 200, data="{}"),
        Event(4, "end", 2, 200, data='{"state":"rolled_back"}'),
        Event(5, "begin", 3, 300, data="{}"),
        Event(6, "end", 3, 300, data='{"state":"migrated"}'),
    ]
    standing = fold(events)
    assert (standing.decision, standing.begun) == ("d", events[0])


def test_no_events_add_up_to_nothing() -> None:
    """A stream that does not exist yet stands nowhere."""
    assert fold([]) == Standing()
    assert folded_state([]) == ("", False)


def test_changes_are_counted_and_named() -> None:
    """The kind of a change follows from its images."""
    one, two = image(1), image(2)
    assert [kind_of(Written(REFS[0], *pair)) for pair in ((None, one), (one, two), (one, None))] == [
        "created",
        "updated",
        "deleted",
    ]
    assert counts([Event(1, "begin", 1, 0), Event(2, "created", 1, 0), Event(3, "compensated", 1, 0)]) == 2
