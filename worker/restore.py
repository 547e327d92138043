"""Going back, and forth again: recorded images brought to their rows, refused where later writes would be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from backtrail.errors import Drifted, Quarantine
from backtrail.image import Image, Ref, Written
from backtrail.stores.base import Transaction
from ledger.history import back, expected, forth, kind_of, originals
from ledger.journal import Fact, Head
from ledger.later import written_later
from worker.jobs import Job, Rejected, to_json
from worker.work import Work

if TYPE_CHECKING:
    from worker.execute import Attempt


def take_back(attempt: Attempt, jobs: list[Job]) -> None:
    """Nothing; what stands of each job is taken back, or the job has failed because something drifted."""
    live = _live(attempt, jobs, lambda job: job.standing.changes)
    for job in jobs:
        _refuse_drift(attempt, job, expected(job.standing.changes), live)
    jobs = [job for job in jobs if job.open]
    _put(attempt, jobs, lambda job: back(job.standing.changes, live), lambda job: originals(job.standing.changes), "compensated")
    for job in jobs:
        if job.action == "undo":
            job.outcome = "rolled_back"
            job.facts.append(Fact("end", to_json({"state": "rolled_back"})))


def bring_again(attempt: Attempt, jobs: list[Job]) -> None:
    """Nothing; what was taken back of each job stands again, exactly; those that would be decided otherwise now are decided anew."""
    live = _live(attempt, jobs, lambda job: job.standing.undone)
    anew = []
    for job in jobs:
        before = originals(job.standing.undone)
        if _same_decision(attempt, job) and not any(
            attempt.work.store.differences(image, live.get(ref)) for ref, image in before.items()
        ):
            continue
        if attempt.work.campaign.kind == "redo":
            _refuse_drift(attempt, job, before, live)
        else:
            job.action = "migrate"
            anew.append(job)
    # What was compared had the time of the first run; what is done now has its own.
    attempt.decide(anew, recorded=False)
    jobs = [job for job in jobs if job.open and job.action == "redo"]
    _put(attempt, jobs, lambda job: forth(job.standing.undone, live), lambda job: expected(job.standing.undone), None)
    for job in jobs:
        job.outcome = "migrated"
        job.facts.append(Fact("end", to_json({"state": "migrated"})))


def _same_decision(attempt: Attempt, job: Job) -> bool:
    return attempt.work.campaign.kind == "redo" or (job.plan is not None and job.plan.digest.hex() == job.standing.decision)


def _live(attempt: Attempt, jobs: Iterable[Job], changes: Callable[[Job], Sequence[Written]]) -> dict[Ref, Image]:
    refs = [change.ref for job in jobs for change in changes(job)]
    return attempt.tx.fetch(refs, lock=True) if refs else {}


def _refuse_drift(attempt: Attempt, job: Job, wanted: dict[Ref, Image | None], live: dict[Ref, Image]) -> None:
    found = drift(attempt.work, attempt.tx, job.head, wanted, live)
    if not found:
        return
    if attempt.work.campaign.options.get("on_drift") == "skip":
        remark = Fact("remark", to_json({"text": "drifted, so it stays as it is", "differences": found}))
        job.facts += [attempt.begin, remark, Fact("end", to_json({"state": job.head.state, "skipped": True}))]
        job.outcome = "skipped"
        return
    job.fail(attempt.begin, Drifted("; ".join(found)))


def _put(
    attempt: Attempt,
    jobs: list[Job],
    steps: Callable[[Job], Any],
    wanted: Callable[[Job], dict[Ref, Image | None]],
    kind: str | None,
) -> None:
    puts = {job.text: steps(job) for job in jobs}
    flat = [put for steps_ in puts.values() for put in steps_]
    now = attempt.tx.put(flat, ordered=attempt.ordered) if flat else {}
    wrong: dict[str, Quarantine] = {}
    for job in jobs:
        missed = [ref.table for ref, image in wanted(job).items() if attempt.work.store.differences(image, now[ref])]
        if missed:
            wrong[job.text] = Drifted(
                f"rows of {missed[0]} did not come back as they were: a trigger or rule changes what is written"
            )
        job.facts.append(attempt.begin)
        last = {put.ref: at for at, put in enumerate(puts[job.text])}
        for at, put in enumerate(puts[job.text]):
            # Of a row that takes several steps only the last can be read back.
            written = Written(put.ref, put.live, now[put.ref] if last[put.ref] == at else put.target)
            job.facts.append(Fact(kind or kind_of(written), written=written))
    if wrong:
        raise Rejected(wrong)


def drift(work: Work, tx: Transaction, head: Head, wanted: dict[Ref, Image | None], live: dict[Ref, Image]) -> list[str]:
    """How the rows differ from what they should be, and who is known to have changed them; names of columns, never values."""
    found = []
    for ref, image in wanted.items():
        differences = work.store.differences(image, live.get(ref))
        if not differences:
            continue
        other = written_later(work.ledger, tx, head, ref, image, live.get(ref))
        if other is not None:
            found.append(f"{ref.table}: changed since by {other.migration}; roll that back first")
        else:
            found.append(f"{ref.table}: {', '.join(difference.column for difference in differences)} changed since")
    return found
