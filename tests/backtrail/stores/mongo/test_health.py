"""How far members of a replica set are behind, as the set says itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from backtrail.stores import open_store
from backtrail.stores.base import Store
from backtrail.stores.health import Health
from tests import servers
from tests.servers import until


@contextmanager
def a_store(url: str) -> Iterator[Store]:
    with closing(open_store(url, lock_timeout_ms=1000)) as store:
        yield store


def look(store: Store) -> Health:
    with store.transaction(write=False) as tx:
        return store.health(tx)


def test_alone_nobody_is_behind(mongo: str) -> None:
    """A set of one member has no lag, and hides nothing."""
    with a_store(mongo) as store:
        assert look(store) == Health()


@pytest.mark.long
def test_a_member_that_stops_applying_is_behind() -> None:
    """A member whose application of the log stands still is behind from then on, and no more once it goes on; one that is meant to be late never is."""
    stopping = ("--setParameter", "enableTestCommands=1")
    with (
        servers.mongod() as server,
        servers.mongo_database(server) as url,
        servers.mongo_member(server, *stopping) as member,
        a_store(url) as store,
        MongoClient[dict[str, Any]](url) as here,
        MongoClient[dict[str, Any]](member) as there,
    ):
        rows, copied = here.get_default_database().rows, there.get_database(urlsplit(url).path[1:]).rows
        rows.insert_one({"_id": 1})
        until(lambda: copied.count_documents({}) == 1, what="a member that has everything")
        until(lambda: look(store).replication_lag_s == 0, what="no lag")
        there.admin.command({"configureFailPoint": "rsSyncApplyStop", "mode": "alwaysOn"})

        def late() -> bool:
            rows.insert_one({})  # what was on its way when the member stopped is applied still
            return (look(store).replication_lag_s or 0) > 1.5

        until(late, what="a lag")
        assert 0 < copied.count_documents({}) < rows.count_documents({})
        servers.reconfigure(server, lambda members: [members[0], members[1] | {"secondaryDelaySecs": 3600}])
        assert look(store).replication_lag_s is None
        servers.reconfigure(server, lambda members: [members[0], members[1] | {"secondaryDelaySecs": 0}])
        there.admin.command({"configureFailPoint": "rsSyncApplyStop", "mode": "off"})
        until(lambda: look(store).replication_lag_s == 0, what="a member that has caught up")
        assert copied.count_documents({}) == rows.count_documents({})


@pytest.mark.long
def test_who_may_not_see_is_told_what_to_grant() -> None:
    """A user of the data alone sees no lag, and the role is named that shows it; with it, nothing is hidden."""
    with servers.mongod(auth=True) as server, servers.mongo_database(server) as url:
        name = urlsplit(url).path[1:]
        with MongoClient[dict[str, Any]](server) as root:
            root.admin.command("createUser", "worker", pwd="secret", roles=[{"role": "readWrite", "db": name}])
            with a_store(url.replace("root:root@", "worker:secret@")) as store:
                assert "clusterMonitor" in (look(store).hidden or "")
                root.admin.command("grantRolesToUser", "worker", roles=["clusterMonitor"])
                assert look(store) == Health()
