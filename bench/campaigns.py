"""(d) to (k): Backtrail end to end, through the embedded broker and one warm worker."""

from __future__ import annotations

from dataclasses import replace

from bench.run import Figures, Run, Wrong
from bench.stage import stage

BAD = 100
"""One in so many users is bad."""


def run_backtrail(run: Run) -> dict[str, Figures]:
    """(d) to (g) All, again (nothing to do), verify with the author's code and without it, all back."""
    database = run.database
    with run.fresh() as url:
        old = run.before(url)
        with stage(run, url) as on:
            on.warm()
            found = {"backtrail": on.migrate(run.users), "again": on.again()}
            found |= {"verify": on.verify(code=True), "facts": on.verify(code=False)}
            run.agree(url)
            found["rollback"] = on.rollback(run.users + run.warm)
        left = sum(database.count(url, table) for table in run.workload.created)
        if left or run.before(url) != old:
            raise Wrong(f"{database.name}: the rollback of all left {left} rows, or changed the old ones")
    return found


def run_encrypted(run: Run) -> dict[str, Figures]:
    """(h) All, with an encrypted ledger."""
    with run.fresh() as url, stage(run, url, encrypted=True) as on:
        on.warm()
        figures = on.migrate(run.users)
        run.agree(url)
    return {"encrypted": figures}


def run_bad(run: Run) -> dict[str, Figures]:
    """(i) All, where the database refuses what one in a hundred would get."""
    with run.fresh() as url:
        bad = run.workload.spoil(run.database, url, run.keys[run.warm + BAD // 2 :: BAD])
        with stage(run, url) as on:
            on.warm()
            return {"bad": on.migrate(run.users, failed=bad)}


def run_sizes(run: Run) -> dict[str, Figures]:
    """(j) All, at two sizes one after the other."""
    small, large = run.sizes
    return {"small": _migrated(run, small), "large": _migrated(run, large)}


def _migrated(run: Run, users: int) -> Figures:
    run = replace(run, users=users)
    with run.fresh() as url, stage(run, url) as on:
        on.warm()
        return on.migrate(users)
