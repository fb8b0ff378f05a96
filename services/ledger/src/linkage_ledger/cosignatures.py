"""C2SP cosignatures: a witness's dated word that a checkpoint continues all it has seen of a log.

The format is https://c2sp.org/tlog-cosignature, version ``cosignature/v1`` (Ed25519, key type 0x04). A policy says how
many of which witnesses must have given theirs, as in the flat form of https://c2sp.org/tlog-policy.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from linkage_ledger.checkpoints import Checkpoint
from linkage_ledger.errors import NoteError, PolicyError
from linkage_ledger.notes import (
    PublicKey,
    SignatureLine,
    parse_signature_line,
    require_key_name,
    split_key,
    split_note,
    to_base64,
)

_KIND = b"\x04"
_KEY_BYTES = 32
_KEY_ID_BYTES = 4
_TIME_BYTES = 8
_SIGNED_BYTES = _TIME_BYTES + 64
_LATEST = 2**63 - 1
_PRIVATE_PREFIX = "PRIVATE+KEY+"
# The specification of policies asks for 32; a note holds at most 100 signatures.
_MAX_WITNESSES = 64


@dataclass(frozen=True, slots=True)
class WitnessKey(PublicKey):
    """A witness's public key, under its name."""

    _kind = _KIND
    _called = "witness key"


@dataclass(frozen=True, slots=True)
class CosigningKey:
    """A witness's private key, under its name. One witness, one key: the signed message does not hold the name."""

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        require_key_name(self.name)

    @classmethod
    def generate(cls, name: str) -> Self:
        """Make a new key."""
        return cls(name=name, private_key=Ed25519PrivateKey.generate())

    @property
    def verifier(self) -> WitnessKey:
        """The public half."""
        return WitnessKey(name=self.name, public_bytes=self.private_key.public_key().public_bytes_raw())

    def format(self) -> str:
        """The key as one line. A secret."""
        material = to_base64(_KIND + self.private_key.private_bytes_raw())
        return f"{_PRIVATE_PREFIX}{self.name}+{self.verifier.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the line that ``format`` writes."""
        if not text.startswith(_PRIVATE_PREFIX):
            raise NoteError("This is not a witness's private key. It begins with PRIVATE+KEY+.")
        name, key_id, material = split_key(text.removeprefix(_PRIVATE_PREFIX), kind=_KIND)
        key = cls(name=name, private_key=Ed25519PrivateKey.from_private_bytes(material))
        if key.verifier.key_id.hex() != key_id:
            raise NoteError("The private key's id does not fit its name and bytes: it was damaged. Restore it.")
        return key


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One genuine cosignature: whose, of when (seconds since 1970), and its line as it stands in the note."""

    witness: WitnessKey
    time: int
    line: str


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """How many of which witnesses must have cosigned a checkpoint. A quorum of 0 asks for none."""

    witnesses: tuple[WitnessKey, ...] = ()
    quorum: int = 0

    def __post_init__(self) -> None:
        if len(self.witnesses) > _MAX_WITNESSES:
            raise PolicyError(f"A policy names at most {_MAX_WITNESSES} witnesses. Leave some out.")
        if not 0 <= self.quorum <= len(self.witnesses):
            raise PolicyError(
                f"The quorum is {self.quorum}, but {len(self.witnesses)} witnesses are named. Choose 0 to that many."
            )
        # One key under two names would count twice, one name with two keys would stand for two bodies.
        if len({key.public_bytes for key in self.witnesses}) != len(self.witnesses):
            raise PolicyError("Two witnesses have one key, so one body would count twice. Ask each for its own.")
        if len({key.name for key in self.witnesses}) != len(self.witnesses):
            raise PolicyError("Two witnesses have one name. Name each once.")

    def text(self, *, log_keys: Iterable[str] = ()) -> str:
        """The policy in the form of C2SP tlog-policy, for other verifiers; `log_keys` are the log's verifier keys."""
        lines = [f"log {key}" for key in log_keys]
        lines += [f"witness w{number} {key.format()}" for number, key in enumerate(self.witnesses, start=1)]
        if self.quorum:
            names = " ".join(f"w{number}" for number in range(1, len(self.witnesses) + 1))
            lines.append(f"group witnesses {self.quorum} {names}")
        return "\n".join([*lines, f"quorum {'witnesses' if self.quorum else 'none'}"]) + "\n"


