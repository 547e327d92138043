"""The model's database and everybody's lives in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.stateful.model import TABLES, UNIQUE, Campaign, Decision, Life, Place, Row, Step, first, last


class World:
    """The database and everybody's lives."""

    def __init__(self, *, references: bool) -> None:
        self.references = references
        self.tables: dict[str, dict[int, Row]] = {table: {} for table in TABLES}
        self.lives: dict[int, Life] = {}
        """In the order in which they began."""
        self.campaigns: dict[int, Campaign] = {}
        self.used: set[int] = set()
        """Ids that notes ever had."""
        self.stamps = 0

    def copy(self) -> World:
        """The same world, to try something in."""
        copy = World(references=self.references)
        copy.tables = {table: dict(rows) for table, rows in self.tables.items()}
        copy.lives = {key: replace(life, standing=[*life.standing], undone=[*life.undone]) for key, life in self.lives.items()}
        copy.stamps = self.stamps
        return copy

    # -- rows -----------------------------------------------------------------------------------------------------

    def row(self, **values: Any) -> Row:
        """A row that somebody has just written."""
        self.stamps += 1
        return Row(values, self.stamps)

    def put(self, place: Place, row: Row | None) -> None:
        """Nothing; the row stands there, or none does."""
        table, key = place
        if row is None:
            self.tables[table].pop(key, None)
        else:
            self.tables[table][key] = row

    def at(self, place: Place) -> Row | None:
        """The row that is there."""
        return self.tables[place[0]].get(place[1])

    def sound(self) -> bool:
        """Whether the database would take these rows."""
        for table, column in UNIQUE.items():
            values = [row.values[column] for row in self.tables[table].values()]
            if len(values) != len(set(values)):
                return False
        return not self.references or all(row.values["card_id"] in self.tables["cards"] for row in self.tables["badges"].values())

    def outside(self, place: Place, values: dict[str, Any] | None) -> bool:
        """Whether the application can write that row, or delete it; if so, it is written."""
        before = self.at(place)
        self.put(place, None if values is None else self.row(**values))
        # What the model forbids on every database alike: a card that has badges stays.
        orphans = any(row.values["card_id"] not in self.tables["cards"] for row in self.tables["badges"].values())
        if self.sound() and not (orphans and place[0] in ("cards", "badges")):
            if place[0] == "notes":
                self.used.add(place[1])
            return True
        self.put(place, before)
        return False

    # -- what migrate decides -------------------------------------------------------------------------------------

    def decide(self, key: int, instead: dict[Place, Row | None] | None = None) -> Decision | None:
        """What is decided about a user, with some rows taken as they were instead; None where there is no user."""
        user = self._view("users", instead).get(key)
        if user is None:
            return None
        texts = [row.values["text"] for _, row in sorted(self._view("facts", instead).items()) if row.values["user_id"] == key]
        notes = tuple(number for number, row in sorted(self._view("notes", instead).items()) if row.values["user_id"] == key)
        title = "+".join(texts)
        kind = user.values["kind"]
        card = {"id": key, "user_id": key, "handle": user.values["email"], "title": f"<{title}>" if kind == "called" else title}
        return Decision(card, user.values["done"] != "yes", notes, kind == "torn")

    def _view(self, table: str, instead: dict[Place, Row | None] | None) -> dict[int, Row]:
        rows = dict(self.tables[table])
        for (name, key), row in (instead or {}).items():
            if name == table:
                rows.pop(key, None)
                if row is not None:
                    rows[key] = row
        return rows

    def stale(self, key: int) -> bool:
        """Whether the migrated user would be decided otherwise now."""
        life = self.lives[key]
        return self.decide(key, first(life.standing)) != life.decision

    # -- what verify should find ----------------------------------------------------------------------------------

    def drifted(self, key: int) -> list[Place]:
        """The rows of a migrated user that are not as they were left."""
        life = self.lives[key]
        return [] if life.erased else [place for place, row in last(life.standing).items() if self.at(place) != row]

    def findings(self) -> dict[str, list[str]]:
        """Whom verify should name, once for each problem, by check."""
        readable = {key: life for key, life in self.lives.items() if not life.erased}
        migrated = [key for key, life in readable.items() if life.state == "migrated"]
        uncovered = [key for key in self.tables["users"] if self.state(key) not in ("migrated", "rolled_back")]
        return {
            "ledger": [],
            "drift": sorted(str(key) for key in readable for _ in self.drifted(key)),
            "coverage": sorted(map(str, uncovered)),
            "checks": sorted(str(key) for key in migrated if self.bad(key)),
            "decisions": sorted(str(key) for key in migrated if self.stale(key)),
        }

    def state(self, key: int) -> str:
        """The user's state; empty for one whom no job ever took."""
        return self.lives[key].state if key in self.lives else ""

    def bad(self, key: int) -> bool:
        user = self.at(("users", key))
        return user is not None and user.values["kind"] == "bad"

    # -- what becomes of users -----------------------------------------------------------------------------------

    def gone(self, key: int, steps: Sequence[Step]) -> bool:
        """Whether the application deleted the user, and the steps would bring rows back, of others than users."""
        brought = {step.place[0] for step in steps if self.at(step.place) is None and step.after is not None}
        return bool(brought) and "users" not in brought and key not in self.tables["users"]

    def erase(self, key: int) -> None:
        """Nothing; what the ledger knew of the user is gone, but for the state."""
        life = self.lives.get(key)
        if life is not None and not life.erased:
            self.lives[key] = replace(life, standing=[], undone=[], decision=None, erased=True, events=life.events + 1)
