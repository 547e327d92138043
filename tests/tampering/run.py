"""Runs cases of tampering on one ledger: each is written, verified, and taken back; in between, nothing may be found."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from backtrail.errors import BacktrailError
from tests.tampering.cases import Case
from tests.tampering.dump import Dump, Refused
from tests.tampering.oracle import concerned, verdict
from tests.tampering.stage import Stage

CONTROL = 20
"""After so many cases `verify` is asked about the untouched ledger."""


@dataclass
class Result:
    """What came of the cases on one kind of database."""

    cases: int = 0
    found: int = 0
    alarms: int = 0
    controls: int = 0
    refused: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.found} found, {self.alarms} false alarms in {self.controls} looks at the untouched ledger"
            f" ({self.refused} edits that the database refused)"
        )


def run(stage: Stage, cases: Sequence[Case]) -> Result:
    """What came of the cases."""
    result = Result()
    _control(stage, result)
    for case in cases:
        _try(stage, case, result)
        if result.cases % CONTROL == 0:
            _control(stage, result)
    _control(stage, result)
    assert stage.attacker.read() == stage.pristine, "a case was not taken back"
    return result


def _try(stage: Stage, case: Case, result: Result) -> None:
    after: Dump = copy.deepcopy(stage.pristine)
    case.edit(after)
    try:
        changed = stage.attacker.write(stage.pristine, after)
    except Refused:
        result.refused += 1
        return
    # The database may make something else of a value, or leave it as it was: what it says now counts.
    now = stage.attacker.read()
    try:
        wrong = None if now == stage.pristine else _judged(stage, case, now)
    finally:
        stage.attacker.write({name: [] for name in changed}, {name: stage.pristine[name] for name in changed})
    if now == stage.pristine:
        result.refused += 1
        return
    result.cases += 1
    result.found += wrong is None
    if wrong is not None:
        result.missed.append(f"{case.name}: {wrong}")


def _judged(stage: Stage, case: Case, after: Dump) -> str | None:
    concerns = [{name} for name in sorted(case.concerns)] or concerned(stage.pristine, after)
    try:
        checks = stage.verify(sealed=case.sealed)
    except BacktrailError as error:
        return None if case.refusal else f"verify refuses: {type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 -- whatever it is, `verify` must not end by it
        return f"verify fails: {type(error).__name__}: {error}"
    if case.sealed and checks["ledger"]:
        return f"a poor forgery, which the ledger itself betrays: {checks['ledger'][0]}"
    if case.anyone:
        return None if checks["checkpoint"] else "not found: the checkpoint fits"
    return verdict(concerns, checks)


def _control(stage: Stage, result: Result) -> None:
    result.controls += 1
    checks = stage.verify(sealed=True)
    # The one that failed is not covered, and that is no alarm.
    alarms = {name: examples for name, examples in checks.items() if examples} != {"coverage": ["5: failed"]}
    result.alarms += alarms
