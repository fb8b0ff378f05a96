"""Encodings for two projects, epochs, schemas or profiles have nothing in common, though one secret is behind both."""

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clkhash.clk import generate_clks
from clkhash.schema import from_json_dict
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linkage_client.encoding.encoder import Encoder
from linkage_client.encoding.package import encode_file, read_encodings
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.encoding.working_keys import working_key
from support.linkage_schemas import linkage_schema, string_feature

PEOPLE = 60
MOST_ABOVE_CHANCE = 0.02
"""Of a mean over `PEOPLE` likenesses of unrelated encodings, whose standard deviation is about 0.004."""
FIELDS = (string_feature("given_name"), string_feature("surname"), string_feature("town"))
# All give the same bits under the same key: what differs is only the text, and with it the digest.
SCHEMAS = [
    LinkageSchema.parse(linkage_schema(*FIELDS)),
    LinkageSchema.parse(linkage_schema(*FIELDS, xor_folds=0)),
    LinkageSchema.parse(linkage_schema(*FIELDS, kdf={"type": "HKDF", "hash": "SHA256"})),
]


@dataclass(frozen=True)
class Purpose:
    """What a working key is bound to."""

    project_id: str
    epoch: int
    schema: int
    encoding_profile: str | None

    def encode(self, secret: bytes, source: Path) -> dict[str, NDArray[np.bool_]]:
        """The bits of each record."""
        with tempfile.TemporaryDirectory() as folder:
            encode_file(
                source,
                Path(folder) / "encoded",
                schema=SCHEMAS[self.schema],
                secret=secret,
                project_id=self.project_id,
                epoch=self.epoch,
                encoding_profile=self.encoding_profile,
            )
            package = read_encodings(Path(folder) / "encoded")
            bits = np.unpackbits(np.array(package.encodings), axis=1).astype(np.bool_)
            return dict(zip(package.record_ids or (), bits, strict=True))


PURPOSES = st.builds(
    Purpose,
    project_id=st.sampled_from(["prj_1", "prj_2"]),
    epoch=st.sampled_from([1, 2]),
    schema=st.sampled_from(range(len(SCHEMAS))),
    encoding_profile=st.sampled_from([None, "clk-1024-v1", "ours"]),
)


def write_people(path: Path, *, seed: int) -> None:
    letters = np.random.default_rng(seed).integers(ord("a"), ord("z") + 1, (PEOPLE, 3, 8), np.uint8)
    rows = (",".join([str(place), *(bytes(word).decode() for word in person)]) for place, person in enumerate(letters))
    path.write_text("\n".join(["record_id,given_name,surname,town", *rows]) + "\n", "utf-8")


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Every record of the one with every record of the other."""
    counts = one.astype(np.int64) @ other.astype(np.int64).T
    return np.asarray(2 * counts / (one.sum(1)[:, None] + other.sum(1)[None, :]), np.float64)


@settings(max_examples=40, deadline=None)
@given(
    secret=st.binary(min_size=16, max_size=64),
    purposes=st.lists(PURPOSES, min_size=2, max_size=2, unique=True),
    seed=st.integers(0, 2**32),
)
def test_encodings_for_two_purposes_are_alike_by_chance_only(secret: bytes, purposes: list[Purpose], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "people.csv"
        write_people(source, seed=seed)
        one, other = (purpose.encode(secret, source) for purpose in purposes)
    assert not {row.tobytes() for row in one.values()} & {row.tobytes() for row in other.values()}
    ids = sorted(one)
    alike = dice(np.array([one[name] for name in ids]), np.array([other[name] for name in ids]))
    of_themselves, of_others = alike.diagonal(), alike[~np.eye(PEOPLE, dtype=np.bool_)]
    assert abs(of_themselves.mean() - of_others.mean()) < MOST_ABOVE_CHANCE


def test_schemas_of_the_property_give_equal_bits_under_an_equal_key() -> None:
    columns = {"given_name": ["ann"], "surname": ["archer"], "town": ["hull"]}
    encodings = {Encoder(schema, b"one key").encode_columns(columns).tobytes() for schema in SCHEMAS}
    assert len(encodings) == 1
    assert len({schema.digest for schema in SCHEMAS}) == len(SCHEMAS)


@settings(max_examples=25, deadline=None)
@given(
    secret=st.binary(min_size=16, max_size=64),
    purpose=PURPOSES,
    people=st.lists(st.tuples(*[st.text("abcdefgh", max_size=8)] * 3).map(list), min_size=1, max_size=5),
)
def test_clkhash_with_the_working_key_as_its_secret_gives_the_same_bits(
    secret: bytes, purpose: Purpose, people: list[list[str]]
) -> None:
    schema = SCHEMAS[purpose.schema]
    key = working_key(
        secret,
        project_id=purpose.project_id,
        epoch=purpose.epoch,
        linkage_schema_sha256=schema.digest,
        encoding_profile=purpose.encoding_profile,
    )
    document: dict[str, Any] = copy.deepcopy(dict(schema.document))
    theirs = generate_clks(people, from_json_dict(document), key.decode("ascii"), max_workers=1)
    ours = Encoder(schema, key).encode_columns([list(column) for column in zip(*people, strict=True)])
    assert [row.tobytes() for row in ours] == [clk.tobytes() for clk in theirs]
