"""The ledger's tables: created once, by however many, and never touched by an older program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backtrail.errors import LedgerTooNew, UnsuitableDatabase
from ledger.sql.upgrade import HEAD
from tests.engine import Engine
from tests.processes import ROOT

VERSIONS = {True: "backtrail.version", False: "backtrail_version"}
STARTER = """
import sys
from backtrail.stores import open_store
from ledger.ledger import Ledger
ledger = Ledger(open_store(sys.argv[1], lock_timeout_ms=20000))
sys.stdin.read(1)
ledger.create()
with ledger.store.transaction(write=False) as tx:
    print(ledger.exists(tx))
"""


def test_a_ledger_is_made_once(engine: Engine) -> None:
    """Creating twice is creating once; before, there is none, and asking makes none."""
    with engine.store.transaction(write=False) as tx:
        assert not engine.ledger.exists(tx)
    engine.ledger.create()
    engine.ledger.create()
    with engine.store.transaction(write=False) as tx:
        assert engine.ledger.exists(tx)
    assert engine.query(f"SELECT version_num FROM {VERSIONS[engine.postgres]}") == [(HEAD,)]


def test_the_newest_step_is_the_last_file() -> None:
    """HEAD names the last step that is there."""
    steps = sorted(path.name[:4] for path in (ROOT / "ledger" / "sql" / "steps" / "versions").glob("0*.py"))
    assert steps[-1] == HEAD


def test_several_can_start_at_once(database: str) -> None:
    """Four processes that create the ledger at the same moment all find it made, and it is made once."""
    engine = Engine(database)
    engine.script("CREATE TABLE something (id integer PRIMARY KEY)")
    command = [sys.executable, "-c", STARTER, database]
    starters = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("x")
        starter.stdin.flush()
    ends = [starter.communicate(timeout=60) for starter in starters]
    assert [out for out, _ in ends] == ["True\n"] * 4, ends
    assert engine.query(f"SELECT count(*) FROM {VERSIONS[engine.postgres]}") == [(1,)]
    engine.close()


def test_a_newer_ledger_is_left_alone(engine: Engine, tmp_path: Path) -> None:
    """A ledger that a newer version wrote is neither read nor upgraded; commands say so in one line and end with 2."""
    engine.script("CREATE TABLE something (id integer PRIMARY KEY)")
    engine.ledger.create()
    engine.execute(f"UPDATE {VERSIONS[engine.postgres]} SET version_num = '9999'")
    with pytest.raises(LedgerTooNew, match="9999"):
        engine.ledger.create()
    with engine.store.transaction(write=False) as tx, pytest.raises(LedgerTooNew, match="upgrade this installation"):
        engine.ledger.exists(tx)
    command = [sys.executable, "-m", "producer.cli", "status", "--database-url", engine.url]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "newer version" in done.stderr


def test_a_ledger_from_before_the_first_release_is_refused(engine: Engine, tmp_path: Path) -> None:
    """Its form is read by nothing any more: commands say so in one line, with what to do, end with 2 and change nothing."""
    engine.script("CREATE TABLE something (id integer PRIMARY KEY)")
    engine.ledger.create()
    version = VERSIONS[engine.postgres]
    engine.execute(f"UPDATE {version} SET version_num = '0001'")
    with pytest.raises(UnsuitableDatabase, match="its step 0001"):
        engine.ledger.create()
    with engine.store.transaction(write=False) as tx, pytest.raises(UnsuitableDatabase, match="drop its ledger"):
        engine.ledger.exists(tx)
    command = [sys.executable, "-m", "producer.cli", "status", "--database-url", engine.url]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "by a version before 0.2.0" in done.stderr
    assert engine.query(f"SELECT version_num FROM {version}") == [("0001",)]
