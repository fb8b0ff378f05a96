"""What the product is made of: licences of all pinned distributions, a bill of materials, and known advisories.

    uv run python -m requirements.supply_chain licences
    uv run python -m requirements.supply_chain sbom > sbom.json
    uv run python -m requirements.supply_chain advisories --index ADDRESS

Names and versions are the pins beside this file. Licences are what the installed distributions say of themselves, so
run it in the development environment. Exit codes: 0 nothing to object to, 1 something is, 2 it could not be found out.
"""

import argparse
import json
import re
import sys
import tomllib
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

FOLDER = Path(__file__).parent
SHIPPED = ("service", "matcher", "client")
"""The files of pins that somebody installs who uses the product; `dev` and `build` stay with us."""

PERMISSIVE = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "HPND", "ISC", "MIT", "MIT-0",
        "MIT-CMU", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
"""SPDX ids of licences that ask for no more than to be named."""

# Not permissive, and looked at. All are libraries that are used as they are and that whoever installs can replace.
ACCEPTED = {
    "certifi": ("MPL-2.0", "a list of certificate authorities; the licence is about changes of its own file"),
    "psycopg": ("LGPL-3.0-only", "unchanged, loaded at run time, replaceable; only with PostgreSQL"),
    "psycopg-binary": ("LGPL-3.0-only", "unchanged, loaded at run time, replaceable; only with PostgreSQL"),
    "python-stdnum": ("LGPL-2.1-or-later", "unchanged, loaded at run time, replaceable; at providers"),
}
# What these say of themselves is read wrongly or not said in their metadata; found in the licence file that they bring.
READ_BY_HAND = {
    "cedarpy": "Apache-2.0", "protobuf": "BSD-3-Clause", "pywin32-ctypes": "BSD-3-Clause", "scipy": "BSD-3-Clause",
}  # fmt: skip
_NAMES = {
    "mit": "MIT",
    "mit license": "MIT",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "isc license (iscl)": "ISC",
    "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.1-or-later",
}
_PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)(.*)$")
_OUR_PROJECTS = (".", "services/matching", "services/ledger", "services/console", "client_sdk")
_ANSWER_S = 20


class CannotTell(Exception):
    """What was asked for could not be found out; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One pinned distribution.

    Attributes:
        sha256: of every file of the release that may be installed.
    """

    name: str
    version: str
    sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Licensed:
    """A pin, its licence as SPDX expression (None: nobody knows), and why it is accepted if it is not permissive."""

    pin: Pin
    licence: str | None
    accepted_because: str | None

    @property
    def objection(self) -> str | None:
        """What is wrong, if anything is."""
        if self.licence is None:
            return "says no licence that is understood: read it, and note it in READ_BY_HAND"
        if is_permissive(self.licence) or self.accepted_because is not None:
            return None
        return "is not permissive: replace it, or have it looked at and note why in ACCEPTED"


def pins(files: Iterable[str] = SHIPPED, *, folder: Path = FOLDER) -> list[Pin]:
    """Every distribution that one of the files pins, once, by name."""
    found: dict[tuple[str, str], set[str]] = {}
    for file in files:
        for line in (folder / f"{file}.txt").read_text("utf-8").replace("\\\n", " ").splitlines():
            if match := _PIN.match(line):
                hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", match[3])
                found.setdefault((match[1], match[2]), set()).update(hashes)
    return [Pin(name, version, tuple(sorted(hashes))) for (name, version), hashes in sorted(found.items())]


def licences(found: Iterable[Pin]) -> list[Licensed]:
    """The licence of each."""
    return [_licensed(pin) for pin in found]


