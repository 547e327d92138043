"""The Merkle tree, judged by pymerkle, which knows nothing of ours, and by vectors that are known."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pymerkle import InclusionProof, InmemoryTree, verify_consistency, verify_inclusion

from ledger import merkle
from ledger.merkle import EMPTY, STEP, Frontier, Node

VECTOR = [
    bytes.fromhex(one)
    for one in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Leaves and roots of the tests of Certificate Transparency's first log, for RFC 6962."""


class Kept:
    """A tree of ours, with what it keeps, beside one of pymerkle's with the same leaves."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels: dict[int, list[bytes]] = {0: []}
        self.roots: list[bytes] = [EMPTY]
        self.other = InmemoryTree(algorithm="sha256")
        edge = Frontier()
        for leaf in leaves:
            self.levels[0].append(merkle.leaf_hash(leaf))
            for node in edge.add(self.levels[0][-1]):
                self._keep(node)
            self.roots.append(edge.root)
            self.other.append_entry(leaf)

    def _keep(self, node: Node) -> None:
        row = self.levels.setdefault(node.level, [])
        assert node.number == len(row)
        row.append(node.hash)

    def read(self, level: int, first: int, count: int) -> list[bytes]:
        found = self.levels[level][first : first + count]
        assert len(found) == count
        return found


def some(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % at).digest() * (at % 3) for at in range(count)]


@pytest.fixture(scope="module")
def small() -> Kept:
    return Kept(some(70))


@pytest.fixture(scope="module")
def large() -> Kept:
    return Kept(some(70_000))


def inclusion_of(proof: InclusionProof) -> list[bytes]:
    """The path as the RFC has it: pymerkle puts the leaf before it."""
    return list(proof.path[1:])


def consistency_of(kept: Kept, old: int, size: int, first: int = 0, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2, word for word, over roots that pymerkle makes: its own proofs have another form where a half is whole."""
    if old == size:
        return [] if whole else [kept.other._get_root(first, first + size)]
    half = 1
    while half * 2 < size:
        half *= 2
    if old <= half:
        return [*consistency_of(kept, old, half, first, whole), kept.other._get_root(first + half, first + size)]
    return [*consistency_of(kept, old - half, size - half, first + half, whole=False), kept.other._get_root(first, first + half)]


def test_known_roots() -> None:
    """The eight roots of the well-known vectors, from none at all on."""
    kept = Kept(VECTOR)
    assert [one.hex() for one in kept.roots] == ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", *ROOTS]


