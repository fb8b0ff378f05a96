import hashlib
from collections.abc import Callable

import pytest

from linkage_ledger import merkle
from linkage_ledger.errors import MissingNodeError, ProofError

# The leaves and roots of the Certificate Transparency reference implementation, which RFC 6962 libraries test with.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LARGEST = 130


def build(leaves: list[bytes]) -> merkle.MemoryNodes:
    nodes = merkle.MemoryNodes()
    for size, leaf in enumerate(leaves):
        for level, index, node in merkle.append(nodes, size, merkle.leaf_hash(leaf)):
            nodes.put(level, index, node)
    return nodes


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


@pytest.fixture(scope="module")
def leaves() -> list[bytes]:
    return [f"leaf {number}".encode() for number in range(LARGEST)]


@pytest.fixture(scope="module")
def nodes(leaves: list[bytes]) -> merkle.MemoryNodes:
    return build(leaves)


@pytest.fixture(scope="module")
def roots(leaves: list[bytes]) -> list[bytes]:
    return [naive_root(leaves[:size]) for size in range(LARGEST + 1)]


@pytest.mark.parametrize("size", range(1, 9))
def test_root_of_reference_leaves_is_the_published_root(size: int) -> None:
    assert merkle.root(build(CT_LEAVES), size).hex() == CT_ROOTS[size - 1]


def test_root_of_no_leaves_is_the_hash_of_nothing() -> None:
    assert merkle.root(merkle.MemoryNodes(), 0) == merkle.EMPTY_ROOT == hashlib.sha256(b"").digest()


def test_inclusion_proof_of_reference_leaves_is_the_published_proof() -> None:
    proof = merkle.inclusion_proof(build(CT_LEAVES), 5, 8)
    assert [node.hex() for node in proof] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_consistency_proof_of_reference_leaves_is_the_published_proof() -> None:
    proof = merkle.consistency_proof(build(CT_LEAVES), 6, 8)
    assert [node.hex() for node in proof] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_root_at_every_size_equals_the_definition(nodes: merkle.MemoryNodes, roots: list[bytes]) -> None:
    assert [merkle.root(nodes, size) for size in range(LARGEST + 1)] == roots


def test_frontier_at_every_size_gives_the_same_root(leaves: list[bytes], roots: list[bytes]) -> None:
    frontier = merkle.Frontier()
    for size, leaf in enumerate(leaves):
        assert (frontier.size, frontier.root()) == (size, roots[size])
        frontier.add(merkle.leaf_hash(leaf))
    assert (frontier.size, frontier.root()) == (LARGEST, roots[LARGEST])


def test_append_returns_exactly_the_nodes_of_complete_subtrees(nodes: merkle.MemoryNodes) -> None:
    assert len(nodes) == sum(LARGEST >> level for level in range(LARGEST.bit_length()))


def test_inclusion_every_leaf_at_every_size_is_proven(
    nodes: merkle.MemoryNodes, leaves: list[bytes], roots: list[bytes]
) -> None:
    for size in range(1, LARGEST + 1):
        for index in range(size):
            merkle.verify_inclusion(
                merkle.leaf_hash(leaves[index]),
                index=index,
                size=size,
                proof=merkle.inclusion_proof(nodes, index, size),
                root=roots[size],
            )


def test_consistency_every_pair_of_sizes_is_proven(nodes: merkle.MemoryNodes, roots: list[bytes]) -> None:
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            merkle.verify_consistency(
                old_size=old,
                old_root=roots[old],
                new_size=new,
                new_root=roots[new],
                proof=merkle.consistency_proof(nodes, old, new),
            )


