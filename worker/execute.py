"""One transaction for a batch of jobs: lock, skip what is done, go back, decide, apply, check, append, commit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from backtrail.changes import Create, Decision
from backtrail.decide import LATER, check, decide, demand_same_recall, entity
from backtrail.errors import (
    AuthorMistake,
    CheckFailed,
    Erased,
    ForeignRow,
    ImpureMigration,
    Quarantine,
    RequirementMissing,
    Tampered,
)
from backtrail.failpoint import reach
from backtrail.image import Image, Ref, Written
from backtrail.migration import Migration
from backtrail.recall import RecallNeeded
from backtrail.stores.base import Rowsets, Transaction
from ledger.campaigns import GOING
from ledger.entry import Entry, Fact, Head
from ledger.history import expected, fold, kind_of
from ledger.integrity import flaw
from ledger.journal import to_json
from ledger.progress import Tally
from ledger.redecide import without_own_writes
from ledger.state import action
from worker import circles
from worker.ahead import Ahead, look_ahead
from worker.jobs import Job, NotGoing, RecallsPending, Rejected, reason
from worker.recalls import Recalls
from worker.restore import bring_again, take_back
from worker.work import Work

NAMED = 4
"""How many refused entities are left out one by one, where the database says whom it means: each costs the others' work again."""

SAME_MISTAKE = 10
"""From how many jobs on it is the author's mistake, and not the users' data, if all of a batch fail at the same place."""


@circles.later()
def execute(
    work: Work,
    number: int,
    keys: Sequence[str],
    failures: dict[str, Quarantine],
    *,
    finish: bool,
    tally: Tally,
    ordered: bool = False,
) -> None:
    """Nothing; the jobs are done, and committed with all that they say.

    Args:
        work: the campaign.
        number: its batch.
        keys: the jobs' entities.
        failures: what is known to fail, and why; recorded along with the rest.
        finish: whether the batch is done after this.
        tally: what became of the batch's other jobs; these are added once committed.
        ordered: whether changes are made one by one, in the author's order.

    Raises:
        Rejected, RecallsPending, TooLong, NotGoing: as they say.
        BacktrailError: the database's answer, by its remedy.
    """
    early = work.store.one_writer and work.campaign.kind == "migrate" and not ordered
    ahead = look_ahead(work, [key for key in keys if key not in failures]) if early else None
    with work.ledger.writing(small=work.caution.keeps_savepoints) as tx:
        work.portion.begin()
        batch = work.ledger.campaigns.claim(tx, work.campaign.id, number)
        campaign = work.ledger.campaigns.get(tx, work.campaign.id)
        if batch is None or batch.state == "done":
            return
        if campaign is None or campaign.state not in GOING:
            raise NotGoing
        attempt = Attempt(work, tx, keys, failures, ordered=ordered, ahead=ahead)
        attempt.run()
        counted = Tally(**tally.values())
        attempt.count(counted)
        if finish:
            work.ledger.campaigns.finish(tx, batch, counted, attempt.at)
        else:
            work.ledger.campaigns.count(tx, batch, counted)
        reach("worker.after-ledger")
    reach("worker.after-commit")
    work.portion.end(len(keys))
    work.caution.committed()
    # Only what is committed counts: the caller's tally may be used for another try.
    for name, count in counted.values().items():
        setattr(tally, name, count)


