"""What came of the mutants, as a page: counted by module, and each one that no test noticed, with why it cannot be noticed where that is so."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.trial import HERE, Mutant

WANTED = 90
"""Percent of the mutants that can be noticed."""

Reasons = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Outcome:
    """The mutants of one group that were tried, and of how many they are."""

    name: str
    mutants: list[Mutant]
    every: int


def reasons() -> Reasons:
    """Why a mutant says the same as the original, by its function and its new lines (equivalent.toml)."""
    found = tomllib.loads((HERE / "equivalent.toml").read_text())["mutant"]
    return {(one["function"], now): one["why"] for one in found for now in one["now"]}


def equivalent(mutant: Mutant, known: Reasons) -> str | None:
    """Why the mutant cannot be noticed; None for one that can, or that a test did notice."""
    return known.get((mutant.function, mutant.now)) if mutant.verdict in {"survived", "untested"} else None


def tally(mutants: Iterable[Mutant], known: Reasons) -> Counter[str]:
    """How many mutants there are of each verdict; those that cannot be noticed are `equivalent`."""
    return Counter("equivalent" if equivalent(one, known) else one.verdict for one in mutants)


def score(counted: Counter[str]) -> float:
    """Percent of the mutants that can be noticed that were; one that never ends is noticed."""
    real = counted.total() - counted["equivalent"]
    return 100 * (counted["killed"] + counted["timeout"]) / real if real else 100.0


def line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def counts(counted: Counter[str]) -> list[object]:
    missed = counted["survived"] + counted["untested"] + counted["untried"]
    return [counted.total(), counted["killed"], counted["timeout"], counted["equivalent"], missed, f"{score(counted):.1f} %"]


def table(outcomes: Sequence[Outcome], known: Reasons) -> list[str]:
    """The rows: every module of a group, and the group as a whole."""
    rows = [line(["group", "module", "mutants", "killed", "never ended", "equivalent", "survived", "noticed"]), line(["---"] * 8)]
    for one in outcomes:
        for module in sorted({mutant.module for mutant in one.mutants}):
            own = tally((mutant for mutant in one.mutants if mutant.module == module), known)
            rows.append(line(["", f"`{module}`", *counts(own)]))
        whole = [one.name, f"all, of {one.every} that there are", *counts(tally(one.mutants, known))]
        rows.append(line([f"**{cell}**" for cell in whole]))
    return rows


def listed(outcomes: Sequence[Outcome], known: Reasons, *, equal: bool) -> list[str]:
    """The mutants that no test noticed: those that cannot be noticed, or the others."""
    rows = []
    for mutant in (mutant for one in outcomes for mutant in one.mutants):
        why = equivalent(mutant, known)
        if mutant.verdict in {"survived", "untested", "untried"} and bool(why) == equal:
            rows.append(f"- `{mutant.function}`{f': {why}' if why else ''}\n\n      - {mutant.was}\n      + {mutant.now}\n")
    return rows or ["None.\n"]


def page(outcomes: Sequence[Outcome], known: Reasons) -> str:
    """The page in the docs."""
    text = (HERE / "mutation.md").read_text()
    for mark, lines in {
        "TABLE": table(outcomes, known),
        "SURVIVED": listed(outcomes, known, equal=False),
        "EQUIVALENT": listed(outcomes, known, equal=True),
    }.items():
        text = text.replace(f"<!-- {mark} -->", "\n".join(lines).rstrip())
    return text


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Nothing; the page says what came of these."""
    path.write_text(page(outcomes, reasons()))
