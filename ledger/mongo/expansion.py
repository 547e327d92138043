"""`expand` and its undo on MongoDB, where the schema changes outside of transactions.

What is to be done is appended first, with the state `expanding` or `retracting`; then it is done, step by step; then the end is appended.
Whoever comes after a crash finds a stream whose last event is no end, and goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bson.int64 import Int64
from pymongo import WriteConcern

from backtrail.errors import AuthorMistake, UsageError
from backtrail.migration import Migration
from backtrail.schema.documents import (
    Catalogue,
    DocumentSchema,
    commands,
    declared,
    demand_free,
    demand_ours,
    demand_rights,
    missing,
    perform,
    take_back,
    unsaid,
)
from backtrail.schema.documents.refusal import answered
from backtrail.schema.step import Step
from backtrail.stores.base import Transaction
from backtrail.stores.mongo.store import MongoStore
from ledger.entry import Fact
from ledger.event import Event
from ledger.expansion import Expansion, begin, end, fact, undeclared
from ledger.ledger import Ledger
from ledger.mongo.alone import alone


@dataclass
class Record:
    """What the stream says of the steps that stand, or are just being carried out or taken back."""

    steps: list[Step]
    finished: bool = True
    """Whether the last job has come to its end."""
    new: int = 0
    """How many of the steps a job without an end has added."""


class MongoExpansion(Expansion):
    """What one migration's `expand` adds to a MongoDB database."""

    def __init__(self, ledger: Ledger, migration: Migration) -> None:
        super().__init__(ledger, migration)
        store = ledger.store
        assert isinstance(store, MongoStore)  # noqa: S101 -- this class is chosen by the store's kind
        self._store = store
        self._data = store.database.with_options(write_concern=WriteConcern("majority"))

    # -- what users ask for ---------------------------------------------------------------------------------------

    def expand(self, *, by: str, reason: str | None) -> list[Step]:
        record, new = self._planned()
        if record.finished and not new:
            return []
        demand_rights(self._data, new)
        self.ledger.create()
        with answered("expand"), alone(self._store.ledger_database, by):
            steps = self._finish()
            record, new = self._planned()
            if new:
                demand_free(self._data, new)
                steps += self._add(record.steps, new, by, reason)
        self.ledger.store.forget()
        return steps

    def retract(self, *, by: str, reason: str | None) -> list[Step]:
        if not self._record().steps:
            return []
        with answered("expand --undo"), alone(self._store.ledger_database, by):
            done = self._record().steps
            self.standing()
            demand_ours(self._data, done)
            if done:
                self._say("retracting", [begin("expand --undo", by, reason)])
                self._remove(done)
        self.ledger.store.forget()
        return list(reversed(done))

    def demand_declared(self, tx: Transaction, steps: Sequence[Step]) -> None:
        self._demand_said(steps, "undo")

    def _demand_said(self, steps: Sequence[Step], part: str) -> None:
        if any(part in step.back for step in steps):
            found = unsaid(steps, declared(self.migration.expand), part)
            if found is not None:
                raise undeclared(*found)

    def script(self) -> list[str]:
        record, new = self._planned()
        if record.finished:
            return commands(new)
        return commands([*record.steps[len(record.steps) - record.new :], *new])

    def missing(self) -> list[str]:
        """What the steps added and is not there any more, one name a line of a report."""
        return missing(self._data, self._record().steps)

    # -- planning -------------------------------------------------------------------------------------------------

    def _planned(self) -> tuple[Record, list[Step]]:
        """The stream's record, and the steps that the author asks for beyond it; nothing is changed."""
        # The catalogue comes first: what another starter has added by then is in the stream by now.
        with answered("expand"):
            catalogue = Catalogue(self._data)
        record = self._record()
        done = record.steps
        if not record.finished:
            return record, []
        schema = DocumentSchema(catalogue, done)
        self.migration.expand(schema)
        schema.finish()
        return record, schema.steps

    def _record(self) -> Record:
        with self.ledger.store.transaction(write=False) as tx:
            _, events = self.events(tx)
            _, done = self.steps(tx)
        if not events or events[-1].kind == "end":
            return Record(done)
        new = sum(event.kind == "expanded" for event in _since_last_end(events))
        return Record(done, finished=False, new=new)

    # -- carrying out ---------------------------------------------------------------------------------------------

    def _add(self, done: list[Step], new: list[Step], by: str, reason: str | None) -> list[Step]:
        self._mark(len(done))
        self._say("expanding", [begin("expand", by, reason), *(fact("expanded", step) for step in new)])
        self._carry_out(done, new)
        return new

    def _finish(self) -> list[Step]:
        """The steps of an unfinished job that were carried out just now."""
        record = self._record()
        if record.finished:
            return []
        self._demand_said(record.steps, "commands")
        at = len(record.steps) - record.new
        if record.new:
            return self._carry_out(record.steps[:at], record.steps[at:])
        # An undo that ended half-way: what it has taken back comes again, and whoever wants it gone asks once more.
        return self._carry_out(record.steps, [], again=record.steps)

    def _carry_out(self, done: list[Step], new: list[Step], again: Sequence[Step] = ()) -> list[Step]:
        """Those of the steps that had anything left to do; where one is refused, the new ones are gone again."""
        steps, first = (again, 0) if again else (new, len(done))
        performed: list[Step] = []
        for number, step in enumerate(steps, first):
            try:
                if self._forth(number, step):
                    performed.append(step)
            except (UsageError, AuthorMistake):
                if new:
                    self._give_up(done, new)
                raise
        self._say("expanded", [end("expanded")])
        return performed

    def _give_up(self, done: list[Step], new: list[Step]) -> None:
        # The step that was refused may have been done in part.
        for number, step in reversed(list(enumerate(new, len(done)))):
            self._back(number, step)
        state = "expanded" if done else "retracted"
        self._say(state, [*(fact("retracted", step) for step in reversed(new)), end(state)])

    def _remove(self, done: list[Step]) -> None:
        try:
            for number, step in reversed(list(enumerate(done))):
                self._back(number, step)
        except UsageError:
            # Somebody has written there since it was looked at: all stands again.
            self._carry_out(done, [], again=done)
            raise
        self._say("retracted", [*(fact("retracted", step) for step in reversed(done)), end("retracted")])

    # -- one step -------------------------------------------------------------------------------------------------

    def _forth(self, number: int, step: Step) -> bool:
        """Whether the step had anything left to do."""
        if step.operation != "execute":
            return perform(self._data, step)
        # Whether a command was run cannot be seen in the database: it is written down, before and after.
        stand, unsure = self._stand(number)
        if number < stand:
            return False
        self._mark(number, unsure=True)
        try:
            performed = perform(self._data, step, unsure=unsure and number == stand)
        except (UsageError, AuthorMistake):
            self._mark(number)
            raise
        self._mark(number + 1)
        return performed

    def _back(self, number: int, step: Step) -> None:
        if step.operation != "execute":
            take_back(self._data, step)
            return
        stand, unsure = self._stand(number + 1)
        if number < stand + unsure:
            self._mark(number, unsure=True)
            take_back(self._data, step)
            self._mark(number)

    # -- the record -----------------------------------------------------------------------------------------------

    def _say(self, state: str, facts: Sequence[Fact]) -> None:
        with self.ledger.store.transaction() as tx:
            head, _ = self.events(tx)
            self.append(tx, head, state, facts)

    def _mark(self, number: int, *, unsure: bool = False) -> None:
        """Nothing; it is kept that commands before that step were run, and those after it not; the step's own perhaps."""
        values = {"n": Int64(number), "unsure": unsure}
        self._store.ledger_database["counters"].update_one({"_id": self.stream}, {"$set": values}, upsert=True)

    def _stand(self, otherwise: int) -> tuple[int, bool]:
        found = self._store.ledger_database["counters"].find_one({"_id": self.stream})
        return (otherwise, False) if found is None else (int(found["n"]), bool(found.get("unsure")))


def _since_last_end(events: Sequence[Event]) -> list[Event]:
    ends = [number for number, event in enumerate(events) if event.kind == "end"]
    return list(events[ends[-1] + 1 :] if ends else events)
