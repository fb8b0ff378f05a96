import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from linkage_ledger import merkle
from linkage_ledger.errors import ProofError

LARGEST = 130
LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(LARGEST)]
OTHER = b"\xee" * 32


@pytest.fixture(scope="module")
def nodes() -> merkle.MemoryNodes:
    nodes = merkle.MemoryNodes()
    for size, leaf in enumerate(LEAVES):
        for level, index, node in merkle.append(nodes, size, leaf):
            nodes.put(level, index, node)
    return nodes


@pytest.fixture(scope="module")
def roots(nodes: merkle.MemoryNodes) -> list[bytes]:
    return [merkle.root(nodes, size) for size in range(LARGEST + 1)]


def test_every_range_of_every_size_is_proved_by_few_hashes(nodes: merkle.MemoryNodes, roots: list[bytes]) -> None:
    """The left side leads to one state at the end wherever a range began, so each side is tried on its own."""
    whole = merkle.Frontier()
    states = [list(whole._peaks)]
    for leaf in LEAVES:
        whole.add(leaf)
        states.append(list(whole._peaks))
    for first in range(LARGEST):
        left, _ = merkle.range_proof(nodes, first, first + 1, first + 1)
        read = merkle.Frontier.resumed(first, left)
        for end in range(first + 1, LARGEST + 1):
            read.add(LEAVES[end - 1])
            assert read._peaks == states[end]
    for end in range(1, LARGEST + 1):
        for size in range(end, LARGEST + 1):
            left, right = merkle.range_proof(nodes, end - 1, end, size)
            assert len(left) <= size.bit_length()
            assert len(right) <= 2 * size.bit_length()
            read = merkle.Frontier.resumed(end, states[end])
            read.complete(right, size=size)
            assert (read.size, read.root()) == (size, roots[size])


@pytest.mark.parametrize(("first", "end", "size"), [(0, 1, 1), (0, 8, 8), (3, 5, 8), (6, 7, 13), (64, 129, 130)])
def test_range_that_differs_in_anything_is_refused(
    first: int, end: int, size: int, nodes: merkle.MemoryNodes, roots: list[bytes]
) -> None:
    left, right = merkle.range_proof(nodes, first, end, size)
    leaves = LEAVES[first:end]

    def verify(
        leaves: Sequence[bytes] = leaves,
        *,
        first: int = first,
        size: int = size,
        left: Sequence[bytes] = left,
        right: Sequence[bytes] = right,
        root: bytes = roots[size],
    ) -> None:
        merkle.verify_range(leaves, first=first, size=size, left=left, right=right, root=root)

    def replaced(hashes: Sequence[bytes]) -> list[list[bytes]]:
        return [[*hashes[:at], OTHER, *hashes[at + 1 :]] for at in range(len(hashes))]

    verify()
    wrong: list[dict[str, Any]] = [
        *({"leaves": changed} for changed in replaced(leaves)),
        *({"left": changed} for changed in replaced(left)),
        *({"right": changed} for changed in replaced(right)),
        *({"leaves": [leaf for leaf in leaves if leaf != gone]} for gone in leaves),
        *({"leaves": [*leaves[:at], OTHER, *leaves[at:]]} for at in range(len(leaves) + 1)),
        *({"leaves": list(swapped)} for swapped in itertools.permutations(leaves[:3]) if list(swapped) != leaves),
        {"left": [*left, OTHER]},
        {"left": left[1:] if left else [OTHER]},
        {"right": [*right, OTHER]},
        {"right": right[:-1] if right else [OTHER]},
        {"left": [b"short", *left[1:]]},
        {"right": [b"short", *right[1:]]},
        {"leaves": [leaves[0][:31], *leaves[1:]]},
        {"first": first + 1},
        {"root": OTHER},
        {"root": b"short"},
        {"leaves": []},
    ]
    for change in wrong:
        with pytest.raises(ProofError):
            verify(**change)


@pytest.mark.parametrize(("first", "end", "size"), [(-1, 1, 8), (3, 3, 8), (4, 3, 8), (0, 9, 8), (0, 0, 0)])
def test_range_that_does_not_exist_has_no_proof(first: int, end: int, size: int, nodes: merkle.MemoryNodes) -> None:
    with pytest.raises(ProofError, match="no range"):
        merkle.range_proof(nodes, first, end, size)
