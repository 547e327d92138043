"""The operations that an author may ask for, recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from bson import json_util
from bson.objectid import ObjectId

from backtrail.errors import AuthorMistake, UsageError
from backtrail.schema.documents.catalogue import Catalogue, Facts, validation
from backtrail.schema.documents.exact import Document, command, kept
from backtrail.schema.documents.refusal import THERE, told
from backtrail.schema.earlier import Earlier
from backtrail.schema.step import Step

KeyList = str | Mapping[str, Any] | Sequence[tuple[str, Any]]
"""The keys of an index: a field, pairs of fields and directions, or a mapping of those."""

IndexWish = KeyList | Mapping[str, Any]
"""The keys of an index, or a mapping with `keys`, perhaps `name`, and options."""

OF_SQL = {
    *("create_table", "drop_table", "rename_table", "add_column", "drop_column", "alter_column", "batch_alter_table"),
    *("create_foreign_key", "create_unique_constraint", "create_check_constraint", "create_primary_key", "drop_constraint"),
    *("bulk_insert", "get_bind"),
}
"""Operations of SQL databases: whoever asks for one has another kind of database in mind."""

EXAMPLE = """{"create": "quotes"}, undo={"drop": "quotes"}"""


class DocumentSchema:
    """Operations that are only recorded: create_collection, create_index, set_validator, insert and execute."""

    OPERATIONS = ("create_collection", "create_index", "set_validator", "insert", "execute")

    dialect = "mongodb"
    """For a step that only one kind of database needs."""

    def __init__(self, catalogue: Catalogue, done: Sequence[Step] = ()) -> None:
        self.steps: list[Step] = []
        self._catalogue = catalogue
        self._earlier = Earlier(done)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in OF_SQL:
            raise AuthorMistake(
                f"schema has no {name!r} on MongoDB: this looks like a migration of SQL; on MongoDB there are {', '.join(self.OPERATIONS)}"
            )
        raise AuthorMistake(f"schema has no {name!r} on MongoDB: there are {', '.join(self.OPERATIONS)}")

    def finish(self) -> None:
        """Nothing, where every step that was done before was asked for again."""
        self._earlier.finish()

    def create_collection(
        self, name: str, validator: Mapping[str, Any] | None = None, indexes: Sequence[IndexWish] = (), **options: Any
    ) -> None:
        """Creates a collection, its indexes with it; `options` as the database's `create` command names them."""
        said = options if validator is None else {"validator": dict(validator), **options}
        specs = [_index(wish) for wish in indexes]
        orders: list[Document] = [{"create": name, **said}]
        if specs:
            orders.append({"createIndexes": name, "indexes": specs})
        step = self._step("create_collection", name, orders)
        if self._earlier.has(step):
            return
        if name in self._catalogue.collections:
            raise UsageError(f"{step}: {THERE}")
        facts = self._catalogue.collections[name] = Facts(validation(said))
        for spec in specs:
            self._add_index(step, facts, spec)
        self.steps.append(step)

    def create_index(self, collection: str, keys: KeyList, name: str | None = None, **options: Any) -> None:
        """Creates an index; `options` as the database's `createIndexes` command names them."""
        spec = _spec(keys, name, options)
        step = self._step("create_index", collection, [{"createIndexes": collection, "indexes": [spec]}], spec["name"])
        if self._earlier.has(step):
            return
        self._add_index(step, self._catalogue.demand(collection), spec)
        self.steps.append(step)

    def set_validator(self, collection: str, validator: Mapping[str, Any], level: str = "strict", action: str = "error") -> None:
        """Has the database check what is written to a collection from now on."""
        after = {"validator": dict(validator), "validationLevel": level, "validationAction": action}
        step = self._step("set_validator", collection, [{"collMod": collection, **after}])
        if self._earlier.has(step):
            return
        facts = self._catalogue.demand(collection)
        before, facts.validation = facts.validation, after
        self._keep(step, before=kept(before), after=kept(after))

    def insert(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Inserts documents, each remembered exactly, so that undo finds them, and sees whether somebody changed them since."""
        fields = ", ".join(dict.fromkeys(field for document in documents for field in document))
        step = Step("insert", collection, call=f"{len(documents)} documents of {fields}")
        if self._earlier.has(step):
            return
        self._catalogue.demand(collection)
        with told(step):
            # The server puts the _id first, whatever it was sent.
            whole = [{"_id": document.get("_id", ObjectId()), **_without_id(document)} for document in documents]
            self._keep(step, documents=[kept(document) for document in whole])

    def execute(self, command: Mapping[str, Any], *, undo: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> None:
        """Runs a command; `undo` is the command or commands that take it back, `()` where it leaves nothing behind.

        After a crash it may run a second time.
        """
        if undo is None:
            raise AuthorMistake("execute(…) in expand needs undo=…: the command that takes it back, or () if it leaves nothing")
        back = [undo] if isinstance(undo, Mapping) else undo
        if not all(isinstance(one, Mapping) for one in (command, *back)):  # a text is letters
            raise AuthorMistake(f"on MongoDB execute takes a command, and undo= one or several, as in {EXAMPLE}")
        step = self._step("execute", None, [command])
        if self._earlier.has(step):
            return
        # Whether it was run before a crash is then seen by what it creates.
        if command.get("create") in self._catalogue.collections:
            raise UsageError(f"{step}: {THERE}")
        with told(step):
            self._keep(step, undo=[kept(one) for one in back])

    def _step(self, operation: str, table: str | None, orders: Sequence[Mapping[str, Any]], name: str | None = None) -> Step:
        step = Step(operation, table, None, name)
        with told(step):
            call = "; ".join(_shown(order) for order in orders)
            return Step(operation, table, None, name, call, {"commands": [kept(order) for order in orders]})

    def _keep(self, step: Step, **inverse: Any) -> None:
        self.steps.append(Step(step.operation, step.table, None, step.name, step.call, {**step.back, **inverse}))

    def _add_index(self, step: Step, facts: Facts, spec: Document) -> None:
        keys = list(spec["key"].items())
        if spec["name"] in facts.indexes:
            raise UsageError(f"{step}: {THERE}")
        other = next((name for name, there in facts.indexes.items() if there == keys), None)
        if other is not None:
            raise UsageError(f"{step}: the index {other} has the same keys: {THERE}")
        facts.indexes[spec["name"]] = keys


def commands(steps: Sequence[Step]) -> list[str]:
    """The commands that carrying out the steps sends, each as one line of JSON."""
    found: list[str] = []
    for step in steps:
        if step.operation == "insert":
            documents = [command(text) for text in step.back["documents"]]
            found.append(_shown({"insert": step.table, "documents": documents}))
        else:
            found += [_shown(command(text)) for text in step.back["commands"]]
    return found


def _shown(order: Mapping[str, Any]) -> str:
    return json_util.dumps(order, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False)


def _without_id(document: Mapping[str, Any]) -> Document:
    return {name: value for name, value in document.items() if name != "_id"}


def _index(wish: IndexWish) -> Document:
    if isinstance(wish, Mapping) and "keys" in wish:
        rest = {name: value for name, value in wish.items() if name not in ("keys", "name")}
        return _spec(wish["keys"], wish.get("name"), rest)
    return _spec(wish, None, {})


def _spec(keys: KeyList, name: str | None, options: Mapping[str, Any]) -> Document:
    pairs = [(keys, 1)] if isinstance(keys, str) else list(keys.items() if isinstance(keys, Mapping) else keys)
    return {"key": dict(pairs), "name": name or "_".join(f"{field}_{kind}" for field, kind in pairs), **options}
