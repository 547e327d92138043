"""What `expand` and `contract` are handed on SQL: Alembic's operations, each recorded as it is done, so that it can be taken back.

A step is known by its place: a second `expand` finds its first steps done and performs only what the author added at the end.

SQLite has no ALTER TABLE for constraints. The usual way, a new table and a copy, loses triggers, comments and the exact text of
the definition, and with foreign keys on it empties the tables that refer to it. So CHECK, FOREIGN KEY and NOT NULL are written into
the stored definition (https://sqlite.org/lang_altertable.html, section 7, for changes that touch no row), after the rows were
seen to keep them, and a UNIQUE constraint becomes the unique index that it is.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, replace
from io import StringIO
from typing import Any, NoReturn

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import MigrateOperation, Operations, ops
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.dialects.postgresql.named_types import CreateDomainType, CreateEnumType, NamedType
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError, StatementError
from sqlalchemy.types import UserDefinedType

from backtrail.errors import AuthorMistake, BacktrailError, Retry, UnknownName, UsageError

Body = Callable[["Schema"], None]


@dataclass(frozen=True)
class Step:
    """One thing that `expand` or `contract` did, and what it takes to undo it; JSON by `dump`.

    Attributes:
        operation: the name of Alembic's operation, or `insert` or `execute`.
        table: the table that it is about; None for `execute`.
        schema: the table's schema, None for the default one.
        name: the column, index or constraint.
        call: what the author asked for, so that a later run can tell whether it is still the same.
        inverse: what undoing it takes; None where there is no way back.
    """

    operation: str
    table: str | None = None
    schema: str | None = None
    name: str | None = None
    call: str = ""
    inverse: Mapping[str, Any] | None = None

    def dump(self) -> dict[str, Any]:
        """The step as JSON."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Step:
        """The step that `dump` gave."""
        return cls(**data)

    @property
    def place(self) -> str:
        """The table with its schema, as messages show it."""
        return f"{self.schema}.{self.table}" if self.schema else str(self.table)

    def __str__(self) -> str:
        names = [*([self.name] if self.name else []), *([self.place] if self.table else [])]
        return " ".join([self.operation, " on ".join(names)]).strip()


def run(connection: Connection, body: Body, *, allow_irreversible: bool = False, done: Sequence[Step] = ()) -> list[Step]:
    """The steps that `body` performed now, in the connection's transaction, which the caller commits.

    Args:
        connection: in a transaction; on SQLite in a real one, begun by BEGIN.
        body: `migration.expand` or `migration.contract`.
        allow_irreversible: whether it is `contract`, which may drop.
        done: all steps of earlier runs, in their order. They are not performed again, and are not in the result.

    Raises:
        UsageError: the database refused a step, or `body` is no longer what was done. Nothing is changed.
        AuthorMistake: `body` asks for what has no inverse.
        Retry: a lock could not be had.
    """
    schema = Schema(connection, irreversible=allow_irreversible, done=done)
    with connection.begin_nested():
        body(schema)
        schema.finish()
    return schema.steps


def script(connection: Connection, body: Body, *, allow_irreversible: bool = False, done: Sequence[Step] = ()) -> list[str]:
    """The SQL that `run` would execute. The database is only read."""
    schema = Schema(connection, irreversible=allow_irreversible, done=done, dry=True)
    body(schema)
    schema.finish()
    return schema.script


def undo(connection: Connection, steps: Sequence[Step]) -> None:
    """Takes back exactly what the steps added, the last first. What is gone already stays gone.

    Raises:
        UsageError: rows that `expand` did not insert are in the way, or something else depends on a step. Nothing is changed.
        Retry: a lock could not be had.
    """
    with connection.begin_nested():
        for step in reversed(steps):
            with _told(step, "undo of "):
                _Undo(connection, step).run()


def missing(connection: Connection, steps: Sequence[Step]) -> list[str]:
    """What the steps added and is not there any more, one name a line of a report."""
    found = [_Lookup(connection, step).lack() for step in steps]
    return list(dict.fromkeys(lack for lack in found if lack is not None))


# What each of Alembic's operations is called, and whether an inverse is known.
_ADDING: dict[type[MigrateOperation], str] = {
    ops.CreateTableOp: "create_table",
    ops.AddColumnOp: "add_column",
    ops.CreateIndexOp: "create_index",
    ops.CreateUniqueConstraintOp: "create_unique_constraint",
    ops.CreateCheckConstraintOp: "create_check_constraint",
    ops.CreateForeignKeyOp: "create_foreign_key",
    ops.CreatePrimaryKeyOp: "create_primary_key",
    ops.AlterColumnOp: "alter_column",
}
_DROPPING: dict[type[MigrateOperation], str] = {
    ops.DropTableOp: "drop_table",
    ops.DropColumnOp: "drop_column",
    ops.DropIndexOp: "drop_index",
    ops.DropConstraintOp: "drop_constraint",
    ops.RenameTableOp: "rename_table",
}
_CONSTRAINTS = {
    "create_unique_constraint": "unique",
    "create_check_constraint": "check",
    "create_foreign_key": "foreignkey",
    "create_primary_key": "primary",
}


