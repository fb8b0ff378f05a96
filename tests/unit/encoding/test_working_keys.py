import hashlib
import hmac
from pathlib import Path

import numpy as np
import pytest

from linkage_client.encoding.encoder import Encoder
from linkage_client.encoding.package import encode_file, read_encodings
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.encoding.working_keys import DERIVATION, working_key
from linkage_client.errors import SecretError
from support.linkage_schemas import linkage_schema

SECRET = bytes(range(32))
PROJECT = "prj_01JB0000000000000000000000"
SCHEMA_SHA256 = "5f" * 32


@pytest.mark.parametrize(
    ("encoding_profile", "expected"),
    [
        ("clk-1024-v1", b"48e0270fd2eb7b9739433bed6013e86a4efc3f67f992ea25e74e30a2a3607041"),
        (None, b"700eb9276b70583c62e0e7cf2c1c9ec03e2caedb9acd2bfafd569d4ce2ea22d0"),
    ],
)
def test_working_key_known_answers_are_met(encoding_profile: str | None, expected: bytes) -> None:
    key = working_key(
        SECRET,
        project_id=PROJECT,
        epoch=1,
        linkage_schema_sha256=SCHEMA_SHA256,
        encoding_profile=encoding_profile,
    )
    assert key == expected


def test_working_key_is_hkdf_of_rfc_5869_written_out() -> None:
    extracted = hmac.new(PROJECT.encode(), SECRET, hashlib.sha256).digest()
    bound_to = '{"encoding_profile":"Ä-1","epoch":12,"linkage_schema":"' + SCHEMA_SHA256 + '"}'
    info = b"linkage/derive/v1\0encoding\0" + bound_to.encode() + b"\x01"
    key = working_key(SECRET, project_id=PROJECT, epoch=12, linkage_schema_sha256=SCHEMA_SHA256, encoding_profile="Ä-1")
    assert key == hmac.new(extracted, info, hashlib.sha256).hexdigest().encode()


def test_working_key_of_an_empty_secret_is_refused() -> None:
    with pytest.raises(SecretError):
        working_key(b"", project_id=PROJECT, epoch=1, linkage_schema_sha256=SCHEMA_SHA256, encoding_profile=None)


def test_encode_file_for_a_project_encodes_with_its_working_key_and_without_one_with_the_secret(tmp_path: Path) -> None:
    source = tmp_path / "records.csv"
    source.write_text("record_id,given_name,surname\n1,Ann,Archer\n2,Bob,Baker\n3,Cyd,Cooper\n", "utf-8")
    schema = LinkageSchema.parse(linkage_schema())
    key = working_key(
        SECRET,
        project_id=PROJECT,
        epoch=3,
        linkage_schema_sha256=schema.digest,
        encoding_profile="clk-1024-v1",
    )
    columns = {"given_name": ["ann", "bob", "cyd"], "surname": ["archer", "baker", "cooper"]}
    for project_id, secret, derivation in ((PROJECT, key, DERIVATION), (None, SECRET, None)):
        out = tmp_path / str(project_id)
        encoded = encode_file(
            source,
            out,
            schema=schema,
            secret=SECRET,
            project_id=project_id,
            epoch=3,
            encoding_profile="clk-1024-v1",
        )
        assert encoded.manifest["key"]["derivation"] == derivation
        package = read_encodings(out)
        in_order = package.encodings[np.argsort(package.record_ids or ())]
        assert np.array_equal(in_order, Encoder(schema, secret).encode_columns(columns))
