"""Whatever somebody sends or leaves in a file is read, or refused by the error that its reader documents."""

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from linkage_client.agreements.signatures import FORMAT, from_bundle
from linkage_client.cli._session import read_document
from linkage_client.encoding.package import ENCODINGS_FILE, MANIFEST_FILE, read_encodings
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.errors import FileFormatError, KeyFileError, PackageError, SchemaError, UnexpectedAnswerError
from linkage_client.keys import SigningKey as ClientKey
from linkage_client.provenance import note_path, read_note
from linkage_client.resources.releases import _parse_link
from linkage_ledger import events
from linkage_ledger.bundle_format import BundleLeaf, leaf_lines, parse_part
from linkage_ledger.checkpoints import Checkpoint
from linkage_ledger.cosignatures import CosigningKey, WitnessKey
from linkage_ledger.errors import BundleError, EventError, HandoverError, NoteError, ReceiptError
from linkage_ledger.handover import Handover, open_handover, sign_handover
from linkage_ledger.notes import SigningKey, VerifierKey, open_signed, sign_note
from linkage_ledger.receipts import Receipt
from linkage_service.access.tokens import check_assertion, check_proof, claimed_client, claimed_key, public_key
from linkage_service.agreements.document import AgreementDocument
from linkage_service.errors import Invalid, Unauthenticated
from linkage_service.uploads.schemas import Manifest
from linkage_service.wire import PageRequest, from_base64url
from support.linkage_schemas import linkage_schema, string_feature
from support.service_app import Key, agreement_document, jws, manifest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
URL = "https://linkage.test/v1/me"
LOG, NEXT_LOG, CLIENT = SigningKey.generate("log.test"), SigningKey.generate("log.test"), Key()
CHECKPOINT = Checkpoint(origin="log.test", size=3, root=bytes(range(32)))
PART = leaf_lines(BundleLeaf(3, bytes(32), b'{"v":1}', bytes(32), b'{"x":1}'))
HANDOVER = sign_handover(size=3, root=bytes(32), old=LOG, new=NEXT_LOG)
PROOF = jws(
    {"htm": "GET", "htu": URL, "iat": NOW_S, "jti": "0123456789"}, CLIENT, typ="dpop+jwt", jwk=CLIENT.jwk
)  # fmt: skip
ASSERTION = jws(
    {"iss": "cli_1", "sub": "cli_1", "aud": URL, "iat": NOW_S, "exp": NOW_S + 60, "jti": "0123456789"}, CLIENT
)


@dataclass(frozen=True)
class Reader:
    """A parser of text or bytes, what it may raise, something that it takes, and whether HTTP brings it."""

    read: Callable[[Any], object]
    refusals: tuple[type[Exception], ...]
    valid: str | bytes
    of_http: bool = False


