"""`python -m bench`: measures, prints a table per store, keeps everything as JSON in bench/results, and fills the page in the docs."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from backtrail.settings import Settings
from bench import mongo, page, picture, plan, postgres, sqlite
from bench.coaching.workload import CoachingRedesign
from bench.database import Database
from bench.forms import FORMS, STORES, Form
from bench.machine import machine
from bench.measures import MEASURES
from bench.report import NAMES, Samples, text
from bench.run import Run
from bench.unified.workload import UnifiedProfile
from bench.workload import Compared

RESULTS = Path(__file__).parent / "results"
WORKLOADS: dict[str, type[Compared]] = {
    "postgresql": UnifiedProfile,
    "sqlite": UnifiedProfile,
    "mongodb": CoachingRedesign,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if a measure failed."""
    given = _arguments(arguments)
    form = _form(given)
    if given.plan:
        print("\n".join(plan.lines(given.stores, form)))
        return 0
    if given.read:
        document = json.loads(given.read.read_text())
    else:
        # An end from outside is an end like any other: workers and servers go first.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        document = _measured(given, form)
    print(text(document))
    if given.picture:
        picture.draw(document, given.picture)
    if given.markdown:
        given.markdown.write_text(page.placed(given.markdown.read_text(), page.figures(document)))
    return 1 if document["failures"] else 0


def _measured(given: argparse.Namespace, form: Form) -> dict[str, Any]:
    begin = time.monotonic()
    document: dict[str, Any] = {"at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "machine": machine()}
    document |= {"processes": given.processes, "repeats": dict(form.repeats), "stores": {}, "failures": []}
    try:
        with _runs(given, form) as runs:
            for run in runs:
                settings = run.look()
                known = {"workload": run.workload.name, "users": run.users, "settings": settings, "samples": {}}
                document["stores"][run.database.name] = known
            for repeat in range(max(form.repeats.values())):
                if repeat and form.minutes is not None and time.monotonic() - begin > 60 * form.minutes:
                    print(f"no repeat after {repeat}: {form.minutes:g} minutes are over", file=sys.stderr)
                    break
                _repeat(document, [(run, name) for run in runs for name in MEASURES if repeat < form.repeats.get(name, 0)])
    finally:
        # Also of a run that is ended.
        document["seconds"] = round(time.monotonic() - begin)
        _keep(document, given.out)
    return document


def _repeat(document: dict[str, Any], turns: list[tuple[Run, str]]) -> None:
    for run, name in turns:
        _measure(run, name, document["stores"][run.database.name]["samples"], document["failures"])


def _measure(run: Run, name: str, samples: Samples, failures: list[str]) -> None:
    begin = time.monotonic()
    try:
        found = MEASURES[name](run)
    except Exception as error:  # noqa: BLE001 -- the others are worth their figures; the exit code tells
        traceback.print_exc()
        failures.append(f"{run.database.name}: {name}: {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}")
        return
    print(f"{run.database.name}: {name}: {time.monotonic() - begin:.1f} s", file=sys.stderr)
    for measure, figures in found.items():
        samples.setdefault(measure, []).append(figures)
        rate = figures["users"] / figures["seconds"]
        print(f"{run.database.name}: {NAMES[measure]}: {rate:,.0f} users/s", file=sys.stderr, flush=True)


@contextmanager
def _runs(given: argparse.Namespace, form: Form) -> Iterator[list[Run]]:
    with ExitStack() as stack:
        opening = {"postgresql": postgres.opened, "mongodb": mongo.opened, "sqlite": lambda: sqlite.opened(given.journal)}
        databases: list[Database] = [stack.enter_context(opening[name]()) for name in given.stores]
        yield [
            Run(
                database,
                WORKLOADS[database.name](),
                form.users[database.name],
                form.naive_users,
                (form.small[database.name], form.large[database.name]),
                form.many,
                given.processes,
                given.batch_size,
                given.warm,
            )
            for database in databases
        ]


def _form(given: argparse.Namespace) -> Form:
    form: Form = FORMS[given.form]
    if given.users:
        form = replace(form, users=dict.fromkeys(STORES, given.users))
    if given.naive_users:
        form = replace(form, naive_users=tuple(given.naive_users))
    if given.sizes:
        form = replace(form, small=dict.fromkeys(STORES, given.sizes[0]), large=dict.fromkeys(STORES, given.sizes[1]))
    if given.measures:
        form = replace(form, repeats={name: form.repeats.get(name, 1) for name in given.measures})
    if given.repeats:
        # What takes long is not repeated by the way.
        once = {name for name, times in form.repeats.items() if times == 1} if not given.measures else set()
        form = replace(form, repeats={name: 1 if name in once else given.repeats for name in form.repeats})
    if given.minutes:
        form = replace(form, minutes=given.minutes)
    return form


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Speed of whole migrations against references in the same run."
    )
    parser.add_argument(
        "--form", choices=list(FORMS), default="default", help="the sizes and repeats; the others change parts of it"
    )
    parser.add_argument("--plan", action="store_true", help="only say what would be run, and about how long it takes")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--measures", nargs="+", choices=list(MEASURES))
    parser.add_argument("--users", type=int, help="users for the bulk script and for Backtrail")
    parser.add_argument("--naive-users", type=int, nargs="+", metavar="N", help="users for one task and one commit each")
    parser.add_argument("--sizes", type=int, nargs=2, metavar="N", help="the two sizes at which the cost of a user is compared")
    parser.add_argument("--repeats", type=int, help="of the measures that are repeated, or of those that are named")
    parser.add_argument("--minutes", type=float, metavar="N", help="no other repeat begins later than this")
    parser.add_argument("--processes", type=int, default=2, help="processes of each worker and of the bulk script")
    parser.add_argument("--batch-size", type=int, default=Settings.batch_size, help="as of `enqueue`")
    parser.add_argument("--journal", choices=["wal", "delete"], default="wal", help="SQLite's journal mode")
    parser.add_argument("--warm", type=int, default=200, help="users who are migrated before the clock starts")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to keep the JSON")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing: report what this JSON holds")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the figures between the markers of this page")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them as SVG")
    given = parser.parse_args(arguments)
    form = _form(given)
    if max(form.naive_users) > min(form.users[store] for store in given.stores):
        parser.error("--naive-users are some of --users")
    return given


def _keep(document: dict[str, Any], out: Path | None) -> None:
    out = out or RESULTS / f"{document['at'].replace(':', '')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"kept in {out}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