def test_known_proofs() -> None:
    """The path of leaf 5 in 8, and the proof from 6 to 8, as RFC 6962's own drawing and the well-known vectors have them."""
    kept = Kept(VECTOR)
    path = [one.hex() for one in merkle.inclusion(kept.read, 5, 8)]
    assert path == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [one.hex() for one in merkle.consistency(kept.read, 6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_root_and_every_inclusion_of_small_trees(small: Kept) -> None:
    """Sizes 0 to 70: the root, and the path of every leaf, are pymerkle's; each verifies with ours and with theirs."""
    proved = 0
    for size in range(1, 71):
        root = small.other.get_root(size)
        assert small.roots[size] == merkle.root(small.read, size) == merkle.frontier(small.read, size).root == root
        for number in range(size):
            theirs = small.other.prove_inclusion(number + 1, size)
            path = merkle.inclusion(small.read, number, size)
            assert path == inclusion_of(theirs)
            leaf = small.levels[0][number]
            assert merkle.includes(leaf, number, size, path, root)
            verify_inclusion(
                leaf, root, InclusionProof(theirs.algorithm, theirs.security, size, number + 1, theirs.rule, [leaf, *path])
            )
            proved += 1
    assert proved == 70 * 71 // 2
    assert merkle.root(small.read, 0) == small.roots[0] == EMPTY


def test_every_consistency_of_small_trees(small: Kept) -> None:
    """Every pair of sizes up to 70: the proof is the RFC's, and verifies, as pymerkle's does; from none at all it is empty."""
    for size in range(1, 71):
        for old in range(1, size + 1):
            theirs = small.other.prove_consistency(old, size)
            verify_consistency(small.roots[old], small.roots[size], theirs)
            proof = merkle.consistency(small.read, old, size)
            assert proof == consistency_of(small, old, size), (old, size)
            assert merkle.consistent(old, size, proof, small.roots[old], small.roots[size])
        assert merkle.consistency(small.read, 0, size) == []
        assert merkle.consistent(0, size, [], EMPTY, small.roots[size])


def test_large_trees(large: Kept) -> None:
    """Random sizes past two kept levels: roots and proofs are pymerkle's, and any tree is taken up again from what is kept."""
    chance = random.Random(7)
    assert {level: len(row) for level, row in large.levels.items()} == {0: 70_000, 1: 70_000 >> STEP, 2: 1}
    sizes = [255, 256, 257, 65_535, 65_536, 65_537, 70_000, *(chance.randint(1, 70_000) for _ in range(40))]
    for size in sizes:
        assert merkle.root(large.read, size) == large.roots[size] == large.other.get_root(size)
        number, old = chance.randrange(size), chance.randint(1, size)
        path = merkle.inclusion(large.read, number, size)
        assert path == inclusion_of(large.other.prove_inclusion(number + 1, size))
        assert merkle.includes(large.levels[0][number], number, size, path, large.roots[size])
        proof = merkle.consistency(large.read, old, size)
        assert proof == consistency_of(large, old, size)
        assert merkle.consistent(old, size, proof, large.roots[old], large.roots[size])
    edge = merkle.frontier(large.read, 65_000)
    done = [node for leaf in large.levels[0][65_000:] for node in edge.add(leaf)]
    assert edge.root == large.roots[-1]
    assert (2, 0) in {(node.level, node.number) for node in done}


def test_what_is_read_is_bounded(large: Kept) -> None:
    """No proof or root of 70,000 leaves reads more than some hundreds of hashes."""
    count = 0

    def counting(level: int, first: int, number: int) -> list[bytes]:
        nonlocal count
        count += number
        return large.read(level, first, number)

    for size in (69_887, 70_000, 65_535):
        asked: list[Callable[[], Any]] = [
            partial(merkle.root, counting, size),
            partial(merkle.inclusion, counting, 12_345, size),
            partial(merkle.consistency, counting, 33_333, size),
        ]
        for ask in asked:
            count = 0
            ask()
            assert 0 < count < 1000, size


def flips(proof: list[bytes]) -> Iterator[list[bytes]]:
    """The proof with each of its bits turned, one at a time."""
    for at, one in enumerate(proof):
        for bit in range(8 * len(one)):
            changed = bytearray(one)
            changed[bit // 8] ^= 1 << bit % 8
            yield [*proof[:at], bytes(changed), *proof[at + 1 :]]


def bent(proof: list[bytes]) -> Iterator[list[bytes]]:
    """The proof with a hash too many, too few, shortened or elsewhere."""
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]
    yield proof[1:]
    yield proof[:-1]
    yield [proof[0][:-1], *proof[1:]]
    yield [proof[0] + b"\0", *proof[1:]]
    if len(proof) > 1:
        yield [proof[1], proof[0], *proof[2:]]


@pytest.mark.parametrize(("number", "size"), [(0, 2), (5, 8), (6, 7), (36, 37), (69, 70)])
def test_no_changed_inclusion_verifies(small: Kept, number: int, size: int) -> None:
    """Any bit of the proof, of the leaf or of the root, another number, another size, and any other form of the proof fail."""
    proof, leaf, root = merkle.inclusion(small.read, number, size), small.levels[0][number], small.roots[size]
    assert merkle.includes(leaf, number, size, proof, root)
    tried = [*flips(proof), *bent(proof)]
    assert len(tried) > 256
    assert not any(merkle.includes(leaf, number, size, other, root) for other in tried)
    assert not any(merkle.includes(other, number, size, proof, root) for [other] in flips([leaf]))
    assert not any(merkle.includes(leaf, number, size, proof, other) for [other] in flips([root]))
    assert not any(merkle.includes(leaf, other, size, proof, root) for other in range(-1, size + 2) if other != number)
    assert not merkle.includes(leaf, number, 0, proof, root)


@pytest.mark.parametrize(("old", "size"), [(1, 2), (3, 7), (4, 7), (6, 8), (36, 37), (64, 70), (69, 70)])
def test_no_changed_consistency_verifies(small: Kept, old: int, size: int) -> None:
    """Any bit of the proof or of the two roots, another old size, and any other form of the proof fail."""
    proof, before, root = merkle.consistency(small.read, old, size), small.roots[old], small.roots[size]
    assert merkle.consistent(old, size, proof, before, root)
    assert not any(merkle.consistent(old, size, other, before, root) for other in [*flips(proof), *bent(proof)])
    assert not any(merkle.consistent(old, size, proof, other, root) for [other] in flips([before]))
    assert not any(merkle.consistent(old, size, proof, before, other) for [other] in flips([root]))
    for other in range(-1, size + 2):
        assert other == old or not merkle.consistent(other, size, proof, before, root), other


def test_a_tree_is_consistent_with_itself_alone(small: Kept) -> None:
    """Of one size there is one root; with a proof, or with a smaller tree as the later, it is refused."""
    assert merkle.consistent(9, 9, [], small.roots[9], small.roots[9])
    assert not merkle.consistent(9, 9, [], small.roots[9], small.roots[8])
    assert not merkle.consistent(9, 9, [small.roots[9]], small.roots[9], small.roots[9])
    assert not merkle.consistent(9, 8, [], small.roots[9], small.roots[9])
    assert not merkle.consistent(0, 8, [], small.roots[1], small.roots[8])
    assert not merkle.consistent(5, 8, [], small.roots[5], small.roots[8])
