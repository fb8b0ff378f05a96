from pathlib import Path
from typing import Any

import pytest

from linkage_client import keys
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.config import load_profile
from linkage_client.keys import SigningKey
from support.command import Linkage
from support.fake_service import CREATED, OWN, FakeService, Reply, client, organisation, project, release, run

REPLAY = {
    "seq": 7,
    "recorded": {"allowed": False, "policies": []},
    "replayed": {"allowed": False, "policies": []},
    "agrees": True,
    "policy_digest": "0" * 64,
    "policy_is_current": True,
}
DISCLOSURE = {"id": "dis_1", "release": "rel_1", "recipient": "org_r", "provider": OWN, "rows": 3, "at": CREATED}
AGREEMENT = {"id": "agr_1", "reference": "ISP-1", "state": "active", "version": 1, "digest": "d", "created_at": CREATED}


def _page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("words", "method", "path", "answer", "shown"),
    [
        ("organisation create --name Council", "POST", "/v1/organisations", organisation(), OWN),
        ("organisation list", "GET", "/v1/organisations", _page(organisation()), OWN),
        ("organisation clients org_own", "GET", "/v1/organisations/org_own/clients", _page(client()), "cli_1"),
        (
            "organisation revoke-client org_own cli_1",
            "DELETE",
            "/v1/organisations/org_own/clients/cli_1",
            None,
            "cli_1",
        ),
        (
            "organisation warn org_own --reason Late.",
            "POST",
            "/v1/organisations/org_own:warn",
            organisation(),
            OWN,
        ),
        (
            "organisation suspend org_own --client cli_1 --reason Late. --agreement agr_1",
            "POST",
            "/v1/organisations/org_own/clients/cli_1:suspend",
            client(),
            "cli_1",
        ),
        (
            "organisation reinstate org_own --client cli_1 --reason Done.",
            "POST",
            "/v1/organisations/org_own/clients/cli_1:reinstate",
            client(),
            "cli_1",
        ),
        (
            "organisation assurance org_own --status none --evidence Nothing.",
            "PUT",
            "/v1/organisations/org_own/assurance",
            organisation(),
            OWN,
        ),
        ("agreement list", "GET", "/v1/agreements", _page(AGREEMENT), "ISP-1"),
        ("project list", "GET", "/v1/projects", _page(project()), "prj_1"),
        ("project disclosures prj_1", "GET", "/v1/projects/prj_1/disclosures", _page(DISCLOSURE), "dis_1"),
        ("run list prj_1", "GET", "/v1/projects/prj_1/runs", _page(run()), "run_1"),
        ("run show run_1", "GET", "/v1/runs/run_1", run(), "progress: comparing, 1 of 2"),
        ("run cancel run_1", "POST", "/v1/runs/run_1:cancel", run("cancelled"), "state: cancelled"),
        ("run prj_1 --no-wait", "POST", "/v1/projects/prj_1/runs", run("queued"), "state: queued"),
        ("release run_1 --purpose planning", "POST", "/v1/runs/run_1/releases", release(), "rel_1"),
        ("results --list prj_1", "GET", "/v1/projects/prj_1/releases", _page(release()), "rel_1"),
        ("audit replay 7", "GET", "/v1/audit/events/7/replay", REPLAY, "Made again: refused by no policy"),
        ("audit receipt 7", "GET", "/v1/audit/events/7/receipt", Reply(text=b"proof\n"), "proof"),
    ],
)
def test_command_asks_the_service_and_shows_the_answer(  # noqa: PLR0917 - one column of the table each
    service: FakeService, linkage: Linkage, words: str, method: str, path: str, answer: Any, shown: str
) -> None:
    service.on("GET", "/v1/audit/verifier-key", {"origin": "o", "key": "o+1+2"})
    service.on(method, path, answer)
    outcome = linkage(*words.split())
    assert outcome.code == 0, outcome.err
    assert path in service.paths(method)
    assert shown in outcome.out
    assert isinstance(linkage(*words.split(), "--json").json(), dict)


@pytest.mark.usefixtures("registered")
def test_sanction_and_assurance_send_what_was_said(service: FakeService, linkage: Linkage) -> None:
    service.on("POST", f"/v1/organisations/{OWN}:suspend", organisation())
    linkage("organisation", "suspend", OWN, "--reason", "Late.", "--agreement", "agr_1")
    assert service.asked[-1].json() == {"reason": "Late.", "agreement": "agr_1"}
    service.on("PUT", f"/v1/organisations/{OWN}/assurance", organisation())
    words = ("organisation", "assurance", OWN, "--status", "standards_met", "--evidence", "Seen.", "--expires")
    linkage(*words, "2027-06-30T23:59:59Z")
    sent = {"status": "standards_met", "expires_at": "2027-06-30T23:59:59+00:00", "evidence": "Seen."}
    assert service.asked[-1].json() == sent
    for unusable in ("tomorrow", "2027-06-30T23:59:59"):
        assert linkage(*words, unusable).code == ExitCode.USAGE


@pytest.mark.usefixtures("registered")
def test_project_open_sends_the_schema(service: FakeService, linkage: Linkage, tmp_path: Path) -> None:
    service.on("POST", "/v1/projects", Reply(201, project()))
    (tmp_path / "schema.json").write_text('{"version": 3}')
    words = ("--agreement", "agr_1", "--name", "round", "--purpose", "planning")
    assert linkage("project", "open", *words, "--schema", tmp_path / "schema.json", "--json").json()["id"] == "prj_1"
    assert service.asked[-1].json()["linkage_schema"] == {"version": 3}


@pytest.mark.usefixtures("registered")
def test_add_client_takes_a_public_key_and_no_private_one(
    service: FakeService, linkage: Linkage, tmp_path: Path
) -> None:
    service.on("POST", "/v1/organisations/org_own/clients", Reply(201, client()))
    private, public = tmp_path / "key.jwk", tmp_path / "public.jwk"
    linkage("key-file", "new", private, "--public-out", public)
    words = ("organisation", "add-client", OWN, "--name", "laptop", "--role", "analyst", "--public-key")
    assert linkage(*words, private).code == ExitCode.USAGE
    assert service.asked == []
    assert linkage(*words, public).code == 0
    assert service.asked[-1].json()["jwk"] == SigningKey.load(private).public_jwk


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b" " * 5_000_000])
def test_document_that_cannot_be_read_is_refused(linkage: Linkage, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "isp.json").write_bytes(content)
    assert linkage("agreement", "create", tmp_path / "isp.json").code == ExitCode.DATA


def test_profile_without_a_signing_key_cannot_sign(registered: Path, linkage: Linkage) -> None:
    registered.write_text(registered.read_text().replace('signing_key_file = "signing-key.jwk"\n', ""))
    assert load_profile(registered).signing_key_file is None
    assert linkage("agreement", "sign", "agr_1", "--digest", keys.document_digest({})).code == ExitCode.CONFIGURATION


def test_package_offers_the_sdk_at_its_root() -> None:
    import linkage_client

    assert linkage_client.LinkageClient.__name__ == "LinkageClient"
    assert linkage_client.SigningKey is SigningKey
    assert linkage_client.Limits(attempts=2).attempts == 2
    with pytest.raises(AttributeError):
        _ = linkage_client.nothing