@dataclass(frozen=True, slots=True)
class PolicyAnswer:
    """Who of a policy's witnesses cosigned a checkpoint, when, and who is missing."""

    checkpoint: Checkpoint
    signed: tuple[Cosignature, ...]
    missing: tuple[WitnessKey, ...]
    quorum: int

    @property
    def satisfied(self) -> bool:
        """Whether enough witnesses cosigned."""
        return len(self.signed) >= self.quorum

    def words(self) -> str:
        """The answer in one sentence."""
        names = ", ".join(cosignature.witness.name for cosignature in self.signed) or "nobody"
        absent = ", ".join(key.name for key in self.missing)
        rest = f"; without {absent}" if absent else ""
        enough = "enough" if self.satisfied else "too few"
        return (
            f"Cosigned by {names}{rest}: {len(self.signed)} of {len(self.signed) + len(self.missing)}, where "
            f"{self.quorum} are asked for, which is {enough}."
        )


def cosign(text: str, key: CosigningKey, *, time: int) -> str:
    """The line that a witness puts under a checkpoint.

    Args:
        text: the checkpoint's text, the part of the note above the empty line.
        key: of the witness.
        time: seconds since 1970, now.

    Raises:
        CheckpointError: the text is no checkpoint.
    """
    Checkpoint.parse(text)
    signature = time.to_bytes(_TIME_BYTES, "big") + key.private_key.sign(_message(text, time))
    return SignatureLine(key.name, key.verifier.key_id, signature).format()


def cosignatures_of(note: str, witnesses: Sequence[WitnessKey]) -> tuple[Cosignature, ...]:
    """The cosignatures in a note by these witnesses, one for each at most: the newest.

    Says nothing of who else signed: the log's own signature is checked by `checkpoints.verify_checkpoint`. Signatures
    by others are ignored, and one wrong signature by a named witness condemns the note, as for every signed note.

    Raises:
        NoteError: the note is malformed, or such a signature does not fit.
    """
    text, lines = split_note(note)
    found: dict[WitnessKey, Cosignature] = {}
    for line in lines:
        key = next((key for key in witnesses if (key.name, key.key_id) == (line.name, line.key_id)), None)
        if key is None:
            continue
        cosignature = _checked(text, line, key)
        if key not in found or found[key].time < cosignature.time:
            found[key] = cosignature
    return tuple(found[key] for key in witnesses if key in found)


def answered_cosignatures(note: str, answer: str, witnesses: Sequence[WitnessKey]) -> tuple[Cosignature, ...]:
    """The genuine cosignatures in what a witness answered about a note: lines, each with its newline.

    Raises:
        NoteError: a line is malformed, or a signature by a known witness does not fit.
    """
    lines = answer.split("\n")
    if not answer or lines.pop():
        raise NoteError("The witness's answer is not lines of signatures. Nothing of it is used.")
    text, _ = split_note(note)
    return cosignatures_of(f"{text}\n" + "".join(parse_signature_line(line).format() for line in lines), witnesses)


def with_cosignatures(note: str, lines: Iterable[str]) -> str:
    """The note with further signature lines below it, each with its newline."""
    return note + "".join(lines)


def check_policy(note: str, policy: WitnessPolicy, *, not_after: int | None = None) -> PolicyAnswer:
    """Say which of the policy's witnesses cosigned a checkpoint, when, and who is missing.

    Args:
        note: a checkpoint whose log signature was checked.
        policy: the witnesses that count.
        not_after: seconds since 1970; a cosignature of a later time counts as missing.

    Raises:
        NoteError: the note is no checkpoint, or a signature by one of the witnesses does not fit it.
    """
    signed = tuple(
        cosignature
        for cosignature in cosignatures_of(note, policy.witnesses)
        if not_after is None or cosignature.time <= not_after
    )
    present = {cosignature.witness for cosignature in signed}
    return PolicyAnswer(
        checkpoint=Checkpoint.parse(split_note(note)[0]),
        signed=signed,
        missing=tuple(key for key in policy.witnesses if key not in present),
        quorum=policy.quorum,
    )


def _checked(text: str, line: SignatureLine, key: WitnessKey) -> Cosignature:
    if len(line.signature) != _SIGNED_BYTES:
        raise NoteError("A witness's signature has the wrong length. The note was damaged: reject it.")
    time = int.from_bytes(line.signature[:_TIME_BYTES], "big")
    if time > _LATEST:
        raise NoteError("A witness's signature names a time that cannot be. Reject the note.")
    try:
        Ed25519PublicKey.from_public_bytes(key.public_bytes).verify(line.signature[_TIME_BYTES:], _message(text, time))
    except InvalidSignature:
        raise NoteError("A witness's signature does not fit the checkpoint. The note was altered: reject it.") from None
    return Cosignature(witness=key, time=time, line=line.format())


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
