"""Failpoints: what they are told, and that each is where a campaign comes by."""

from __future__ import annotations

import ast
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from backtrail import failpoint
from backtrail.errors import UnknownName, UsageError
from backtrail.failpoint import LOG, NAMES, SEED, VARIABLE, parse
from tests.processes import ROOT

REACHES = """
from backtrail.failpoint import reach
for at in range(1, 21):
    print(at, flush=True)
    reach("worker.received")
"""


def passes(plan: str | None, log: Path, seed: int = 1) -> tuple[int, int]:
    """How many of 20 passes a process lived through, and how it ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BACKTRAIL_")}
    environment |= {"PYTHONPATH": str(ROOT), LOG: str(log), SEED: str(seed)} | ({} if plan is None else {VARIABLE: plan})
    done = subprocess.run([sys.executable, "-c", REACHES], env=environment, capture_output=True, check=False, text=True)
    return len(done.stdout.split()), done.returncode


def test_unset_they_do_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable a pass asks one thing, changes nothing and writes nothing."""
    assert not failpoint._triggers
    monkeypatch.setattr(failpoint, "_pass", lambda name: pytest.fail("a failpoint was looked at"))
    for name in NAMES:
        failpoint.reach(name)
    assert passes(None, tmp_path / "log") == (20, 0)
    assert not (tmp_path / "log").exists()


def test_the_fifth_pass(tmp_path: Path) -> None:
    """A process dies of signal 9 at the pass that was named, and says so in a line first."""
    assert passes("worker.received=#5", tmp_path / "log") == (5, -signal.SIGKILL)
    name, deed, pid = (tmp_path / "log").read_text().split()
    assert (name, deed) == ("worker.received", "process")
    assert pid.isdecimal()


def test_another_failpoint_is_none_of_this_one(tmp_path: Path) -> None:
    """Only the failpoint that is named fires."""
    assert passes("worker.recall=#1", tmp_path / "log") == (20, 0)


def test_a_pass_is_held(tmp_path: Path) -> None:
    """As long as there is the file, and no longer."""
    hold = tmp_path / "log.hold"
    hold.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", REACHES],
        env={**os.environ, "PYTHONPATH": str(ROOT), LOG: str(tmp_path / "log"), VARIABLE: "worker.received=#2!hold"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    hold.unlink()
    assert len(process.communicate(timeout=30)[0].split()) == 18


def test_a_note_kills_nobody(tmp_path: Path) -> None:
    """A failpoint can be told to leave a line and nothing else."""
    assert passes("worker.received=1!note", tmp_path / "log") == (20, 0)
    assert len((tmp_path / "log").read_text().splitlines()) == 20


def test_a_cut_is_to_be_tried_again(tmp_path: Path) -> None:
    """A cut is raised as what a store raises for a lost connection."""
    assert passes("worker.received=#3!cut", tmp_path / "log") == (3, 1)


def test_a_pass_that_is_drawn() -> None:
    """Of a range every pass is drawn now and then, and none besides; a share fires about as often as it says."""
    source = random.Random(7)
    trigger = parse("worker.received=#3-5")["worker.received"]
    drawn: Counter[int] = Counter()
    for _ in range(300):
        trigger.draw(source)
        drawn[next(at for at in range(1, 20) if trigger.fires(source))] += 1
    assert set(drawn) == {3, 4, 5} and min(drawn.values()) > 50
    share = parse("worker.received=0.25")["worker.received"]
    share.draw(source)
    assert 180 < sum(share.fires(source) for _ in range(1000)) < 320


@pytest.mark.parametrize(
    "text", ["worker.received", "worker.received=", "worker.received=#", "worker.received=2", "worker.received=#3!sing"]
)
def test_what_cannot_be_meant_so(text: str) -> None:
    """A plan that makes no sense is refused, and named."""
    with pytest.raises(UsageError, match="write NAME="):
        parse(text)


def test_a_mistyped_name(tmp_path: Path) -> None:
    """A failpoint that does not exist is refused at the start, with the nearest that does."""
    with pytest.raises(UnknownName, match=r"did you mean 'worker\.recall'"):
        parse("worker.recal=0.5")
    assert passes("worker.recal=0.5", tmp_path / "log") == (0, 1)


def test_each_is_somewhere_in_the_code_once() -> None:
    """Every failpoint that is registered has its place in the code, and every place is registered."""
    found: Counter[str] = Counter()
    for folder in ("backtrail", "ledger", "producer", "worker"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
                    (name,) = node.args
                    assert isinstance(name, ast.Constant)
                    found[name.value] += 1
    assert found == Counter(NAMES)