class Schema(Operations):
    """Alembic's operations, recorded, and `insert` and `execute`; `schema.table` names a table of another schema on PostgreSQL."""

    def __init__(
        self, connection: Connection, *, irreversible: bool = False, done: Sequence[Step] = (), dry: bool = False
    ) -> None:
        super().__init__(MigrationContext.configure(connection))
        self.steps: list[Step] = []
        self.script: list[str] = []
        self._connection = connection
        self._irreversible = irreversible
        self._dry = dry
        self._done = list(done)
        self._place = 0
        self._tables: dict[tuple[str | None, str], sa.Table] = {}
        self._shown_types: set[tuple[str | None, str]] = set()

    @property
    def dialect(self) -> str:
        """`postgresql` or `sqlite`, for a step that only one of them needs."""
        return self._connection.dialect.name

    def finish(self) -> None:
        """Nothing, where every step that was done before was asked for again."""
        if self._place < len(self._done):
            raise UsageError(f"{self._done[self._place]} was done and is not asked for any more: {_CHANGED}")

    # -- Alembic's operations -------------------------------------------------------------------------------------

    def invoke(self, operation: MigrateOperation) -> Any:
        """What Alembic's method returns; every one of them comes through here."""
        name = _ADDING.get(type(operation)) or _DROPPING.get(type(operation))
        if name is None:
            raise AuthorMistake(f"{type(operation).__name__.removesuffix('Op')} is not recorded: use execute(statement, undo=…)")
        self._permitted(name, operation)
        self._split_names(operation)
        operation = self._for_sqlite(operation)
        table = self._remembered(operation)
        step = self._step(_ADDING.get(type(operation)) or name, operation)
        with _told(step):
            types = self._types(operation)
            statements = self._render(operation, types)
            step = replace(step, call="; ".join(" ".join(statement.split()) for statement in statements))
            if not self._is_done(step):
                if self._dry:
                    self._show(types, statements)
                else:
                    self.steps.append(replace(step, inverse=self._perform(step, operation, types)))
        return table

    def execute(
        self,
        sqltext: str | sa.Executable,
        execution_options: dict[str, Any] | None = None,
        *,
        undo: str | sa.Executable | Sequence[str | sa.Executable] | None = None,
    ) -> None:
        """Runs a statement; `undo` is the statement or statements that take it back, `()` where it leaves nothing behind."""
        if undo is None and not self._irreversible:
            raise AuthorMistake("execute(…) in expand needs undo=…: the statement that takes it back, or () if it leaves nothing")
        statement = self._literal(sqltext)
        step = Step("execute", call=" ".join(statement.split()))
        if self._is_done(step):
            return
        if self._dry:
            self.script.append(statement)
            return
        with _told(step):
            if isinstance(sqltext, str):
                # Without parameters the driver leaves % and : alone, which a person's SQL may hold.
                _verbatim(self._connection, sqltext)
            else:
                self._connection.execute(sqltext, execution_options=execution_options)
        back = () if undo is None else (undo,) if isinstance(undo, (str, sa.Executable)) else undo
        inverse = None if undo is None else {"statements": [self._literal(each) for each in back if each]}
        self.steps.append(replace(step, inverse=inverse))

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]], *, schema: str | None = None) -> None:
        """Inserts rows, each remembered exactly, so that undo finds them, and sees whether somebody changed them since."""
        name, schema = self._split(table, schema)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        step = Step("insert", name, schema, call=f"{len(rows)} rows of {', '.join(columns)}")
        if self._is_done(step):
            return
        with _told(step):
            if self._dry:
                self.script += [self._shown_insert(step, row) for row in rows]
            else:
                self.steps.append(replace(step, inverse=self._insert(step, columns, rows)))

    def batch_alter_table(self, *_: Any, **__: Any) -> NoReturn:
        """Nothing: batches are not needed, `schema` alters SQLite's tables as well."""
        raise AuthorMistake("batch_alter_table is not needed: call the operations on schema itself, on SQLite too")

    def get_bind(self) -> NoReturn:
        """Nothing: what goes past `schema` is not recorded."""
        raise AuthorMistake("get_bind would not be recorded: use schema.execute(statement, undo=…) or schema.insert(table, rows)")

    # -- before a step --------------------------------------------------------------------------------------------

    def _permitted(self, name: str, operation: MigrateOperation) -> None:
        if self._irreversible:
            return
        if type(operation) in _DROPPING:
            raise AuthorMistake(f"{name} has no inverse: it belongs in contract(self, schema), not in expand")
        if isinstance(operation, ops.AlterColumnOp):
            if operation.modify_type is not None or operation.modify_name is not None or operation.modify_comment is not False:
                raise AuthorMistake("alter_column in expand changes nullable and server_default only: add a new column instead")
        elif isinstance(operation, (ops.CreateTableOp, ops.AddColumnOp, ops.CreateIndexOp)) and getattr(
            operation, "if_not_exists", None
        ):
            raise AuthorMistake(f"{name} with if_not_exists could not tell whether it is ours: leave it out")
        if isinstance(operation, ops.CreateIndexOp) and operation.kw.get("postgresql_concurrently"):
            raise AuthorMistake("create_index with postgresql_concurrently cannot run in expand's transaction: leave it out")
        if isinstance(operation, (ops.AddConstraintOp, ops.CreateIndexOp)) and not _name_of(operation):
            raise AuthorMistake(f"{name} needs a name, so that undo can find it again")
        if isinstance(operation, ops.AddColumnOp):
            _check_column(operation.column)

    def _is_done(self, step: Step) -> bool:
        if self._place == len(self._done):
            return False
        before = self._done[self._place]
        if replace(before, inverse=None) != replace(step, inverse=None):
            raise UsageError(f"step {self._place + 1} was {before} and is now {_apart(before, step)}: {_CHANGED}")
        self._place += 1
        return True

    def _split(self, table: str, schema: str | None) -> tuple[str, str | None]:
        if schema is None and self.dialect == "postgresql" and "." in table:
            schema, _, table = table.rpartition(".")
        return table, schema

    def _split_names(self, operation: Any) -> None:
        if isinstance(operation, ops.CreateForeignKeyOp):
            for side, attribute in (("source_schema", "source_table"), ("referent_schema", "referent_table")):
                name, schema = self._split(getattr(operation, attribute), operation.kw.get(side))
                setattr(operation, attribute, name)
                operation.kw[side] = schema
        else:
            operation.table_name, operation.schema = self._split(operation.table_name, operation.schema)

    def _for_sqlite(self, operation: MigrateOperation) -> MigrateOperation:
        """The operation as SQLite can do it."""
        if self.dialect != "sqlite":
            return operation
        if isinstance(operation, ops.CreateUniqueConstraintOp):
            if operation.kw:
                raise UsageError(f"create_unique_constraint {operation.constraint_name}: SQLite has no {', '.join(operation.kw)}")
            columns: Any = list(operation.columns)
            return ops.CreateIndexOp(str(operation.constraint_name), operation.table_name, columns, unique=True)
        if isinstance(operation, ops.CreatePrimaryKeyOp):
            raise UsageError("create_primary_key: SQLite fixes a table's primary key when it creates it; use a unique index")
        if isinstance(operation, ops.AlterColumnOp):
            only = (operation.modify_type, operation.modify_name, operation.modify_comment, operation.modify_server_default)
            if operation.modify_nullable is not False or only != (None, None, False, False):
                raise UsageError(
                    f"alter_column {operation.table_name}.{operation.column_name}: on SQLite only nullable=False; add a new column instead"
                )
        if isinstance(operation, ops.AddColumnOp):
            operation.inline_references = True
        return operation

    def _step(self, name: str, operation: Any) -> Step:
        if isinstance(operation, ops.CreateForeignKeyOp):
            return Step(name, operation.source_table, operation.kw.get("source_schema"), _name_of(operation))
        return Step(name, operation.table_name, operation.schema, _name_of(operation))

    def _remembered(self, operation: MigrateOperation) -> sa.Table | None:
        # An insert of the same expand binds its values by the types that the author gave, which SQLite would not give back.
        if not isinstance(operation, ops.CreateTableOp):
            return None
        table: sa.Table = _anew(operation).to_table(self.migration_context)
        self._tables[operation.schema, operation.table_name] = table
        return table

    # -- as text --------------------------------------------------------------------------------------------------

    def _offline(self, buffer: StringIO) -> MigrationContext:
        # A dialect of its own, because the connection's would double every % for its driver.
        plain = _plain(self._connection)
        return MigrationContext.configure(dialect=plain, opts={"as_sql": True, "output_buffer": buffer, "literal_binds": True})

    def _render(self, operation: MigrateOperation, types: Sequence[Any]) -> list[str]:
        definition = self._definition(operation)
        if definition is not None:
            return [f"-- into the definition of {_name_of_table(operation)}: {definition}"]
        buffer = StringIO()
        context = self._offline(buffer)
        _skip_types(context, types)
        Operations(context).invoke(_anew(operation))
        return [part for part in buffer.getvalue().split(";\n\n") if part]

    def _definition(self, operation: MigrateOperation) -> str | None:
        """What is written into SQLite's stored definition, where that is how the operation is done."""
        if self.dialect != "sqlite":
            return None
        if isinstance(operation, (ops.CreateCheckConstraintOp, ops.CreateForeignKeyOp)):
            constraint = operation.to_constraint(self.migration_context)
            return str(self._connection.dialect.ddl_compiler(self._connection.dialect, None).process(constraint)).strip()  # type: ignore[arg-type]
        if isinstance(operation, ops.AlterColumnOp):
            return f"{operation.column_name} NOT NULL"
        if isinstance(operation, ops.DropConstraintOp):
            return f"without {operation.constraint_name}"
        return None

    def _literal(self, statement: str | sa.Executable) -> str:
        if isinstance(statement, str):
            return statement
        with _told(Step("execute")):
            clause: Any = statement
            return str(clause.compile(dialect=_plain(self._connection), compile_kwargs={"literal_binds": True}))

    def _show(self, types: Sequence[Any], statements: Sequence[str]) -> None:
        for kind in types:
            if not self._type_exists(kind):
                self._shown_types.add((kind.schema, str(kind.name)))
                self.script.append(_create_type(self._connection, kind))
        self.script += statements

    def _shown_insert(self, step: Step, row: Mapping[str, Any]) -> str:
        columns = [sa.column(name, sa.literal(value).type) for name, value in row.items()]
        statement = sa.insert(sa.table(str(step.table), *columns, schema=step.schema)).values(dict(row))
        try:
            return str(statement.compile(dialect=_plain(self._connection), compile_kwargs={"literal_binds": True}))
        except (SQLAlchemyError, NotImplementedError):
            # A value that has no literal form (bytes, JSON): its place is shown.
            return str(statement.compile(dialect=_plain(self._connection)))

    # -- doing a step ---------------------------------------------------------------------------------------------

    def _perform(self, step: Step, operation: MigrateOperation, types: Sequence[Any]) -> dict[str, Any] | None:
        """What undoing the operation takes, after it was done."""
        if not isinstance(operation, (ops.CreateTableOp, ops.DropIndexOp)):
            _table_exists(self._connection, step)
        made = [kind for kind in types if not self._type_exists(kind)]
        for kind in made:
            kind.create(self._connection, checkfirst=False)
        _skip_types(self.migration_context, types)
        before = _column_state(self._connection, step) if isinstance(operation, ops.AlterColumnOp) else None
        if self.dialect == "sqlite" and self._define(step, operation):
            return {"definition": self._definition(operation)} if type(operation) in _ADDING else None
        super().invoke(_anew(operation))
        if type(operation) in _DROPPING:
            return None
        inverse: dict[str, Any] = {}
        if made:
            inverse["types"] = [_type_name(self._connection, kind) for kind in made]
        if isinstance(operation, ops.AddColumnOp):
            inverse |= _filled(self._connection, step, operation.column)
        if isinstance(operation, ops.AlterColumnOp):
            if operation.modify_type is not None or operation.modify_name is not None or operation.modify_comment is not False:
                return None
            inverse |= {"before": before, "after": _column_state(self._connection, step)}
        return inverse

    def _define(self, step: Step, operation: MigrateOperation) -> bool:
        """Whether the operation was done in SQLite's stored definition."""
        table = _Definition(self._connection, step)
        if isinstance(operation, (ops.CreateCheckConstraintOp, ops.CreateForeignKeyOp)):
            if table.constraint(str(step.name)) is not None:
                raise UsageError(f"{step}: {_EXISTS}")
            definition = self._definition(operation) or ""
            if isinstance(operation, ops.CreateCheckConstraintOp):
                quoted = self._connection.dialect.identifier_preparer.quote(str(step.name))
                condition = definition.removeprefix(f"CONSTRAINT {quoted} CHECK ")
                _refuse_rows(step, _count(self._connection, step, sa.literal_column(f"NOT {condition}")))
                table.add(definition)
            else:
                broken = table.broken_keys()
                table.add(definition)
                _refuse_rows(step, table.broken_keys() - broken)
        elif isinstance(operation, ops.AlterColumnOp):
            _refuse_rows(step, _count(self._connection, step, sa.column(operation.column_name).is_(None)))
            table.not_null(operation.column_name)
        elif isinstance(operation, ops.DropConstraintOp):
            if step.name in _Lookup(self._connection, step).indexes():
                Operations(self.migration_context).drop_index(str(step.name), str(step.table), schema=step.schema)
            else:
                table.remove(str(step.name))
        else:
            return False
        return True

    def _types(self, operation: MigrateOperation) -> list[Any]:
        """The named types (PostgreSQL's enums and domains) that the operation's columns are of."""
        columns: Sequence[Any] = ()
        if isinstance(operation, ops.CreateTableOp):
            columns = operation.columns
        elif isinstance(operation, ops.AddColumnOp):
            columns = [operation.column]
        kinds: dict[tuple[str | None, str], Any] = {}
        for column in columns:
            kind = column.type if isinstance(column, sa.Column) else None
            kind = getattr(kind, "item_type", kind)
            found: Any = kind.dialect_impl(self._connection.dialect) if kind is not None else None
            if _is_named(found) and found.create_type:
                kinds[found.schema, str(found.name)] = found
        return list(kinds.values())

    def _type_exists(self, kind: Any) -> bool:
        dialect: Any = self._connection.dialect
        shown = (kind.schema, str(kind.name)) in self._shown_types
        return shown or bool(dialect.has_type(self._connection, kind.name, schema=kind.schema))

    def _insert(self, step: Step, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        table = self._tables.get((step.schema, str(step.table)))
        if table is None or not all(name in table.c for name in columns):
            _table_exists(self._connection, step)
            table = _reflect(self._connection, step)
        for name in columns:
            if name not in table.c:
                raise UnknownName(f"column of {step.place}", name, [column.name for column in table.c])
        exact = _Exact(self._connection, step)
        key = sa.inspect(self._connection).get_pk_constraint(str(step.table), schema=step.schema)["constrained_columns"]
        if not key:
            raise AuthorMistake(f"{step}: the table has no primary key, so undo could not find the rows again")
        names = [column["name"] for column in sa.inspect(self._connection).get_columns(str(step.table), schema=step.schema)]
        inserted = []
        for row in rows:
            statement = sa.insert(table).values(dict(row)).returning(*[exact.text(name) for name in names])
            inserted.append(list(self._connection.execute(statement).one()))
        return {"key": key, "columns": names, "rows": inserted}


def _anew(operation: Any) -> Any:
    """The operation with columns of its own, to be carried out once.

    A column belongs to the first table that it is put into, and its copies are without its foreign keys from then on.
    """
    fresh = copy(operation)
    if isinstance(operation, ops.AddColumnOp):
        fresh.column = _copied(operation.column)
    elif isinstance(operation, ops.CreateTableOp):
        fresh.columns = [_copied(part) if isinstance(part, sa.Column) else part for part in operation.columns]
    return fresh


def _copied(column: sa.Column[Any]) -> sa.Column[Any]:
    if column.table is not None and column.foreign_keys:
        raise AuthorMistake(f"column {column.name} belongs to a Table, which keeps its foreign keys: write it as a new Column")
    return column._copy()


_CHANGED = "add new steps at the end, or take everything back first with expand --undo"
_EXISTS = "it exists already, and expand did not create it: rename or drop it, or take the step out"


def _apart(before: Step, step: Step) -> str:
    return f"{step}" if str(before) != str(step) else "written differently"


def _name_of(operation: Any) -> str | None:
    if isinstance(operation, ops.AddColumnOp):
        return str(operation.column.name)
    for attribute in ("column_name", "index_name", "constraint_name", "new_table_name"):
        name = getattr(operation, attribute, None)
        if name is not None:
            return str(name)
    return None


def _name_of_table(operation: Any) -> str:
    return str(operation.source_table if isinstance(operation, ops.CreateForeignKeyOp) else operation.table_name)


def _check_column(column: sa.Column[Any]) -> None:
    if column.unique or column.index or column.primary_key:
        raise AuthorMistake(f"add_column {column.name}: write unique=, index= and primary_key= as steps of their own")
    if column.identity is not None:
        raise AuthorMistake(f"add_column {column.name}: {_OWN_VALUES}")


_OWN_VALUES = "its default gives each row a value of its own, which undo could not tell from data; let migrate fill it"


# -- dialects and types --------------------------------------------------------------------------------------------


def _plain(connection: Connection) -> sa.Dialect:
    """The connection's dialect for text that people read and a driver takes without parameters."""
    kind: Any = type(connection.dialect)
    plain: Any = kind(paramstyle="named")
    if connection.dialect.name == "postgresql":
        plain._backslash_escapes = connection.dialect._backslash_escapes  # type: ignore[attr-defined]
    return plain  # type: ignore[no-any-return]


def _verbatim(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _is_named(kind: object) -> bool:
    return isinstance(kind, NamedType)


def _skip_types(context: MigrationContext, types: Sequence[Any]) -> None:
    # Alembic would create a table's types without looking, and a column's not at all; here they are made before, if missing.
    for kind in types:
        context.impl.memo.setdefault(f"pg_{kind.__visit_name__}", set()).add((kind.schema, kind.name))


def _create_type(connection: Connection, kind: Any) -> str:
    ddl = CreateDomainType(kind) if isinstance(kind, DOMAIN) else CreateEnumType(kind)
    return str(ddl.compile(dialect=_plain(connection))).strip()


def _type_name(connection: Connection, kind: Any) -> list[str]:
    quote = _plain(connection).identifier_preparer.quote
    name = quote(str(kind.name))
    return ["DOMAIN" if isinstance(kind, DOMAIN) else "TYPE", f"{quote(kind.schema)}.{name}" if kind.schema else name]


# -- looking at the database ---------------------------------------------------------------------------------------


def _table(step: Step) -> sa.TableClause:
    return sa.table(str(step.table), schema=step.schema)


def _count(connection: Connection, step: Step, condition: sa.ColumnElement[Any] | None = None) -> int:
    query = sa.select(sa.func.count()).select_from(_table(step))
    return int(connection.execute(query if condition is None else query.where(condition)).scalar_one())


def _refuse_rows(step: Step, count: int) -> None:
    if count:
        raise UsageError(f"{step}: {count} rows that are there already break it: mend them first")


def _table_exists(connection: Connection, step: Step) -> None:
    inspector = sa.inspect(connection)
    if not inspector.has_table(str(step.table), schema=step.schema):
        names = inspector.get_table_names(schema=step.schema)
        raise UnknownName("table", step.place, [f"{step.schema}.{name}" if step.schema else name for name in names])


def _reflect(connection: Connection, step: Step) -> sa.Table:
    with warnings.catch_warnings():
        # A column of a type that SQLAlchemy does not know is bound as it is, which is all that is needed.
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        return sa.Table(str(step.table), sa.MetaData(), schema=step.schema, autoload_with=connection, resolve_fks=False)


def _column(connection: Connection, step: Step) -> Mapping[str, Any] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)
            columns = sa.inspect(connection).get_columns(str(step.table), schema=step.schema)
    except NoSuchTableError:
        return None
    return next((column for column in columns if column["name"] == step.name), None)


def _column_state(connection: Connection, step: Step) -> dict[str, Any] | None:
    column = _column(connection, step)
    return None if column is None else {"nullable": column["nullable"], "default": column["default"]}


class _Named(UserDefinedType[Any]):
    """A type by its name in the catalogue, for those that SQLAlchemy has no class for."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


class _Exact:
    """The values of a table as text that says exactly what they are, whatever the session's settings."""

    def __init__(self, connection: Connection, step: Step) -> None:
        self._sqlite = connection.dialect.name == "sqlite"
        self._types: dict[str, _Named] = {}
        if not self._sqlite:
            quoted = _plain(connection).identifier_preparer.format_table(_table(step))
            catalogue = sa.text(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped"
            )
            rows = connection.execute(catalogue, {"name": quoted})
            self._types = {name: _Named(kind) for name, kind in rows}

    def text(self, column: str) -> sa.ColumnElement[str]:
        """The column's value as text."""
        return sa.func.quote(sa.column(column)) if self._sqlite else sa.cast(sa.column(column), sa.Text)

    def typed(self, column: str, text: str | None) -> sa.ColumnElement[Any]:
        """The value that `text` said, of the column's own type, for PostgreSQL."""
        return sa.cast(sa.bindparam(None, text, sa.Text), self._types[column])

    def converted(self, column: str, expression: str) -> sa.ColumnElement[Any]:
        """An SQL expression as a value of the column's own type, for PostgreSQL."""
        return sa.cast(sa.literal_column(f"({expression})"), self._types[column])

    def is_value(self, column: str, text: str | None) -> sa.ColumnElement[bool]:
        """Whether the column holds exactly what `text` said."""
        if self._sqlite:
            return self.text(column) == text
        # A text of another time zone or number format is first made a value again.
        return self.text(column).is_not_distinct_from(sa.cast(self.typed(column, text), sa.Text))

    def is_key(self, column: str, text: str | None) -> sa.ColumnElement[bool]:
        """As `is_value`, and by the table's index."""
        value = sa.literal(_unquoted(str(text))) if self._sqlite else self.typed(column, text)
        same: sa.ColumnElement[bool] = sa.column(column) == value
        return same


def _unquoted(literal: str) -> Any:
    """The value of what SQLite's `quote` returned."""
    if literal.startswith("'"):
        return literal[1:-1].replace("''", "'")
    if literal.startswith("X'"):
        return bytes.fromhex(literal[2:-1])
    return int(literal) if re.fullmatch(r"-?\d+", literal) else float(literal)


def _filled(connection: Connection, step: Step, column: sa.Column[Any]) -> dict[str, Any]:
    """What the database itself put into the rows of a new column."""
    if column.computed is not None:
        return {"computed": True}
    state = _column_state(connection, step)
    default = state["default"] if state else None
    if default is None:
        return {}
    if connection.dialect.name == "sqlite":
        return {"default": default}  # a constant: SQLite takes no other for a table with rows
    exact = _Exact(connection, step)
    name = str(step.name)
    query = sa.select(exact.text(name), sa.cast(exact.converted(name, default), sa.Text)).select_from(_table(step)).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return {"default": default}
    if row[0] != row[1]:
        raise AuthorMistake(f"{step}: {_OWN_VALUES}")
    # now() gave every row the time of this transaction, and would give another one when it is asked again.
    return {"default": default, "fill": row[0]}


# -- SQLite's stored definition ------------------------------------------------------------------------------------

_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)|\s+|\w+|.""", re.DOTALL)


def _tokens(text: str) -> list[re.Match[str]]:
    return list(_TOKEN.finditer(text))


def _words(text: str) -> list[str]:
    """The tokens that mean something, names without their quotes."""
    kept = [t.group() for t in _tokens(text) if not t.group().isspace() and not t.group().startswith(("--", "/*"))]
    return [_bare(token) for token in kept]


def _bare(token: str) -> str:
    if len(token) > 1 and token[0] in "\"`'":
        return token[1:-1].replace(token[0] * 2, token[0])
    return token[1:-1] if token.startswith("[") and token.endswith("]") else token


def _parts(sql: str) -> list[tuple[int, int]]:
    """Where each definition between the parentheses of a CREATE TABLE begins and ends."""
    parts: list[tuple[int, int]] = []
    depth = start = 0
    for token in _tokens(sql):
        text = token.group()
        if text == "(":
            depth += 1
            if depth == 1:
                start = token.end()
        elif text == ")":
            depth -= 1
            if depth == 0:
                return [*parts, (start, token.start())]
        elif text == "," and depth == 1:
            parts.append((start, token.start()))
            start = token.end()
    return parts


class _Definition:
    """A table's stored definition on SQLite, changed where that touches no row, and byte for byte the same otherwise."""

    def __init__(self, connection: Connection, step: Step) -> None:
        self._connection, self._step = connection, step

    def add(self, definition: str) -> None:
        """One more constraint, at the end."""
        sql = self._sql()
        end = _parts(sql)[-1][1]
        self._write(f"{sql[:end]}, {definition}{sql[end:]}")

    def constraint(self, name: str) -> tuple[int, int] | None:
        """Where the table's CHECK or FOREIGN KEY of that name is, with the comma before it."""
        sql = self._sql()
        for start, end in _parts(sql):
            words = _words(sql[start:end])
            kind = words[2].upper() if len(words) > 2 else ""
            if (
                words[:1]
                and words[0].upper() == "CONSTRAINT"
                and words[1].lower() == name.lower()
                and kind in ("CHECK", "FOREIGN")
            ):
                return start - 1, end
        return None

    def remove(self, name: str) -> None:
        """The definition without the table's CHECK or FOREIGN KEY of that name."""
        place = self.constraint(name)
        if place is None:
            raise UsageError(f"{self._step}: SQLite's {self._step.place} has no CHECK or FOREIGN KEY of that name at its end")
        sql = self._sql()
        self._write(sql[: place[0]] + sql[place[1] :])

    def not_null(self, column: str) -> None:
        """NOT NULL at the end of the column's definition."""
        sql, (_, end) = self._column(column)
        self._write(f"{sql[:end]} NOT NULL{sql[end:]}")

    def has_not_null(self, column: str) -> bool:
        """Whether the column's definition ends with what `not_null` wrote."""
        sql, (start, end) = self._column(column)
        return sql[start:end].endswith(" NOT NULL")

    def nullable(self, column: str) -> None:
        """What `not_null` wrote is taken away."""
        sql, (_, end) = self._column(column)
        if self.has_not_null(column):
            self._write(sql[: end - len(" NOT NULL")] + sql[end:])

    def broken_keys(self) -> int:
        """How many rows break a foreign key of the table."""
        quoted = self._connection.dialect.identifier_preparer.quote(str(self._step.table))
        return len(self._connection.exec_driver_sql(f"PRAGMA foreign_key_check({quoted})").all())

    def _column(self, column: str) -> tuple[str, tuple[int, int]]:
        sql = self._sql()
        names = []
        for start, end in _parts(sql):
            words = _words(sql[start:end])
            if words and words[0].lower() == column.lower():
                return sql, (start, end)
            names += words[:1]
        raise UnknownName(f"column of {self._step.place}", column, names)

    def _sql(self) -> str:
        query = sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name COLLATE NOCASE")
        sql = self._connection.execute(query, {"name": self._step.table}).scalar_one_or_none()
        if sql is None:
            raise UsageError(f"{self._step}: {self._step.place} is no table")
        return str(sql)

    def _write(self, sql: str) -> None:
        run = self._connection.exec_driver_sql
        version = run("PRAGMA schema_version").scalar_one()
        run("PRAGMA writable_schema = ON")
        try:
            self._connection.execute(
                sa.text("UPDATE sqlite_master SET sql = :sql WHERE type = 'table' AND name = :name COLLATE NOCASE"),
                {"sql": sql, "name": self._step.table},
            )
            # Other connections read the definition again when they see a new version.
            run(f"PRAGMA schema_version = {version + 1}")
        finally:
            run("PRAGMA writable_schema = RESET")


