"""(k) One entity with very many rows among many small ones: there and back, its neighbours meanwhile, and the memory it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bench.giant.workload import FEW, Giant
from bench.run import POLL_S, Figures, Run, Wrong
from bench.stage import stage


def run_giant(run: Run) -> dict[str, Figures]:
    """The figures of its migration and of the rollback of all."""
    many, neighbours = run.many
    workload = Giant(run.database.name == "mongodb", many, run.warm)
    run = replace(run, workload=workload, users=neighbours + 1)
    users = run.users + run.warm
    with run.fresh() as url:
        old = run.database.digest(url, workload.old)
        with stage(run, url) as on:
            on.warm()
            with _neighbours(run, url, workload.large) as seen:
                figures = on.migrate(run.users)
            _demand(run, url, (users - 1) * FEW + many)
            figures["neighbours_before"] = seen[0] - run.warm
            figures["rows"] = many
            back = on.rollback(users)
        _demand(run, url, 0)
        if run.database.digest(url, workload.old) != old:
            raise Wrong(f"{run.database.name}: the rollback of a large entity changed what was there before")
    return {"giant": figures, "giant_back": back}


def _demand(run: Run, url: str, rows: int) -> None:
    found = run.database.count(url, "postings")
    if found != rows:
        raise Wrong(f"{run.database.name}: {found} rows, not {rows}, beside a large entity")


@contextmanager
def _neighbours(run: Run, url: str, large: int) -> Iterator[list[int]]:
    """How many other entities were there when the large one was seen first; it is known once the context ends."""
    seen: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not seen and not ended.wait(POLL_S):
            if run.database.count(url, "postings", ("account_id", large)):
                seen.append(len(run.database.values(url, "postings", "account_id")) - 1)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
        # It was the very last.
        if not seen:
            seen.append(len(run.database.values(url, "postings", "account_id")) - 1)
