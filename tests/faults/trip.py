"""A whole trip under faults: migrate, mend and re-run, roll back, redo, roll back; judged after every campaign."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.acceptance.eyes import Eye
from tests.acceptance.world import World
from tests.faults.oracle import Done, oracle_of
from tests.faults.scene import Reference, bad, data, mend

PATIENCE_S = 300.0
"""After how long a campaign that has not ended is stuck."""


class Violation(AssertionError):
    """Something was lost, done twice, or left otherwise than without faults."""


def demand(true: object, words: str) -> None:
    """Nothing, if it is true.

    Raises:
        Violation: it is not.
    """
    if not true:
        raise Violation(words)


@dataclass
class Trip:
    """One world on its way there and back."""

    world: World
    eye: Eye
    users: int
    reference: Reference
    spoiled: bool = False
    options: tuple[str, ...] = ()
    verify: bool = True
    expected: dict[int, Done] = field(default_factory=dict)

    # -- the steps ------------------------------------------------------------------------------------------------

    def migrate(self, disturb: Callable[[int], None]) -> None:
        """All are migrated but the bad."""
        few = len(bad(self.users)) if self.spoiled else 0
        self._campaign(("enqueue", self.world.source, *self.options), Done(self.users, self.users - few, few), disturb)
        self._judge({"migrated": self.users - few, "failed": few} if few else {"migrated": self.users})

    def rerun(self, disturb: Callable[[int], None]) -> None:
        """The bad are mended, and migrated."""
        mend(self.world, self.eye, self.users)
        few = len(bad(self.users))
        self._campaign(("rerun", self.world.source, "--failed"), Done(few, few, 0), disturb)
        self._judge({"migrated": self.users}, self.reference.after)
        self._verify()

    def rollback(self, disturb: Callable[[int], None]) -> None:
        """All are as they were."""
        self._campaign(("rollback", self.world.source, "--all"), Done(self.users, self.users, 0), disturb)
        self._judge({"rolled_back": self.users}, self.reference.before)
        self._verify()

    def redo(self, disturb: Callable[[int], None]) -> None:
        """All are migrated again, as they were."""
        last = f"c{max(self.expected)}"
        self._campaign(("rollback", self.world.source, "--campaign", last), Done(self.users, self.users, 0), disturb)
        self._judge({"migrated": self.users}, self.reference.after)

    # -- what is demanded -----------------------------------------------------------------------------------------

    def _campaign(self, words: tuple[str, ...], expected: Done, disturb: Callable[[int], None]) -> None:
        document = self.world.place.json(*words)
        number = int(document["campaign"][1:])  # a PostgreSQL that was killed leaves some numbers out
        demand(number > max(self.expected, default=0), f"{words}: {document}")
        self.expected[number] = expected
        self._until_completed(number, disturb)

    def _until_completed(self, number: int, disturb: Callable[[int], None]) -> None:
        failures: list[BaseException] = []

        def disturbed() -> None:
            try:
                disturb(number)
            except BaseException as error:  # noqa: BLE001 -- it is raised where it can be heard
                failures.append(error)

        thread = threading.Thread(target=disturbed, daemon=True)
        thread.start()
        begun = time.monotonic()
        while thread.is_alive() or (not failures and not self.ended(number)):
            demand(time.monotonic() - begun < PATIENCE_S, f"c{number} is stuck: {self._state(number)}")
            time.sleep(0.05)
        if failures:
            raise failures[0]
        demand(self._state(number) == "completed", f"c{number} is {self._state(number)}: {self.eye.options(number)[:500]}")

    def ended(self, number: int) -> bool:
        """Whether the campaign goes on no more."""
        return self._state(number) not in {"open", "running", "paused", "unknown"}

    def _state(self, number: int) -> str:
        with suppress(Exception):  # the database may be dead just now
            return self.eye.state(number)
        return "unknown"

    def done(self, number: int) -> int:
        """How many of the campaign's entities are done; 0 where nobody answers."""
        with suppress(Exception):
            return self.eye.done(number)
        return 0

    def _judge(self, states: dict[str, int], wanted: dict[str, str] | None = None) -> None:
        seen = oracle_of(self.eye).look(self.world.name)
        demand(seen.campaigns == self.expected, f"done {seen.campaigns}, expected {self.expected}")
        demand(not seen.twice, f"done twice: {seen.twice[:5]}")
        demand(not seen.gaps, f"gaps: {seen.gaps[:5]}")
        demand(seen.streams == self.users, f"{seen.streams} streams for {self.users} users")
        demand(seen.states == states, f"states {seen.states}, expected {states}")
        planned = {number: done.begun for number, done in self.expected.items()}
        demand(seen.planned == planned, f"planned {seen.planned}, expected {planned}")
        demand(not seen.open_batches, f"{seen.open_batches} batches are open")
        if wanted is not None:
            found = data(self.eye)
            demand(found == wanted, f"the data is {found}, and without faults {wanted}")

    def _verify(self) -> None:
        if self.verify:
            answer = self.world.place.run("verify", self.world.source, "--json", code=None)
            demand(answer.code == 0, f"verify: {answer}")


NOBODY: Callable[[int], None] = lambda _: None  # noqa: E731 -- the disturber of a quiet campaign
