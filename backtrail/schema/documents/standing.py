"""How what the steps added stands now: whether it is all there, and nothing of others is among it."""

from __future__ import annotations

from collections.abc import Sequence

from backtrail.errors import UsageError
from backtrail.schema.documents.carry import changed, foreign
from backtrail.schema.documents.catalogue import Catalogue, current, validation
from backtrail.schema.documents.exact import Data, Inserted, command
from backtrail.schema.documents.refusal import told
from backtrail.schema.step import Step


def demand_free(database: Data, steps: Sequence[Step]) -> None:
    """Nothing, where none of the documents that the steps would insert is there.

    Raises:
        UsageError: some are; and with the catalogue's own refusals, nothing is in the way of the steps.
    """
    for step in steps:
        with told(step):
            count = Inserted(database, step).present if step.operation == "insert" else 0
        if count:
            raise UsageError(f"{step}: {count} documents with these _ids are there already: delete them, or give other _ids")


def demand_ours(database: Data, steps: Sequence[Step]) -> None:
    """Nothing, where all that taking the steps back would remove is what they added.

    Raises:
        UsageError: documents of others would go, or something was changed since.
    """
    inserted = dict.fromkeys((str(step.table) for step in steps), 0)
    for step in steps:
        if step.operation == "insert":
            with told(step):
                rows = Inserted(database, step)
            if rows.changed:
                raise UsageError(changed(step, rows.changed))
            inserted[str(step.table)] += rows.present
    for step in steps:
        if step.operation == "create_collection":
            with told(step):
                options = current(database, str(step.table)) or {"viewOn": ""}
                count = 0 if "viewOn" in options else database[str(step.table)].count_documents({})
            if count > inserted[str(step.table)]:
                raise UsageError(foreign(str(step.table), count - inserted[str(step.table)]))
    for step in _last_validators(steps):
        if not _as_left(database, step, "after", "before"):
            raise UsageError(f"the validator of {step.place} is not as expand left it: change it back first")


def missing(database: Data, steps: Sequence[Step]) -> list[str]:
    """What the steps added and is not there any more, one name a line of a report."""
    with told("looking for what expand added"):
        catalogue = Catalogue(database)
        found = [lack for step in steps for lack in _lacks(database, catalogue, step)]
        lost = [step for step in _last_validators(steps) if not _as_left(database, step, "after")]
        found += [f"validator of {step.place} as expand left it" for step in lost]
    return list(dict.fromkeys(found))


def _lacks(database: Data, catalogue: Catalogue, step: Step) -> list[str]:
    if step.operation == "execute":
        return []
    facts = catalogue.collections.get(str(step.table))
    if facts is None:
        return [f"collection {step.place}"]
    if step.operation == "insert":
        gone = len(Inserted(database, step).absent)
        return [f"{gone} documents of {step.place} that expand inserted"] if gone else []
    orders = [command(text) for text in step.back["commands"]]
    names = [spec["name"] for order in orders for spec in order.get("indexes", ())]
    return [f"index {name} of {step.place}" for name in names if name not in facts.indexes]


def _last_validators(steps: Sequence[Step]) -> list[Step]:
    return list({step.table: step for step in steps if step.operation == "set_validator"}.values())


def _as_left(database: Data, step: Step, *states: str) -> bool:
    with told(step):
        options = current(database, str(step.table))
    # A collection that is gone is told of as gone.
    return options is None or validation(options) in [command(step.back[state]) for state in states]
