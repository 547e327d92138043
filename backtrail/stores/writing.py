"""One transaction on an SQL database, its writing: a whole batch at once, and read back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from backtrail.errors import BadValue, ConstraintFailed, Quarantine
from backtrail.image import Image, Ref, Written
from backtrail.row import NewRow
from backtrail.stores.base import Put, Write
from backtrail.stores.cells import ref_cells, ref_key
from backtrail.stores.circles import without_circles
from backtrail.stores.foreseen import foreseen
from backtrail.stores.references import by_table, refuse_followers, refuse_references
from backtrail.stores.rows import Cells, SqlReading, grouped_by
from backtrail.stores.steps import step_of
from backtrail.stores.tables import Column, Table
from backtrail.stores.watch import Action, Watch

T = TypeVar("T")


class SqlTransaction(SqlReading):
    """A transaction behind an SQLAlchemy connection."""

    of_one_row: ClassVar[tuple[type[Exception], ...]]
    """What the driver raises where a row is refused for what it holds, and nothing that stands elsewhere."""
    clashes: ClassVar[tuple[type[Exception], ...]]
    """What the driver raises where a value that must be unique is there already."""

    # -- what each database does its own way ----------------------------------------------------------------------

    @abstractmethod
    def insert(self, table: Table, columns: Sequence[str], rows: Sequence[Cells]) -> None:
        """Nothing; the rows are in the table."""

    @abstractmethod
    def insert_one(self, table: Table, columns: Sequence[str], row: Cells) -> list[Any]:
        """The key cells that the database gave the row that was inserted."""

    @abstractmethod
    def update(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Cells, Cells]]) -> None:
        """Nothing; each row, by the cells of its key, has the new cells."""

    @abstractmethod
    def delete(self, table: Table, keys: Sequence[Cells]) -> None:
        """Nothing; the rows of those keys are gone."""

    @abstractmethod
    def watcher(self, tables: Sequence[Table]) -> Watch:
        """What sees everything that is written from now on."""

    @abstractmethod
    def quietly(self, table: Table, columns: Collection[str]) -> AbstractContextManager[None]:
        """In the block, the users' triggers on the table do nothing.

        Raises:
            TriggerInTheWay: this database user may not, or these columns cannot be written safely so.
        """

    @abstractmethod
    def taken(self, error: Exception, writes: Sequence[Write]) -> Quarantine | None:
        """Who holds the unique value that the writes need, where the error says that somebody does."""

    @abstractmethod
    def refused_at(self, table: Table, error: Exception) -> int | None:
        """Which of the rows that were just written to the table the database refused; None where it does not say."""

    @abstractmethod
    def spare(self, column: Column, number: int) -> Any:
        """A value that the column hardly holds anywhere, another for every number."""

    @abstractmethod
    def defer(self) -> None:
        """Nothing; what can wait for the commit to be checked does."""

    @abstractmethod
    def draw_keys(self, table: Table, columns: Sequence[str], number: int) -> list[Cells] | None:
        """Values for key columns that a row leaves out, taken from their defaults; None where only an insert gives them."""

    @abstractmethod
    def normal(self, table: Table, columns: Sequence[str], rows: Sequence[Cells]) -> Sequence[Cells]:
        """The cells as the database would hold them in these columns, those that it would refuse as they are; nothing is written."""

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        try:
            with self.nested():
                yield
        except Quarantine as failure:
            if failure.refused is None or not _is_clash(failure) or not isinstance(failure.__cause__, Exception):
                raise
            # Who holds the value can be asked now, and no other order of the changes would make it free.
            named = self.taken(failure.__cause__, [failure.refused]) or failure
            named.refused = failure.refused
            if isinstance(named, ConstraintFailed):
                named.clash = False
            raise named from failure.__cause__

    @contextmanager
    def nested(self) -> Iterator[None]:
        """A block of whose writes nothing is left if it ends in an error."""
        with self.connection.begin_nested():
            yield

    def foreseen(self, writes: Sequence[Write]) -> list[Image | None]:
        return foreseen(writes, self.store.table, self.normal)

    # -- writing --------------------------------------------------------------------------------------------------

    watch: Watch | None = None
    """Sees what triggers write, while tables are written that have some."""

    def apply(self, writes: Sequence[Write], *, ordered: bool = False) -> list[Written]:
        with self._watched(writes) as watch:
            given = self._carried_out(self._apply, writes, ordered=ordered)
            if watch is None:
                return self._written(writes, given)
            watch.settle()
            written = self._written(writes, given)
            watch.demand({change.ref for change in written})
            return written

    @contextmanager
    def _watched(self, writes: Sequence[Write]) -> Iterator[Watch | None]:
        """What sees the writes of the block, where one of their tables has triggers."""
        tables = [self.store.table(name) for name in dict.fromkeys(write.table for write in writes)]
        if not any(table.triggers for table in tables):
            yield None
            return
        self.watch = self.watcher(tables)
        try:
            yield self.watch
            self.watch.close()
        finally:
            self.watch = None

    def _own(self, table: Table, action: Action, number: int, stamps: Mapping[str, str] | None = None) -> None:
        """Tells whoever watches that so many rows were written because they were asked for."""
        if self.watch is not None:
            self.watch.own(table, action, number, stamps or {})

    def _carried_out(self, carry_out: Callable[..., T], writes: Sequence[Write], *, ordered: bool) -> T:
        """What carrying out the writes gives; in their own order, also where rows exchange a unique value."""
        if not ordered:
            return carry_out(writes, ordered=False)
        self.defer()
        with suppress(*self.clashes), self.nested():
            return carry_out(writes, ordered=True)
        if self.watch is not None:
            self.watch.restart()
        try:
            with self.nested():
                self._set_aside(writes)
                return carry_out(writes, ordered=True)
        except self.clashes as error:
            raise self.taken(error, writes) or error from error

    def _set_aside(self, writes: Sequence[Write]) -> None:
        """Takes values that must be unique out of each other's way, before each goes to its new place."""
        for number, write in enumerate(writes):
            table = self.store.table(write.table)
            names = {"create": (), "update": write.columns, "delete": table.writable}[write.op]
            columns = [table.by_name[name] for name in names if name in table.clashing]
            if write.op == "delete":
                columns = [column for column in columns if column.nullable]
            if columns:
                cells = [None if column.nullable else self.spare(column, number) for column in columns]
                self._update(table, [column.name for column in columns], [(ref_cells(_known(write.ref).key), cells)], writes)

    def _apply(self, writes: Sequence[Write], *, ordered: bool) -> dict[int, Cells]:
        """The keys of the new rows."""
        writes = self._without_circles(writes)
        waiting = [write for write in writes if write.waits]
        given = self._sent_keys(writes) if waiting else {}
        going = [_known(write.ref) for write in writes if write.op == "delete"]
        # A new row whose key is still to be given comes before those that use it, whether or not a foreign key says so.
        awaited = {
            (write.table, cell.table)
            for write in waiting
            for cell in write.cells
            if type(cell) is NewRow and id(cell) not in given and cell.table != write.table
        }
        changing = {write.table for write in writes if ordered or write.op != "create"}
        for group in self._groups(writes, ordered=ordered, used=frozenset(awaited)):
            table = self.store.table(group[0].table)
            match group[0].op:
                case "create":
                    self._create(table, group, given, alone=table.name not in changing)
                case "update":
                    rows = [
                        (
                            given[id(write.row)] if write.ref is None else ref_cells(write.ref.key),
                            self._resolve(write, given),
                        )
                        for write in group
                    ]
                    with self._naming(table, group):
                        self._update(table, group[0].columns, rows, writes)
                case "delete":
                    refuse_references(self, going)
                    going = []
                    self.delete(table, [ref_cells(_known(write.ref).key) for write in group])
        return given

    def _update(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Cells, Cells]], writes: Sequence[Write]) -> None:
        """Nothing; the rows have the new cells, and no row of others was changed with them."""
        if any(key.follows for key in table.incoming):
            own = by_table([write.ref for write in writes if write.ref is not None])
            refuse_followers(self, table, columns, [key for key, _ in rows], own)
        self.update(table, columns, rows)

    def _without_circles(self, writes: Sequence[Write]) -> Sequence[Write]:
        """The writes, where tables refer to each other in a circle such that every row can be there before the one it refers to.

        Checks that can wait, wait. Where one cannot, new rows are made without the value, which they get in an update of their own; rows
        that go lose it first.
        """
        names = frozenset(write.table for write in writes)
        keys = self.store.late_keys(names) if len(names) > 1 else ()
        if any(key.deferrable for key in keys):
            self.defer()
        late: dict[str, tuple[str, ...]] = {}
        for key in keys:
            if not key.deferrable and (columns := self.store.nullable(key)):
                late[key.table] = tuple(dict.fromkeys((*late.get(key.table, ()), *columns)))
        return without_circles(writes, late) if late else writes

    def _sent_keys(self, writes: Sequence[Write]) -> dict[int, Cells]:
        """The keys of the new rows that do not wait for the database or another new row to give them."""
        return {id(write.row): key for write in writes if write.op == "create" and (key := self._sent_key(write)) is not None}

    def _sent_key(self, write: Write) -> Cells | None:
        """The key of a new row that does not wait for the database or another new row to give it."""
        key = [write.cells[write.columns.index(name)] for name in self.store.table(write.table).key if name in write.columns]
        whole = len(key) == len(self.store.table(write.table).key) and not any(type(cell) is NewRow for cell in key)
        return key if whole else None

    def _groups(
        self, items: Sequence[Write], *, ordered: bool, used: frozenset[tuple[str, str]] = frozenset()
    ) -> Iterator[list[Write]]:
        """The writes in groups that one statement can carry out: one by one as given, or by kind and along the foreign keys."""
        if ordered:
            yield from ([item] for item in items)
            return
        tables = self.store.tables_in_order(frozenset(item.table for item in items), used)
        groups = grouped_by(items, lambda item: (item.op, item.table, item.columns))
        for name in ("create", "update", "delete"):
            for table in reversed(tables) if name == "delete" else tables:
                yield from (group for (of, at, _), group in groups.items() if of == name and at == table)

    def _create(self, table: Table, group: Sequence[Write], given: dict[int, Cells], *, alone: bool) -> None:
        columns = group[0].columns
        missing = [name for name in table.key if name not in columns]
        if not missing:
            key_of = _cells_at([columns.index(name) for name in table.key])
            rows: list[Cells] = []
            for write in group:
                # One at a time: a row may refer to a row before it in this very group.
                cells = self._resolve(write, given)
                given[id(write.row)] = key_of(cells)
                rows.append(cells)
            with self._naming(table, group, alone=alone):
                self.insert(table, columns, rows)
            return
        drawn = self.draw_keys(table, missing, len(group))
        if drawn is None:
            for write in group:
                given[id(write.row)] = self.insert_one(table, columns, self._resolve(write, given))
            return
        rows = []
        names = (*columns, *missing)
        for write, more in zip(group, drawn, strict=True):
            cells = [*self._resolve(write, given), *more]
            given[id(write.row)] = [cells[names.index(name)] for name in table.key]
            rows.append(cells)
        with self._naming(table, group, alone=alone):
            self.insert(table, names, rows)

    @contextmanager
    def _naming(self, table: Table, writes: Sequence[Write], *, alone: bool = False) -> Iterator[None]:
        """In the block, what is refused of these writes leaves with the one that it is about, where the database says which.

        With `alone` nothing else is written to the table but new rows, so that no value that must be unique can change hands.
        """
        try:
            yield
        except self.store.driver_errors as error:
            known = isinstance(error, self.of_one_row) or (alone and isinstance(error, self.clashes))
            at = self.refused_at(table, error) if known else None
            failure = self.store.translate(error)
            if at is None or not isinstance(failure, Quarantine) or (_is_clash(failure) and not alone):
                raise
            failure.refused = writes[at]
            raise failure from error

    def _resolve(self, write: Write, given: dict[int, Cells]) -> Cells:
        if not write.waits:
            return write.cells
        return [self._key_of(cell, given) if type(cell) is NewRow else cell for cell in write.cells]

    @staticmethod
    def _key_of(row: NewRow, given: dict[int, Cells]) -> Any:
        key = given.get(id(row))
        if key is None:
            raise BadValue(
                f"a new row of {row.table} is used as a value before it is created: create it first, or, where two new rows refer"
                " to each other, give one of them a key of its own (entity.new_uuid)"
            )
        if len(key) != 1:
            raise BadValue(f"a new row of {row.table} has a key of {len(key)} columns and cannot stand as one value")
        return key[0]

    def _written(self, writes: Sequence[Write], given: dict[int, Cells]) -> list[Written]:
        for write in writes:
            if write.op == "create" and None in given[id(write.row)]:
                raise BadValue(f"a new row of {write.table} has NULL in its key, so that it could not be told from another")
        after: dict[int, tuple[Ref, Image] | None] = {}
        standing = [write for write in writes if write.op != "delete"]
        for name, group in grouped_by(standing, attrgetter("table")).items():
            keys = [given[id(write.row)] if write.op == "create" else ref_cells(_known(write.ref).key) for write in group]
            after.update(zip(map(id, group), self._left(self.store.table(name), keys), strict=True))
        return [self._one_written(write, after.get(id(write))) for write in writes]

    def _left(self, table: Table, keys: Sequence[Cells]) -> list[tuple[Ref, Image] | None]:
        """What each row of those keys is called and holds; None for one that is not there."""
        left: list[tuple[Ref, Image] | None] = [None] * len(keys)
        for at, key, image in self.images(table, [(at, *key) for at, key in enumerate(keys)], lock=False):
            # The database may store another key than was sent; but a key that is there as it was sent is the one.
            if left[at] is None or key == ref_key([table.tag(cell) for cell in keys[at]]):
                left[at] = Ref(table.name, key), image
        return left

    @staticmethod
    def _one_written(write: Write, after: tuple[Ref, Image] | None) -> Written:
        before = write.record.image() if write.record is not None else None
        if write.op == "delete":
            return Written(_known(write.ref), before, None)
        if after is None:
            raise BadValue(f"a row of {write.table} was written and is not there: a trigger, a rule or row security took it away")
        ref, image = after
        return Written(ref, before, image)

    # -- going back and forth -------------------------------------------------------------------------------------

    def put(self, puts: Sequence[Put], *, ordered: bool = False) -> dict[Ref, Image | None]:
        steps = [step for put in puts if (step := step_of(self.store.table(put.ref.table), put)) is not None]
        with self._watched(steps) as watch:
            self._carried_out(self._put, steps, ordered=ordered)
            if watch is None:
                return self._standing(puts)
            watch.settle()
            now = self._standing(puts)
            watch.demand(now)
            if wrong := self._overwritten(puts, now):
                self._put_quietly(wrong)
                now |= self._standing(wrong)
                watch.demand(now)
            return now

    def _standing(self, puts: Sequence[Put]) -> dict[Ref, Image | None]:
        live = self.fetch([put.ref for put in puts], lock=False)
        return {put.ref: live.get(put.ref) for put in puts}

    def _overwritten(self, puts: Sequence[Put], now: Mapping[Ref, Image | None]) -> list[Put]:
        """What is still to be done for rows that are not what they should be, where triggers may be why."""
        targets = {put.ref: put.target for put in puts if self.store.table(put.ref.table).triggers}
        return [Put(ref, now[ref], target) for ref, target in targets.items() if self.store.differences(target, now[ref])]

    def _put_quietly(self, puts: Sequence[Put]) -> None:
        """Nothing; the rows are what they should be, also where triggers would have it otherwise."""
        steps = [step for put in puts if (step := step_of(self.store.table(put.ref.table), put)) is not None]
        for group in self._groups(steps, ordered=False):
            table = self.store.table(group[0].table)
            with self.quietly(table, group[0].columns):
                self._put(group, ordered=False)

    def _put(self, steps: Sequence[Write], *, ordered: bool) -> None:
        steps = self._without_circles(steps)
        going = [_known(step.ref) for step in steps if step.op == "delete"]
        for group in self._groups(steps, ordered=ordered):
            table = self.store.table(group[0].table)
            match group[0].op:
                case "create":
                    self.insert(table, group[0].columns, [step.cells for step in group])
                case "update":
                    self._update(
                        table, group[0].columns, [(ref_cells(_known(step.ref).key), step.cells) for step in group], steps
                    )
                case "delete":
                    refuse_references(self, going)
                    going = []
                    self.delete(table, [ref_cells(_known(step.ref).key) for step in group])


def _is_clash(failure: Quarantine) -> bool:
    return isinstance(failure, ConstraintFailed) and failure.clash


def _cells_at(places: Sequence[int]) -> Callable[[Cells], Cells]:
    """What gives the cells of a row that stand there."""
    if len(places) == 1:
        (at,) = places
        return lambda cells: (cells[at],)
    return lambda cells: [cells[at] for at in places]


def _known(ref: Ref | None) -> Ref:
    assert ref is not None  # noqa: S101 -- only creates have no key yet
    return ref
