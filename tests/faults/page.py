"""The figures of a run as text and as the table in the docs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.faults.scenarios import Result

BEGIN, END = "<!-- figures of a run -->", "<!-- end of the figures -->"


def table(
    names: Sequence[str], fired: Counter[tuple[str, str]], figures: Counter[str], results: Sequence[Result], seconds: float
) -> str:
    """The figures for a terminal."""
    rows = [(name, fired[name, "process"], fired[name, "worker"]) for name in names]
    lines = [f"{'failpoint':26}{'processes':>11}{'workers':>9}"]
    lines += [f"{name:26}{alone or '':>11}{whole or '':>9}" for name, alone, whole in rows]
    lines += [""] + [f"{what:42}{count:>8}" for what, count in sorted(figures.items())]
    return "\n".join(lines)


def markdown(
    names: Sequence[str], fired: Counter[tuple[str, str]], figures: Counter[str], results: Sequence[Result], seconds: float
) -> str:
    """The figures for the docs."""
    lines = ["| failpoint | processes killed | whole workers killed |", "|---|---:|---:|"]
    lines += [f"| `{name}` | {fired[name, 'process']} | {fired[name, 'worker']} |" for name in names]
    times: dict[str, list[float]] = defaultdict(list)
    for result in results:
        times[result.scenario].append(result.seconds)
    lines += ["", "| scenario | times | seconds in all |", "|---|---:|---:|"]
    lines += [f"| {name} | {len(took)} | {sum(took):.0f} |" for name, took in times.items()]
    lines += ["", "| what else was done | times |", "|---|---:|"]
    lines += [f"| {what} | {count} |" for what, count in sorted(figures.items())]
    violations = sum(1 for one in results if one.violation)
    return "\n".join([*lines, "", f"{len(results)} trips in {seconds:.0f} s on 2 cores; {violations} violations."])


def placed(page: str, figures: str) -> str:
    """The page with the figures between its markers."""
    found = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    assert found.search(page), "the page has no place for the figures"
    return found.sub(lambda _: f"{BEGIN}\n{figures}\n{END}", page)
