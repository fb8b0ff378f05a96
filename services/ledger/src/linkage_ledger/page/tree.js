// The RFC 6962 tree: a run of leaves, with the hashes on either side of it, leads to one root.

// SHA-256 of nothing: the root of a log without events.
const EMPTY_ROOT = fromHex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

function nodeHash(left, right) {
  return sha256(1, left, right);
}

// The fewest complete subtrees that cover the leaves from start to end, as {index, count} from left to right.
function subtreesBetween(start, end) {
  const places = [];
  while (start < end) {
    let count = 1;
    while (start % (2 * count) === 0 && start + 2 * count <= end) count *= 2;
    places.push({ index: start / count, count });
    start += count;
  }
  return places;
}

class Frontier {
  constructor(size, peaks) {
    if (peaks.length !== subtreesBetween(0, size).length) {
      throw new ProofError("The proof's left side does not go with where the range begins. It was cut or damaged.");
    }
    this.size = size;
    this.peaks = [...peaks];
  }

  add(leaf) {
    this.join(leaf, this.size);
    this.size += 1;
  }

  complete(right, size) {
    const places = subtreesBetween(this.size, size);
    if (this.size > size || right.length !== places.length) {
      throw new ProofError("The proof's right side does not go with where the range ends. It was cut or damaged.");
    }
    places.forEach(({ index, count }, at) => {
      this.join(right[at], index);
      this.size += count;
    });
  }

  join(node, index) {
    while (index % 2 === 1) {
      node = nodeHash(this.peaks.pop(), node);
      index = (index - 1) / 2;
    }
    this.peaks.push(node);
  }

  root() {
    if (!this.peaks.length) return EMPTY_ROOT;
    return this.peaks.reduceRight((right, left) => nodeHash(left, right));
  }
}

// RFC 9162, section 2.1.4.2.
function verifyConsistency(oldSize, oldRoot, newSize, newRoot, proof) {
  if (oldSize > newSize) throw new ProofError("The log is shorter than it was. A log only grows: treat this as an alarm.");
  if (oldSize === newSize) {
    if (proof.length) throw new ProofError("Equal sizes need no proof, yet one was given. It was made for other sizes.");
    if (!sameBytes(oldRoot, newRoot)) {
      throw new ProofError("Two roots were shown for one size: the log was forked. Keep both and raise an alarm.");
    }
    return;
  }
  if (oldSize === 0) {
    if (proof.length || !sameBytes(oldRoot, EMPTY_ROOT)) {
      throw new ProofError("Only the empty root, with an empty proof, stands for a log without leaves.");
    }
    return;
  }
  if (!proof.length) throw new ProofError("The proof is empty, and these sizes need one. It was cut.");
  const path = subtreesBetween(0, oldSize).length === 1 ? [oldRoot, ...proof] : proof;
  const [computedOld, computedNew] = climb(oldSize, newSize, path);
  if (!sameBytes(computedOld, oldRoot)) {
    throw new ProofError("The proof does not contain the old root: it is not about the log you knew.");
  }
  if (!sameBytes(computedNew, newRoot)) {
    throw new ProofError("The old log is not the beginning of the new one: leaves were changed, removed or inserted.");
  }
}

function climb(oldSize, newSize, path) {
  const half = (number) => Math.floor(number / 2);
  let place = oldSize - 1;
  let last = newSize - 1;
  while (place % 2) [place, last] = [half(place), half(last)];
  let [computedOld, computedNew] = [path[0], path[0]];
  for (const sibling of path.slice(1)) {
    if (last === 0) throw new ProofError("The proof is longer than these sizes need. It was made for other sizes.");
    if (place % 2 || place === last) {
      computedOld = nodeHash(sibling, computedOld);
      computedNew = nodeHash(sibling, computedNew);
      while (place && place % 2 === 0) [place, last] = [half(place), half(last)];
    } else {
      computedNew = nodeHash(computedNew, sibling);
    }
    [place, last] = [half(place), half(last)];
  }
  if (last) throw new ProofError("The proof is shorter than these sizes need. It was cut, or made for other sizes.");
  return [computedOld, computedNew];
}
