"""Hashes tokens to positions in a Bloom filter, and gathers the filters of tokens into those of values."""

import hmac
from hashlib import blake2b
from typing import Final, assert_never, cast

import numpy as np
from numpy.typing import NDArray

from linkage_client.encoding.schema import BlakeHash, DoubleHash, HashScheme
from linkage_client.encoding.tokens import Tokens

WORDS_PER_DIGEST: Final = 32
"""BLAKE2b-512 gives 32 words of 16 bits."""
CELLS_AT_ONCE: Final = 1 << 20
"""One byte each: bits are set in bytes first and packed after, in pieces that stay in the cache."""
VALUES_AT_ONCE: Final = 2048


def in_words(filters: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The same memory in 64-bit words where the width allows, for fewer and wider operations; bytes otherwise."""
    word = np.uint64 if filters.shape[1] % 8 == 0 else np.uint8
    return cast("NDArray[np.uint64]", filters.view(word))


def token_filters(
    tokens: Tokens, *, scheme: HashScheme, keys: tuple[bytes, bytes], text_encoding: str, filter_bits: int
) -> NDArray[np.uint8]:
    """The filter of each piece: shape (pieces, filter_bits // 8), bit i in byte i >> 3 under mask 0x80 >> (i & 7)."""
    filters = np.zeros((len(tokens.piece_token), filter_bits // 8), np.uint8)
    if not len(filters):
        return filters
    encoded = [text.encode(text_encoding) for text in tokens.texts]
    most_bits = np.zeros(len(encoded), np.int64)
    np.maximum.at(most_bits, tokens.piece_token, tokens.piece_bits)
    digests = -(-most_bits // WORDS_PER_DIGEST)
    # Tokens that need as many digests are hashed together: a rare token of 200 bits does not widen all others.
    for count in np.unique(digests[digests > 0]).tolist():
        chosen = np.flatnonzero(digests == count)
        places = np.full(len(encoded), -1, np.int64)
        places[chosen] = np.arange(len(chosen))
        pieces = np.flatnonzero(places[tokens.piece_token] >= 0)
        positions = _positions(
            [encoded[place] for place in chosen.tolist()],
            scheme=scheme,
            keys=keys,
            width=count * WORDS_PER_DIGEST,
            filter_bits=filter_bits,
        )
        _set_bits(
            filters,
            pieces,
            positions=positions,
            rows=places[tokens.piece_token[pieces]],
            bits=tokens.piece_bits[pieces],
        )
    return filters


def _set_bits(
    filters: NDArray[np.uint8],
    pieces: NDArray[np.int64],
    *,
    positions: NDArray[np.uint16],
    rows: NDArray[np.int64],
    bits: NDArray[np.int64],
) -> None:
    filter_bits = filters.shape[1] * 8
    width = positions.shape[1]
    step = max(1, CELLS_AT_ONCE // max(filter_bits, width * 8))
    ranks = np.arange(width)
    for start in range(0, len(pieces), step):
        now = slice(start, start + step)
        cells = np.zeros((len(pieces[now]), filter_bits), np.uint8)
        lines = np.repeat(np.arange(0, cells.size, filter_bits), bits[now])
        wanted = positions[rows[now]][ranks < bits[now, np.newaxis]]
        cells.reshape(-1)[lines + wanted] = 1
        filters[pieces[now]] = np.packbits(cells, axis=1)


def _positions(
    tokens: list[bytes], *, scheme: HashScheme, keys: tuple[bytes, bytes], width: int, filter_bits: int
) -> NDArray[np.uint16]:
    """The first `width` positions of each token."""
    if isinstance(scheme, BlakeHash):
        return _blake_positions(tokens, key=keys[0], width=width, filter_bits=filter_bits)
    if isinstance(scheme, DoubleHash):
        return _double_positions(tokens, scheme=scheme, keys=keys, width=width, filter_bits=filter_bits)
    assert_never(scheme)


def _blake_positions(tokens: list[bytes], *, key: bytes, width: int, filter_bits: int) -> NDArray[np.uint16]:
    keyed = [blake2b(key=key, salt=str(i).encode()) for i in range(width // WORDS_PER_DIGEST)]
    digests: list[bytes] = []
    for token in tokens:
        for start in keyed:
            # A copy is a quarter quicker than reading key and salt again.
            state = start.copy()
            state.update(token)
            digests.append(state.digest())
    words = np.frombuffer(b"".join(digests), np.dtype("<u2")).reshape(len(tokens), width)
    # The length is a power of two, 65536 at most: the mask is the remainder.
    return words & np.uint16(filter_bits - 1)


def _double_positions(
    tokens: list[bytes], *, scheme: DoubleHash, keys: tuple[bytes, bytes], width: int, filter_bits: int
) -> NDArray[np.uint16]:
    start = np.empty((len(tokens), 1), np.int64)
    step = np.empty((len(tokens), 1), np.int64)
    for row, token in enumerate(tokens):
        start[row] = int.from_bytes(hmac.digest(keys[0], token, "sha1"), "big") % filter_bits
        step[row] = int.from_bytes(hmac.digest(keys[1], token, "md5"), "big") % filter_bits
        if scheme.prevent_singularity and step[row] == 0:
            step[row] = _step_that_moves(token, key=keys[1], filter_bits=filter_bits)
    return ((start + np.arange(width) * step) % filter_bits).astype(np.uint16)


def _step_that_moves(token: bytes, *, key: bytes, filter_bits: int) -> int:
    attempt = 0
    step = 0
    while step == 0:
        step = int.from_bytes(hmac.digest(key, token + chr(attempt).encode(), "md5"), "big") % filter_bits
        attempt += 1
    return step


def value_filters(tokens: Tokens, filters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The filter of each value, the OR of those of its tokens.

    Values go in order of how many tokens they have, longest first. The t-th step then takes the t-th token of the
    values that have one, which stand in front: two array operations for a few thousand values.
    """
    values = len(tokens.counts)
    table = np.zeros((values, filters.shape[1]), np.uint8)
    pieces, wide = in_words(filters), in_words(table)
    order = np.argsort(-tokens.counts, kind="stable")
    first = (np.cumsum(tokens.counts) - tokens.counts)[order]
    counts = tokens.counts[order]
    for start in range(0, values, VALUES_AT_ONCE):
        now = slice(start, start + VALUES_AT_ONCE)
        longest = int(counts[start])
        if longest == 0:
            break
        gathered = np.zeros((len(counts[now]), pieces.shape[1]), pieces.dtype)
        # counts descend, so that -counts is what searchsorted can read.
        active = np.searchsorted(-counts[now], -np.arange(longest), side="left")
        for step in range(longest):
            front = int(active[step])
            gathered[:front] |= pieces[tokens.occurrences[first[now][:front] + step]]
        wide[order[now]] = gathered
    return table
