"""Tables as reflection found them."""

from __future__ import annotations

from backtrail.stores.tables import Column, Table, in_foreign_key_order


def table(name: str, *targets: str, nullable: str = "", unique: tuple[str, ...] = ()) -> Table:
    columns = tuple(Column(one, "int", one in nullable, int, str, int) for one in "abc")
    sets = frozenset(map(frozenset, unique))
    return Table(name=name, sql=name, columns=columns, tag=str, tag_all=list, key=("a",), unique=sets, targets=frozenset(targets))


def test_order() -> None:
    """Each table comes after those it refers to, whatever their names are; outsiders do not count."""
    tables = [table("a", "b", "outside"), table("b", "c"), table("c"), table("d", "a", "d")]
    assert in_foreign_key_order(tables) == ["c", "b", "a", "d"]


def test_order_by_use() -> None:
    """Pairs of tables beside the foreign keys count like those."""
    assert in_foreign_key_order([table("a"), table("b")], {("a", "b")}) == ["b", "a"]


def test_circles() -> None:
    """A circle is broken, and every table is there once."""
    assert sorted(in_foreign_key_order([table("a", "b"), table("b", "a"), table("c", "c")])) == ["a", "b", "c"]


def test_unique() -> None:
    """A unique key with a part that may be NULL lets rows repeat; alone, NULL is no key at all."""
    assert table("t", unique=("ab",)).is_unique("abc")
    assert not table("t", unique=("ab",)).is_unique("a")
    assert not table("t", nullable="b", unique=("ab",)).is_unique("ab")
    assert table("t", nullable="b", unique=("b",)).is_unique("b")
    assert not table("t", nullable="b", unique=("b",)).is_unique("ab")
