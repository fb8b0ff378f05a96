"""The compiled inner loops of solving. Import this module late: it loads numba, which costs most of a second.

Both solvers that build groups of more than two rows walk over pairs and merge groups, so both need, for any two
groups, what is known between them. That is kept in one open hash table with a list of neighbours for each group, and
the group with the shorter list is merged into the other: `m` pairs cost `O(m log m)` steps and bytes in proportion to
`m`, however large the groups.
"""

import heapq
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from linkage_matching.kernel import _compiled

# numba's types do not say that they can be called
int64: Any = types.int64
uint64: Any = types.uint64

_EMPTY = -1
_NONE = -1
# 2**64 divided by the golden ratio, so that neighbouring keys lie far apart (Knuth, TAOCP 3, 6.4)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]


@_compiled
def take_free(row_a: NDArray[np.int32], row_b: NDArray[np.int32], taken_a: Mask, taken_b: Mask, taken: Mask) -> None:
    """Take pairs in order while both their rows are free."""
    for pair in range(row_a.shape[0]):
        i = row_a[pair]
        j = row_b[pair]
        if not taken_a[i] and not taken_b[j]:
            taken_a[i] = True
            taken_b[j] = True
            taken[pair] = True


@_compiled
def _home(keys: Integers, key: int) -> int:
    spread = uint64(key) * _SPREAD
    home: int = int64((spread >> uint64(32)) & uint64(keys.shape[0] - 1))
    return home


@_compiled
def _slot(keys: Integers, key: int) -> int:
    """Where the key lies, or the empty place where it belongs."""
    last = keys.shape[0] - 1
    slot = _home(keys, key)
    while keys[slot] != _EMPTY and keys[slot] != key:
        slot = (slot + 1) & last
    return slot


@_compiled
def _remove(keys: Integers, values: Floats, slot: int) -> None:
    """Empty a place and close the gap, so that no search ends too early (linear probing, TAOCP 3, algorithm 6.4R)."""
    last = keys.shape[0] - 1
    gap = slot
    place = slot
    while True:
        place = (place + 1) & last
        if keys[place] == _EMPTY:
            break
        home = _home(keys, keys[place])
        if ((place - home) & last) >= ((place - gap) & last):
            keys[gap] = keys[place]
            values[gap] = values[place]
            gap = place
    keys[gap] = _EMPTY