class Attempt:
    """The jobs of one transaction."""

    def __init__(
        self,
        work: Work,
        tx: Transaction,
        keys: Sequence[str],
        failures: dict[str, Quarantine],
        *,
        ordered: bool,
        ahead: Ahead | None = None,
    ) -> None:
        self.work, self.tx, self.ordered = work, tx, ordered
        self.failures = failures
        self.journal = work.ledger.journal
        self.recalls = Recalls(work, tx)
        # The ledger may be encrypted since this process began: nothing is written open from then on.
        work.ledger.keyring.open(tx, again=True)
        self.begin = Fact("begin", to_json({"job": work.campaign.kind}))
        campaign = work.campaign
        heads = self.journal.heads(tx, campaign.migration, keys, lock=True)
        self.jobs = [self._job(key, heads.get(key)) for key in dict.fromkeys(keys)]
        # Its time is a while ago: nothing may have been appended since.
        self.ahead = None if any(job.open and job.head.id is not None for job in self.jobs) else ahead

    @property
    def now(self) -> dt.datetime:
        """The time of these jobs."""
        return self.tx.now if self.ahead is None else self.ahead.now

    @property
    def at(self) -> int:
        """The same in milliseconds since 1970."""
        return round(self.now.timestamp() * 1000)

    def _job(self, text: str, head: Head | None) -> Job:
        if head is None:
            head = Head(self.work.campaign.migration, text, subject=self.work.subject(text))
        job = Job(head, self.work.key(text), action(self.work.campaign, head))
        failure = self.failures.get(head.key)
        if job.action == "skip" or (job.key is None and head.id is None):
            job.outcome = "skipped"
        elif failure is not None:
            job.fail(self.begin, failure)
        return job

    # -- the sentence ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Nothing; everything is done and appended, and only the commit is missing."""
        self._recall_streams()
        self._heed_parameters()
        self._tell_stale()
        take_back(self, self._open("undo", "again"))
        deciding = self._open("migrate", "again", "redo")
        decides = self.work.campaign.kind != "redo"
        if decides:
            self._skip_vanished(deciding)
        self._demand_requirements(deciding)
        if decides:
            self._read_and_decide(deciding)
        bring_again(self, self._open("redo"))
        self._apply(self._open("migrate", "again"))
        self._check(self._done_now())
        self._forgive_vanished()
        reach("worker.mid-transaction")
        self._append()
        self._let_go()

    def _open(self, *actions: str) -> list[Job]:
        return [job for job in self.jobs if job.open and job.action in actions]

    def _done_now(self) -> list[Job]:
        return [job for job in self.jobs if job.outcome == "migrated"]

    # -- what the streams say -------------------------------------------------------------------------------------

    def _recall_streams(self) -> None:
        known = [job for job in self.jobs if job.open and job.head.id is not None]
        if not known:
            return
        events = self.journal.events(self.tx, [job.head.id or 0 for job in known])
        for job in known:
            own = events[job.head.id or 0]
            wrong = flaw(job.head, own)
            if job.head.erased and wrong is None and job.action == "refresh":
                job.outcome = "skipped"
            elif job.head.erased and wrong is None:
                job.fail(self.begin, Erased("it was erased: the ledger holds nothing that could be brought back"))
            elif wrong is None:
                job.standing = fold(own)
            else:
                job.fail(self.begin, Tampered(f"its ledger is not what was appended: {wrong}; see `backtrail verify`"))

    def _heed_parameters(self) -> None:
        """Turns `redo` into `migrate`, and `refresh` into `again`, where `migrate` does not take the recorded parameters any more.

        A `redo` also where somebody has given this campaign others.
        """
        if self.work.campaign.kind == "redo":
            return
        given = self.work.campaign.options.get("own_params")
        for job in self._open("redo", "refresh"):
            begun = job.standing.begun
            if begun is None:
                continue
            earlier = self.work.as_of(self.tx, begun.campaign)
            if earlier is None or (given and job.action == "redo" and earlier.params != self.work.migration.params):
                job.action = "migrate" if job.action == "redo" else "again"

    def _tell_stale(self) -> None:
        """Turns `refresh` into `again` where `migrate` would now decide otherwise, and into nothing where not."""
        jobs = self._open("refresh")
        if not jobs:
            return
        keys, changes = [job.key for job in jobs], [job.standing.changes for job in jobs]
        rowsets = without_own_writes(self.tx, type(self.work.migration), keys, changes, lock=True)
        for job, rows in zip(jobs, rowsets, strict=True):
            job.rows = rows
        self.decide(jobs, recorded=True)
        for job in jobs:
            if job.open:
                fresh = job.plan is not None and job.plan.mark == job.standing.decision
                job.action, job.outcome = "again", "skipped" if fresh else ""
                job.plan = None

    # -- deciding -------------------------------------------------------------------------------------------------

    def _skip_vanished(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        there = self.work.store.existing(self.tx, type(self.work.migration), [job.key for job in jobs])
        for at, job in enumerate(jobs):
            if at not in there:
                if job.facts:
                    raise Rejected(
                        {job.text: Quarantine("it is migrated, and its key is gone from the source: roll it back instead")}
                    )
                self._vanish(job)

    def _vanish(self, job: Job) -> None:
        job.outcome, job.failure = "skipped", None
        remark = Fact("remark", to_json({"text": "vanished before its turn"}))
        # One that was rolled back stays so: should its key come back, nobody takes it again unasked.
        state = "rolled_back" if job.head.state == "rolled_back" else "vanished"
        job.facts = [self.begin, remark, Fact("end", to_json({"state": state, "skipped": True}))]

    def _forgive_vanished(self) -> None:
        """Nothing; none has failed that the application removed while it was worked on: rows of it went, or nothing may refer to it."""
        deciding = ("migrate",) if self.work.campaign.kind == "redo" else ("migrate", "redo")
        failed = [job for job in self.jobs if job.failure is not None and job.action in deciding and job.key is not None]
        if failed:
            there = self.work.store.existing(self.tx, type(self.work.migration), [job.key for job in failed])
            for at, job in enumerate(failed):
                if at not in there:
                    self._vanish(job)

    def _demand_requirements(self, jobs: list[Job]) -> None:
        """Nothing; none is open for which a required migration is missing, and nobody takes that back before this transaction is over."""
        for name in self.work.campaign.options.get("requires_each", ()):
            heads = self.journal.held(self.tx, name, [job.text for job in jobs if job.open])
            for job in jobs:
                head = heads.get(job.text)
                if job.open and (head is None or head.state != "migrated"):
                    job.fail_late(self.begin, RequirementMissing(f"{name} comes first, and has not been done for this entity"))

    def _read_and_decide(self, jobs: list[Job]) -> None:
        jobs = [job for job in jobs if job.open]
        self._read(jobs)
        self._keep_foreseen(jobs)
        self.decide([job for job in jobs if job.action == "redo"], recorded=True)
        self.decide([job for job in jobs if job.action != "redo" and job.plan is None], recorded=False)
        decided = [job for job in jobs if job.plan is not None]
        if decided:
            self._demand_pure(decided[0])
        failed = [job for job in jobs if job.failure is not None]
        if len(failed) == len(jobs) >= SAME_MISTAKE and len({reason(job.failure) for job in failed if job.failure}) == 1:
            raise AuthorMistake(f"all {len(jobs)} entities of a batch fail alike: {reason(failed[0].failure)}")

    def _read(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        migration = type(self.work.migration)
        for job, rows in zip(
            jobs, self.tx.read(migration.reads, [job.key for job in jobs], lock=True, sources=migration.all_keys()), strict=True
        ):
            job.rows = rows

    def _keep_foreseen(self, jobs: list[Job]) -> None:
        """Nothing; each job has what was decided about it beforehand, unless the rows of one are not what they were then."""
        ahead = self.ahead
        if ahead is None:
            return
        foreseen = [ahead.foreseen.get(job.text) for job in jobs]
        if not all(found is not None and found.still(job.rows) for job, found in zip(jobs, foreseen, strict=True)):
            self.ahead = None
            return
        for job, found in zip(jobs, foreseen, strict=True):
            if found is not None:
                job.decision, job.plan = found.decision, found.plan

    def decide(self, jobs: list[Job], *, recorded: bool) -> None:
        """Nothing; each job has what `migrate` decides, with the time and parameters of now, or those recorded when it was first decided."""
        recalls = self.recalls.of(jobs)
        pending: list[tuple[str, RecallNeeded]] = []
        for at, job in enumerate(jobs):
            if at:
                self.work.portion.demand_time(at)
            try:
                job.decision = self._decided(job, recalls.get(job.text), recorded=recorded)
            except RecallNeeded as needed:
                self._demand_same_recall(job, needed, recorded=recorded)
                pending.append((job.text, needed))
            except Quarantine as failure:
                job.fail_late(self.begin, failure)
        if pending:
            # All of it is decided anew when they are known, so nothing is encoded before.
            raise RecallsPending(pending)
        for job in jobs:
            if job.decision is not None and job.failure is None:
                try:
                    job.plan = self.work.store.plan(job.decision)
                except Quarantine as failure:
                    job.fail_late(self.begin, failure)

    def _decided(self, job: Job, recalls: Any, *, recorded: bool = False) -> Decision:
        migration, now = self._as_of(job, recorded=recorded)
        return decide(migration, entity(migration, job.key, now, job.rows, self.work.tables, recalls, self.recalls.making(job)))

    def _as_of(self, job: Job, *, recorded: bool) -> tuple[Migration, dt.datetime]:
        """The migration with its parameters and the time, of now, or as recorded when the job was first decided."""
        begun = job.standing.begun
        if recorded and begun is not None:
            return self.work.as_of(self.tx, begun.campaign) or self.work.migration, at_time(begun.at, self.now)
        return self.work.migration, self.now

    def _demand_same_recall(self, job: Job, needed: RecallNeeded, *, recorded: bool) -> None:
        migration, now = self._as_of(job, recorded=recorded)
        later = now + LATER if now == self.now else now  # the recorded time does not pass
        known = self.recalls.looking_up([job])(job)
        demand_same_recall(migration, entity(migration, job.key, later, job.rows, self.work.tables, missing=known), needed)

    def _demand_pure(self, job: Job) -> None:
        again = self._decided(job, self.recalls.of([job]).get(job.text), recorded=job.action == "redo")
        if job.plan is not None and self.work.store.plan(again).digest != job.plan.digest:
            raise ImpureMigration(
                f"{self.work.campaign.migration}: migrate decided differently on the same rows: take times from entity.now, ids from"
                " entity.new_uuid, and anything else that is not in the rows through entity.recall"
            )

    # -- applying -------------------------------------------------------------------------------------------------

    def _apply(self, jobs: list[Job]) -> None:
        self._refuse_foreign(jobs)
        jobs = [job for job in jobs if job.open and job.plan is not None]
        written = iter(self._carried_out(jobs))
        for job in jobs:
            plan, decision = job.plan, job.decision
            assert plan is not None and decision is not None  # noqa: S101 -- both come from _decided
            if not job.facts:
                job.facts.append(self.begin)
            for _ in plan.writes:
                change = next(written)
                if change.before != change.after:
                    job.facts.append(Fact(kind_of(change), written=change))
            for note in decision.notes:
                job.facts.append(Fact(note.kind, to_json(note.data)))
                job.notes[note.kind] = job.notes.get(note.kind, 0) + 1
            job.facts.append(Fact("end", to_json({"state": "migrated", "decision": plan.mark, **job.notes})))
            job.outcome = "migrated"

    def _carried_out(self, jobs: list[Job]) -> list[Written]:
        """What the changes of the jobs left. One whose change the database refuses fails, where it says which, and is taken off the list.

        Raises:
            Quarantine: a change was refused, and the transaction is spoilt, or that has happened too often.
        """
        retries = 0 if self.ordered else NAMED
        while writes := [write for job in jobs if job.plan for write in job.plan.writes]:
            savepoint = self.tx.savepoint() if retries and self.work.caution.keeps_savepoints else None
            try:
                with savepoint or nullcontext():
                    return self.tx.apply(writes, ordered=self.ordered)
            except Quarantine as failure:
                job = next((job for job in jobs if job.plan and any(write is failure.refused for write in job.plan.writes)), None)
                failure.entity = None if job is None else job.text
                if job is None or savepoint is None or failure.final:
                    raise
                retries -= 1
                self.work.caution.refused()
                self.work.portion.refused(whole=False)
                job.fail_late(self.begin, failure)
                jobs.remove(job)
        return []

    def _refuse_foreign(self, jobs: list[Job]) -> None:
        """Lets one row be changed by one entity of the migration only: two would each take the other's change for drift."""
        owners: dict[Ref, Job] = {}
        for job in jobs:
            for write in job.plan.writes if job.plan else ():
                if write.ref is not None and owners.setdefault(write.ref, job) is not job:
                    job.fail_late(
                        self.begin, ForeignRow(f"a row of {write.table} is changed by another entity of this migration too")
                    )
        if not owners:
            return
        for ref, found in self.journal.others(self.tx, list(owners), self.work.campaign.migration).items():
            job = owners[ref]
            others = {head.id or 0 for head, _ in found if head.key != job.text and head.state == "migrated"}
            if job.open and self._stands(ref, others):
                job.fail_late(self.begin, ForeignRow(f"a row of {ref.table} was changed by another entity of this migration"))

    def _stands(self, ref: Ref, streams: set[int]) -> bool:
        """Whether a change of the row stands in one of the streams: what was taken back, and not done again, is nobody's."""
        events = self.journal.events(self.tx, streams) if streams else {}
        return any(ref in expected(fold(one).changes) for one in events.values())

    def _check(self, jobs: list[Job]) -> None:
        if not self.work.checks:
            return
        jobs = [job for job in jobs if job.plan is not None]
        migration = type(self.work.migration)
        if any(rows.table in migration.writes for rows in migration.reads) and jobs:
            self._read(jobs)
        recall = self.recalls.looking_up(jobs)
        wrong: dict[str, Quarantine] = {}
        for job in jobs:
            changes = [fact.written for fact in job.facts if fact.written is not None and fact.kind != "compensated"]
            rows = with_own_writes(self.work, job.rows, changes)
            subject = entity(self.work.migration, job.key, self.now, rows, self.work.tables, missing=recall(job))
            messages = check(self.work.migration, subject)
            if messages:
                wrong[job.text] = CheckFailed("; ".join(messages))
        if wrong:
            raise Rejected(wrong)

    # -- ending ---------------------------------------------------------------------------------------------------

    def _append(self) -> None:
        entries = []
        for job in self.jobs:
            if job.facts:
                state = {"migrated": "migrated", "rolled_back": "rolled_back"}.get(job.outcome, job.head.state or "failed")
                if job.outcome == "skipped" and job.head.state not in ("migrated", "rolled_back"):
                    state = "vanished"
                entries.append(Entry(job.head, state, job.facts, failed=job.outcome == "failed"))
        if entries:
            self.journal.append(self.tx, self.work.campaign.id, self.at, entries)
        self.recalls.store()

    def _let_go(self) -> None:
        """Nothing; new rows and what creates them do not hold each other any more, and go with the batch without being looked for."""
        for job in self.jobs:
            for change in job.decision.changes if job.decision else ():
                if isinstance(change, Create):
                    change.row.change = None

    def count(self, tally: Tally) -> None:
        """Nothing; each job is counted, those that this campaign did earlier by what it did then."""
        earlier = [job.head for job in self.jobs if job.head.campaign == self.work.campaign.id]
        last = self.journal.last_events(self.tx, earlier) if earlier else {}
        for job in self.jobs:
            event = last.get(job.text)
            if event is None:
                tally.add(job.outcome, job.notes)
            elif event.kind == "failed":
                tally.add("failed")
            else:
                state = event.facts.get("state")
                tally.add("skipped" if event.facts.get("skipped") or state == "vanished" else str(state), event.facts)


def with_own_writes(work: Work, rows: Rowsets, changes: Sequence[Written]) -> Rowsets:
    """The rows that `check` gets: those that are read, and of written tables that are not read, those that the entity wrote."""
    after: dict[str, dict[Ref, Image | None]] = {table: {} for table in work.migration.writes if table not in rows}
    for ref, _, image in changes:
        if ref.table in after:
            after[ref.table][ref] = image
    found = {table: [image for image in images.values() if image is not None] for table, images in after.items()}
    return {**rows, **{table: work.store.records(images) for table, images in found.items()}}


def at_time(milliseconds_: int, like: Any) -> Any:
    """The aware time of so many milliseconds since 1970."""
    return type(like).fromtimestamp(milliseconds_ / 1000, tz=like.tzinfo)
