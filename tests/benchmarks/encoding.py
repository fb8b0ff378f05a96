"""Encodes the same realistic records with our encoder and with clkhash, and compares the bits.

    python tests/benchmarks/encoding.py --records 200000 [--workers 2] [--json]

Names, ages and their frequencies come with clkhash; the rest is drawn to repeat as registers do. Both sides use as many
processes as `--workers` says. Exit code 1 if a single bit differs.
"""

import argparse
import csv
import datetime as dt
import importlib.resources
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from clkhash.clk import generate_clks
from clkhash.schema import from_json_dict

from linkage_client.encoding.encoder import Encoder
from linkage_client.encoding.schema import LinkageSchema

SECRET = b"a secret that only this benchmark uses"
STREETS = (
    "High",
    "Station",
    "Church",
    "Victoria",
    "Park",
    "London",
    "Green",
    "Manor",
    "Mill",
    "School",
    "Queens",
    "Kings",
)
KINDS = ("street", "road", "lane", "avenue", "close", "drive", "court", "crescent")
TOWNS = (
    "Luton",
    "Derby",
    "Stoke-on-Trent",
    "Hull",
    "Wigan",
    "York",
    "Bath",
    "Leeds",
    "Swindon",
    "Kingston upon Thames",
)
LETTERS = "ABDEFGHJLNPQRSTUWXYZ"
TODAY = dt.date(2024, 1, 1)


def weighted(name: str) -> tuple[list[str], list[int]]:
    text = importlib.resources.files("clkhash").joinpath(f"data/{name}").read_text("utf-8")
    rows = list(csv.reader(text.splitlines()))[1:]
    return [row[0].lower() for row in rows], [int(row[1]) for row in rows]


def realistic_records(count: int, *, seed: int = 1) -> dict[str, list[str]]:
    draw = random.Random(seed)

    def sample(file: str) -> list[str]:
        values, weights = weighted(file)
        return draw.choices(values, weights, k=count)

    women, men = sample("female-first-names.csv"), sample("male-first-names.csv")
    sexes = draw.choices("fm", k=count)
    ages = [int(age) for age in sample("ages.csv")]
    born = [TODAY - dt.timedelta(days=age * 365 + draw.randrange(365)) for age in ages]
    return {
        "record_id": [str(row) for row in range(count)],
        "given_name": [w if sex == "f" else m for w, m, sex in zip(women, men, sexes, strict=True)],
        "surname": sample("last-names.csv"),
        "date_of_birth": [day.isoformat() if draw.random() < 0.98 else "" for day in born],
        "sex": sexes,
        "postcode": [
            f"{draw.choice(LETTERS)}{draw.choice(LETTERS)}{draw.randint(1, 20)} {draw.randint(1, 9)}"
            f"{draw.choice(LETTERS)}{draw.choice(LETTERS)}".lower()
            for _ in range(count)
        ],
        "address": [
            f"{draw.randint(1, 199)} {draw.choice(STREETS)} {draw.choice(KINDS)} {draw.choice(TOWNS)}".lower()
            for _ in range(count)
        ],
        "telephone": [f"07{draw.randrange(10**9):09d}" if draw.random() < 0.7 else "" for _ in range(count)],
        "age": [str(age) for age in ages],
        "nhs_number": [f"{draw.randrange(10**9, 10**10)}" if draw.random() < 0.9 else "" for _ in range(count)],
    }


def feature(
    name: str, comparison: Mapping[str, object], bits: int, form: dict[str, object] | None = None
) -> dict[str, object]:
    return {
        "identifier": name,
        "format": form or {"type": "string"},
        "hashing": {
            "comparison": comparison,
            "strategy": {"bitsPerFeature": bits},
            "hash": {"type": "blakeHash"},
            "missingValue": {"sentinel": "", "replaceWith": ""},
        },
    }


def realistic_schema() -> dict[str, Any]:
    bigrams = {"type": "ngram", "n": 2, "positional": False}
    digits = {"type": "ngram", "n": 1, "positional": True}
    exact = {"type": "exact"}
    return {
        "version": 3,
        "clkConfig": {"l": 1024, "kdf": {"type": "HKDF", "hash": "SHA256", "keySize": 64}},
        "features": [
            {"identifier": "record_id", "ignored": True},
            feature("given_name", bigrams, 60),
            feature("surname", bigrams, 70),
            feature("date_of_birth", digits, 80, {"type": "date", "format": "%Y-%m-%d"}),
            feature("sex", exact, 8, {"type": "enum", "values": ["f", "m"]}),
            feature("postcode", digits, 50),
            feature("address", bigrams, 60),
            feature("telephone", digits, 40),
            feature("age", {"type": "numeric", "thresholdDistance": 3, "resolution": 3}, 20, {"type": "integer"}),
            feature("nhs_number", exact, 32),
        ],
    }


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--skip-clkhash", action="store_true", help="time our encoder only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    columns = realistic_records(options.records)
    document = realistic_schema()
    encoder = Encoder(LinkageSchema.parse(document), SECRET)
    ours_s, ours = timed(lambda: encoder.encode_columns(columns, workers=options.workers))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report: dict[str, Any] = {
        "records": options.records,
        "workers": options.workers,
        "ours_seconds": round(ours_s, 3),
        "ours_records_per_second": round(options.records / ours_s),
        "peak_memory_mib": round(peak_mib),
    }
    if not options.skip_clkhash:
        rows = list(zip(*columns.values(), strict=True))
        schema = from_json_dict(document)
        theirs_s, clks = timed(lambda: generate_clks(rows, schema, SECRET, max_workers=options.workers))
        theirs = np.frombuffer(b"".join(clk.tobytes() for clk in clks), np.uint8).reshape(ours.shape)
        report |= {
            "clkhash_seconds": round(theirs_s, 3),
            "clkhash_records_per_second": round(options.records / theirs_s),
            "times_faster": round(theirs_s / ours_s, 1),
            "bit_identical": bool(np.array_equal(ours, theirs)),
        }
    if options.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name.replace('_', ' '):28} {value}")
    return 0 if report.get("bit_identical", True) else 1


if __name__ == "__main__":
    sys.exit(main())