@_compiled
def _root(parent: Integers, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@_compiled
def _key(i: int, j: int, nodes: int) -> int:
    return min(i, j) * nodes + max(i, j)


@_compiled
def _compatible(held: Words, i: int, j: int) -> bool:
    for word in range(held.shape[1]):  # noqa: SIM110 - numba compiles no generator inside all()
        if held[i, word] & held[j, word]:
            return False
    return True


@_compiled
def _new_neighbour(  # noqa: PLR0917 - numba passes arguments by position
    head: Integers,
    tail: Integers,
    length: Integers,
    neighbour: Integers,
    following: Integers,
    i: int,
    j: int,
    place: int,
) -> None:
    neighbour[place] = j
    following[place] = _NONE
    if head[i] == _NONE:
        head[i] = place
    else:
        following[tail[i]] = place
    tail[i] = place
    length[i] += 1


@_compiled
def _merge(  # noqa: PLR0917 - numba passes arguments by position
    i: int,
    j: int,
    parent: Integers,
    size: Integers,
    first: Integers,
    held: Words,
    head: Integers,
    tail: Integers,
    length: Integers,
    neighbour: Integers,
    following: Integers,
    keys: Integers,
    values: Floats,
) -> None:
    """Make one group of two, adding up what is known between either and each third group."""
    nodes = parent.shape[0]
    if length[i] < length[j]:
        i, j = j, i
    slot = _slot(keys, _key(i, j, nodes))
    if keys[slot] != _EMPTY:
        _remove(keys, values, slot)
    parent[j] = i
    size[i] += size[j]
    first[i] = min(first[i], first[j])
    for word in range(held.shape[1]):
        held[i, word] |= held[j, word]
    place = head[j]
    while place != _NONE:
        third = _root(parent, neighbour[place])
        slot = _slot(keys, _key(j, third, nodes))
        # a group that was merged from several neighbours is met several times, and found the first time only
        if third != i and keys[slot] != _EMPTY:
            value = values[slot]
            _remove(keys, values, slot)
            slot = _slot(keys, _key(i, third, nodes))
            if keys[slot] == _EMPTY:
                keys[slot] = _key(i, third, nodes)
                values[slot] = 0.0
            values[slot] += value
        place = following[place]
    if head[j] != _NONE:
        if head[i] == _NONE:
            head[i] = head[j]
        else:
            following[tail[i]] = head[j]
        tail[i] = tail[j]
        length[i] += length[j]


@_compiled
def _alone(nodes: int, pairs: int) -> Any:
    """Every node a group of its own, with room for what is known between so many pairs; nothing is known yet."""
    capacity = 16
    while capacity * 2 < pairs * 3:
        capacity *= 2
    return (
        np.arange(nodes),
        np.arange(nodes),
        np.ones(nodes, np.int64),
        np.full(nodes, _NONE, np.int64),
        np.full(nodes, _NONE, np.int64),
        np.zeros(nodes, np.int64),
        np.empty(2 * pairs, np.int64),
        np.empty(2 * pairs, np.int64),
        np.full(capacity, _EMPTY, np.int64),
        np.zeros(capacity, np.float64),
    )


@_compiled
def _first_nodes(parent: Integers, first: Integers) -> Integers:
    result = np.empty(parent.shape[0], np.int64)
    for node in range(parent.shape[0]):
        result[node] = first[_root(parent, node)]
    return result


@_compiled
def average_linkage(node_a: Integers, node_b: Integers, excess: Floats, held: Words, least: float) -> Integers:
    """Merge the two groups with the highest average until none reaches `least`; answer the first node of each group.

    Arguments:
        node_a: first nodes of the pairs, each pair once.
        node_b: second nodes of the pairs.
        excess: what each pair counts above a pair that is not given, at least 0; those not given count 0.
        held: `(nodes, words)`, bits of which no two nodes in one group may share any; changed.
        least: above 0. Groups without a given pair between them are therefore never merged.

    An average can only fall when groups merge (it is a mean of the averages before), so an entry of the heap is never
    too low, and is brought up to date when it comes to the top.
    """
    nodes = held.shape[0]
    pairs = node_a.shape[0]
    parent, first, size, head, tail, length, neighbour, following, keys, values = _alone(nodes, pairs)
    heap = [(0.0, int64(0), int64(0)) for _ in range(0)]
    for pair in range(pairs):
        i = node_a[pair]
        j = node_b[pair]
        slot = _slot(keys, _key(i, j, nodes))
        keys[slot] = _key(i, j, nodes)
        values[slot] = excess[pair]
        _new_neighbour(head, tail, length, neighbour, following, i, j, 2 * pair)
        _new_neighbour(head, tail, length, neighbour, following, j, i, 2 * pair + 1)
        if excess[pair] >= least:
            heap.append((-excess[pair], min(i, j), max(i, j)))
    heapq.heapify(heap)
    while len(heap) > 0:
        negative, low, high = heapq.heappop(heap)
        i = _root(parent, low)
        j = _root(parent, high)
        if i == j or not _compatible(held, i, j):
            continue
        average = values[_slot(keys, _key(i, j, nodes))] / (size[i] * size[j])
        if average < least:
            continue
        now = (-average, min(first[i], first[j]), max(first[i], first[j]))
        if now != (negative, low, high):
            heapq.heappush(heap, now)
            continue
        _merge(i, j, parent, size, first, held, head, tail, length, neighbour, following, keys, values)
    return _first_nodes(parent, first)


@_compiled
def probabilistic_greedy(node_a: Integers, node_b: Integers, held: Words, share: float) -> Integers:
    """What anonlink's `probabilistic_greedy_solve` does, pair for pair; answer the first node of each group.

    Pairs are taken in order. Two groups become one as soon as the part `share` of all pairs between them has been
    met, and none of their nodes have a bit of `held` in common; `held` is changed.
    """
    nodes = held.shape[0]
    pairs = node_a.shape[0]
    parent, first, size, head, tail, length, neighbour, following, keys, met = _alone(nodes, pairs)
    places = 0
    for pair in range(pairs):
        i = _root(parent, node_a[pair])
        j = _root(parent, node_b[pair])
        if i == j:
            continue
        slot = _slot(keys, _key(i, j, nodes))
        before = met[slot] if keys[slot] != _EMPTY else 0.0
        if before + 1 >= share * (size[i] * size[j]) and _compatible(held, i, j):
            _merge(i, j, parent, size, first, held, head, tail, length, neighbour, following, keys, met)
            continue
        if keys[slot] == _EMPTY:
            keys[slot] = _key(i, j, nodes)
            _new_neighbour(head, tail, length, neighbour, following, i, j, places)
            _new_neighbour(head, tail, length, neighbour, following, j, i, places + 1)
            places += 2
        met[slot] = before + 1
    return _first_nodes(parent, first)
