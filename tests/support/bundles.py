"""Bundles to check, and forged ones, whose checksums are right and whose lies are well made."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_ledger import events, merkle
from linkage_ledger.bundle import BundleLeaf, write_bundle
from linkage_ledger.bundle_zip import ZipWriter, read_member, read_members
from linkage_ledger.checkpoints import Checkpoint, sign_checkpoint
from linkage_ledger.memory import MemoryLog
from linkage_ledger.notes import SigningKey
from linkage_ledger.verify import EventRow, HeadRow
from support.ledger_logs import KEY, make_header

QUESTION = "agreement agr_1, March 2026"
MADE_AT = "2026-03-03T09:00:00.000000Z"
STRANGER = SigningKey(name=KEY.name, private_key=Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
AGREEMENT = b'{"purpose":"service planning"}'
POLICY = b"permit (principal, action, resource);"
FIRST, LAST, SIZE = 5, 18, 24
PART = "events/000001.txt"


def by_digest(*documents: bytes) -> dict[str, bytes]:
    """Documents under their SHA-256."""
    return {hashlib.sha256(document).hexdigest(): document for document in documents}


DOCUMENTS = by_digest(AGREEMENT, POLICY)


def a_log(size: int = SIZE) -> MemoryLog:
    """Events with and without bodies, under an agreement and a policy that there are documents of."""
    log = MemoryLog()
    agreement, policy = DOCUMENTS
    for number in range(size):
        header = make_header(number, full=number % 2 == 0)
        if header.agreement is not None and header.decision is not None:
            header = replace(
                header,
                agreement=replace(header.agreement, digest=agreement),
                decision=replace(header.decision, policy_digest=policy),
            )
        log.append(header, {"person": "P. Example", "number": number} if number % 3 == 0 else None)
        log.checkpoint(KEY)
    return log


def append_raw(log: MemoryLog, header: bytes) -> None:
    """Put bytes into a log as a header, whatever they are: what an operator could do who wrote the log by hand."""
    seq, leaf = log.head_row.size, merkle.leaf_hash(header)
    for level, index, node in merkle.append(log.tree, seq, leaf):
        log.tree.put(level, index, node)
    log.event_rows.append(EventRow(seq=seq, header=header, leaf_hash=leaf, copies={}))
    log.head_row = HeadRow(size=seq + 1, root=merkle.root(log.tree, seq + 1))


def leaves_of(log: MemoryLog, first: int, last: int, *, hide_every: int = 0) -> list[BundleLeaf]:
    """The leaves of a log as a bundle shows them; each that ``hide_every`` divides as its hash only."""
    leaves = []
    for row in log.event_rows[first : last + 1]:
        body = log.body_rows.get(row.seq)
        if hide_every and row.seq % hide_every == 0:
            leaves.append(BundleLeaf(row.seq, row.leaf_hash))
        elif body is None:
            leaves.append(BundleLeaf(row.seq, row.leaf_hash, row.header))
        else:
            leaves.append(BundleLeaf(row.seq, row.leaf_hash, row.header, body.salt, body.body, body.disposed))
    return leaves


def make_bundle(log: MemoryLog, first: int = FIRST, last: int = LAST, **changes: Any) -> bytes:
    """A bundle of a log whose head is signed now. ``changes`` are arguments of ``write_bundle``."""
    size = log.head_row.size
    left, right = merkle.range_proof(log.tree, first, last + 1, size)
    arguments: dict[str, Any] = {
        "leaves": leaves_of(log, first, last, hide_every=4),
        "first": first,
        "last": last,
        "size": size,
        "left": left,
        "right": right,
        "checkpoint": sign_checkpoint(Checkpoint(KEY.name, size, log.head_row.root), KEY),
        "verifier_keys": [KEY.verifier.format()],
        "documents": DOCUMENTS,
        "question": QUESTION,
        "made_at": MADE_AT,
    }
    out = io.BytesIO()
    write_bundle(out, **{**arguments, **changes})
    return out.getvalue()


def members_of(bundle: bytes) -> dict[str, bytes]:
    """The members by name."""
    file = io.BytesIO(bundle)
    return {member.name: read_member(file, member)[0] for member in read_members(file)}


def zipped(members: Sequence[tuple[str, bytes]]) -> bytes:
    """Members as a bundle's zip, with right checksums."""
    out = io.BytesIO()
    archive = ZipWriter(out)
    for name, content in members:
        archive.add(name, content)
    archive.close()
    return out.getvalue()


