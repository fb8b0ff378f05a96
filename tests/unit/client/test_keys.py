import base64
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from linkage_client import keys
from linkage_client.errors import KeyFileError, OutputExistsError
from linkage_client.keys import SigningKey

# RFC 8037, appendix A
JWK = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}


def _verify(key: SigningKey, signature: str, message: bytes) -> None:
    raw = base64.urlsafe_b64decode(key.public_jwk["x"] + "=")
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.urlsafe_b64decode(signature + "=="), message)


def test_thumbprint_of_the_rfc_8037_key_is_the_published_one() -> None:
    assert SigningKey.from_jwk(JWK).thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("name", ["key.jwk", "key.pem"])
def test_key_saved_and_loaded_is_the_same(tmp_path: Path, name: str) -> None:
    key = SigningKey.generate()
    key.save(tmp_path / name)
    assert SigningKey.load(tmp_path / name).public_jwk == key.public_jwk


@pytest.mark.skipif(os.name != "posix", reason="modes of files are a matter of POSIX")
def test_saved_key_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        SigningKey.generate().save(tmp_path / "key.jwk")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "key.jwk").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="modes of files are a matter of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.jwk"
    SigningKey.generate().save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        SigningKey.load(path)


def test_save_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key.jwk"
    SigningKey.generate().save(path)
    before = path.read_bytes()
    with pytest.raises(OutputExistsError):
        SigningKey.generate().save(path)
    assert path.read_bytes() == before


def test_save_does_not_follow_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "key.jwk").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputExistsError):
        SigningKey.generate().save(tmp_path / "key.jwk")
    assert not (tmp_path / "elsewhere").exists()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"kty":"OKP","crv":"X25519","d":"AA"}',
        b'{"kty":"OKP","crv":"Ed25519","d":"?"}',
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"x" * 20_000,
    ],
)
def test_file_that_is_no_key_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    keys.write_private_file(path, content)
    with pytest.raises(KeyFileError) as caught:
        SigningKey.load(path)
    assert "hello" not in str(caught.value)


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    keys.write_private_file(tmp_path / "key.pem", _pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(KeyFileError, match="not Ed25519"):
        SigningKey.load(tmp_path / "key.pem")


def test_key_with_a_passphrase_is_refused_with_a_reason(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    keys.write_private_file(tmp_path / "key.pem", content)
    with pytest.raises(KeyFileError, match="passphrase"):
        SigningKey.load(tmp_path / "key.pem")


def test_absent_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        SigningKey.load(tmp_path / "absent")


def test_jwk_whose_halves_do_not_belong_together_is_refused() -> None:
    with pytest.raises(KeyFileError, match="together"):
        SigningKey.from_jwk({**JWK, "x": SigningKey.generate().public_jwk["x"]})


def test_representation_of_a_key_hides_its_private_half() -> None:
    assert JWK["d"] not in repr(SigningKey.from_jwk(JWK))


def test_registration_signature_covers_invitation_key_and_client() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    client = keys.client_description(name="laptop", client_key=other, roles=("analyst",))
    signature = keys.sign_registration(invitation="inv", signing_key=key, client=client)
    statement: dict[str, Any] = {"invitation": "inv", "signing_key": key.public_jwk, "client": client}
    _verify(key, signature, b"linkage/registration/v1\0" + rfc8785.dumps(statement))


def test_agreement_signature_covers_the_digest() -> None:
    key = SigningKey.generate()
    digest = keys.document_digest({"b": 1, "a": "é"})
    assert digest == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()
    _verify(key, keys.sign_agreement(digest=digest, signing_key=key), b"linkage/agreement/v1\0" + bytes.fromhex(digest))


@pytest.mark.parametrize("digest", ["", "ab", "zz" * 32])
def test_agreement_signature_over_something_else_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        keys.sign_agreement(digest=digest, signing_key=SigningKey.generate())
