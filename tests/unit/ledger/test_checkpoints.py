import base64

import pytest

from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint, verify_checkpoint
from linkage_ledger.errors import CheckpointError, NoteError
from linkage_ledger.merkle import EMPTY_ROOT
from linkage_ledger.notes import SigningKey, sign_note
from support.ledger_logs import KEY, ORIGIN

# The example of https://c2sp.org/tlog-checkpoint.
EXAMPLE = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
ROOT = bytes(range(32))


def test_checkpoint_of_the_specification_read_and_written_is_the_same() -> None:
    checkpoint = Checkpoint.parse(EXAMPLE)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == EXAMPLE


def test_checkpoint_signed_is_verified_with_the_public_key() -> None:
    checkpoint = Checkpoint(origin=ORIGIN, size=7, root=ROOT)
    assert verify_checkpoint(sign_checkpoint(checkpoint, KEY), [KEY.verifier]) == checkpoint


def test_checkpoint_of_an_empty_log_is_signed() -> None:
    checkpoint = Checkpoint(origin=ORIGIN, size=0, root=EMPTY_ROOT)
    assert verify_checkpoint(sign_checkpoint(checkpoint, KEY), [KEY.verifier]).size == 0


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\n7\n{encoded(ROOT)}",
        f"{ORIGIN}\n7\n{encoded(ROOT)}\nextension\n",
        f"{ORIGIN}\n7\n{encoded(ROOT)}\n\n",
        f"\n7\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n07\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n-7\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n+7\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n 7\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n\N{ARABIC-INDIC DIGIT SEVEN}\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n7e3\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n{'9' * 20}\n{encoded(ROOT)}\n",
        f"{ORIGIN}\n7\n{encoded(ROOT[:31])}\n",
        f"{ORIGIN}\n7\n{encoded(ROOT)[:-1]}\n",
        f"{ORIGIN}\n7\n{encoded(ROOT).replace('=', 'A')}\n",
        f"{ORIGIN}\n7\n{ROOT.hex()}\n",
        f"{ORIGIN}\n7\nè{encoded(ROOT)}\n",
        f"{ORIGIN}\n0\n{encoded(ROOT)}\n",
    ],
)
def test_checkpoint_malformed_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.parse(text)


def test_checkpoint_signed_with_the_key_of_another_log_is_refused() -> None:
    with pytest.raises(CheckpointError):
        sign_checkpoint(Checkpoint(origin="other.example", size=7, root=ROOT), KEY)


def test_checkpoint_of_another_log_signed_by_a_known_key_is_refused() -> None:
    note = sign_note(Checkpoint(origin="other.example", size=7, root=ROOT).text(), KEY)
    with pytest.raises(CheckpointError, match="which log"):
        verify_checkpoint(note, [KEY.verifier])


def test_checkpoint_signed_by_a_stranger_is_refused() -> None:
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=7, root=ROOT), SigningKey.generate(ORIGIN))
    with pytest.raises(NoteError):
        verify_checkpoint(note, [KEY.verifier])


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [("", 1, ROOT), ("a\nb", 1, ROOT), (ORIGIN, -1, ROOT), (ORIGIN, 1, b""), (ORIGIN, 0, ROOT)],
)
def test_checkpoint_of_impossible_values_is_refused(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint(origin=origin, size=size, root=root)
