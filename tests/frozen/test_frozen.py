"""A ledger of an earlier version: this one verifies it, rolls back what it holds, and says what was erased from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backtrail.errors import LedgerTooOld
from ledger.leaves import leaves_of
from ledger.note import VerifierKey
from ledger.sealed import Sealed
from ledger.verify import Verifier
from tests.engine import Engine
from tests.frozen import story
from tests.frozen.freeze import thaw
from tests.frozen.migration import Frozen

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
OF_AN_OLDER_FORM = {"0.2.0"}
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "master").exists())
FIXTURES = {"sqlite": "sqlite", "postgresql": "postgres", "mongodb": "mongo"}


@pytest.fixture(
    params=[(version, store, kind) for version in VERSIONS for store in FIXTURES for kind in ("open", "encrypted")], ids="-".join
)
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, dict[str, Any]]]:
    version, store, kind = request.param
    url = request.getfixturevalue(FIXTURES[store])
    thaw(url, (HERE / version / f"{store}-{kind}.txt").read_text())
    masters = None
    if kind == "encrypted":
        # Git does not keep that only its owner may read a file.
        masters = Path(shutil.copy(HERE / version / "master", tmp_path))
        masters.chmod(0o600)
    engine = Engine(url, masters=masters)
    if version in OF_AN_OLDER_FORM:
        with pytest.raises(LedgerTooOld), engine.store.transaction(write=False) as tx:
            engine.ledger.exists(tx)
        engine.ledger.create()
    seen = json.loads((HERE / version / f"{store}-{kind}.json").read_text())
    yield engine, seen | {"verifier": (HERE / version / "verifier").read_text()}
    engine.close()


def test_there_are_frozen_ledgers() -> None:
    """Without them nothing here would be tested."""
    assert {"0.2.0", "0.3.0"} <= set(VERSIONS)


def test_a_ledger_of_an_earlier_version_verifies_and_rolls_back(frozen: tuple[Engine, dict[str, Any]]) -> None:
    """Every event is what was appended, the drift of then is found, and whoever can go back is as before the migration, byte for byte."""
    engine, seen = frozen
    assert story.of(story.rows(engine), 1) == story.of(seen["migrated"], 1) != story.of(seen["before"], 1)
    document = Verifier(engine.ledger, engine.found(Frozen)).run()
    checks = {check["name"]: check for check in document["checks"]}
    assert checks["ledger"]["ok"], checks["ledger"]
    assert checks["ledger"]["sums"] == {"erased": 1}
    assert checks["decisions"]["ok"], checks["decisions"]
    assert [str(story.DRIFTED) == example.partition(":")[0] for example in checks["drift"]["examples"]] == [True]
    assert checks["coverage"]["problems"] == 1, "the one that fails"
    assert set(engine.failures(Frozen)) == {str(story.FAILS)}
    sealed = Sealed(engine.ledger, leaves_of(engine.store), seen["note"], VerifierKey.parse(seen["verifier"].strip()))
    finding = sealed.check()
    assert (finding.problems, finding.examples, finding.checked) == (0, [], len(story.USERS))
    assert finding.sums["unsealed_events"] == 1, "that of the erasure"

    ended = engine.rollback(Frozen, options={"on_drift": "skip"})
    went = [user for user in story.USERS if user not in (story.ERASED, story.DRIFTED)]
    assert (ended["rolled_back"], ended["skipped"], ended["failed"]) == (len(went) - 2, 1, 1)
    assert "erased" in str(engine.failures(Frozen)), "it says why"
    now = story.rows(engine)
    assert story.of(now, *went) == story.of(seen["before"], *went)
    assert story.of(now, story.ERASED) == story.of(seen["migrated"], story.ERASED)


def test_a_ledger_of_an_earlier_version_goes_on(frozen: tuple[Engine, dict[str, Any]]) -> None:
    """Redo and re-runs append to its streams, and it still verifies."""
    engine, seen = frozen
    assert engine.rerun(Frozen, only=[str(story.BACK)])["migrated"] == 1
    assert story.of(story.rows(engine), 1, story.BACK)[1:] != story.of(seen["before"], 1, story.BACK)[1:]
    assert engine.rollback(Frozen, only=["1"])["rolled_back"] == 1
    checks = {check["name"]: check for check in Verifier(engine.ledger, engine.found(Frozen)).run()["checks"]}
    assert checks["ledger"]["ok"], checks["ledger"]
