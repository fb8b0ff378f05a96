"""What an earlier release wrote is read by this one: the service's data, and what a provider keeps on its machine.

The archive is a whole round as a service of schema revision 0010 left it: two providers of 120 invented people each, a
recipient, the linkage unit, a run, a release, both link tables retrieved, and a checkpoint that its officer kept. The
keys in it were made for it. Another is added when a release changes what is written; none is taken away.
"""

import base64
import csv
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_client.config import load_profile
from linkage_client.encoding.package import encode_file
from linkage_client.encoding.schema import LinkageSchema
from linkage_client.keystore import Secrets
from linkage_service.app import create_app
from linkage_service.audit.verify import verify
from linkage_service.migrate import can_serve, current_revision, upgrade
from linkage_service.runtime import build
from linkage_service.settings import Settings
from support.service_app import ISSUER, QUICK, Caller, HandClock, Json, Key, ServiceApp, ok

ARCHIVE = Path(__file__).parents[2] / "data" / "written-at-revision-0010.tar.xz"
WRITTEN, OPT_OUTS = datetime(2026, 11, 28, 23, 20, tzinfo=UTC), date(2026, 11, 28)
PROVIDER, OTHER, RECIPIENT = "northgate-council", "st-aidans-hospital", "office-of-data-analytics"


class Upgraded(ServiceApp):
    """A service on the data that another release left, at the time at which it left them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data_dir=folder / "service", issuer=ISSUER, **QUICK)
        self.clock = HandClock(WRITTEN)
        self.runtime = build(self.settings, clock=self.clock)
        self.found = current_revision(self.runtime.database.engine)
        upgrade(self.runtime.database.engine)
        self.runtime.remember_policy()
        self.app = create_app(self.runtime)
        self.http = self.browser()

    def party(self, name: str) -> Caller:
        """A machine with the profile and the key that it has kept."""
        profile = load_profile(self.folder / "parties" / name / "profile.toml")
        assert profile.client_key_file is not None
        jwk = json.loads(profile.client_key_file.read_text("ascii"))
        private = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(jwk["d"] + "=="))
        return Caller(self, client=profile.client_id, organisation=profile.organisation_id, key=Key(private))


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder as it was left."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
def service(left: Path) -> Iterator[Upgraded]:
    """The service on it, upgraded."""
    opened = Upgraded(left)
    yield opened
    opened.close()


def _links(left: Path, provider: str) -> set[str]:
    with (left / "parties" / provider / "links.csv").open(encoding="utf-8", newline="") as file:
        return {row["link_id"] for row in csv.DictReader(file)}


def _encodings(folder: Path, manifest: Json) -> list[bytes]:
    content, width = (folder / "encodings.bin").read_bytes(), manifest["bits"] // 8
    return sorted(content[start : start + width] for start in range(0, len(content), width))


def test_service_goes_on_where_an_earlier_release_ended(service: Upgraded) -> None:
    assert service.found == "0010"
    assert can_serve(service.runtime.database.engine)
    kept = (service.folder / "checkpoint.txt").read_text("utf-8")
    before = verify(service.runtime.database, [service.runtime.log.verifier], expected_checkpoint=kept)
    assert (before.findings, before.size >= 48) == ((), True)

    provider, other, recipient = (service.party(name) for name in (PROVIDER, OTHER, RECIPIENT))
    (project,) = ok(recipient.get("/v1/projects"), 200)["items"]
    (run,) = ok(recipient.get(f"/v1/projects/{project['id']}/runs"), 200)["items"]
    (release,) = ok(recipient.get(f"/v1/projects/{project['id']}/releases"), 200)["items"]
    assert (run["state"], len(run["uploads"])) == ("succeeded", 2)
    # The same tables as were retrieved then.
    for party, name in ((provider, PROVIDER), (other, OTHER)):
        answer = party.get(f"/v1/releases/{release['id']}/link-table")
        assert answer.status_code == 200
        assert {json.loads(line)["link_id"] for line in answer.text.splitlines()} == _links(service.folder, name)

    # And it goes on: the encodings that were sent then are matched again, with the same result, and released.
    again = ok(recipient.post(f"/v1/projects/{project['id']}/runs", {}), 202)
    assert service.work()
    assert ok(recipient.get(f"/v1/runs/{again['id']}"), 200)["state"] == "succeeded"
    summaries = [ok(recipient.get(f"/v1/runs/{each}/summary"), 200)["patterns"] for each in (run["id"], again["id"])]
    assert summaries[0] == summaries[1]
    purpose = release["purpose"]
    ok(recipient.post(f"/v1/runs/{again['id']}/releases", {"purpose": purpose}), 201)
    after = verify(service.runtime.database, [service.runtime.log.verifier], expected_checkpoint=kept)
    assert after.findings == ()
    assert after.size > before.size


def test_provider_encodes_as_an_earlier_release_did(service: Upgraded, left: Path) -> None:
    with_secret = left / "parties" / PROVIDER
    manifest = json.loads((with_secret / "encoded" / "manifest.json").read_text("utf-8"))
    provider = service.party(PROVIDER)
    (listed,) = ok(provider.get("/v1/projects"), 200)["items"]
    project = ok(provider.get(f"/v1/projects/{listed['id']}"), 200)
    schema = LinkageSchema.parse(project["linkage_schema"])
    assert schema.digest == manifest["linkage_schema_sha256"]
    encode_file(
        left / "data" / f"{PROVIDER}.csv",
        left / "again",
        schema=schema,
        secret=Secrets(load_profile(with_secret / "profile.toml")).read(project["id"], 1),
        project_id=project["id"],
        encoding_profile=manifest["encoding_profile"],
        opt_outs_applied=OPT_OUTS,
    )
    again = json.loads((left / "again" / "manifest.json").read_text("utf-8"))
    assert again == manifest | {name: again[name] for name in ("encoder", "sha256")}
    # Rows are put in another order each time.
    then, now = (_encodings(folder, manifest) for folder in (with_secret / "encoded", left / "again"))
    assert then == now
