"""`python -m bench`: measures, prints a table per store, and keeps everything as JSON in bench/results."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from backtrail.settings import Settings
from bench.databases import open_databases
from bench.machine import machine
from bench.measures import MEASURES, Figures, Run
from bench.report import NAMES, ratios, table

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Runs the benchmark."""
    given = _arguments()
    # An end from outside is an end like any other: workers and servers go first.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    begin = time.monotonic()
    document: dict[str, Any] = {"at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "machine": machine()}
    document |= {"options": {name: value for name, value in vars(given).items() if name != "out"}, "stores": {}}
    with open_databases(given.stores, given.journal) as databases:
        runs = [Run(database, given.users, given.naive_users, given.processes, given.batch_size) for database in databases]
        samples: list[dict[str, list[Figures]]] = [{} for _ in runs]
        for repeat in range(given.repeats):
            for run, found in zip(runs, samples, strict=True):
                for name in given.measures:
                    for measure, figures in MEASURES[name](run).items():
                        found.setdefault(measure, []).append(figures)
                        rate = figures["users"] / figures["seconds"]
                        print(
                            f"{repeat + 1}: {run.database.name}: {NAMES[measure]}: {rate:,.0f} users/s",
                            file=sys.stderr,
                            flush=True,
                        )
        for run, found in zip(runs, samples, strict=True):
            with run.fresh() as url:
                settings = run.database.settings(url)
            document["stores"][run.database.name] = {"settings": settings, "samples": found, "ratios": ratios(found)}
    document["seconds"] = round(time.monotonic() - begin)
    _print(document)
    out: Path = given.out or RESULTS / f"{document['at'].replace(':', '')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"\nkept in {out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Speed of unified-profile against references in the same run."
    )
    parser.add_argument("--stores", nargs="+", choices=["postgresql", "sqlite"], default=["postgresql", "sqlite"])
    parser.add_argument("--users", type=int, default=20_000, help="users for the bulk script and for Backtrail")
    parser.add_argument("--naive-users", type=int, default=1_000, help="users for one task and one commit each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="processes of each worker and of the bulk script")
    parser.add_argument("--batch-size", type=int, default=Settings.model_fields["batch_size"].default, help="as of `enqueue`")
    parser.add_argument("--measures", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--journal", choices=["wal", "delete"], default="wal", help="SQLite's journal mode")
    parser.add_argument("--out", type=Path, help="where to keep the JSON")
    given = parser.parse_args()
    if given.naive_users > given.users:
        parser.error("--naive-users are some of --users")
    return given


def _print(document: dict[str, Any]) -> None:
    print("unified-profile; " + ", ".join(f"{name} {value}" for name, value in document["machine"].items()))
    for name, store in document["stores"].items():
        settings = ", ".join(f"{key} {value}" for key, value in store["settings"].items())
        print(f"\n{table(name, store['samples'])}\n{name}: {settings}")
    print(
        f"\n{len(NAMES)} measures took turns, {document['options']['repeats']} times, in {document['seconds']} s: medians, and the spread"
    )


if __name__ == "__main__":
    main()
