"""What the bits of an upload say, and what comes of it; on encodings of the real client where these matter."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linkage_client.demo.people import generate
from linkage_client.encoding.derive import prepare_columns, resolve_columns
from linkage_client.encoding.encoder import distinct
from linkage_client.encoding.normalise import normalisation
from linkage_client.encoding.profiles import PROFILES, encoder_for, mean_token_counts, schema_for
from linkage_client.encoding.propose import propose_schema
from linkage_client.encoding.schema import LinkageSchema
from linkage_service.uploads.judging import Verdict, judge
from linkage_service.uploads.profiles import BANDS, tier_of
from linkage_service.uploads.sketches import Difference, Sketch
from linkage_service.uploads.statistics import column_counts, measure, word_batches

Rows = NDArray[np.uint8]
CLK, FOLD, SAUL = "clk-1024-v1", "clk-fold-1024-v1", "saul-k3-2048-v1"
KEY = b"k" * 32


@cache
def proposed() -> LinkageSchema:
    return LinkageSchema.parse(propose_schema(generate(rows=1000, seed=1).files[0].columns).schema)


@cache
def encoded(profile: str, *, rows: int, seed: int) -> Rows:
    table = generate(rows=rows, seed=seed).files[0].columns
    schema = proposed()
    columns = prepare_columns(
        resolve_columns(schema, list(table)),
        {name: distinct(values) for name, values in table.items()},
        profile=normalisation("basic-v1"),
    )
    fitting = schema_for(schema, profile, tokens=mean_token_counts(schema, columns))
    return encoder_for(fitting, b"a secret of this test", profile=profile).encode_columns(columns)


def random_rows(count: int, *, bits: int = 1024, seed: int = 1) -> Rows:
    return np.random.default_rng(seed).integers(0, 256, (count, bits // 8), dtype=np.uint8)


def variants(row: Rows, count: int, *, flipped: int = 4, seed: int = 2) -> Rows:
    rng = np.random.default_rng(seed)
    bits = np.repeat(np.unpackbits(row)[None], count, axis=0)
    for number in range(count):
        bits[number, rng.choice(bits.shape[1], flipped, replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def verdict(rows: Rows, profile: str | None = None) -> Verdict:
    bits = rows.shape[1] * 8
    return judge(measure(lambda: [rows.tobytes()], rows=len(rows), bits=bits), profile=profile, bits=bits)


def codes(rows: Rows, profile: str | None = None) -> set[str]:
    found = verdict(rows, profile)
    return {finding.code for finding in found.findings} | ({found.refusal.code} if found.refusal else set())


def test_bands_are_of_the_profiles_of_the_client() -> None:
    assert set(BANDS) == set(PROFILES)
    assert {name: band.bits for name, band in BANDS.items()} == {name: PROFILES[name].bits for name in PROFILES}
    assert [tier_of(name) for name in (CLK, FOLD, SAUL, "ours", None)] == [
        "plain",
        "folded",
        "hardened",
        *["plain"] * 2,
    ]


@pytest.mark.parametrize("profile", [CLK, FOLD, SAUL])
@settings(max_examples=8, deadline=None)
@given(rows=st.integers(100, 900), seed=st.integers(0, 10_000))
def test_honest_upload_of_a_profile_is_never_questioned(profile: str, rows: int, seed: int) -> None:
    assert codes(encoded(profile, rows=rows, seed=seed), profile) == set()


@pytest.mark.parametrize("rows", [1, 20, 99, 100, 2000])
@pytest.mark.parametrize("real", [CLK, FOLD])
def test_plain_upload_that_claims_a_hardened_profile_is_refused_at_any_size(real: str, rows: int) -> None:
    made = np.tile(encoded(real, rows=max(rows, 10), seed=3)[:rows], (1, 2))
    assert codes(made, SAUL) == {"not_the_profile"}


def test_plain_upload_of_half_fill_that_claims_a_hardened_profile_is_refused() -> None:
    made = encoded(CLK, rows=500, seed=4)
    # Two different halves XORed are fuller than either, up to one half, and stay uneven.
    fuller = np.concatenate([made ^ np.roll(made, 37, axis=1), made ^ np.roll(made, 61, axis=1)], axis=1)
    assert codes(fuller, SAUL) == {"not_the_profile"}


def test_hardened_upload_of_few_rows_is_taken() -> None:
    assert codes(encoded(SAUL, rows=12, seed=5), SAUL) == set()


def test_hardened_profile_in_another_length_is_refused() -> None:
    assert codes(random_rows(200), SAUL) == {"not_the_profile"}


def test_plain_upload_that_claims_to_be_folded_is_questioned() -> None:
    assert codes(encoded(CLK, rows=500, seed=6), FOLD) == {"outside_profile"}


def test_random_bits_of_a_plain_profile_are_refused_and_without_a_profile_taken() -> None:
    assert codes(random_rows(300), CLK) == {"not_encodings"}
    assert codes(random_rows(300), None) == set()


@pytest.mark.parametrize("value", [0, 255, 37])
def test_rows_that_are_all_the_same_are_refused(value: int) -> None:
    assert codes(np.full((50, 128), value, np.uint8)) == {"not_encodings"}


def test_some_empty_rows_are_a_finding() -> None:
    rows = random_rows(200)
    rows[:3] = 0
    assert codes(rows) == {"empty_rows"}


def test_one_row_again_and_again_is_a_finding() -> None:
    rows = random_rows(400)
    rows[:25] = rows[0]
    assert codes(rows) == {"many_equal"}


@pytest.mark.parametrize("profile", [CLK, FOLD])
@pytest.mark.parametrize("count", [40, 100])
def test_variants_of_one_encoding_are_a_finding(profile: str, count: int) -> None:
    register = encoded(profile, rows=1500, seed=7)
    both = np.concatenate([register, variants(register[7], count, flipped=6)])
    assert codes(np.random.default_rng(1).permutation(both), profile) == {"near_duplicates"}


def test_variants_of_one_hardened_encoding_are_a_finding_where_they_are_many() -> None:
    register = encoded(SAUL, rows=1500, seed=8)
    both = np.concatenate([register, variants(register[7], 40, flipped=400)])
    assert codes(np.random.default_rng(1).permutation(both), SAUL) == {"near_duplicates"}


def test_statistics_do_not_depend_on_where_parts_end() -> None:
    raw = random_rows(700).tobytes()

    def cut(size: int) -> Iterator[bytes]:
        return (raw[start : start + size] for start in range(0, len(raw), size))

    whole = measure(lambda: [raw], rows=700, bits=1024)
    assert measure(lambda: cut(1000), rows=700, bits=1024) == whole
    assert measure(lambda: cut(77), rows=700, bits=1024) == whole


def test_column_counts_are_those_of_single_bits() -> None:
    rows = random_rows(600, bits=256)
    (batch,) = word_batches([rows.tobytes()], bits=256)
    assert sorted(column_counts(batch).tolist()) == sorted(np.unpackbits(rows, axis=1).sum(axis=0).tolist())


def sketch(rows: Rows, *, key: bytes = KEY) -> Sketch:
    made = Sketch(key=key)
    for batch in word_batches([rows.tobytes()], bits=rows.shape[1] * 8):
        made.add(batch)
    return made


@settings(max_examples=25, deadline=None)
@given(added=st.integers(0, 60), removed=st.integers(0, 60), seed=st.integers(0, 10_000), repeated=st.integers(1, 3))
def test_sketches_count_few_different_rows_exactly(added: int, removed: int, seed: int, repeated: int) -> None:
    rows = random_rows(300, bits=256, seed=seed)
    fresh = np.repeat(random_rows(added, bits=256, seed=seed + 20_000), repeated, axis=0)
    later = np.random.default_rng(seed).permutation(np.concatenate([rows[removed:], fresh]))
    kept = Sketch.parse(sketch(rows).to_bytes())
    assert sketch(later).difference(kept) == Difference(added=added * repeated, removed=removed)


def test_sketches_of_other_people_cannot_be_told_apart_in_detail() -> None:
    assert sketch(random_rows(500, seed=1)).difference(sketch(random_rows(500, seed=2))) is None


def test_sketches_under_another_key_say_nothing_of_equal_rows() -> None:
    rows = random_rows(500)
    assert sketch(rows, key=b"j" * 32).difference(sketch(rows)) is None
