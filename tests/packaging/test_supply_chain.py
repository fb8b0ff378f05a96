"""Licences, bill of materials and advisories: of every pin, and without asking the network."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from requirements import supply_chain
from requirements.supply_chain import ACCEPTED, Licensed, Pin, bill, is_permissive, licences, main, pins
from support.deploying import require_module


def _licensed(licence: str | None, *, because: str | None = None) -> Licensed:
    return Licensed(Pin("a", "1", ()), licence, because)


def test_licence_of_every_distribution_that_is_shipped_is_permissive_or_accepted_with_a_reason() -> None:
    found = licences(pins())
    assert len(found) > 50
    assert [(item.pin.name, item.objection) for item in found if item.objection] == []


def test_exceptions_are_those_that_are_needed() -> None:
    used = {item.pin.name for item in licences(pins()) if item.accepted_because}
    assert used == ACCEPTED.keys()


@pytest.mark.parametrize(
    ("expression", "permissive"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("(MIT AND BSD-3-Clause) OR GPL-2.0-only", True),
        ("Apache-2.0 WITH LLVM-exception AND BSD-2-Clause", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-only", False),
    ],
)
def test_expression_is_permissive_if_one_can_keep_to_permissive_licences(expression: str, *, permissive: bool) -> None:
    assert is_permissive(expression) is permissive


def test_distribution_without_a_permissive_licence_or_a_reason_is_objected_to() -> None:
    assert _licensed("GPL-3.0-only").objection is not None
    assert _licensed(None).objection is not None
    assert _licensed("LGPL-3.0-only", because="replaceable").objection is None


def test_bill_names_every_pin_once_with_the_hashes_of_its_files() -> None:
    found = bill(licences(pins()))
    addresses = [component["bom-ref"] for component in found["components"]]
    assert len(addresses) == len(set(addresses))
    assert {f"pkg:pypi/{pin.name}@{pin.version}" for pin in pins()} < set(addresses)
    pinned = next(component for component in found["components"] if component["name"] == "cryptography")
    assert pinned["licenses"] == [{"expression": "Apache-2.0 OR BSD-3-Clause"}]
    assert len(pinned["externalReferences"][0]["hashes"]) > 5
    assert found == bill(licences(pins()))


def test_bill_is_one_by_the_published_schema() -> None:
    require_module("cyclonedx")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(bill(licences(pins())))) is None
    assert (
        validator.validate_str(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 0})) is not None
    )


@contextmanager
def _index(known: Mapping[str, list[dict[str, Any]]] | None) -> Iterator[str]:
    """A package index on the loopback address, which knows advisories by name, or no JSON at all."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.split("/")[2]
            text = "<html>" if known is None else json.dumps({"vulnerabilities": known.get(name, [])})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/simple/"
        finally:
            server.shutdown()
            thread.join()


def test_advisories_of_an_index_are_told_and_withdrawn_ones_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    known = {
        "starlette": [{"id": "PYSEC-1", "fixed_in": ["99.0"]}, {"id": "PYSEC-2", "fixed_in": [], "withdrawn": "2026"}],
        "h11": [{"id": "PYSEC-3", "fixed_in": []}],
    }
    with _index(known) as index:
        assert main(["advisories", "--index", index]) == 1
    told = capsys.readouterr().out
    assert "PYSEC-1, mended in 99.0" in told
    assert "PYSEC-3, mended in none yet" in told
    assert "PYSEC-2" not in told


def test_index_without_advisories_is_an_answer_and_one_that_cannot_tell_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with _index({}) as index:
        assert main(["advisories", "--index", index]) == 0
    with _index(None) as index:
        assert main(["advisories", "--index", index]) == 2
    assert main(["advisories", "--index", "file:///index"]) == 2
    assert "starts with https" in capsys.readouterr().err
    monkeypatch.setattr(supply_chain, "_ANSWER_S", 1)
    assert main(["advisories", "--index", "http://127.0.0.1:9"]) == 2


def test_commands_print_what_they_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["licences"]) == 0
    assert "psycopg" in capsys.readouterr().out
    assert main(["sbom"]) == 0
    assert json.loads(capsys.readouterr().out)["bomFormat"] == "CycloneDX"
