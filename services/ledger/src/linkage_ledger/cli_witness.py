"""``linkage-ledger witness``: run a witness, so that the operator of a log cannot show two histories unseen."""

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from linkage_ledger.notes import VerifierKey
from linkage_ledger.witness import Witness, add_log, make_witness, open_witness
from linkage_ledger.witness_server import WitnessServer, serving


def add(subcommands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command with its own commands; each sets ``run``, which takes the namespace and gives an exit code."""
    witness = subcommands.add_parser(
        "witness", help="cosign checkpoints of logs that never forked", description=__doc__
    )
    own = witness.add_subparsers(required=True, metavar="COMMAND")
    init = own.add_parser("init", help="make a witness: its key and its memory")
    init.add_argument("folder", type=Path, help="for the witness; keep it on a disk of its own operator")
    init.add_argument("--name", required=True, help="name of the witness, a schema-less URL: witness.example.org/w1")
    init.add_argument("--log", action="append", default=[], metavar="KEY", help="verifier key of a log; repeatable")
    init.set_defaults(run=_init)
    add = own.add_parser("add-log", help="watch one more log")
    add.add_argument("folder", type=Path)
    add.add_argument("key", help="the log's verifier key, from somewhere other than the log")
    add.set_defaults(run=_add_log)
    serve = own.add_parser("serve", help="answer POST /add-checkpoint until told to end")
    serve.add_argument("folder", type=Path)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on; leave TLS to a proxy before it")
    serve.add_argument("--port", type=int, default=8500, help="port; 0 picks a free one")
    serve.set_defaults(run=_serve)
    show = own.add_parser("show", help="say what it has cosigned, while it is not running")
    show.add_argument("folder", type=Path)
    show.add_argument("--json", action="store_true", dest="as_json", help="print one JSON document")
    show.set_defaults(run=_show)


def _init(arguments: argparse.Namespace) -> int:
    keys = [VerifierKey.parse(text) for text in arguments.log]
    key = make_witness(arguments.folder, name=arguments.name, log_keys=keys)
    _say(key.verifier.format())
    _say(
        "This is the witness's public key: publish it, and give it to whoever runs the log. Never restore the folder "
        "from an old copy: the witness could then cosign a second history.",
        to=sys.stderr,
    )
    return 0


def _add_log(arguments: argparse.Namespace) -> int:
    add_log(arguments.folder, VerifierKey.parse(arguments.key))
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    with open_witness(arguments.folder, now=time.time) as witness:
        try:
            server = WitnessServer((arguments.host, arguments.port), witness)
        except OSError as error:
            _say(f"The address cannot be listened on: {error.strerror}. Choose another.", to=sys.stderr)
            return 1
        with serving(server):
            _say(f"The witness {witness.key.name} answers at {server.url}")
            stop.wait()
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with open_witness(arguments.folder, now=time.time) as witness:
        document = _document(witness)
    if arguments.as_json:
        _say(json.dumps(document, indent=2))
        return 0
    _say(document["key"])
    for log in document["logs"]:
        again = f", key handed over {log['handovers']} times" if log["handovers"] else ""
        _say(f"{log['origin']}: {log['size']} events{again}")
    return 0


def _document(witness: Witness) -> dict[str, Any]:
    logs = [
        {"origin": origin, "size": last.size, "root": last.root.hex(), "handovers": handovers}
        for origin, (last, handovers) in sorted(witness.known().items())
    ]
    return {"key": witness.key.verifier.format(), "logs": logs}


def _say(text: str, *, to: TextIO | None = None) -> None:
    (to or sys.stdout).write(f"{text}\n")
    (to or sys.stdout).flush()
