"""`expand` and its undo on SQL: the steps and what is said of them are one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from backtrail import schema
from backtrail.schema import Step
from backtrail.stores.base import Transaction
from ledger.expansion import Expansion, begin, end, fact, undeclared
from ledger.sql import upgrade


class SqlExpansion(Expansion):
    """What one migration's `expand` adds to an SQL database."""

    def expand(self, *, by: str, reason: str | None) -> list[Step]:
        with self.ledger.store.transaction() as tx:
            upgrade.alone(tx.connection)
            if upgrade.version(tx.connection) is not None:
                upgrade.install(tx, self.ledger.keyring)
            head, done = self.steps(tx)
            new = schema.run(tx.connection, self.migration.expand, done=done)
            if new:
                # Only now: where a step is refused, or nothing is asked for, no ledger is left behind.
                upgrade.install(tx, self.ledger.keyring)
                facts = [fact("expanded", step) for step in new]
                self.append(tx, head, "expanded", [begin("expand", by, reason), *facts, end("expanded")])
        self.ledger.store.forget()
        return new

    def retract(self, *, by: str, reason: str | None) -> list[Step]:
        with self.ledger.store.transaction() as tx:
            upgrade.alone(tx.connection)
            head, done = self.steps(tx)
            if not done:
                return []
            self.demand_unused(tx)
            self.demand_declared(tx, done)
            schema.undo(tx.connection, done)
            facts = [fact("retracted", step) for step in reversed(done)]
            self.append(tx, head, "retracted", [begin("expand --undo", by, reason), *facts, end("retracted")])
        self.ledger.store.forget()
        return list(reversed(done))

    def demand_declared(self, tx: Transaction, steps: Sequence[Step]) -> None:
        texts = [step.back.get("statements") or step.back.get("types") for step in steps]
        if not any(texts):
            return
        declared = schema.declared(tx.connection, self.migration.expand)
        for number, (step, text) in enumerate(zip(steps, texts, strict=True), 1):
            if text and not declared.says(step):
                raise undeclared(number, step)

    def script(self) -> list[str]:
        with self.ledger.store.transaction(write=False) as tx:
            _, done = self.steps(tx)
            return schema.script(tx.connection, self.migration.expand, done=done)
