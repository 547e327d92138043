"""`python -m tests.frozen`: freezes a ledger of this version on each store, as `tests/frozen/VERSION/`. Done once, when a version is released."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from backtrail._version import __version__
from ledger.keyring import new_master
from ledger.mongo import bodies
from ledger.note import SigningKey
from tests import servers
from tests.engine import Engine
from tests.frozen import story
from tests.frozen.freeze import freeze

HERE = Path(__file__).parent


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """An empty database of each kind."""
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.postgres() as server,
        servers.postgres_database(server) as postgres,
        servers.mongod() as base,
        servers.mongo_database(base) as mongo,
    ):
        file = Path(folder) / "frozen.db"
        file.touch()
        yield {"sqlite": f"sqlite:///{file}", "postgresql": postgres, "mongodb": mongo}


def main() -> None:
    """Freezes a ledger of each store, open and encrypted."""
    target = HERE / __version__
    target.mkdir()
    master = target / "master"
    master.touch(mode=0o600)
    master.write_text(new_master() + "\n")
    with tempfile.TemporaryDirectory() as folder:
        key = SigningKey.create(Path(folder) / "key", "ledger.example.com/frozen")
    (target / "verifier").write_text(f"{key.verifier}\n")
    for masters, kind in ((None, "open"), (master, "encrypted")):
        # So that a body is in pieces, without a megabyte of test data.
        in_pieces = mock.patch.multiple(bodies, INLINE=2000, PIECE=1500)
        with databases() as urls, in_pieces, mock.patch("producer.campaign.whoami", return_value="tests"):
            for store, url in urls.items():
                engine = Engine(url, masters=masters)
                story.populate(engine)
                seen = story.live(engine, key)
                engine.close()
                (target / f"{store}-{kind}.txt").write_text(freeze(url, servers.postgres_programs()))
                (target / f"{store}-{kind}.json").write_text(json.dumps(seen, indent=0, ensure_ascii=False) + "\n")
    print(f"frozen in {os.path.relpath(target)}")  # noqa: T201 -- it is a program


if __name__ == "__main__":
    main()
