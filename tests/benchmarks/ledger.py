"""How fast a log in memory appends, proves and is checked: ``python tests/benchmarks/ledger.py [events]``."""

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from linkage_ledger import events, merkle
from linkage_ledger.verify import verify_log
from support.ledger_logs import KEY, make_header, make_log

PROOFS = 10_000


def timed(name: str, count: int, work: Callable[[], object]) -> None:
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(f"{name:24} {count / seconds:12,.0f} a second")


def exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def build(leaves: list[bytes]) -> merkle.MemoryNodes:
    nodes = merkle.MemoryNodes()
    for size, leaf in enumerate(leaves):
        for level, index, node in merkle.append(nodes, size, leaf):
            nodes.put(level, index, node)
    return nodes


def main(size: int) -> None:
    leaves = [merkle.leaf_hash(number.to_bytes(8, "big")) for number in range(size)]
    timed("append to the tree", size, lambda: build(leaves))
    nodes = build(leaves)
    root = merkle.root(nodes, size)
    places = [number * size // PROOFS for number in range(PROOFS)]
    proofs = [merkle.inclusion_proof(nodes, place, size) for place in places]
    timed("root", PROOFS, lambda: exhaust(merkle.root(nodes, size - place) for place in places))
    timed("inclusion proof", PROOFS, lambda: exhaust(merkle.inclusion_proof(nodes, place, size) for place in places))
    timed("consistency proof", PROOFS, lambda: exhaust(merkle.consistency_proof(nodes, at, size) for at in places))

    def check_proofs() -> None:
        for place, proof in zip(places, proofs, strict=True):
            merkle.verify_inclusion(leaves[place], index=place, size=size, proof=proof, root=root)

    timed("inclusion checked", PROOFS, check_proofs)
    headers = [make_header(number) for number in range(PROOFS)]
    encoded = [events.encode(header) for header in headers]
    timed("header written", PROOFS, lambda: exhaust(events.encode(header) for header in headers))
    timed("header read", PROOFS, lambda: exhaust(events.parse(leaf) for leaf in encoded))
    log = make_log(size, checkpoint_every=1000, body_every=10)
    timed("whole log checked", size, lambda: verify_log(log, [KEY.verifier]))
    tracemalloc.start()
    verify_log(log, [KEY.verifier])
    print(f"{'memory of the check':24} {tracemalloc.get_traced_memory()[1] / 1e6:12,.1f} MB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