# -- taking back ---------------------------------------------------------------------------------------------------


class _Lookup:
    """Whether what a step added is still there."""

    def __init__(self, connection: Connection, step: Step) -> None:
        self._connection, self._step = connection, step

    def lack(self) -> str | None:
        """What is missing, or None."""
        step = self._step
        if step.inverse is None or step.operation == "execute":
            return None
        if not sa.inspect(self._connection).has_table(str(step.table), schema=step.schema):
            return f"table {step.place}"
        if step.operation == "add_column" and not self.there():
            return f"column {step.place}.{step.name}"
        if step.operation == "alter_column" and not self.there():
            return f"column {step.place}.{step.name} as expand left it"
        if step.operation == "insert":
            gone = len(step.inverse["rows"]) - self.rows(intact=False)
            return f"{gone} rows of {step.place} that expand inserted" if gone else None
        if not self.there():
            kind = "index" if step.operation == "create_index" else "constraint"
            return f"{kind} {step.name} of {step.place}"
        return None

    def there(self) -> bool:
        """Whether the step's own object exists."""
        step, connection = self._step, self._connection
        if not sa.inspect(connection).has_table(str(step.table), schema=step.schema):
            return False
        if step.operation in ("create_table", "insert"):
            return True
        if step.operation == "add_column":
            return _column(connection, step) is not None
        if step.operation == "alter_column":
            return self._as_left()
        if step.operation == "create_index":
            return step.name in self.indexes()
        if connection.dialect.name == "sqlite":
            return _Definition(connection, step).constraint(str(step.name)) is not None
        return step.name in self._constraints()

    def indexes(self) -> set[str | None]:
        """The names of the table's indexes."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)  # one over expressions is there, though its columns cannot be told
            found = sa.inspect(self._connection).get_indexes(str(self._step.table), schema=self._step.schema)
        names: set[str | None] = {index["name"] for index in found}
        if self._connection.dialect.name == "sqlite":
            # SQLAlchemy leaves indexes over expressions out.
            query = sa.text("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = :table COLLATE NOCASE")
            names |= set(self._connection.execute(query, {"table": self._step.table}).scalars())
        return names

    def rows(self, *, intact: bool) -> int:
        """How many of the inserted rows are there; with `intact`, unchanged."""
        return sum(1 for row in self.inserted() if _count(self._connection, self._step, self.match(row, intact=intact)))

    def inserted(self) -> list[dict[str, str | None]]:
        """The rows that the step inserted."""
        inverse = self._step.inverse or {}
        return [dict(zip(inverse["columns"], row, strict=True)) for row in inverse["rows"]]

    def match(self, row: Mapping[str, str | None], *, intact: bool) -> sa.ColumnElement[bool]:
        """The condition for one inserted row; with `intact`, only if nobody changed it."""
        exact = _Exact(self._connection, self._step)
        same = [exact.is_key(name, row[name]) for name in (self._step.inverse or {})["key"]]
        # A column that is gone since cannot have been changed; its own step says that it is missing.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)
            found = sa.inspect(self._connection).get_columns(str(self._step.table), schema=self._step.schema)
        present = {column["name"] for column in found}
        if intact:
            same += [exact.is_value(name, text) for name, text in row.items() if name in present]
        return sa.and_(*same)

    def _as_left(self) -> bool:
        step = self._step
        if self._connection.dialect.name == "sqlite":
            return _Definition(self._connection, step).has_not_null(str(step.name))
        return bool(_column_state(self._connection, step) == (step.inverse or {})["after"])

    def _constraints(self) -> set[str | None]:
        query = sa.text(
            "SELECT conname FROM pg_constraint WHERE conrelid = ("
            "SELECT oid FROM pg_class WHERE relname = :table AND relnamespace = ("
            "SELECT oid FROM pg_namespace WHERE nspname = coalesce(:schema, current_schema())))"
        )
        found = self._connection.execute(query, {"table": self._step.table, "schema": self._step.schema})
        return set(found.scalars())


class _Undo:
    """One step taken back."""

    def __init__(self, connection: Connection, step: Step) -> None:
        if step.inverse is None:
            raise UsageError(f"{step}: it has no way back")
        self._connection, self._step, self._inverse = connection, step, step.inverse
        self._operations = Operations(MigrationContext.configure(connection))
        self._lookup = _Lookup(connection, step)

    def run(self) -> None:
        """Takes the step back, if what it added is still there."""
        step = self._step
        if step.operation == "execute":
            for statement in self._inverse["statements"]:
                _verbatim(self._connection, statement)
            return
        if step.operation == "alter_column":
            self._alter_column()
        elif self._lookup.there():
            special = {"create_table": self._create_table, "add_column": self._add_column, "insert": self._insert}
            special.get(step.operation, self._named)()
        for kind, name in self._inverse.get("types", ()):
            _verbatim(self._connection, f"DROP {kind} IF EXISTS {name}")

    def _lock(self) -> None:
        # Between the count and the drop nobody may add a row; SQLite has one writer anyway.
        if self._connection.dialect.name == "postgresql":
            name = _plain(self._connection).identifier_preparer.format_table(_table(self._step))
            _verbatim(self._connection, f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")

    def _create_table(self) -> None:
        step = self._step
        self._lock()
        count = _count(self._connection, step)
        if count:
            raise UsageError(
                f"{step.place} holds {count} rows that expand did not insert: roll back what wrote them, or move them away, first"
            )
        self._operations.drop_table(str(step.table), schema=step.schema)

    def _add_column(self) -> None:
        step = self._step
        self._lock()
        count = _count(self._connection, step, self._own_values())
        if count:
            raise UsageError(
                f"{count} rows of {step.place} hold values in {step.name} that expand did not put there:"
                " roll back what wrote them, or set it to NULL, first"
            )
        self._operations.drop_column(str(step.table), str(step.name), schema=step.schema)

    def _own_values(self) -> sa.ColumnElement[bool]:
        """The condition for a row whose value in the added column is not the database's doing."""
        column: sa.ColumnElement[Any] = sa.column(str(self._step.name))
        default = self._inverse.get("default")
        if self._inverse.get("computed"):
            return sa.false()
        if default is None:
            return column.is_not(None)
        if self._connection.dialect.name == "sqlite":
            return sa.and_(column.is_not(None), column.is_distinct_from(sa.literal_column(f"({default})")))
        exact, name = _Exact(self._connection, self._step), str(self._step.name)
        fill = self._inverse.get("fill")
        given = exact.converted(name, default) if fill is None else exact.typed(name, fill)
        return sa.and_(column.is_not(None), exact.text(name).is_distinct_from(sa.cast(given, sa.Text)))

    def _insert(self) -> None:
        step = self._step
        self._lock()
        changed = self._lookup.rows(intact=False) - self._lookup.rows(intact=True)
        if changed:
            raise UsageError(
                f"{changed} rows of {step.place} that expand inserted were changed since: change them back, or delete them, first"
            )
        for row in reversed(self._lookup.inserted()):
            self._connection.execute(sa.delete(_table(step)).where(self._lookup.match(row, intact=True)))

    def _alter_column(self) -> None:
        step = self._step
        if not self._lookup.there():
            raise UsageError(f"column {step.place}.{step.name} is not as expand left it: change it back, or drop it, first")
        if self._connection.dialect.name == "sqlite":
            _Definition(self._connection, step).nullable(str(step.name))
            return
        before, after = self._inverse["before"], self._inverse["after"]
        change: dict[str, Any] = {}
        if before["nullable"] != after["nullable"]:
            change["nullable"] = before["nullable"]
        if before["default"] != after["default"]:
            change["server_default"] = None if before["default"] is None else sa.literal_column(before["default"])
        if change:
            self._operations.alter_column(str(step.table), str(step.name), schema=step.schema, **change)

    def _named(self) -> None:
        """An index or a constraint goes by its name."""
        step = self._step
        if step.operation == "create_index":
            self._operations.drop_index(str(step.name), str(step.table), schema=step.schema)
        elif self._connection.dialect.name == "sqlite":
            _Definition(self._connection, step).remove(str(step.name))
        else:
            kind: Any = _CONSTRAINTS[step.operation]
            self._operations.drop_constraint(str(step.name), str(step.table), type_=kind, schema=step.schema)


