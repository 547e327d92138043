"""What one transaction makes of some users, by the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.stateful.model import Campaign, Decision, InTheWay, Life, Rejected, Step, action, backwards, first
from tests.stateful.world import World


class Attempt:
    """One transaction for some users."""

    def __init__(self, world: World, campaign: Campaign, keys: Sequence[int], failing: set[int]) -> None:
        self.real, self.campaign = world, campaign
        self.world = world.copy()
        self.keys, self.failing = list(keys), failing
        self.lives = {key: self.world.lives.get(key) or Life() for key in self.keys}
        self.actions = {key: action(campaign, self.life(key)) for key in self.keys}
        self.outcomes: dict[int, str] = {}
        self.events: dict[int, int] = dict.fromkeys(self.keys, 0)
        self.conflicts = 0

    def life(self, key: int) -> Life:
        return self.lives[key]

    def doing(self, *actions: str) -> Iterator[int]:
        return iter([key for key in self.keys if key not in self.outcomes and self.actions[key] in actions])

    def run(self) -> None:
        """Nothing; the copy of the world is as it would be.

        Raises:
            InTheWay, Rejected: it cannot be done like this.
        """
        for key in self.keys:
            self._begin(key)
        for key in self.doing("refresh"):
            self._refresh(key)
        self._take_back()
        anew = self._decided() if self.campaign.kind != "redo" else {}
        self._bring_again(anew)
        self._apply(anew)
        bad = [key for key in anew if self.outcomes.get(key) == "migrated" and self.world.bad(key)]
        if bad:
            raise Rejected(bad)

    def commit(self) -> None:
        """Nothing; the world is the copy."""
        counts = self.campaign.counts
        for key in self.keys:
            outcome = self.outcomes[key]
            counts[outcome] += 1
            if self.events[key]:
                life = self.world.lives.setdefault(key, self.lives[key])
                life.events += self.events[key]
                life.failed = outcome == "failed"
                life.campaign = self.campaign.id
                life.doer = self.campaign.id if outcome in ("migrated", "rolled_back") else life.doer
                life.state = outcome if outcome in ("migrated", "rolled_back") else self._left(life.state, outcome)
        counts["conflicts"] += self.conflicts
        self.real.tables, self.real.lives, self.real.stamps = self.world.tables, self.world.lives, self.world.stamps

    def _left(self, state: str, outcome: str) -> str:
        if outcome == "skipped" and state not in ("migrated", "rolled_back"):
            return "vanished"
        return state or "failed"

    # -- beginning ------------------------------------------------------------------------------------------------

    def _begin(self, key: int) -> None:
        if self.actions[key] == "skip":
            self.outcomes[key] = "skipped"
        elif key in self.failing:
            self._fail(key)
        elif self.life(key).erased:
            if self.actions[key] == "refresh":
                self.outcomes[key] = "skipped"
            else:
                self._fail(key)

    def _fail(self, key: int) -> None:
        if self.events[key]:
            raise Rejected([key])
        self.outcomes[key], self.events[key] = "failed", 2

    def _refuse(self, key: int) -> None:
        if self.campaign.skip:
            self.outcomes[key], self.events[key] = "skipped", 3
        else:
            self._fail(key)

    def _refresh(self, key: int) -> None:
        life = self.life(key)
        decision = self.world.decide(key, first(life.standing))
        if decision is None:
            self._fail(key)
        elif decision == life.decision:
            self.outcomes[key] = "skipped"
        else:
            self.actions[key] = "again"

    # -- back and forth -------------------------------------------------------------------------------------------

    def _take_back(self) -> None:
        for key in self.doing("undo", "again"):
            if self.world.drifted(key) or self.world.gone(key, backwards(self.life(key))):
                self._refuse(key)
        for key in self.doing("undo", "again"):
            life = self.life(key)
            self.events[key] += 1 + len(life.standing)
            self._move(backwards(life))
            life.undone, life.standing = life.standing, []
            if self.actions[key] == "undo":
                self.outcomes[key] = "rolled_back"
                self.events[key] += 1
        self._demand_sound()

    def _decided(self) -> dict[int, Decision]:
        anew = {}
        for key in self.doing("migrate", "again", "redo"):
            decision = self.world.decide(key)
            if decision is not None:
                anew[key] = decision
            elif self.events[key]:
                raise Rejected([key])
            else:
                self.outcomes[key], self.events[key] = "skipped", 3
        return anew

    def _bring_again(self, anew: dict[int, Decision]) -> None:
        for key in self.doing("redo"):
            life = self.life(key)
            moved = any(self.world.at(place) != row for place, row in first(life.undone).items())
            if self.campaign.kind == "redo":
                if moved or self.world.gone(key, life.undone):
                    self._refuse(key)
            elif moved or anew[key] != life.decision:
                self.actions[key] = "migrate"
        for key in self.doing("redo"):
            life = self.life(key)
            self._move(life.undone)
            life.standing, life.undone = life.undone, []
            self.outcomes[key], self.events[key] = "migrated", 2 + len(life.standing)
        self._demand_sound()

    def _move(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.world.put(step.place, step.after)

    def _demand_sound(self) -> None:
        if not self.world.sound():
            raise InTheWay

    # -- anew -----------------------------------------------------------------------------------------------------

    def _apply(self, anew: dict[int, Decision]) -> None:
        for key in self.doing("migrate", "again"):
            if self._foreign(key, anew[key]):
                self._fail(key)
        for key in self.doing("migrate", "again"):
            life = self.life(key)
            steps = [*self._steps(key, anew[key])]
            for step in steps:
                if step.before is None and self.world.at(step.place) is not None:
                    raise InTheWay
                self.world.put(step.place, step.after)
            life.standing, life.undone, life.decision = steps, [], anew[key]
            self.outcomes[key] = "migrated"
            self.events[key] += (not self.events[key]) + len(steps) + anew[key].torn + 1
            self.conflicts += anew[key].torn
        self._demand_sound()

    def _foreign(self, key: int, decision: Decision) -> bool:
        """Whether a row that is to be changed is one that another migrated user has changed, and that change stands."""
        wanted = {("users", key), *(("notes", note) for note in decision.notes)}
        others = (life for other, life in self.world.lives.items() if other != key and life.state == "migrated")
        return any(step.place in wanted for life in others for step in life.standing)

    def _steps(self, key: int, decision: Decision) -> Iterator[Step]:
        world = self.world
        yield Step(("cards", key), None, world.row(**decision.card))
        if decision.done:
            user = world.tables["users"][key]
            yield Step(("users", key), user, world.row(**{**user.values, "done": "yes"}))
        for note in decision.notes:
            yield Step(("notes", note), world.tables["notes"][note], None)
