"""Going back, and forth again: recorded images brought to their rows, refused where later writes would be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from backtrail.errors import DependentStands, Drifted, Quarantine, Referenced
from backtrail.failpoint import reach
from backtrail.image import Image, Ref, Written
from backtrail.stores.base import Difference, Put, Store, Transaction
from ledger.deleted import not_to_resurrect, told
from ledger.entry import Fact, Head
from ledger.history import back, expected, forth, kind_of, originals
from ledger.journal import to_json
from ledger.later import standing_on, written_later
from worker.jobs import Job, Rejected
from worker.work import Work

LISTED = 10
"""Of how many rows that are in the way their writers are looked for."""

if TYPE_CHECKING:
    from worker.execute import Attempt


def take_back(attempt: Attempt, jobs: list[Job]) -> None:
    """Nothing; what stands of each job is taken back, or the job has failed because something drifted or stands on it."""
    if attempt.work.campaign.kind == "rollback":
        _refuse_dependents(attempt, jobs)
        jobs = [job for job in jobs if job.open]
    live = _live(attempt, jobs, lambda job: job.standing.changes)
    for job in jobs:
        _refuse_drift(attempt, job, expected(job.standing.changes), live)
    jobs = [job for job in jobs if job.open]
    puts = {job.text: back(job.standing.changes, live) for job in jobs}
    _refuse_deleted(attempt, jobs, puts)
    jobs = [job for job in jobs if job.open]
    _put(attempt, jobs, puts, lambda job: originals(job.standing.changes), "compensated")
    for job in jobs:
        if job.action == "undo":
            job.outcome = "rolled_back"
            job.facts.append(Fact("end", to_json({"state": "rolled_back"})))


def _refuse_dependents(attempt: Attempt, jobs: Sequence[Job]) -> None:
    """Fails those on which a migration stands that requires this one. Their heads are locked, so that none comes to stand on them any more."""
    if not jobs:
        return
    name = attempt.work.campaign.migration
    for dependent, each in attempt.work.ledger.campaigns.requiring(attempt.tx, name).items():
        keys = [job.text for job in jobs if each and job.open]
        heads = attempt.journal.heads(attempt.tx, dependent, keys, lock=False)
        for job in jobs:
            head = heads.get(job.text)
            if job.open and head is not None and head.state == "migrated":
                mend = f"`backtrail rollback {dependent}` comes first"
                job.fail(attempt.begin, DependentStands(f"{dependent} requires {name}, and is migrated for this entity: {mend}"))


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
    puts = {job.text: forth(job.standing.undone, live) for job in jobs}
    _refuse_deleted(attempt, jobs, puts)
    jobs = [job for job in jobs if job.open]
    _put(attempt, jobs, puts, lambda job: expected(job.standing.undone), None)
    for job in jobs:
        job.outcome = "migrated"
        job.facts.append(Fact("end", to_json({"state": "migrated"})))


def _same_decision(attempt: Attempt, job: Job) -> bool:
    return attempt.work.campaign.kind == "redo" or (job.plan is not None and job.plan.mark == job.standing.decision)


def _live(attempt: Attempt, jobs: Iterable[Job], changes: Callable[[Job], Sequence[Written]]) -> dict[Ref, Image]:
    refs = [change.ref for job in jobs for change in changes(job)]
    return attempt.tx.fetch(refs, lock=True) if refs else {}


def _refuse_drift(attempt: Attempt, job: Job, wanted: dict[Ref, Image | None], live: dict[Ref, Image]) -> None:
    found = drift(attempt.work, attempt.tx, job.head, wanted, live, resurrect=_resurrects(attempt))
    if found:
        _refuse(attempt, job, found)


def _refuse_deleted(attempt: Attempt, jobs: Sequence[Job], puts: Mapping[str, Sequence[Put]]) -> None:
    """Refuses what would bring back rows of an entity that the application deleted."""
    if _resurrects(attempt):
        return
    migration = type(attempt.work.migration)
    keys, steps = [job.key for job in jobs], [puts[job.text] for job in jobs]
    for at in not_to_resurrect(attempt.work.store, attempt.tx, migration, keys, steps):
        _refuse(attempt, jobs[at], [told(migration)])


def _resurrects(attempt: Attempt) -> bool:
    return bool(attempt.work.campaign.options.get("resurrect"))


def _refuse(attempt: Attempt, job: Job, found: list[str]) -> None:
    if attempt.work.campaign.options.get("on_drift") == "skip":
        remark = Fact("remark", to_json({"text": "drifted, so it stays as it is", "differences": found}))
        job.facts += [attempt.begin, remark, Fact("end", to_json({"state": job.head.state, "skipped": True}))]
        job.outcome = "skipped"
        return
    job.fail(attempt.begin, Drifted("; ".join(found)))


def _put(
    attempt: Attempt,
    jobs: list[Job],
    puts: Mapping[str, Sequence[Put]],
    wanted: Callable[[Job], dict[Ref, Image | None]],
    kind: str | None,
) -> None:
    # In order, what the last one did last goes back first.
    turned = attempt.ordered and kind == "compensated"
    now = _done(attempt, jobs, [put for job in (reversed(jobs) if turned else jobs) for put in puts[job.text]])
    wrong: dict[str, Quarantine] = {}
    for job in jobs:
        missed = [
            f"{ref.table}: {', '.join(one.column for one in differences)}"
            for ref, image in wanted(job).items()
            if (differences := attempt.work.store.differences(image, now[ref]))
        ]
        if missed:
            wrong[job.text] = Drifted(
                f"rows did not come back as they were ({'; '.join(missed)}): a trigger or rule changes what is written"
            )
        job.facts.append(attempt.begin)
        last = {put.ref: at for at, put in enumerate(puts[job.text])}
        for at, put in enumerate(puts[job.text]):
            if put.live is None and put.target is None:
                # The application took it away already, and that was allowed for.
                job.facts.append(Fact("compensated", to_json({"text": "was gone already", "table": put.ref.table})))
                continue
            # Of a row that takes several steps only the last can be read back.
            written = Written(put.ref, put.live, now[put.ref] if last[put.ref] == at else put.target)
            job.facts.append(Fact(kind or kind_of(written), written=written))
    if wrong:
        raise Rejected(wrong)


def _done(attempt: Attempt, jobs: Sequence[Job], puts: Sequence[Put]) -> dict[Ref, Image | None]:
    """The rows after the steps.

    Raises:
        Referenced: somebody else's rows refer to one that would go; says who wrote them, where that is known.
    """
    if not puts:
        return {}
    try:
        written = attempt.tx.put(puts, ordered=attempt.ordered)
    except Referenced as refused:
        # Of many entities it is not known whom it concerns; each will be alone in a moment.
        alone = [jobs[0].text] if len(jobs) == 1 else []
        refs = refused.rows[:LISTED]
        names = (
            standing_on(attempt.work.ledger, attempt.tx, attempt.work.campaign.migration, alone, refs) if alone and refs else []
        )
        if names:
            raise Referenced(f"{refused}; roll back {', '.join(names)} first", refused.rows) from refused
        raise
    reach("worker.mid-rollback")
    return written


def drift(
    work: Work, tx: Transaction, head: Head, wanted: dict[Ref, Image | None], live: dict[Ref, Image], *, resurrect: bool
) -> list[str]:
    """How the rows differ from what they should be, and who is known to have changed them; names of columns, never values.

    Args:
        work: the campaign.
        tx: the transaction to look in.
        head: whose rows they are.
        wanted: the rows as they should be.
        live: the rows as they are.
        resurrect: whether a row that is gone is none of it.
    """
    found = []
    for ref, image in wanted.items():
        differences = work.store.differences(image, live.get(ref))
        if not differences or (resurrect and ref not in live):
            continue
        other = written_later(work.ledger, tx, head, ref, image, live.get(ref))
        if other is not None:
            found.append(f"{ref.table}: changed since by {other.migration}; roll that back first")
        else:
            found.append(_changed(work.store, ref, image, live.get(ref), differences))
    return found


def _changed(store: Store, ref: Ref, left: Image | None, live: Image | None, differences: Sequence[Difference]) -> str:
    if live is None:
        return f"{ref.table}: a row was deleted since, and only --resurrect brings it back"
    if left is None:
        return (
            f"{ref.table}: the key {store.show_key(ref)} was taken again by a new row; delete that first, or give it another key"
        )
    schema = [
        f"{ref.table}.{one.column} {one.schema}, so that the row cannot be put back: make it what it was"
        for one in differences
        if one.schema
    ]
    return "; ".join(schema) or f"{ref.table}: {', '.join(difference.column for difference in differences)} changed since"