def flip(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


Damage = Callable[[list[bytes]], list[bytes]]
PROOF_DAMAGE: dict[str, Damage] = {
    "first hash flipped": lambda proof: [flip(proof[0]), *proof[1:]],
    "last hash flipped": lambda proof: [*proof[:-1], flip(proof[-1])],
    "cut at the end": lambda proof: proof[:-1],
    "cut at the start": lambda proof: proof[1:],
    "padded at the end": lambda proof: [*proof, bytes(32)],
    "padded at the start": lambda proof: [bytes(32), *proof],
    "repeated": lambda proof: [*proof, proof[-1]],
    "empty": lambda _: [],
    "short hash": lambda proof: [*proof[:-1], proof[-1][:-1]],
    "reversed": lambda proof: [*reversed(proof[:-1]), flip(proof[-1])],
}


@pytest.mark.parametrize("damage", PROOF_DAMAGE.values(), ids=PROOF_DAMAGE)
@pytest.mark.parametrize("place", [(0, 2), (0, 7), (3, 7), (6, 7), (7, 8), (64, 65), (99, 130)])
def test_inclusion_with_a_damaged_proof_is_refused(
    damage: Damage, place: tuple[int, int], nodes: merkle.MemoryNodes, leaves: list[bytes], roots: list[bytes]
) -> None:
    index, size = place
    proof = damage(merkle.inclusion_proof(nodes, index, size))
    with pytest.raises(ProofError):
        merkle.verify_inclusion(merkle.leaf_hash(leaves[index]), index=index, size=size, proof=proof, root=roots[size])


@pytest.mark.parametrize("damage", PROOF_DAMAGE.values(), ids=PROOF_DAMAGE)
@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 7), (6, 8), (7, 8), (64, 65), (65, 130), (99, 130)])
def test_consistency_with_a_damaged_proof_is_refused(
    damage: Damage, old: int, new: int, nodes: merkle.MemoryNodes, roots: list[bytes]
) -> None:
    proof = damage(merkle.consistency_proof(nodes, old, new))
    with pytest.raises(ProofError):
        merkle.verify_consistency(old_size=old, old_root=roots[old], new_size=new, new_root=roots[new], proof=proof)


def test_inclusion_with_the_wrong_leaf_place_size_or_root_is_refused(
    nodes: merkle.MemoryNodes, leaves: list[bytes], roots: list[bytes]
) -> None:
    leaf, proof = merkle.leaf_hash(leaves[5]), merkle.inclusion_proof(nodes, 5, 13)
    cases = [
        (flip(leaf), 5, 13, roots[13]),
        (leaf, 4, 13, roots[13]),
        (leaf, 13, 13, roots[13]),
        (leaf, -1, 13, roots[13]),
        (leaf, 5, 0, roots[0]),
        (leaf, 5, 4, roots[4]),
        (leaf, 5, 64, roots[64]),
        (leaf, 5, 13, roots[12]),
        (leaf, 5, 13, flip(roots[13])),
        (leaf, 5, 13, roots[13][:31]),
        (leaf[:31], 5, 13, roots[13]),
    ]
    for wrong_leaf, index, size, root in cases:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(wrong_leaf, index=index, size=size, proof=proof, root=root)


def test_consistency_with_wrong_sizes_or_roots_is_refused(nodes: merkle.MemoryNodes, roots: list[bytes]) -> None:
    proof = merkle.consistency_proof(nodes, 6, 13)
    cases = [
        (6, roots[13], 13, roots[6], proof),  # swapped roots
        (13, roots[6], 6, roots[13], proof),  # swapped sizes
        (5, roots[6], 13, roots[13], proof),
        (6, roots[5], 13, roots[13], proof),
        (6, roots[6], 64, roots[13], proof),
        (6, flip(roots[6]), 13, roots[13], proof),
        (6, roots[6], 13, flip(roots[13]), proof),
        (4, flip(roots[4]), 7, roots[7], merkle.consistency_proof(nodes, 4, 7)),
        (6, roots[6], 6, roots[6], [bytes(32)]),
        (6, roots[6], 6, flip(roots[6]), []),
        (0, roots[0], 6, roots[6], [bytes(32)]),
        (0, flip(roots[0]), 6, roots[6], []),
        (-1, roots[0], 6, roots[6], []),
    ]
    for old_size, old_root, new_size, new_root, given in cases:
        with pytest.raises(ProofError):
            merkle.verify_consistency(
                old_size=old_size, old_root=old_root, new_size=new_size, new_root=new_root, proof=given
            )


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_inclusion_proof_of_a_leaf_outside_the_log_is_refused(nodes: merkle.MemoryNodes, index: int, size: int) -> None:
    with pytest.raises(ProofError):
        merkle.inclusion_proof(nodes, index, size)


@pytest.mark.parametrize(("old", "new"), [(4, 3), (-1, 3)])
def test_consistency_proof_of_a_shrinking_log_is_refused(nodes: merkle.MemoryNodes, old: int, new: int) -> None:
    with pytest.raises(ProofError):
        merkle.consistency_proof(nodes, old, new)


def test_root_beyond_the_stored_nodes_is_refused(nodes: merkle.MemoryNodes) -> None:
    with pytest.raises(MissingNodeError):
        merkle.root(nodes, LARGEST + 1)


def test_root_of_a_negative_size_is_refused(nodes: merkle.MemoryNodes) -> None:
    with pytest.raises(ProofError):
        merkle.root(nodes, -1)


def test_append_of_something_that_is_no_hash_is_refused() -> None:
    with pytest.raises(ProofError, match="leaf_hash"):
        merkle.append(merkle.MemoryNodes(), 0, b"the leaf itself")
