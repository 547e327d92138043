"""Alembic's operations, recorded as they are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, Operations, ops
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.engine import Connection

from backtrail.errors import AuthorMistake
from backtrail.schema import catalogue, enums, sqlite, statements
from backtrail.schema.earlier import Earlier
from backtrail.schema.filled import filling
from backtrail.schema.inserted import insert, named
from backtrail.schema.operations import demand_inverse, split, split_names, step_of
from backtrail.schema.refusal import told
from backtrail.schema.step import Step

Statement = str | sa.Executable


class Schema(Operations):
    """Alembic's operations, recorded, and `insert` and `execute`; `schema.table` names a table of another schema on PostgreSQL."""

    def __init__(
        self, connection: Connection, *, irreversible: bool = False, done: Sequence[Step] = (), dry: bool = False
    ) -> None:
        super().__init__(MigrationContext.configure(connection))
        self.steps: list[Step] = []
        self.script: list[str] = []
        self.undos: set[tuple[str, ...]] = set()
        self.types: set[str] = set()
        self._connection = connection
        self._irreversible = irreversible
        self._dry = dry
        self._earlier = Earlier(done)
        self._tables: dict[tuple[str | None, str], sa.Table] = {}
        self._shown_types: set[str] = set()
        # Alembic makes statements and executes them in one go; here they are collected, to be shown or executed after.
        self._statements: list[Any] = []
        self.impl._exec = lambda construct, *_, **__: self._statements.append(construct)  # type: ignore[method-assign, union-attr]

    @property
    def dialect(self) -> str:
        """`postgresql` or `sqlite`, for a step that only one of them needs."""
        return self._connection.dialect.name

    def finish(self) -> None:
        """Nothing, where every step that was done before was asked for again."""
        self._earlier.finish()

    def invoke(self, operation: MigrateOperation) -> Any:
        """What Alembic's method returns; every one of them comes through here."""
        if not self._irreversible:
            demand_inverse(operation)
        operation = sqlite.adapted(operation) if self.dialect == "sqlite" else split_names(operation)
        step = step_of(operation)
        with told(step):
            types = enums.needed(self._connection, operation)
            self.types |= {enums.name(self._connection, kind) for kind in types}
            result = self._collect(operation, types)
            texts = [statements.text(self._connection, statement) for statement in self._statements]
            step = replace(step, call="; ".join(map(statements.on_one_line, texts)))
            if self._earlier.has(step):
                return result
            missing = [kind for kind in types if not self._type_exists(kind)]
            if self._dry:
                self._show(missing, texts)
            else:
                self._keep(step, self._perform(step, operation, missing))
        return result

    def execute(
        self,
        sqltext: Statement,
        execution_options: dict[str, Any] | None = None,
        *,
        undo: Statement | Sequence[Statement] | None = None,
    ) -> None:
        """Runs a statement; `undo` is the statement or statements that take it back, `()` where it leaves nothing behind."""
        if undo is None and not self._irreversible:
            raise AuthorMistake("execute(…) in expand needs undo=…: the statement that takes it back, or () if it leaves nothing")
        back = [undo] if isinstance(undo, Statement) else undo or ()
        with told(Step("execute")):
            statement = statements.text(self._connection, sqltext)
            inverse = {"statements": [statements.text(self._connection, each) for each in back]}
            self.undos.add(tuple(inverse["statements"]))
            step = Step("execute", call=statements.on_one_line(statement))
            if self._earlier.has(step):
                return
            if self._dry:
                self.script.append(statement)
            else:
                statements.verbatim(self._connection, statement)
                self._keep(step, inverse)

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]], *, schema: str | None = None) -> None:
        """Inserts rows, each remembered exactly, so that undo finds them, and sees whether somebody changed them since."""
        if self.dialect == "postgresql":
            table, schema = split(table, schema)
        step = Step("insert", table, schema, call=f"{len(rows)} rows of {', '.join(named(rows))}")
        if self._earlier.has(step):
            return
        with told(step):
            if self._dry:
                self.script += [statements.insertion(self._connection, step, row) for row in rows]
            else:
                self._keep(step, insert(self._connection, step, self._table(step, named(rows)), rows))

    def batch_alter_table(self, *_: Any, **__: Any) -> NoReturn:
        """Nothing: it copies the table, and what goes on in there is not recorded."""
        raise AuthorMistake("batch_alter_table is not recorded: call the operations on schema itself")

    def get_bind(self) -> NoReturn:
        """Nothing: what goes past `schema` is not recorded."""
        raise AuthorMistake("get_bind would not be recorded: use schema.execute(statement, undo=…) or schema.insert(table, rows)")

    def _collect(self, operation: MigrateOperation, types: list[ENUM]) -> Any:
        self._statements.clear()
        enums.skip(self.impl, types)
        result = super().invoke(operation)
        if isinstance(result, sa.Table):
            # An insert of the same expand binds its values by the types that the author gave, which SQLite would not give back.
            self._tables[result.schema, result.name] = result
        return result

    def _type_exists(self, kind: ENUM) -> bool:
        return enums.name(self._connection, kind) in self._shown_types or enums.exists(self._connection, kind)

    def _show(self, types: list[ENUM], texts: list[str]) -> None:
        self._shown_types |= {enums.name(self._connection, kind) for kind in types}
        self.script += [enums.creation(self._connection, kind) for kind in types] + texts

    def _keep(self, step: Step, inverse: dict[str, Any]) -> None:
        self.steps.append(replace(step, inverse=None if self._irreversible else inverse))

    def _perform(self, step: Step, operation: MigrateOperation, types: list[ENUM]) -> dict[str, Any]:
        """What undoing the operation takes, after it was done."""
        if not isinstance(operation, (ops.CreateTableOp, ops.DropIndexOp)):
            catalogue.demand_table(self._connection, step)
        before = catalogue.state(self._connection, step) if isinstance(operation, ops.AlterColumnOp) else None
        for kind in types:
            statements.verbatim(self._connection, enums.creation(self._connection, kind))
        for statement in self._statements:
            self._connection.execute(statement)
        inverse: dict[str, Any] = {"types": [enums.name(self._connection, kind) for kind in types]} if types else {}
        if isinstance(operation, ops.AddColumnOp):
            inverse |= filling(self._connection, step, operation.column)
        if isinstance(operation, ops.AlterColumnOp):
            inverse |= {"before": before, "after": catalogue.state(self._connection, step)}
        return inverse

    def _table(self, step: Step, columns: Sequence[str]) -> sa.Table:
        known = self._tables.get((step.schema, str(step.table)))
        if known is not None and all(name in known.c for name in columns):
            return known
        catalogue.demand_table(self._connection, step)
        return catalogue.reflected(self._connection, step)