# -- what the database says ----------------------------------------------------------------------------------------

_PERMISSION = "the database user may not do this: grant it, or use the owner's account"
_BROKEN = "rows that are there already break it: mend them first"
_DEPENDENTS = "other objects or rows depend on it: remove them first"
_UNKNOWN = "it names a table, column or type that does not exist"
_EMPTY = "rows that are there already would hold NULL: give a server_default, or add it nullable"

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES = {
    "42P06": _EXISTS,
    "42P07": _EXISTS,
    "42701": _EXISTS,
    "42710": _EXISTS,
    "42P16": "the table cannot have it: it has one of its kind, or another definition",
    "42501": _PERMISSION,
    "42P01": _UNKNOWN,
    "42703": _UNKNOWN,
    "42704": _UNKNOWN,
    "2BP01": _DEPENDENTS,
    "23502": _EMPTY,
    **dict.fromkeys(("23503", "23505", "23514"), ""),  # depends on what was tried
    "25006": "the database is read-only",
    "53100": "the disk is full",
}
_TRANSIENT = ("08", "40", "55P03", "57P")
# SQLite has no codes for these; its messages name things and never values.
_MESSAGES = (
    (r"already exists|already an(other)? |already a table|duplicate column name", _EXISTS),
    (
        r"sqlite_master may not be modified",
        "this SQLite guards its stored definitions (defensive mode): declare it in create_table",
    ),
    (r"readonly|read-only|not authorized", _PERMISSION),
    (r"after drop column|cannot drop .*column", _DEPENDENTS),
    (r"no such|unknown column|has no column", _UNKNOWN),
    (r"cannot add a not null column|not null constraint failed", _EMPTY),
    (r"constraint failed", ""),
    (r"disk is full", "the disk is full"),
)


