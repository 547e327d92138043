"""The Merkle tree of RFC 6962: roots of a growing list of leaves, and proofs about them. Pure; hashes are read through a function.

A leaf's hash is SHA-256(0x00 ‖ leaf), a node's SHA-256(0x01 ‖ left ‖ right); the left of two halves has as many leaves as the largest power of two
below all of them has (https://www.rfc-editor.org/rfc/rfc6962#section-2.1). Kept are the hashes of every eighth level only: of the leaves, of
every full 256 of them, of every full 65,536 and so on. Whatever is asked is then made of a few hundred hashes, however large the tree is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import NamedTuple

STEP = 8
"""How many levels of the tree lie between two that are kept."""

SIZE = 32
"""How many bytes a hash has."""

EMPTY = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

Read = Callable[[int, int, int], Sequence[bytes]]
"""Gives kept hashes: of a level (0 is the leaves, 1 every 256 of them …), from a number on, so many."""


class Node(NamedTuple):
    """A hash to be kept: that of the leaves from `number * 256**level` up to `(number + 1) * 256**level`."""

    level: int
    number: int
    hash: bytes


def leaf_hash(leaf: bytes) -> bytes:
    """The hash under which a leaf stands in the tree."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two halves."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of the full trees that it consists of, the largest first."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size, self.peaks = size, list(peaks)

    def add(self, leaf: bytes) -> list[Node]:
        """The nodes to be kept that the hash of one more leaf completes."""
        found, number, height = leaf, self.size, 0
        done: list[Node] = []
        while number & 1:
            found = node_hash(self.peaks.pop(), found)
            number, height = number >> 1, height + 1
            if height % STEP == 0:
                done.append(Node(height // STEP, number, found))
        self.peaks.append(found)
        self.size += 1
        return done

    @property
    def root(self) -> bytes:
        """The root of the tree as it is now."""
        return _folded(self.peaks)


def frontier(read: Read, size: int) -> Frontier:
    """The right edge of the tree of the first `size` leaves."""
    return Frontier(size, _peaks(read, 0, size))


def root(read: Read, size: int) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return _span(read, 0, size)


def inclusion(read: Read, number: int, size: int) -> list[bytes]:
    """The proof that the leaf is in the tree of the first `size` leaves: the hashes beside its way to the root, from below (2.1.1)."""
    path: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _half(end - first)
        if number < middle:
            path.append(_span(read, middle, end))
            end = middle
        else:
            path.append(_span(read, first, middle))
            first = middle
    return path[::-1]


def consistency(read: Read, old: int, size: int) -> list[bytes]:
    """The proof that the tree of the first `size` leaves begins with the one of the first `old` (2.1.2); empty for an empty one."""
    path: list[bytes] = []
    first, end = 0, size
    while 0 < old < end:
        middle = first + _half(end - first)
        if old <= middle:
            path.append(_span(read, middle, end))
            end = middle
        else:
            path.append(_span(read, first, middle))
            first = middle
    if first:
        # The old tree itself is no part of its own proof.
        path.append(_span(read, first, end))
    return path[::-1]


def includes(leaf: bytes, number: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that the leaf of that hash has that number under the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= number < size or not _are_hashes((leaf, root, *proof)):
        return False
    at, last, found = number, size - 1, leaf
    for beside in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(beside, found)
            at, last = _risen(at, last)
        else:
            found = node_hash(found, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def consistent(old: int, size: int, proof: Sequence[bytes], old_root: bytes, root: bytes) -> bool:
    """Whether the proof shows that the tree of that root begins with the old one (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= size or not _are_hashes((old_root, root, *proof)):
        return False
    if old == 0:
        return not proof and old_root == EMPTY
    if old == size:
        return not proof and old_root == root
    hashes = [old_root, *proof] if old & (old - 1) == 0 else [*proof]
    if not proof:
        return False
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = now = hashes[0]
    for beside in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            before, now = node_hash(beside, before), node_hash(beside, now)
            at, last = _risen(at, last)
        else:
            now = node_hash(now, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and before == old_root and now == root


def _risen(at: int, last: int) -> tuple[int, int]:
    """Up to where the way comes from the right again: levels at which the last node stands alone have nothing beside it."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _are_hashes(values: Iterable[bytes]) -> bool:
    return all(len(value) == SIZE for value in values)


def _half(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << ((size - 1).bit_length() - 1)


def _span(read: Read, first: int, end: int) -> bytes:
    """The root of the leaves from `first` up to `end`, which one step of the definition splits off."""
    return _folded(_peaks(read, first, end))


def _peaks(read: Read, first: int, end: int) -> list[bytes]:
    """The roots of the full trees that the leaves from `first` up to `end` consist of, the largest first."""
    peaks: list[bytes] = []
    for height in reversed(range((end - first).bit_length())):
        if (end - first) >> height:
            peaks.append(_full(read, height, first >> height))
            first += 1 << height
    return peaks


def _folded(peaks: Sequence[bytes]) -> bytes:
    return reduce(lambda right, left: node_hash(left, right), reversed(peaks)) if peaks else EMPTY


def _full(read: Read, height: int, number: int) -> bytes:
    """The root of a full tree of `2**height` leaves, from the kept level next below."""
    level, above = divmod(height, STEP)
    row = list(read(level, number << above, 1 << above))
    while len(row) > 1:
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]
