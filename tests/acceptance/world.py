"""A small world to migrate: its migration's code, its users, and the commands over them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.acceptance.eyes import Eye, Person, User, eye_of
from tests.processes import Place
from tests.servers import until

SPLIT_NAMES = '''
from backtrail import Entity, Keys, Migration, Rows


class SplitNames(Migration):
    """One person per user."""

    name = "PRE-split"
    keys = Keys("PRE_users", "id")
    reads = (Rows("PRE_users", by="id"),)
    writes = ("PRE_users", "PRE_people")

    def migrate(self, user: Entity) -> None:
        row = user.one("PRE_users")
        first, _, last = row["full_name"].partition(" ")
        if not last:
            user.conflict("last", values=[first], chosen=None)
        user.create("PRE_people", {"user_id": user.key, "first": first, "last": last or None})
        user.update(row, {"score": (row["score"] or 0) + 1})
'''

SLOWLY = SPLIT_NAMES.replace("from backtrail", "import time\n\nfrom backtrail").replace(
    "        row = user.one", "        time.sleep(0.002)\n        row = user.one"
)
"""The same, so slow that a test can act in the midst of a campaign."""

STUCK = SPLIT_NAMES.replace("from backtrail", "import os, time\n\nfrom backtrail").replace(
    "        row = user.one", "        time.sleep(60 if 'STUCK' in os.environ else 0)\n        row = user.one"
)
"""A migration that takes a minute for each user, in a worker that is told so."""


@dataclass(frozen=True)
class World:
    """Users of a test's own, named by a prefix, in a place that other tests may share."""

    place: Place
    prefix: str

    @property
    def url(self) -> str:
        """The database."""
        return self.place.database

    @property
    def source(self) -> str:
        """What commands call the migration."""
        return f"{self.prefix}.py"

    @property
    def file(self) -> Path:
        """Where the migration's code is."""
        return self.place.folder / self.source

    @property
    def name(self) -> str:
        """The migration's name."""
        return f"{self.prefix}-split"

    def at(self, broker: str) -> World:
        """The same world with a broker of its own."""
        return World(replace(self.place, broker=broker), self.prefix)

    @property
    def eye(self) -> Eye:
        """What looks at the database."""
        return eye_of(self.url)

    def code(self, code: str = SPLIT_NAMES) -> str:
        """The code with this world's names, and the keys called as its database calls them."""
        return code.replace("PRE", self.prefix).replace('"id"', f'"{self.eye.key}"')

    def write(self, code: str = SPLIT_NAMES) -> None:
        """Writes the migration's code."""
        self.file.write_text(self.code(code))

    def populate(self, users: int) -> None:
        """Makes so many users, none of them migrated; every third has no score."""
        self.eye.populate(self.prefix, users)
        assert len(self.users()) == users and all(name.startswith("Zoë") for _, name, _ in self.users())

    def users(self) -> list[User]:
        """The users as they are."""
        return self.eye.users(self.prefix)

    def people(self) -> list[Person]:
        """What was made of them, without keys of their own."""
        return self.eye.people(self.prefix)

    def rename(self, number: int, full_name: str) -> None:
        """Gives a user another name."""
        self.eye.rename(self.prefix, number, full_name)

    def dump(self, *, but: tuple[str, ...] = ()) -> dict[str, str]:
        """All that the database holds, as a digest for each table or collection."""
        return self.eye.dump(but=but)

    def demand_migrated(self, before: list[User]) -> None:
        """Fails unless every user is migrated exactly once, in the data as in the ledger."""
        assert self.users() == [(number, name, (score or 0) + 1) for number, name, score in before]
        assert self.people() == [(number, *name.split(" ")) for number, name, _ in before]
        assert self.eye.states(self.name) == {"migrated": len(before)}
        self.demand_gapless()

    def demand_gapless(self) -> None:
        """Fails unless every stream of this world has the versions 1, 2, 3 … up to what its row says."""
        assert self.eye.states(self.name)
        assert self.eye.gaps(self.name) == []

    def kinds(self, key: str) -> list[str]:
        """The kinds of one entity's events, in their order."""
        return self.eye.kinds(self.name, key)

    def enqueue(self, *options: str, code: int | None = 0) -> dict[str, Any]:
        """The end of a campaign over all users."""
        document: dict[str, Any] = self.place.json("enqueue", self.source, "--watch", *options, code=code)
        return document

    def rollback(self, *options: str, code: int | None = 0) -> dict[str, Any]:
        """The end of a rollback."""
        document: dict[str, Any] = self.place.json("rollback", self.source, "--watch", *options, code=code)
        return document

    def rerun(self, *options: str, code: int | None = 0) -> dict[str, Any]:
        """The end of a re-run."""
        document: dict[str, Any] = self.place.json("rerun", self.source, "--watch", *options, code=code)
        return document

    def done(self, campaign: str) -> int:
        """How many of the campaign's entities are done, as the database says."""
        return self.eye.done(int(campaign.removeprefix("c")))

    def state(self, campaign: str) -> str:
        """The campaign's state, as the database says."""
        return self.eye.state(int(campaign.removeprefix("c")))

    def until_done(self, campaign: str, users: int, timeout: float = 60) -> None:
        """Returns once so many of the campaign's entities are done."""
        until(lambda: self.done(campaign) >= users, what=f"{users} entities of {campaign}", timeout=timeout)

    def until_state(self, campaign: str, state: str, timeout: float = 60) -> None:
        """Returns once the campaign is in that state."""
        until(lambda: self.state(campaign) == state, what=f"{campaign} {state}", timeout=timeout)


def begun(world: World, users: int, batch: int, code: str) -> list[Any]:
    """The users before a campaign that was opened."""
    world.write(code)
    world.populate(users)
    before = world.users()
    world.place.run("enqueue", world.source, "--batch-size", str(batch))
    return before