@contextmanager
def _told(step: Step, what: str = "") -> Iterator[None]:
    """The database's and Alembic's errors as ours, in one line that names the step and holds no value."""
    try:
        yield
    except BacktrailError:
        raise
    except DBAPIError as error:
        # What is there already stands in the way of adding; of taking back, what refers to it.
        raise _told_error(f"{what}{step}", error, _BROKEN if not what else _DEPENDENTS) from error
    except StatementError as error:
        raise AuthorMistake(f"{what}{step}: a value does not fit its column") from error
    except (SQLAlchemyError, NotImplementedError, TypeError, ValueError) as error:
        if "No support for ALTER of constraints" in str(error):
            raise AuthorMistake(f"{what}{step}: write the column's constraint as a step of its own") from error
        raise AuthorMistake(f"{what}{step}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error


def _told_error(step: str, error: DBAPIError, broken: str) -> BacktrailError:
    original = error.orig
    state = getattr(original, "sqlstate", None)
    message = (str(original).splitlines() or [""])[0]
    if state is None and not hasattr(original, "sqlite_errorname"):
        return Retry(f"{step}: the connection was lost") if error.connection_invalidated else _refused(step, original)
    if state is None:
        if re.search("locked|busy", message):
            return Retry(f"{step}: the database is locked")
        reason = next((reason for pattern, reason in _MESSAGES if re.search(pattern, message, re.IGNORECASE)), None)
        return UsageError(f"{step}: {message if reason is None else reason or broken}")
    if error.connection_invalidated or state.startswith(_TRANSIENT):
        return Retry(f"{step}: a lock could not be had, or the connection was lost")
    if state in _STATES:
        return UsageError(f"{step}: {_STATES[state] or broken}")
    # Class 42 speaks of the statement; other classes quote what rows hold.
    return UsageError(f"{step}: {message}") if state.startswith(("42", "0A", "55", "25")) else _refused(step, original)


def _refused(step: str, original: BaseException | None) -> UsageError:
    return UsageError(f"{step}: the database refused it ({type(original).__name__})")