def with_members(bundle: bytes, **changes: bytes) -> bytes:
    """The bundle with members replaced; ``__`` stands for a dot, and PART's name is ``events``."""
    given = {PART if name == "events" else name.replace("__", "."): content for name, content in changes.items()}
    members = members_of(bundle)
    assert given.keys() <= members.keys()
    return zipped(list({**members, **given}.items()))


def with_manifest(bundle: bytes, **changes: Any) -> bytes:
    """The bundle with members of its manifest replaced."""
    manifest = json.loads(members_of(bundle)["bundle.json"])
    changed = {name: value for name, value in {**manifest, **changes}.items() if value is not None}
    return with_members(bundle, bundle__json=events.canonical(changed))


def lines_of(bundle: bytes) -> list[bytes]:
    """The lines of the events."""
    return members_of(bundle)[PART].splitlines(keepends=True)


def with_lines(bundle: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """The bundle with its lines of events changed."""
    return with_members(bundle, events=b"".join(change(lines_of(bundle))))


def _edit(seq: int, kind: str, change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    start = f"{seq} {kind}".encode()
    return lambda lines: [change(line) if line.startswith(start) else line for line in lines]


def _rehashed(line: bytes) -> bytes:
    seq, kind, _, header = line.rstrip(b"\n").split(b" ", 3)
    return b" ".join([seq, kind, merkle.leaf_hash(header).hex().encode(), header]) + b"\n"


def _swap(lines: list[bytes], one: int, other: int) -> list[bytes]:
    lines = list(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def _packed(bundle: bytes, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members_of(bundle).items():
            archive.writestr(name, content)
    return out.getvalue()


def _with_hidden_bytes(bundle: bytes) -> bytes:
    """Bytes that no member holds, between the last member and the directory, whose place is told rightly."""
    place, hidden = int.from_bytes(bundle[-6:-2], "little"), b"hidden"
    moved = (place + len(hidden)).to_bytes(4, "little")
    return bundle[:place] + hidden + bundle[place:-6] + moved + bundle[-2:]


def forged_history(key: SigningKey, *, log: MemoryLog) -> bytes:
    """Another history than ``log``, whole in itself, signed with this key."""
    other = MemoryLog()
    for row in log.event_rows:
        header = row.header.replace(b'"code":"ok"', b'"code":"no"') if row.seq == FIRST + 1 else row.header
        append_raw(other, header)
    other.body_rows = log.body_rows
    size = other.head_row.size
    note = sign_checkpoint(Checkpoint(key.name, size, other.head_row.root), key)
    return make_bundle(other, checkpoint=note, verifier_keys=[key.verifier.format()])


def forgeries(log: MemoryLog) -> Mapping[str, bytes]:
    """Forged bundles by what was done. Each must be found by who holds the log's key."""
    good = make_bundle(log)
    members = list(members_of(good).items())
    manifest = json.loads(members_of(good)["bundle.json"])
    other_hash = "ee" * 32
    head = Checkpoint(KEY.name, SIZE, log.head_row.root)
    body_line = next(index for index, line in enumerate(lines_of(good)) if b" body " in line)
    body_seq = int(lines_of(good)[body_line].split(b" ")[0])
    refused = (b'"status":"refused"', b'"status":"success"')
    extra = make_bundle(log, LAST + 1, LAST + 1)
    return {
        "header changed": with_lines(good, _edit(7, "event", lambda line: line.replace(*refused))),
        "header and its hash changed": with_lines(
            good, _edit(7, "event", lambda line: _rehashed(line.replace(*refused)))
        ),
        "hash of a header changed": with_lines(good, _edit(7, "event", lambda line: line[:8] + b"e" * 64 + line[72:])),
        "hidden event changed": with_lines(good, _edit(8, "other", lambda _: f"8 other {other_hash}\n".encode())),
        "event removed": with_lines(good, lambda lines: [line for line in lines if not line.startswith(b"7 ")]),
        "first event removed": with_lines(good, lambda lines: lines[1:]),
        "last event removed": with_lines(good, lambda lines: [one for one in lines if not one.startswith(b"18 ")]),
        "first event removed and said so": with_manifest(with_lines(good, lambda lines: lines[1:]), first=FIRST + 1),
        "event repeated": with_lines(good, lambda lines: [*lines[:3], lines[2], *lines[3:]]),
        "event added at the end": with_lines(good, lambda lines: [*lines, lines_of(extra)[0]]),
        "events swapped": with_lines(good, lambda lines: _swap(lines, 0, 1)),
        "body changed": with_lines(good, _edit(body_seq, "body", lambda line: line.replace(b"Example", b"Exemple"))),
        "salt changed": with_lines(good, _edit(body_seq, "body", lambda line: line.replace(line[-60:-50], b"0" * 10))),
        "body removed": with_lines(good, lambda lines: [*lines[:body_line], *lines[body_line + 1 :]]),
        "body invented": with_lines(
            good,
            lambda lines: [
                f"5 body {other_hash} {{}}\n".encode() if at == 1 else one
                for at, one in enumerate([lines[0], b"", *lines[1:]])
            ],
        ),
        "disposal invented": with_lines(good, lambda lines: [lines[0], b"5 disposed\n", *lines[1:]]),
        "withholding invented": with_lines(good, lambda lines: [lines[0], b"5 withheld\n", *lines[1:]]),
        "disposal of another": with_lines(good, lambda lines: [lines[0], b"6 disposed\n", *lines[1:]]),
        "disposal of a hidden event": with_lines(
            good,
            lambda lines: [
                out for one in lines for out in ([one, b"8 disposed\n"] if one.startswith(b"8 ") else [one])
            ],
        ),
        "body beside its disposal": with_lines(
            good, lambda lines: [*lines[: body_line + 1], f"{body_seq} disposed\n".encode(), *lines[body_line + 1 :]]
        ),
        "line of another kind": with_lines(good, _edit(8, "other", lambda line: line.replace(b"other", b"event"))),
        "sequence with a leading zero": with_lines(good, _edit(7, "event", lambda line: b"0" + line)),
        "hash in capitals": with_lines(good, _edit(8, "other", lambda line: line[:8] + line[8:].upper())),
        "line ends of another system": with_members(good, events=members_of(good)[PART].replace(b"\n", b"\r\n")),
        "last line cut": with_members(good, events=members_of(good)[PART][:-1]),
        "no events": with_members(good, events=b""),
        "empty line": with_lines(good, lambda lines: [*lines, b"\n"]),
        "left side changed": with_manifest(good, left=[other_hash, *manifest["left"][1:]]),
        "left side cut": with_manifest(good, left=manifest["left"][1:]),
        "right side changed": with_manifest(good, right=[other_hash, *manifest["right"][1:]]),
        "right side longer": with_manifest(good, right=[*manifest["right"], other_hash]),
        "size changed": with_manifest(good, size=SIZE + 1),
        "range moved": with_manifest(good, first=FIRST - 1, last=LAST - 1),
        "range said to be longer": with_manifest(good, last=LAST + 1),
        "range turned round": with_manifest(good, first=LAST, last=FIRST),
        "another version": with_manifest(good, format="linkage-ledger/bundle@v2"),
        "unknown member of the manifest": with_manifest(good, signed=True),
        "member of the manifest missing": with_manifest(good, right=None),
        "manifest spelled otherwise": with_members(good, bundle__json=json.dumps(manifest).encode()),
        "number that is not whole": with_members(
            good, bundle__json=members_of(good)["bundle.json"].replace(b'"first":5', b'"first":5.0')
        ),
        "question on two lines": with_manifest(good, question="one\ntwo"),
        "date in words": with_manifest(good, made_at="yesterday"),
        "hand-over that is missing": with_manifest(good, handovers=1),
        "document that is missing": with_manifest(good, documents=[*sorted(DOCUMENTS), "f" * 64]),
        "document changed": zipped([(name, content.replace(b"permit", b"forbid")) for name, content in members]),
        "checkpoint by a stranger": with_members(good, checkpoint__txt=sign_checkpoint(head, STRANGER).encode()),
        "checkpoint of another root": with_members(
            good, checkpoint__txt=members_of(good)["checkpoint.txt"].replace(b"\n24\n", b"\n23\n")
        ),
        "checkpoint of another size": with_members(good, checkpoint__txt=log.checkpoint_rows[SIZE - 1].note.encode()),
        "checkpoint that is none": with_members(good, checkpoint__txt=b"nothing\n"),
        "history of another key": forged_history(STRANGER, log=log),
        "keys that are none": with_members(good, keys__txt=b"nothing\n"),
        "member twice": zipped([*members, members[-1]]),
        "member added": zipped([*members, ("../../etc/passwd", b"root")]),
        "members in another order": zipped([members[1], members[0], *members[2:]]),
        "member missing": zipped(members[1:]),
        "events missing": zipped(members[:-1]),
        "events numbered otherwise": zipped([*members[:-1], ("events/000002.txt", members[-1][1])]),
        "empty zip": zipped([]),
        "empty file": b"",
        "packed again": _packed(good),
        "packed again and compressed": _packed(good, compression=zipfile.ZIP_DEFLATED),
        "bytes before": b"MZ" + good,
        "bytes after": good + b"\0",
        "bytes before the directory": _with_hidden_bytes(good),
        "comment": good[:-2] + b"\x01\0x",
        "cut": good[:-30],
    }


def odd_headers() -> Mapping[str, bytes]:
    """Bytes that are no header, or another spelling of one, by what is odd about them."""
    plain = events.encode(make_header(0))
    members = json.loads(plain)

    def changed(**changes: Any) -> bytes:
        return json.dumps({**members, **changes}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def edited(old: str, new: str) -> bytes:
        assert old.encode() in plain
        return plain.replace(old.encode(), new.encode())

    without_version = {name: value for name, value in members.items() if name != "v"}
    return {
        "no JSON": b"{",
        "no object": b"[]",
        "a space": edited('{"action"', '{ "action"'),
        "unsorted": b'{"v":1,' + plain[1:].replace(b',"v":1}', b"}"),
        "member twice": b'{"action":"complete",' + plain[1:],
        "unknown member": changed(zoo="x"),
        "prototype": changed(__proto__={}),
        "null": changed(project=None),
        "no version": json.dumps(without_version, sort_keys=True, separators=(",", ":")).encode(),
        "version 2": changed(v=2),
        "version true": changed(v=True),
        "version 1.0": edited('"v":1', '"v":1.0'),
        "minus zero": edited('"rows":5000', '"rows":-0'),
        "exponent": edited('"rows":5000', '"rows":5e3'),
        "negative": edited('"rows":5000', '"rows":-1'),
        "too large": edited('"rows":5000', '"rows":9007199254740992'),
        "much too large": edited('"rows":5000', '"rows":' + "9" * 400),
        "counts unsorted": edited('"rows":5000', '"rows":5000,"all":1'),
        "count twice": edited('"rows":5000', '"rows":5000,"rows":5000'),
        "count of no name": edited('"rows":5000', '"Rows":5000'),
        "count that is text": edited('"rows":5000', '"rows":"5000"'),
        "counts in a list": changed(counts=[1]),
        "needless escape": edited('"action":"complete"', '"action":"\\u0063omplete"'),
        "escaped slash": edited('"action":"complete"', '"action":"a\\/b"'),
        "control character": changed(action="a\tb"),
        "delete character": changed(action="a\x7fb"),
        "lone surrogate": edited('"action":"complete"', '"action":"\\ud800"'),
        "byte order mark": b"\xef\xbb\xbf" + plain,
        "invalid UTF-8": edited('"action":"complete"', '"action":"X"').replace(b'"X"', b'"\xff"'),
        "empty text": changed(action=""),
        "long text": changed(action="a" * 1025),
        "30 February": changed(time="2026-02-30T12:00:00.000000Z"),
        "hour 24": changed(time="2026-02-01T24:00:00.000000Z"),
        "second 60": changed(time="2026-02-01T12:00:60.000000Z"),
        "year 0": changed(time="0000-02-01T12:00:00.000000Z"),
        "other time zone": changed(time="2026-02-01T12:00:00.000000+00:00"),
        "no UUIDv7": changed(id="019ca945-15b8-4972-b94a-459000000000"),
        "type in capitals": changed(type="Upload.completed"),
        "unknown kind": changed(actor={"kind": "robot"}),
        "unknown status": changed(outcome={"status": "maybe", "code": "ok"}),
        "unknown effect": changed(decision={**members["decision"], "effect": "perhaps"}),
        "policies no list": changed(decision={**members["decision"], "policies": "all"}),
        "policies too many": changed(decision={**members["decision"], "policies": ["p"] * 257}),
        "policy no text": changed(decision={**members["decision"], "policies": [1]}),
        "key and session": changed(authn={"method": "m", "key_thumbprint": "k", "session": "s"}),
        "body hash in capitals": changed(body_hash="A" * 64),
        "resource no object": changed(resource="upload"),
        "agreement without digest": changed(agreement={"ref": "a", "version": 1}),
        "too large altogether": changed(counts={f"c{number}": 1 for number in range(257)}),
        "number twice in the end": plain + b"1",
        "very deep": b"[" * 60_000,
    }


def fine_headers() -> Mapping[str, bytes]:
    """Headers that are as they should be, if unusual."""
    members = json.loads(events.encode(make_header(0)))

    def changed(**changes: Any) -> bytes:
        return json.dumps({**members, **changes}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    return {
        "plain": events.encode(make_header(0)),
        "bare": events.encode(make_header(1, full=False)),
        "escapes": changed(action='say "so" \\ or'),
        "letters": changed(action="Łódź \u2028 \U0001f600 \x80"),
        "long letters": changed(action="\U0001f600" * 1024),
        "no counts": changed(counts={}),
        "many counts": changed(counts={f"c{number:03}": number for number in range(256)}),
        "dotted counts": changed(counts={"a": 1, "a.b": 2, "a_b": 3}),
        "largest count": changed(counts={"a": 2**53 - 1, "b": 0}),
        "no policies": changed(decision={**members["decision"], "effect": "deny", "policies": []}),
        "many policies": changed(decision={**members["decision"], "policies": ["p"] * 256}),
        "session": changed(authn={"method": "m", "session": "s"}),
        "29 February": changed(time="2028-02-29T23:59:59.999999Z"),
        "long type": changed(type="a" * 1024),
    }


def bundle_of_header(header: bytes) -> bytes:
    """A bundle whose log was signed with this header in it."""
    log = MemoryLog()
    for number in range(2):
        log.append(make_header(number))
    append_raw(log, header)
    return make_bundle(log, 0, 2, leaves=leaves_of(log, 0, 2), documents={})
