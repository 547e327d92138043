"""`make mutation`: small mistakes are put into the modules that the ledger's promises rest on, one at a time; the tests must notice them.

    python -m tests.mutation                     all groups, in a folder that is removed afterwards
    python -m tests.mutation chain --keep /tmp/m one group; what is killed already is not tried again when the folder is given once more
    python -m tests.mutation --write docs/mutation.md

Exit code 1 if a group notices less than 90 % of the mutants that can be noticed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.mutation import report, trial


def say(text: str) -> None:
    """Writes the line now: a run takes a while."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def outcome(group: trial.Group, folder: Path, most: int, seed: int) -> report.Outcome:
    """What came of one group, after a line about it."""
    begin, copy = time.perf_counter(), folder / group.name
    copy.mkdir(parents=True, exist_ok=True)
    trial.attempt(group, copy, most, seed)
    found = report.Outcome(group.name, *trial.mutants(group, copy))
    counted = report.tally(found.mutants, report.reasons())
    said = ", ".join(f"{number} {verdict}" for verdict, number in counted.most_common())
    say(f"{group.name}: {report.score(counted):.1f} % of {found.every} mutants ({said}); {time.perf_counter() - begin:.0f} s")
    return found


def main(arguments: list[str]) -> int:
    """The exit code, after a line for each group and, where asked for, the page."""
    known = {group.name: group for group in trial.groups()}
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="How many small mistakes the tests notice.")
    parser.add_argument("groups", nargs="*", choices=[*known, []], help="of which modules; all by default")
    parser.add_argument("--keep", type=Path, help="a folder for the copies, kept and used again")
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--most", type=int, default=1000, help="how many mutants of a group are tried; more are sampled evenly")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bt-mutation-") as fresh:
        folder = (asked.keep or Path(fresh)).resolve()
        chosen = [known[name] for name in asked.groups] or list(known.values())
        outcomes = [outcome(group, folder, asked.most, asked.seed) for group in chosen]
    if asked.write:
        report.write(asked.write, outcomes)
    scores = [report.score(report.tally(one.mutants, report.reasons())) for one in outcomes]
    return 0 if min(scores) >= report.WANTED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