def _with_a_file(content: bytes, name: str, read: Callable[[Path], object]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        return read(file)


def _note_of_a_table(content: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "links.csv"
        note_path(table).write_bytes(content)
        return read_note(table)


def _manifest_of_encodings(content: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST_FILE).write_bytes(content)
        (Path(folder) / ENCODINGS_FILE).write_bytes(bytes(320))
        return read_encodings(folder)


def _assertion(text: str) -> object:
    claimed_client(text)
    claimed_key(text)
    return check_assertion(text, key=public_key(dict(CLIENT.jwk), pointer=""), audience=URL, now=NOW, longest_s=60)


def _schema() -> bytes:
    return json.dumps(linkage_schema(string_feature("given_name"), string_feature("surname"))).encode()


READERS = {
    "verifier key": Reader(VerifierKey.parse, (NoteError,), LOG.verifier.format()),
    "signing key": Reader(SigningKey.parse, (NoteError,), LOG.format()),
    "witness key": Reader(WitnessKey.parse, (NoteError,), CosigningKey.generate("witness.test").verifier.format()),
    "cosigning key": Reader(CosigningKey.parse, (NoteError,), CosigningKey.generate("witness.test").format()),
    "note": Reader(lambda text: open_signed(text, [LOG.verifier]), (NoteError,), sign_note("some text\n", LOG)),
    "checkpoint": Reader(Checkpoint.parse, (NoteError,), CHECKPOINT.text()),
    "hand-over": Reader(Handover.parse, (HandoverError,), HANDOVER.partition("\n\n")[0] + "\n"),
    "signed hand-over": Reader(open_handover, (HandoverError,), HANDOVER),
    "receipt": Reader(
        Receipt.parse, (ReceiptError,), Receipt(index=1, proof=(bytes(32),), checkpoint="x", extra=b"y").text()
    ),
    "event": Reader(events.parse, (EventError,), b'{"v":1}'),
    "part of a bundle": Reader(lambda raw: list(parse_part(raw)), (BundleError,), PART),
    "document of a command": Reader(
        lambda raw: _with_a_file(raw, "document.json", read_document), (FileFormatError,), _schema()
    ),
    "line of a link table": Reader(
        lambda line: _parse_link(line, request_id=None), (UnexpectedAnswerError,), b'{"row": 1, "link_id": "x"}'
    ),
    "manifest of encodings": Reader(_manifest_of_encodings, (PackageError,), json.dumps(manifest(bytes(320))).encode()),
    "linkage schema": Reader(LinkageSchema.from_json, (SchemaError,), _schema()),
    "client key": Reader(
        lambda raw: _with_a_file(raw, "key.jwk", ClientKey.load), (KeyFileError,),
        json.dumps(ClientKey.generate().private_jwk()).encode(),
    ),
    "note of a table": Reader(_note_of_a_table, (FileFormatError,), b'{"release": "rel_1"}'),
    "proof": Reader(
        lambda text: check_proof(text, method="GET", url=URL, now=NOW), (Unauthenticated,), PROOF, of_http=True
    ),
    "assertion": Reader(_assertion, (Unauthenticated,), ASSERTION, of_http=True),
    "cursor": Reader(lambda text: PageRequest(cursor=text).after, (Invalid, ValidationError), "b3JnXzAx", of_http=True),
    "base64url": Reader(lambda text: from_base64url(text, pointer="/x"), (Invalid,), "AAAA", of_http=True),
}  # fmt: skip
_DEEP = st.sampled_from(
    ["[" * 5_000, '{"a":' * 5_000, '{"release":' + "[" * 50_000, "9" * 5_000, "9" * 5_000 + " disposed\n"]
)


def _sent(reader: Reader) -> st.SearchStrategy[Any]:
    """Anything, what is deep or long, and the valid document with a piece of it replaced."""
    valid = reader.valid
    # Texts of HTTP have no lone surrogates; those of files, command lines and JSON may have.
    characters = st.characters(exclude_categories=["Cs"] if reader.of_http else [])
    anything: st.SearchStrategy[Any] = st.binary(max_size=120) if isinstance(valid, bytes) else st.text(characters)
    deep = _DEEP.map(str.encode) if isinstance(valid, bytes) else _DEEP
    odd = st.just("\ud800") if isinstance(valid, str) and not reader.of_http else anything
    changed = st.builds(
        lambda at, length, put: valid[:at] + put + valid[at + length :],
        st.integers(0, len(valid)), st.integers(0, 9), anything | odd,
    )  # fmt: skip
    return anything | deep | changed


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_reader_of_untrusted_bytes_gives_a_value_or_its_own_refusal(name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    sent = data.draw(_sent(reader))
    with suppress(*reader.refusals):
        reader.read(sent)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS: dict[str, tuple[Callable[[Any], object], type[Exception], dict[str, Any]]] = {
    "agreement": (
        AgreementDocument.model_validate, ValidationError,
        agreement_document({"org_" + "0" * 26: ["provider"], "org_" + "1" * 26: ["provider", "recipient"]}),
    ),
    "manifest": (Manifest.model_validate, ValidationError, manifest(bytes(320))),
    "linkage schema": (LinkageSchema.parse, SchemaError, json.loads(_schema())),
    "public key": (lambda members: public_key(members, pointer=""), Invalid, dict(CLIENT.jwk)),
    "signed agreement": (
        from_bundle, FileFormatError,
        {"format": FORMAT, "document": {}, "digest": "", "signatures": {}, "keys": {}, "names": {}, "about": {}},
    ),
}  # fmt: skip


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, inner in inside for leaf in _leaves(inner, (*path, key)))]


def _put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copied = document.copy()
    copied[path[0]] = _put(document[path[0]], path[1:], value)
    return copied


@pytest.mark.parametrize("name", DOCUMENTS)
@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_reader_of_a_document_with_anything_in_any_place_gives_a_value_or_its_own_refusal(
    name: str, data: st.DataObject
) -> None:
    read, refusal, document = DOCUMENTS[name]
    place = data.draw(st.sampled_from(_leaves(document)[1:]))
    sent = _put(document, place, data.draw(_JSON))
    with suppress(refusal):
        read(sent)


@pytest.mark.parametrize("name", [name for name in READERS if name not in {"event", "note of a table", "cursor"}])
def test_reader_takes_what_is_changed_here(name: str) -> None:
    READERS[name].read(READERS[name].valid)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_reader_takes_the_document_that_is_changed_here(name: str) -> None:
    read, _, document = DOCUMENTS[name]
    read(document)


@given(
    origin=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
    size=st.integers(1, 10**18),
    root=st.binary(min_size=32, max_size=32),
)
def test_checkpoint_read_from_its_own_text_is_the_same(origin: str, size: int, root: bytes) -> None:
    made = Checkpoint(origin=origin, size=size, root=root)
    assert Checkpoint.parse(made.text()) == made


@given(
    index=st.integers(0, 10**18),
    proof=st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple),
    extra=st.none() | st.binary(max_size=40),
)
def test_receipt_read_from_its_own_text_is_the_same(index: int, proof: tuple[bytes, ...], extra: bytes | None) -> None:
    made = Receipt(index=index, proof=proof, checkpoint=CHECKPOINT.text(), extra=extra)
    assert Receipt.parse(made.text()) == made
