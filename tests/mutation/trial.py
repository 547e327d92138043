"""One group of mutants in a copy of the repository: made by mutmut, tried one at a time, read back with what each one changes."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGES = ("backtrail", "ledger", "producer", "worker", "tests")

KILLED = {1: "killed", 3: "killed", 0: "survived", 5: "untested", 33: "untested", None: "untried"}
"""What mutmut's exit codes mean; every other one is a test run that was cut off because it took too long."""

SETUP = """[mutmut]
source_paths =
  backtrail
  ledger
  producer
  worker
only_mutate =
  {files}
pytest_add_cli_args_test_selection =
  {tests}
pytest_add_cli_args =
  -p
  tests.mutation.local
  -p
  no:cacheprovider
  -p
  no:xdist
timeout_constant = 10
timeout_multiplier = 3
track_dependencies = false
use_git_change_detection = false
"""


@dataclass(frozen=True)
class Group:
    """Mutants that belong together: where they are, which they are, and the tests that judge them."""

    name: str
    files: tuple[str, ...]
    only: tuple[str, ...]
    tests: tuple[str, ...]

    def has(self, mutant: str) -> bool:
        return any(fnmatch(mutant, pattern) for pattern in self.only)


@dataclass(frozen=True)
class Mutant:
    """One change of one line, and what the tests made of it."""

    name: str
    verdict: str
    was: str
    now: str

    @property
    def module(self) -> str:
        """The module that it is in."""
        return self.name.partition(".x_")[0].partition(".xǁ")[0]

    @property
    def function(self) -> str:
        """The module and function that it is in."""
        return self.name.partition("__mutmut_")[0].replace(".x_", ".").replace(".xǁ", ".").replace("ǁ", ".")


def groups() -> list[Group]:
    """The groups of groups.toml."""
    found = tomllib.loads((HERE / "groups.toml").read_text())
    return [Group(name, *(tuple(one[part]) for part in ("files", "only", "tests"))) for name, one in found.items()]


def prepare(group: Group, copy: Path) -> None:
    """Nothing; the copy has the packages as they are now, and the settings for mutmut. What was tried there before is kept."""
    for file in group.files:
        if (copy / file).exists() and (copy / file).read_bytes() != (ROOT / file).read_bytes():
            # Its mutants have other numbers now.
            (copy / "mutants" / f"{file}.meta").unlink(missing_ok=True)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", copy)
    tests = [test for test in group.tests if (ROOT / test.partition("::")[0]).exists()]
    (copy / "setup.cfg").write_text(SETUP.format(files="\n  ".join(group.files), tests="\n  ".join(tests)))
    # mutmut copies once; what was mutated keeps its verdicts as long as the function stays as it is.
    for name in PACKAGES:
        for one in (copy / "mutants" / name).glob("**/*.py"):
            if str(one.relative_to(copy / "mutants")) not in group.files:
                one.unlink()
    (copy / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)


def mutmut(copy: Path, *arguments: str) -> None:
    """Nothing; mutmut ran in the copy."""
    environment = {**os.environ, "CI": "1", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    with (copy / "mutmut.log").open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "mutmut", *arguments],
            cwd=copy,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )


def metas(copy: Path, group: Group) -> dict[Path, dict[str, Any]]:
    """What mutmut noted of each mutated file."""
    paths = [copy / "mutants" / f"{file}.meta" for file in group.files]
    return {path: json.loads(path.read_text()) for path in paths if path.exists()}


def attempt(group: Group, copy: Path, most: int, seed: int) -> None:
    """Nothing; every chosen mutant that is not killed yet was tried. mutmut ran once without any before, which made them."""
    prepare(group, copy)
    if len(metas(copy, group)) < len(group.files):
        mutmut(copy, "run", "--max-children", "1", f"{group.files[0][:-3].replace('/', '.')}.*__mutmut_1")
    every = [name for meta in metas(copy, group).values() for name in meta["exit_code_by_key"] if group.has(name)]
    chosen = sorted(every) if len(every) <= most else sorted(random.Random(seed).sample(sorted(every), most))
    (copy / "chosen.json").write_text(json.dumps(chosen))
    verdicts = {name: code for meta in metas(copy, group).values() for name, code in meta["exit_code_by_key"].items()}
    left = [name for name in chosen if KILLED.get(verdicts[name], "timeout") not in ("killed", "timeout")]
    if left:
        mutmut(copy, "run", "--max-children", "1", *left)


def mutants(group: Group, copy: Path) -> tuple[list[Mutant], int]:
    """The chosen mutants with their verdicts, and how many there are to choose from."""
    every = {
        name: code for meta in metas(copy, group).values() for name, code in meta["exit_code_by_key"].items() if group.has(name)
    }
    chosen = json.loads((copy / "chosen.json").read_text())
    found = [(name, KILLED.get(every[name], "timeout")) for name in chosen]
    return [Mutant(name, verdict, *changes(copy, name, verdict)) for name, verdict in found], len(every)


def changes(copy: Path, name: str, verdict: str) -> tuple[str, str]:
    """The lines that the mutant takes away and puts in their place; not looked up for those that were killed."""
    if verdict == "killed":
        return "", ""
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name], cwd=copy, check=True, capture_output=True, text=True
    ).stdout
    lines = [line for line in shown.splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    was, now = ([line[1:].strip() for line in lines if line[0] == sign] for sign in "-+")
    return " ".join(was), " ".join(now)
