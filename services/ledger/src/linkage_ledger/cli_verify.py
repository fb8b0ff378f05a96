"""``linkage-ledger verify``, ``check-receipt`` and ``verify-page``."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from linkage_ledger.bundle import BundleReport, verify_bundle, verify_page
from linkage_ledger.checkpoints import LogKey
from linkage_ledger.cosignatures import WitnessKey
from linkage_ledger.errors import HandoverError, LedgerError, NoteError, ProofError, ReceiptError
from linkage_ledger.handover import open_chain, require_current, resolve_keys
from linkage_ledger.notes import VerifierKey
from linkage_ledger.receipts import Receipt, verify_receipt

if TYPE_CHECKING:
    from linkage_ledger.cli import Subcommands

EXIT_CODES = {"whole": 0, "broken": 1, "unclear": 3}
_EXITS = """exit codes:
  0  whole, by a key that you gave
  1  does not hold: something was changed, is missing, or is not signed as it should be
  2  cannot be read, or the command is wrong
  3  nothing is wrong, but not all could be checked: no key was given, no event is shown, or the
     bundle holds nothing to compare your checkpoint with
"""
_RECEIPT_EXITS = """exit codes:
  0  holds, by a key that you gave
  1  does not hold
  2  cannot be read, or the command is wrong
  3  holds by a key that was handed over since, which no longer counts: fetch the receipt again
"""
_MAX_INPUT_BYTES = 2**20


def add(subcommands: "Subcommands") -> None:
    """Add the subcommands."""
    verify = subcommands.add_parser(
        "verify",
        help="check a bundle",
        description="Check a bundle of events: complete, unchanged, and signed by the log.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("bundle", type=Path, help="the zip file, as you were given it")
    _add_keys(verify)
    verify.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="an older checkpoint that you kept, such as an earlier checkpoint.txt",
    )
    verify.add_argument(
        "--witness", action="append", default=[], metavar="KEY", help="key of a witness, as a line or as a file"
    )
    verify.add_argument("--json", action="store_true", help="answer as JSON")
    verify.set_defaults(run=_verify)

    receipt = subcommands.add_parser(
        "check-receipt",
        help="check the receipt of one event",
        description="Check that an event is in the log, by its receipt (a C2SP tlog-proof) and its exact header.",
        epilog=_RECEIPT_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    receipt.add_argument("receipt", type=Path, help="the receipt, a .tlog-proof file")
    receipt.add_argument("header", type=Path, help="the event's header, byte for byte; a line end after it is left out")
    _add_keys(receipt, required=True)
    receipt.add_argument(
        "--handover",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a hand-over of the log's key, oldest first",
    )
    receipt.set_defaults(run=_check_receipt)

    page = subcommands.add_parser(
        "verify-page",
        help="write the page that checks a bundle in a browser",
        description="Write the page that checks a bundle in a browser: linkage-ledger verify-page --out verify.html",
    )
    page.add_argument("--out", type=Path, metavar="FILE", help="the file to write; stdout without it")
    page.set_defaults(run=_verify_page)


def _add_keys(command: argparse.ArgumentParser, *, required: bool = False) -> None:
    command.add_argument(
        "--key",
        action="append",
        default=[],
        required=required,
        metavar="KEY",
        help="the log's verifier key, as a line or as a file, from elsewhere than the operator; may be given again",
    )


def _verify(given: argparse.Namespace) -> int:
    keys: list[LogKey] = [VerifierKey.parse(line) for key in given.key for line in _lines(key)]
    witnesses = [WitnessKey.parse(line) for key in given.witness for line in _lines(key)]
    against = None if given.against is None else _read_text(given.against)
    with given.bundle.open("rb") as file:
        report = verify_bundle(file, verifier_keys=keys, against=against, witnesses=witnesses)
    _say(_as_json(report) if given.json else "\n".join(report.lines))
    return EXIT_CODES[report.status]


def _check_receipt(given: argparse.Namespace) -> int:
    keys = [VerifierKey.parse(line) for key in given.key for line in _lines(key)]
    receipt = Receipt.parse(_read_text(given.receipt))
    # Editors and shells end a file with a line end, and no header does.
    header = _read(given.header).removesuffix(b"\n").removesuffix(b"\r")
    handovers = [_read_text(path) for path in given.handover]
    try:
        checkpoint = verify_receipt(receipt, header, verifier_keys=resolve_keys(keys, handovers))
        chain = open_chain(handovers)
    except (NoteError, ProofError) as error:
        _say(f"Does not hold. {error}")
        return EXIT_CODES["broken"]
    try:
        require_current(handovers, checkpoint)
    except HandoverError as error:
        if checkpoint.size < chain[-1].size:
            _say(f"Not fully checked. {error} Fetch the receipt of this event again.")
            return EXIT_CODES["unclear"]
        _say(f"Does not hold. {error}")
        return EXIT_CODES["broken"]
    _say(
        f"Holds: exactly this header is event {receipt.index:,} of {checkpoint.size:,} in the log {checkpoint.origin}."
    )
    return EXIT_CODES["whole"]


def _verify_page(given: argparse.Namespace) -> int:
    if given.out is None:
        sys.stdout.buffer.write(verify_page())
    else:
        given.out.write_bytes(verify_page())
    return 0


def _as_json(report: BundleReport) -> str:
    answer = {"status": report.status, "lines": report.lines, **asdict(report)}
    return json.dumps(answer, indent=2)


def _lines(key: str) -> list[str]:
    """A key given as a line, or the lines of a file of keys. A verifier key always has plus signs and no separator."""
    path = Path(key)
    if not path.is_file():
        return [key]
    lines = [line for line in _read_text(path).split("\n") if line]
    if not lines:
        raise NoteError("The file of keys is empty. Give the file with the log's verifier key.")
    return lines


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_INPUT_BYTES + 1)
    if len(content) > _MAX_INPUT_BYTES:
        raise ReceiptError("The file is larger than any checkpoint, receipt or key. Give the right one.")
    return content


def _read_text(path: Path) -> str:
    try:
        # Mail and editors of some systems change the line ends, which no note, receipt or key has.
        return _read(path).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise LedgerError("The file is not text. Give a checkpoint, a receipt or a key, as you received it.") from None


def _say(text: str) -> None:
    # Whoever made a bundle chose some of these words, and could choose characters that a terminal obeys.
    print("".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text))  # noqa: T201
