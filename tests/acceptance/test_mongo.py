"""What only MongoDB can do to a campaign: its server dies in the midst of it, and an application writes the same documents without locks."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests import servers
from tests.acceptance.conftest import a_folder
from tests.acceptance.mongo_eye import MongoEye
from tests.acceptance.world import SLOWLY, World
from tests.processes import Place

KILLED_AT, USERS = 300, 2000


@pytest.fixture
def mortal() -> Iterator[World]:
    """A world on a mongod of its own, which is on the same port and data when it is started again."""
    with a_folder() as folder:
        yield World(Place(folder, f"mongodb://127.0.0.1:{servers.free_port()}/mortal?replicaSet=rs0"), "w")


@contextmanager
def server(world: World) -> Iterator[int]:
    """The process id of the world's mongod."""
    data = world.place.folder / "data"
    data.mkdir(exist_ok=True)
    with servers.mongod(port=int(world.url.split(":")[2].split("/")[0]), data=data) as url:
        with MongoClient(url) as client:
            pid = int(client.admin.command("serverStatus")["pid"])
        yield pid


@pytest.mark.long
def test_the_server_is_killed_with_signal_9(mortal: World) -> None:
    """The server killed in mid-campaign and started again on its data: everybody migrated once, none failed, by the worker of before."""
    world = mortal
    with server(world) as pid:
        world.write(SLOWLY)
        world.populate(USERS)
        before = world.users()
        world.place.run("enqueue", world.source)
        with world.place.worker() as worker:
            world.until_done("c1", KILLED_AT)
            done = world.done("c1")
            assert done < USERS
            os.kill(pid, signal.SIGKILL)
            with server(world) as other:
                assert other != pid
                assert done <= world.done("c1") < USERS
                ended = world.place.json("status", "c1", "--watch")
                assert (ended["state"], ended["migrated"], ended["failed"], ended["skipped"]) == ("completed", USERS, 0, 0)
                world.demand_migrated(before)
                assert worker.process.poll() is None
                assert worker.end() == 0


MERGED = '''
import time

from backtrail import Entity, Keys, Migration, Rows


class Merged(Migration):
    """One person per user, who counts the edits of the user's notes."""

    name = "PRE-split"
    keys = Keys("PRE_users", "_id")
    reads = (Rows("PRE_users", by="_id"), Rows("PRE_notes", by="user_id"))
    writes = ("PRE_users", "PRE_people")

    def migrate(self, user: Entity) -> None:
        time.sleep(0.002)
        row = user.one("PRE_users")
        first, _, last = row["full_name"].partition(" ")
        edits = sum(note["edits"] for note in user.rows("PRE_notes"))
        user.create("PRE_people", {"user_id": user.key, "first": first, "last": last, "edits": edits})
        user.update(row, {"name.first": first, "name.last": last})
'''

READERS, NOTES, PATIENCE_S = 600, 2, 10


class Application(threading.Thread):
    """An application that writes one document after the other, in no order, until it is told to stop; what it wrote, it knows itself."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__()
        self.world, self.random, self.ended = world, random.Random(seed), threading.Event()
        self.visits: Counter[int] = Counter()
        self.edits: Counter[int] = Counter()
        self.failures: list[PyMongoError] = []
        self.longest = 0.0

    def run(self) -> None:
        """Writes until the end; an error of the server ends it too."""
        with MongoClient(self.world.url) as client:
            database = client.get_default_database()
            users, notes = database[f"{self.world.prefix}_users"], database[f"{self.world.prefix}_notes"]
            while not self.ended.is_set() and not self.failures:
                number, begun = self.random.randint(1, READERS), time.monotonic()
                try:
                    # Old code serves those who are not migrated: a document with a name is the new code's.
                    old = {"_id": number, "name": {"$exists": False}}
                    self.visits[number] += users.update_one(old, {"$inc": {"visits": 1}}).modified_count
                    self.edits[number] += notes.update_one({"_id": f"{number}/1"}, {"$inc": {"edits": 1}}).modified_count
                except PyMongoError as error:
                    self.failures.append(error)
                self.longest = max(self.longest, time.monotonic() - begun)


def populate(world: World) -> MongoEye:
    """An eye on users and their notes, whose counters are at 0."""
    eye = world.eye
    assert isinstance(eye, MongoEye)
    world.populate(READERS)
    eye.data[f"{world.prefix}_users"].update_many({}, {"$set": {"visits": 0}})
    eye.data[f"{world.prefix}_notes"].insert_many(
        {"_id": f"{number}/{at}", "user_id": number, "edits": 0} for number in range(1, READERS + 1) for at in range(NOTES)
    )
    eye.data[f"{world.prefix}_notes"].create_index("user_id")
    return eye


@pytest.mark.long
def test_an_application_goes_on_writing(alone_mongo: World, broker: str) -> None:
    """Two workers beside an application on the same documents: no update is lost, nobody fails, and whoever is stale is named and caught up."""
    world = alone_mongo.at(broker)
    world.write(MERGED)
    eye = populate(world)
    data, place = eye.data, world.place
    applications = [Application(world, seed) for seed in (1, 2)]
    with place.worker("first"), place.worker("second"):
        for one in applications:
            one.start()
        try:
            # The application writes as fast as it can: on a busy machine it leaves little of it to the workers, who give way.
            ended = place.json("enqueue", world.source, "--watch", "--batch-size", "50", timeout=300)
        finally:
            for one in applications:
                one.ended.set()
            for one in applications:
                one.join()
        assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", READERS, 0)
        assert [one.failures for one in applications] == [[], []]
        assert max(one.longest for one in applications) < PATIENCE_S

        visits: Counter[int] = sum((one.visits for one in applications), Counter())
        edits: Counter[int] = sum((one.edits for one in applications), Counter())
        assert visits.total() > 100 and edits.total() > visits.total()
        assert {one["_id"]: one["visits"] for one in data[f"{world.prefix}_users"].find()} == {
            number: visits[number] for number in range(1, READERS + 1)
        }
        assert {one["user_id"]: one["edits"] for one in data[f"{world.prefix}_notes"].find({"_id": {"$regex": "/1$"}})} == {
            number: edits[number] for number in range(1, READERS + 1)
        }

        people = {one["user_id"]: one["edits"] for one in data[f"{world.prefix}_people"].find()}
        stale = {number for number, counted in people.items() if counted != edits[number]}
        assert len(stale) > 0 and len(people) == READERS
        found = place.json("verify", world.source, code=1)
        wrong = [check for check in found["checks"] if not check["ok"]]
        assert [(check["name"], check["problems"]) for check in wrong] == [("decisions", len(stale))]
        assert {int(line.split(":")[0]) for line in wrong[0]["examples"]} <= stale

        again = world.rerun("--stale")
        assert (again["state"], again["migrated"], again["failed"]) == ("completed", len(stale), 0)
        assert again["skipped"] == READERS - len(stale)
    people = {one["user_id"]: one["edits"] for one in data[f"{world.prefix}_people"].find()}
    assert people == {number: edits[number] for number in range(1, READERS + 1)}
    assert place.json("verify", world.source)["ok"]
    world.demand_gapless()