def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression lets one keep to permissive licences: every AND must, one of each OR is enough."""
    alternatives = re.split(r"\s+OR\s+", expression.replace("(", " ").replace(")", " ").strip())
    return any(
        all(part.split(" WITH ")[0].strip() in PERMISSIVE for part in re.split(r"\s+AND\s+", alternative))
        for alternative in alternatives
    )


def bill(found: Iterable[Licensed]) -> dict[str, Any]:
    """The bill of materials, CycloneDX 1.6; the same for the same pins."""
    ours = [tomllib.loads((FOLDER.parent / place / "pyproject.toml").read_text("utf-8")) for place in _OUR_PROJECTS]
    components = [
        *(_component(Pin(table["project"]["name"], table["project"]["version"], ()), "Apache-2.0") for table in ours),
        *(_component(item.pin, item.licence) for item in found),
    ]
    service, *rest = components
    content = json.dumps(components, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {"component": {**service, "type": "application"}},
        "components": rest,
    }


def advisories(found: Iterable[Pin], *, index: str) -> Iterator[tuple[Pin, str, str]]:
    """Known advisories about the pins, by the JSON interface of a package index: pin, id, versions with the remedy.

    Raises:
        CannotTell: the index does not answer, or has no such interface.
    """
    base = index.rstrip("/").removesuffix("/simple")
    if urlsplit(base).scheme not in {"https", "http"}:
        raise CannotTell("The address of an index starts with https://.")
    for pin in found:
        address = f"{base}/pypi/{quote(pin.name)}/{quote(pin.version)}/json"
        try:
            with urllib.request.urlopen(address, timeout=_ANSWER_S) as answer:  # noqa: S310 - the scheme is checked above
                known = json.load(answer)["vulnerabilities"]
        except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError):
            raise CannotTell(
                f"The index says nothing about advisories of {pin.name}. Many mirrors leave this out: name an index "
                "that has the JSON interface, or audit requirements/*.txt with a tool that has a database of its own."
            ) from None
        for one in known:
            if not one.get("withdrawn"):
                yield pin, str(one["id"]), ", ".join(one.get("fixed_in") or ["none yet"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="supply_chain", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("licences", help="List the licence of each distribution, and check them.")
    commands.add_parser("sbom", help="Print the bill of materials, CycloneDX JSON.")
    asking = commands.add_parser("advisories", help="Ask a package index for advisories about the pins.")
    asking.add_argument("--index", required=True, help="Its address, as in pip's index-url.")
    asked = parser.parse_args(arguments)
    if asked.command == "sbom":
        print(json.dumps(bill(licences(pins())), indent=2))
        return 0
    if asked.command == "licences":
        return _say_licences(licences(pins()))
    try:
        return _say_advisories(list(advisories(pins((*SHIPPED, "build")), index=asked.index)))
    except CannotTell as error:
        print(error, file=sys.stderr)
        return 2


def _say_licences(found: list[Licensed]) -> int:
    for item in found:
        remark = f"  ({item.accepted_because})" if item.accepted_because else ""
        print(f"{item.pin.name} {item.pin.version}: {item.licence or 'unknown'}{remark}")
    objections = [f"{item.pin.name} {item.objection}" for item in found if item.objection]
    for line in objections:
        print(line, file=sys.stderr)
    return 1 if objections else 0


def _say_advisories(found: list[tuple[Pin, str, str]]) -> int:
    for pin, identifier, remedy in found:
        print(f"{pin.name} {pin.version}: {identifier}, mended in {remedy}")
    if not found:
        print("No advisory is known about any of the pins.")
    return 1 if found else 0


def _licensed(pin: Pin) -> Licensed:
    licence = READ_BY_HAND.get(pin.name) or _stated(pin.name)
    accepted, because = ACCEPTED.get(pin.name, (None, None))
    return Licensed(pin, licence, because if licence is not None and licence == accepted else None)


def _stated(name: str) -> str | None:
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return None
    if expressions := metadata.get_all("License-Expression"):
        return str(expressions[0])
    classified = [
        line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")
    ]
    short = str((metadata.get_all("License") or [""])[0]).strip()
    said = [*classified, *([short] if "\n" not in short and short else [])]
    # The licence's own words before its kind: "BSD License" is a family.
    known = [_NAMES.get(one.lower(), one if _is_expression(one) else None) for one in reversed(said)]
    return next((one for one in known if one is not None), None)


def _is_expression(text: str) -> bool:
    words = re.split(r"\s+(?:AND|OR|WITH)\s+", text)
    return all(re.fullmatch(r"[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)+", word) for word in words)


def _component(pin: Pin, licence: str | None) -> dict[str, Any]:
    address = f"pkg:pypi/{pin.name}@{quote(pin.version)}"
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": address,
        "name": pin.name,
        "version": pin.version,
        "purl": address,
    }
    if licence is not None:
        made["licenses"] = [{"expression": licence}]
    if pin.sha256:
        hashes = [{"alg": "SHA-256", "content": digest} for digest in pin.sha256]
        made["externalReferences"] = [{"type": "distribution", "url": address, "hashes": hashes}]
    return made


if __name__ == "__main__":
    sys.exit(main())
