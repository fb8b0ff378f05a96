"""What the integrator's guide does with curl works as it stands there, against a real service."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from linkage_client.config import load_profile
from linkage_client.demo.agreement import PURPOSE
from linkage_client.demo.flow import Member
from linkage_client.testing.rounds import open_round
from linkage_client.testing.service import RunningService
from support.deploying import require_program

GUIDE = Path(__file__).parents[2] / "docs" / "integrator.md"
ROWS = 60


def _blocks() -> list[str]:
    section = GUIDE.read_text("utf-8").split("\n## With curl\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def _shell(member: Member, url: str, *blocks: str, say: str, **variables: str) -> Mapping[str, str]:
    """Run blocks of the guide one after the other as a member; returns what `say`, JSON, says at the end."""
    key = json.loads((member.folder / "client-key.jwk").read_text("utf-8"))
    private = Ed25519PrivateKey.from_private_bytes(_from_base64url(key["d"]))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (member.folder / "client-key.pem").write_bytes(pem)
    client_id = load_profile(member.profile).client_id or ""
    done = subprocess.run(
        ["sh", "-eu"],
        input="\n".join((*blocks, f"printf '%s' \"{say}\" >said.json")),
        cwd=member.folder,
        env={"PATH": os.environ["PATH"], "URL": url, "CLIENT_ID": client_id, **variables},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: Mapping[str, str] = dict(part.split("=", 1) for part in (member.folder / "said.json").read_text().split())
    return found


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_round_of_the_guide_with_curl_ends_with_a_link_table(linkage_service: RunningService) -> None:
    require_program("curl", package="curl")
    require_program("openssl", package="openssl")
    log_in, start, retrieve = _blocks()
    with open_round(linkage_service, rows=ROWS) as round_:
        round_.upload_all()
        variables = {"PROJECT": round_.project.id, "PURPOSE": PURPOSE}
        made = _shell(round_.recipient, linkage_service.url, log_in, start, say="release=$release", **variables)
        _shell(round_.providers[0], linkage_service.url, log_in, retrieve, say="done=yes", RELEASE=made["release"])

        lines = (round_.providers[0].folder / "links.csv").read_text("utf-8").splitlines()
        assert len(lines) == ROWS + 1
        links = round_.providers[0].client.releases.link_table(release_id=made["release"])
        assert {link.link_id for link in links} == {line.split(",")[1] for line in lines[1:]}
