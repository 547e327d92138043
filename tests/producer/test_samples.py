"""Sample data of every bundled migration, by the command, in an empty database and nowhere else."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from backtrail.discovery import announced, find
from backtrail.errors import UsageError
from backtrail.stores import open_store
from producer.samples import fill, with_file
from tests.engine import Engine

DOCUMENTS = ("coaching-redesign", "checkin-series")


def test_every_bundled_migration_is_known_here() -> None:
    """One that is added needs sample data too."""
    assert set(announced()) == {"unified-profile", *DOCUMENTS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(mongo: str, name: str) -> None:
    """As many as are asked for, and never twice into the same database."""
    with closing(open_store(mongo)) as store:
        fill(store, find(name), 50)
        assert store.census(find(name).bound({}).cls).total >= 50
        with pytest.raises(UsageError, match="an empty database only, and this one holds"):
            fill(store, find(name), 50)


def test_rows(database: str) -> None:
    """The same on SQL."""
    with closing(Engine(database)) as engine:
        fill(engine.store, find("unified-profile"), 50)
        assert engine.query("SELECT count(*) FROM users") == [(50,)]
        with pytest.raises(UsageError, match="an empty database only"):
            fill(engine.store, find("unified-profile"), 50)


def test_the_wrong_kind_of_database_is_refused(mongo: str, sqlite: str) -> None:
    """A migration of documents has none for SQL, nor the other way round."""
    with closing(open_store(mongo)) as store, pytest.raises(UsageError, match="of PostgreSQL or SQLite"):
        fill(store, find("unified-profile"), 10)
    with closing(open_store(sqlite)) as store, pytest.raises(UsageError, match="of MongoDB"):
        fill(store, find("checkin-series"), 10)


def test_a_migration_of_somebodys_own_has_none(sqlite: str) -> None:
    """And is told so."""
    with closing(open_store(sqlite)) as store, pytest.raises(UsageError, match="has no sample data"):
        fill(store, find("tests.backtrail.test_migration:Named"), 10)


def test_no_empty_file_stays(sqlite: str, tmp_path: Path) -> None:
    """A file that was made for nothing goes again; one that was there, or holds something by now, stays."""
    file = tmp_path / "data.db"
    with pytest.raises(UsageError), with_file(sqlite):
        assert file.exists()
        raise UsageError("this cannot be meant so")
    assert not file.exists()
    with pytest.raises(UsageError), with_file(sqlite):
        file.write_text("something")
        raise UsageError("this cannot be meant so")
    assert file.read_text() == "something"
    file.write_text("")
    with pytest.raises(UsageError), with_file(sqlite):
        raise UsageError("this cannot be meant so")
    assert file.exists()
    with with_file("postgresql://host/database"):
        pass
    with pytest.raises(FileNotFoundError), with_file(f"sqlite:///{tmp_path}/nowhere/data.db"):
        pass
