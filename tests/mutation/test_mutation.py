"""The counting of mutants; the run itself is `make mutation`."""

from __future__ import annotations

import importlib.util
from collections import Counter

from tests.mutation import report, trial


def mutant(verdict: str, now: str = "y", name: str = "ledger.event.x__bytes__mutmut_3") -> trial.Mutant:
    return trial.Mutant(name, verdict, "x", now)


def test_every_file_and_every_test_that_is_named_exists() -> None:
    """A group whose tests were renamed would be judged by fewer of them, and nobody would notice."""
    groups = trial.groups()
    assert [group.name for group in groups] == ["images", "chain", "drift", "undo"]
    for group in groups:
        for file in group.files:
            assert (trial.ROOT / file).is_file(), file
        for test in group.tests:
            path, _, function = test.partition("::")
            assert f"def {function}(" in (trial.ROOT / path).read_text() if function else (trial.ROOT / path).is_file(), test


def test_only_functions_that_exist_are_named() -> None:
    """A reason for a mutant of a function that was renamed is void, and would hide that the mutant survives elsewhere."""
    known = report.reasons()
    assert len(known) > 10
    for function, _ in known:
        module = next(name for name in _prefixes(function) if importlib.util.find_spec(name))
        source = (trial.ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert f"def {function.rpartition('.')[2]}(" in source, function


def _prefixes(name: str) -> list[str]:
    """The modules that the name may be in, the deepest first that can be looked up."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in (len(parts) - 1, len(parts) - 2) if _is_package(parts[: end - 1])]


def _is_package(parts: list[str]) -> bool:
    return (trial.ROOT.joinpath(*parts)).is_dir()


def test_mutants_are_counted() -> None:
    """What cannot be noticed is left out, what never ends is noticed, and what no test reaches is not."""
    known = {("ledger.event._bytes", "same"): "it is the same"}
    mutants = [mutant("killed")] * 6 + [mutant("timeout"), mutant("survived"), mutant("untested"), mutant("untried")]
    mutants += [mutant("survived", "same"), mutant("killed", "same")]
    counted = report.tally(mutants, known)
    assert counted == Counter(killed=7, timeout=1, survived=1, untested=1, untried=1, equivalent=1)
    assert report.score(counted) == 100 * 8 / 11
    assert report.score(Counter(equivalent=3)) == 100


def test_mutants_are_named_as_people_name_them() -> None:
    """Functions and methods without what mutmut adds to the names."""
    assert mutant("killed").function == "ledger.event._bytes"
    method = mutant("killed", name="backtrail.image.xǁShapeǁdump__mutmut_2")
    assert (method.module, method.function) == ("backtrail.image", "backtrail.image.Shape.dump")


def test_the_page_tells_each_that_was_not_noticed() -> None:
    """Those with a reason apart from those without."""
    known = {("ledger.event._bytes", "same"): "it is the same"}
    page = report.page([report.Outcome("chain", [mutant("killed"), mutant("survived"), mutant("survived", "same")], 3)], known)
    table, missed, equal = page.split("\n## ")[1:]
    assert "| **chain** | **all, of 3 that there are** | **3** | **1** | **0** | **1** | **1** | **50.0 %** |" in table
    assert "      + y\n" in missed and "+ same" not in missed
    assert "it is the same" in equal and "      + same" in equal
