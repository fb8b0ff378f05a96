import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linkage_client import cli as command
from linkage_client import errors, keys
from linkage_client.cli._lazy import LazyGroup
from linkage_client.cli.exit_codes import ExitCode, exit_code_of
from linkage_client.config import Profile, load_profile, save_profile
from linkage_client.keys import SigningKey
from linkage_service.agreements.example import DOCUMENT
from support.command import Linkage, Outcome
from support.fake_service import (
    CREATED,
    OWN,
    Asked,
    FakeService,
    FakeUploads,
    Reply,
    client,
    manifest_of,
    organisation,
    problem,
    project,
    release,
    run,
)

HEAVY = {"numpy", "pyarrow", "httpx", "pydantic", "rich", "stamina", "cryptography", "keyring", "platformdirs"}


def _loaded_by_help() -> dict[str, list[str]]:
    """What is imported after each command's help, in an order in which modules of one are charged to the next too."""
    program = """
import contextlib, io, json, sys
from linkage_client.cli import cli, run
import click
def paths(command, words):
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from paths(command.get_command(context, name), [*words, name])
loaded = {}
with contextlib.redirect_stdout(io.StringIO()):
    assert run(["--help"]) == 0
    loaded["linkage"] = list(sys.modules)
    for words in list(paths(cli, [])):
        assert run([*words, "--help"]) == 0, words
        loaded[" ".join(["linkage", *words])] = list(sys.modules)
print(json.dumps(loaded))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return {words: sorted({name.partition(".")[0] for name in names}) for words, names in found.items()}


def test_help_of_no_command_imports_anything_heavy() -> None:
    loaded = _loaded_by_help()
    assert len(loaded) > 30
    assert {words: sorted(HEAVY & set(names)) for words, names in loaded.items() if HEAVY & set(names)} == {}


def test_every_command_can_be_imported_and_explains_itself() -> None:
    def check(group: click.Group, path: str) -> None:
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None, f"{path} {name}"
            assert found.help, f"{path} {name}"
            if isinstance(found, click.Group):
                check(found, f"{path} {name}")
                continue
            if not found.callback or not found.callback.__module__.startswith("linkage_client.cli"):
                continue
            options = {option for parameter in found.params for option in parameter.opts}
            assert {"--json", "--config"} <= options, f"{path} {name}"

    without_demo = {name: entry for name, entry in command.COMMANDS.items() if name != "demo"}
    check(LazyGroup("linkage", lazy=without_demo), "linkage")


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "linkage_client", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("linkage")


def test_every_error_of_the_tree_has_an_exit_code_of_its_own_kind() -> None:
    def leaves(kind: type[errors.LinkageClientError]) -> Iterator[type[errors.LinkageClientError]]:
        below = [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
        yield from ([kind] if not below else [leaf for one in below for leaf in leaves(one)])

    # A process of our own that broke: nothing that a script could do differently.
    general = {"WorkerError", "LocalServiceError"}
    for leaf in leaves(errors.LinkageClientError):
        error = leaf.__new__(leaf)
        assert (exit_code_of(error) == ExitCode.FAILURE) == (leaf.__name__ in general), leaf


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (problem(401), ExitCode.NOT_AUTHENTICATED),
        (problem(403), ExitCode.REFUSED),
        (problem(404), ExitCode.NOT_FOUND),
        (problem(409), ExitCode.CONFLICT),
        (problem(422), ExitCode.INVALID),
        (problem(503), ExitCode.TRY_LATER),
        (Reply(text=b"<html>"), ExitCode.CONNECTION),
    ],
)
@pytest.mark.usefixtures("registered")
def test_failure_ends_with_the_exit_code_of_its_kind(
    service: FakeService, linkage: Linkage, reply: Reply, code: ExitCode
) -> None:
    service.on("GET", "/v1/me", reply)
    outcome = linkage("whoami")
    assert outcome.code == code
    assert outcome.out == ""
    assert "Error:" in outcome.err


@pytest.mark.usefixtures("registered")
def test_failure_with_json_is_a_problem_on_stdout(service: FakeService, linkage: Linkage) -> None:
    elements = [{"element": "purpose", "policy": "p", "reason": "Not agreed."}]
    service.on("GET", "/v1/me", problem(403, "policy_refused", agreement="ISP-1", elements=elements))
    outcome = linkage("whoami", "--json")
    document = outcome.json()
    assert (document["code"], document["status"], document["request_id"]) == ("policy_refused", 403, "req_1")
    assert document["exit_code"] == outcome.code == ExitCode.REFUSED
    assert document["elements"] == elements
    assert "[purpose] Not agreed." in outcome.err


@pytest.mark.usefixtures("registered")
def test_refusal_says_its_reason_once(service: FakeService, linkage: Linkage) -> None:
    elements = [{"element": "1 Purpose", "policy": "p", "reason": "It says no."}]
    service.on("GET", "/v1/me", problem(403, "policy_refused", agreement="ISP-1", elements=elements))
    outcome = linkage("whoami")
    assert outcome.err.count("It says no.") == 1
    assert "[1 Purpose]" in outcome.err


@pytest.mark.usefixtures("registered")
def test_id_of_a_wrong_form_is_answered_in_words(service: FakeService, linkage: Linkage) -> None:
    wrong = [{"pointer": "/path/project_id", "detail": "string_pattern_mismatch. Limits: {'pattern': '^prj_'}."}]
    service.on("GET", "/v1/projects/prj_1", problem(422, "invalid_request", errors=wrong))
    outcome = linkage("project", "show", "prj_1")
    assert "project_id: this is no id of that kind" in outcome.err
    assert "pattern" not in outcome.err


def test_unreachable_service_ends_with_connection(registered: Path, linkage: Linkage) -> None:
    save_profile(
        Profile(
            path=registered,
            service_url="http://127.0.0.1:9",
            organisation_id=OWN,
            client_id="cli_1",
            client_key_file=registered.parent / "client-key.jwk",
        ),
        replace=True,
    )
    assert linkage("whoami").code == ExitCode.CONNECTION


def test_missing_profile_ends_with_configuration(linkage: Linkage) -> None:
    outcome = linkage("whoami", "--json")
    assert outcome.code == ExitCode.CONFIGURATION
    assert outcome.json()["code"] == "configuration"


def test_wrong_usage_with_json_is_a_problem_too(linkage: Linkage) -> None:
    outcome = linkage("whoami", "--json", "--nonsense")
    assert outcome.code == ExitCode.USAGE
    assert outcome.json()["code"] == "usage"


def test_defect_shows_no_values(linkage: Linkage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Ann Example, 1970-01-01")

    monkeypatch.setattr(command.cli, "main", fail)
    monkeypatch.setenv("LINKAGE_DEBUG", "1")
    outcome = linkage("whoami", "--json")
    assert outcome.code == ExitCode.DEFECT
    assert "Ann" not in outcome.out + outcome.err
    assert "RuntimeError" in outcome.err
    assert "in fail" in outcome.err
    monkeypatch.delenv("LINKAGE_DEBUG")
    assert "in fail" not in linkage("whoami").err


def test_interrupt_ends_with_130(linkage: Linkage, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.cli, "main", interrupt)
    assert linkage("whoami").code == ExitCode.INTERRUPTED


@pytest.mark.usefixtures("registered")
def test_whoami_shows_organisation_and_roles(linkage: Linkage) -> None:
    outcome = linkage("whoami")
    assert "organisation: Own (org_own, active)" in outcome.out
    assert linkage("whoami", "--json").json()["client"]["id"] == "cli_1"


@pytest.mark.usefixtures("registered")
def test_names_from_the_service_cannot_steer_the_terminal(service: FakeService, linkage: Linkage) -> None:
    service.on("GET", "/v1/organisations", {"items": [{**organisation(), "name": "a\x1b[2Jb\nc"}], "next_cursor": None})
    outcome = linkage("organisation", "list")
    assert "\x1b" not in outcome.out
    assert len(outcome.out.splitlines()) == 1


def _registration(service: FakeService) -> None:
    service.on("POST", "/v1/registrations", Reply(201, {"organisation": organisation(), "client": client()}))


def _register(linkage: Linkage, url: str, invitation: Path, *more: str) -> Outcome:
    return linkage(
        *("register", "--service", url, "--invitation-file", invitation),
        *("--name", "laptop", "--role", "analyst", "--role", "signatory", *more),
    )


@pytest.fixture
def invitation(tmp_path: Path) -> Path:
    path = tmp_path / "invitation.txt"
    path.write_text("secret-invitation\n")
    return path


def test_register_makes_keys_and_a_profile_that_works(
    service: FakeService, url: str, config: Path, linkage: Linkage, invitation: Path
) -> None:
    _registration(service)
    outcome = _register(linkage, url, invitation, "--json")
    assert outcome.code == 0
    assert outcome.json()["client"] == "cli_1"
    key_file = load_profile(config).client_key_file
    assert key_file is not None
    assert stat.S_IMODE(key_file.stat().st_mode) & 0o077 == 0
    sent = service.asked[-1].json()
    assert sent["invitation"] == "secret-invitation"
    assert sent["client"]["roles"] == ["analyst", "signatory"]
    assert sent["client"]["jwk"] == SigningKey.load(key_file).public_jwk
    assert linkage("whoami").code == 0
    assert "secret-invitation" not in outcome.out + outcome.err


def test_register_that_is_refused_leaves_no_files(
    service: FakeService, url: str, config: Path, linkage: Linkage, invitation: Path
) -> None:
    service.on("POST", "/v1/registrations", problem(404, "invitation_unknown"))
    assert _register(linkage, url, invitation).code == ExitCode.NOT_FOUND
    assert list(config.parent.iterdir()) == []


def test_register_whose_answer_is_lost_can_be_repeated_with_the_same_keys(
    service: FakeService, url: str, config: Path, linkage: Linkage, invitation: Path
) -> None:
    service.on("POST", "/v1/registrations", Reply(text=b"proxy error"))
    assert _register(linkage, url, invitation).code == ExitCode.CONNECTION
    kept = SigningKey.load(config.parent / "client-key.jwk").thumbprint
    _registration(service)
    assert _register(linkage, url, invitation).code == 0
    first, second = [asked for asked in service.asked if asked.path == "/v1/registrations"]
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert SigningKey.load(config.parent / "client-key.jwk").thumbprint == kept


@pytest.mark.usefixtures("registered")
def test_register_on_a_registered_machine_is_refused(url: str, linkage: Linkage, invitation: Path) -> None:
    assert _register(linkage, url, invitation).code == ExitCode.DATA


def test_register_over_plain_http_to_another_machine_is_refused(linkage: Linkage, invitation: Path) -> None:
    assert _register(linkage, "http://service.example", invitation).code == ExitCode.CONFIGURATION


def test_key_new_hands_out_the_public_half_only(linkage: Linkage, tmp_path: Path) -> None:
    outcome = linkage("key-file", "new", tmp_path / "k.jwk", "--public-out", tmp_path / "pub.jwk", "--json")
    public = json.loads((tmp_path / "pub.jwk").read_text())
    assert set(public) == {"crv", "kty", "x"}
    assert outcome.json()["public_jwk"] == public
    assert linkage("key-file", "show", tmp_path / "k.jwk", "--json").json()["public_jwk"] == public


@pytest.mark.usefixtures("registered")
def test_invitation_goes_to_a_private_file_and_not_to_stdout(
    service: FakeService, linkage: Linkage, tmp_path: Path
) -> None:
    made = {"token": "the-token", "organisation": OWN, "expires_at": CREATED}
    service.on("POST", "/v1/organisations/org_2/invitations", Reply(201, made))
    outcome = linkage("organisation", "invite", "org_2", "--out", tmp_path / "inv.txt")
    assert (tmp_path / "inv.txt").read_text() == "the-token\n"
    assert "the-token" not in outcome.out + outcome.err


PARTIES = DOCUMENT["recipients"]["parties"]


@pytest.fixture
def proposed(service: FakeService) -> str:
    digest = keys.document_digest(DOCUMENT)
    party = {"organisation": OWN, "roles": ["provider"], "signed": False}
    agreement = {"id": "agr_1", "reference": "ISP-1", "state": "proposed", "version": 2, "digest": digest}
    agreement |= {"parties": [party], "created_at": CREATED}
    for named in (item["organisation"] for item in PARTIES):
        service.on("GET", f"/v1/organisations/{named}", {**organisation(), "id": named})
    service.on("GET", "/v1/agreements/agr_1", agreement)
    service.on("POST", "/v1/agreements", Reply(201, agreement))
    service.on("POST", "/v1/agreements/agr_1/versions/2:propose", agreement)
    version = Reply(200, {**agreement, "document": DOCUMENT, "signatures": []}, {"ETag": '"2"'})
    service.on("GET", "/v1/agreements/agr_1/versions/2", version)
    service.on("POST", "/v1/agreements/agr_1/versions/2/signatures", Reply(201, {**agreement, "state": "active"}))
    return digest


@pytest.mark.usefixtures("registered")
def test_agreement_is_created_proposed_shown_and_signed(linkage: Linkage, tmp_path: Path, proposed: str) -> None:
    (tmp_path / "isp.json").write_text(json.dumps(DOCUMENT))
    assert linkage("agreement", "create", tmp_path / "isp.json", "--json").json()["id"] == "agr_1"
    assert linkage("agreement", "propose", "agr_1").code == 0
    shown = linkage("agreement", "show", "agr_1", "--out", tmp_path / "text.json")
    assert f"digest: {proposed}" in shown.out
    assert json.loads((tmp_path / "text.json").read_text()) == DOCUMENT
    assert linkage("agreement", "sign", "agr_1", "--digest", proposed, "--json").json()["state"] == "active"


class _Typing(io.StringIO):
    """A person at a terminal who types this."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "signed"), [("y\n", True), ("n\n", False)])
@pytest.mark.usefixtures("registered")
def test_agreement_is_shown_whole_before_it_is_signed(
    linkage: Linkage,
    service: FakeService,
    proposed: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    typed: str,
    signed: bool,
) -> None:
    monkeypatch.setattr(sys, "stdin", _Typing(typed))
    outcome = linkage("agreement", "sign", "agr_1")
    assert (outcome.code == 0) is signed
    assert "The parties share data for this purpose: Plan services by area." in outcome.err
    assert proposed in outcome.err
    assert any(path.endswith("/signatures") for path in service.paths("POST")) is signed


@pytest.mark.usefixtures("registered", "proposed")
def test_agreement_that_cannot_be_said_in_full_is_not_signed(linkage: Linkage, service: FakeService) -> None:
    document = {**DOCUMENT, "small_print": "Everything is different."}
    digest = keys.document_digest(document)
    path = "/v1/agreements/agr_1/versions/2"
    content = json.loads(service.routes["GET", path](Asked("GET", path, {}, {}, b"")).body)
    service.on("GET", path, {**content, "document": document, "digest": digest})
    outcome = linkage("agreement", "sign", "agr_1", "--digest", digest)
    assert outcome.code == ExitCode.DATA
    assert "/small_print: This is not a known field." in outcome.err
    assert not any(path.endswith("/signatures") for path in service.paths("POST"))


@pytest.mark.usefixtures("registered", "proposed")
def test_change_by_somebody_else_meanwhile_is_a_conflict(linkage: Linkage, service: FakeService) -> None:
    service.on("POST", "/v1/agreements/agr_1/versions/2:propose", problem(412, "precondition_failed"))
    assert linkage("agreement", "propose", "agr_1").code == ExitCode.CONFLICT
    assert service.asked[-1].headers["if-match"] == '"2"'


@pytest.mark.usefixtures("registered", "proposed")
def test_agreement_is_not_signed_blindly(linkage: Linkage, service: FakeService) -> None:
    assert linkage("agreement", "sign", "agr_1").code == ExitCode.USAGE
    assert linkage("agreement", "sign", "agr_1", "--digest", "00" * 32).code == ExitCode.DATA
    assert not any(path.endswith("/signatures") for path in service.paths("POST"))


@pytest.mark.usefixtures("registered")
def test_project_show_writes_the_schema(service: FakeService, linkage: Linkage, tmp_path: Path) -> None:
    service.on("GET", "/v1/projects/prj_1", project())
    outcome = linkage("project", "show", "prj_1", "--schema-out", tmp_path / "schema.json")
    assert "providers: org_own, org_other" in outcome.out
    assert json.loads((tmp_path / "schema.json").read_text()) == project()["linkage_schema"]
    assert linkage("project", "show", "prj_1", "--schema-out", tmp_path / "schema.json").code == ExitCode.DATA


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("words", [("run", "prj_1"), ("run", "start", "prj_1")])
def test_run_starts_and_waits(service: FakeService, linkage: Linkage, words: tuple[str, ...]) -> None:
    service.on("POST", "/v1/projects/prj_1/runs", Reply(202, run("queued")))
    service.on("GET", "/v1/runs/run_1", run("succeeded", metrics={"pairs_compared": 1200, "seconds": 1.5}))
    outcome = linkage(*words)
    assert "state: succeeded" in outcome.out
    assert "compared: 1,200 pairs" in outcome.out


@pytest.mark.usefixtures("registered")
def test_run_that_fails_ends_with_its_exit_code(service: FakeService, linkage: Linkage) -> None:
    service.on("GET", "/v1/runs/run_1", run("failed", error={"detail": "No."}))
    assert linkage("run", "wait", "run_1").code == ExitCode.RUN_ENDED
    assert linkage("run", "show", "run_1").code == 0


@pytest.fixture
def released(service: FakeService) -> str:
    """A release of a run on an upload of three rows; the digest of the upload's encodings."""
    lines = b"".join(json.dumps({"row": row, "link_id": f"L{row}"}).encode() + b"\n" for row in range(3))
    service.on("GET", "/v1/releases/rel_1", release())
    service.on("GET", "/v1/runs/run_1", run("succeeded"))
    service.on("GET", "/v1/releases/rel_1/link-table", Reply(200, text=lines))
    manifest = manifest_of(bytes(384))
    FakeUploads(service).add("upl_1", manifest=manifest, size_bytes=384, part_size=384)
    return str(manifest["sha256"])


def _write_rows(path: Path, record_ids: list[str], *, digest: str | None) -> None:
    table = pa.table({"row": list(range(len(record_ids))), "record_id": record_ids})
    pq.write_table(table.replace_schema_metadata({"linkage.encodings_sha256": digest} if digest else {}), path)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("when", ["results", "join"])
def test_results_join_takes_link_ids_to_the_recipient(
    linkage: Linkage, tmp_path: Path, released: str, when: str
) -> None:
    rows, extract = tmp_path / "rows.parquet", tmp_path / "extract.csv"
    _write_rows(rows, ["c", "a", "b"], digest=released)
    extract.write_text("record_id,given_name,score\na,Ann,1\nb,Bob,2\nc,Cy,3\n")
    (tmp_path / "schema.json").write_text(json.dumps(project()["linkage_schema"]))
    links, out = tmp_path / "links.csv", tmp_path / "out.csv"
    with_rows = {name: ("--rows", rows) if name == when else () for name in ("results", "join")}
    assert linkage("results", "rel_1", "--out", links, *with_rows["results"], "--json").json()["rows"] == 3
    words = ("--links", links, *with_rows["join"], "--schema", tmp_path / "schema.json", "--out", out)
    outcome = linkage("join", extract, *words, "--json")
    assert outcome.json()["columns_dropped"] == ["record_id", "given_name"]
    assert outcome.json()["columns_kept"] == ["score"]
    assert "STAYS, and goes to the recipient: link_id, score." in outcome.err
    assert out.read_text() == "link_id,score\nL1,1\nL2,2\nL0,3\n"
    note = json.loads(Path(outcome.json()["note"]).read_text())
    assert (note["run"], note["release"]) == ("run_1", "rel_1")


def test_join_refuses_what_looks_like_an_identifier_unless_it_is_named(linkage: Linkage, tmp_path: Path) -> None:
    extract, links, out = tmp_path / "extract.csv", tmp_path / "links.csv", tmp_path / "out.csv"
    extract.write_text("record_id,given_name,nhs_number,score\na,Ann,9434765919,1\n")
    links.write_text("record_id,link_id\na,L1\n")
    (tmp_path / "schema.json").write_text(json.dumps(project()["linkage_schema"]))
    words = ("join", extract, "--links", links, "--schema", tmp_path / "schema.json", "--out", out)
    refused = linkage(*words)
    assert refused.code == ExitCode.DATA
    assert "'nhs_number': its name says nhs_number" in refused.err
    assert "9434765919" not in refused.err
    assert not out.exists()
    named = linkage(*words, "--keep-column", "nhs_number")
    assert named.code == 0
    assert "as you asked: nhs_number" in named.err
    assert out.read_text() == "link_id,nhs_number,score\nL1,9434765919,1\n"


@pytest.mark.usefixtures("registered", "released")
@pytest.mark.parametrize("digest", ["0" * 64, None])
def test_results_with_the_rows_of_other_encodings_does_not_spend_a_retrieval(
    service: FakeService, linkage: Linkage, tmp_path: Path, digest: str | None
) -> None:
    _write_rows(tmp_path / "rows.parquet", ["c", "a", "b"], digest=digest)
    outcome = linkage("results", "rel_1", "--out", tmp_path / "links.csv", "--rows", tmp_path / "rows.parquet")
    assert outcome.code == ExitCode.DATA
    assert "wrong people" in outcome.err
    assert not any(path.endswith("/link-table") for path in service.paths("GET"))
    assert not (tmp_path / "links.csv").exists()


@pytest.mark.usefixtures("registered")
def test_results_onto_an_existing_file_does_not_spend_a_retrieval(
    service: FakeService, linkage: Linkage, tmp_path: Path
) -> None:
    (tmp_path / "links.csv").write_text("")
    assert linkage("results", "rel_1", "--out", tmp_path / "links.csv").code == ExitCode.DATA
    assert service.asked == []


@pytest.mark.usefixtures("registered")
def test_results_summary_says_what_is_suppressed(service: FakeService, linkage: Linkage) -> None:
    patterns = [{"organisations": ["org_a", "org_b"], "groups": None}, {"organisations": ["org_a"], "groups": 1200}]
    summary = {"run": "run_1", "patterns": patterns, "rounded_to": 5, "suppressed_below": 10}
    service.on("GET", "/v1/runs/run_1/summary", summary)
    out = linkage("results", "--summary", "run_1").out
    assert "org_a + org_b: fewer than 10" in out
    assert "org_a: about 1,200" in out


@pytest.mark.parametrize(
    "words",
    [
        ("results",),
        ("results", "rel_1", "--summary", "run_1"),
        ("results", "rel_1"),
        ("join", "a.csv", "--links", "b", "--out", "c"),
        ("join", "a.csv", "--links", "b", "--out", "c", "--schema", "s", "--project", "prj_1"),
        ("join", "a.csv", "--links", "b", "--out", "c", "--project", "prj_1", "--delimiter", "ab"),
    ],
)
@pytest.mark.usefixtures("registered")
def test_command_without_what_it_needs_explains_its_usage(
    service: FakeService, linkage: Linkage, words: tuple[str, ...]
) -> None:
    service.on("GET", "/v1/projects/prj_1", project())
    assert linkage(*words).code == ExitCode.USAGE


@pytest.mark.usefixtures("registered")
def test_events_of_a_project_are_listed_in_brief(service: FakeService, linkage: Linkage) -> None:
    header = {"type": "run.refused", "time": CREATED, "actor": {"kind": "client", "id": "cli_1", "org": "org_1"}}
    header |= {"resource": {"type": "run"}, "decision": {"effect": "deny", "policies": ["G8-review"]}}
    events = [{"seq": 7, "leaf_hash": "00", "header": {**header, "outcome": {"status": "refused", "code": "refused"}}}]
    service.on("GET", "/v1/audit/events", {"items": events, "next_after": None})
    outcome = linkage("audit", "list", "--project", "prj_1", "--element", "8", "--from", "2026-01-01")
    asked = {"project": "prj_1", "element": "8", "from": "2026-01-01T00:00:00Z", "order": "newest", "limit": "50"}
    assert service.asked[-1].query == asked
    assert outcome.out.rstrip("\n").split("\t") == [
        "7", "2026-01-01 00:00:00", "run.refused", "cli_1", "org_1", "run", "refused: G8-review",
    ]  # fmt: skip
    assert linkage("audit", "list", "--json").json()["items"] == events


@pytest.mark.usefixtures("registered")
def test_event_is_shown_with_its_detail_or_why_not(service: FakeService, linkage: Linkage) -> None:
    header = {"type": "run.started", "time": CREATED, "actor": {"kind": "system"}, "outcome": {"status": "success"}}
    event = {"seq": 7, "leaf_hash": "00", "header": header, "body": {"person": {"name": "Ana"}}, "body_state": "held"}
    service.on("GET", "/v1/audit/events/7", event)
    assert 'person: {"name": "Ana"}' in linkage("audit", "show", "7").out
    service.on("GET", "/v1/audit/events/7", {**event, "body": None, "body_state": "disposed"})
    assert "deleted at the end of its retention" in linkage("audit", "show", "7").out


@pytest.mark.usefixtures("registered")
def test_export_is_written_whole_and_names_its_event(service: FakeService, linkage: Linkage, tmp_path: Path) -> None:
    out, kept = tmp_path / "log.zip", tmp_path / "kept.txt"
    kept.write_bytes(b"note\n")
    service.on("POST", "/v1/audit/exports", Reply(text=b"zip", headers={"Linkage-Event": "12"}))
    words = ("audit", "export", "--format", "bundle", "--out", str(out), "--agreement", "ISP-1")
    outcome = linkage(*words, "--against", str(kept), "--first", "3", "--json")
    assert outcome.json() == {"file": str(out), "size_bytes": 3, "ledger_event": 12}
    assert out.read_bytes() == b"zip"
    assert service.asked[-1].json() == {"format": "bundle", "agreement": "ISP-1", "first": 3, "against": "note\n"}
    assert linkage(*words).code != 0
    assert linkage(*words, "--against", str(tmp_path / "none")).code != 0


@pytest.mark.usefixtures("registered")
def test_alarms_are_listed_and_acknowledged(service: FakeService, linkage: Linkage) -> None:
    alarm = {
        "id": "alm_1", "kind": "first_key_use", "meaning": "A key was used.", "raised_at": CREATED, "seq": 4,
        "organisation": "org_1", "subject": "4",
    }  # fmt: skip
    service.on("GET", "/v1/audit/alarms", {"items": [alarm], "next_cursor": None})
    outcome = linkage("audit", "alarms")
    assert service.asked[-1].query["state"] == "open"
    assert outcome.out.rstrip("\n").split("\t") == ["alm_1", "2026-01-01 00:00", "first_key_use", "org_1", "4", "open"]
    service.on("POST", "/v1/audit/alarms/alm_1:acknowledge", {**alarm, "acknowledged_at": CREATED})
    assert linkage("audit", "acknowledge", "alm_1", "--reason", "Expected.").code == 0
    assert service.asked[-1].json() == {"reason": "Expected."}


@pytest.mark.usefixtures("registered")
def test_checkpoint_is_the_note_as_it_was_signed(service: FakeService, linkage: Linkage) -> None:
    note = "origin\n3\nroot\n\n— origin sig\n"
    service.on("GET", "/v1/audit/checkpoint", Reply(text=note.encode()))
    service.on("GET", "/v1/audit/verifier-key", {"origin": "origin", "key": "origin+abc+def"})
    assert linkage("audit", "checkpoint").out == note
    assert linkage("audit", "checkpoint", "--json").json() == {"note": note, "verifier_key": "origin+abc+def"}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("words", "path"), [("checkpoint", "/v1/audit/checkpoint"), ("receipt 7", "/v1/audit/events/7/receipt")]
)
def test_proof_to_keep_is_written_byte_for_byte_and_never_replaced_by_another(
    service: FakeService, linkage: Linkage, tmp_path: Path, words: str, path: str
) -> None:
    out = tmp_path / "kept.txt"
    command = ("audit", *words.split(), "--out", str(out))
    service.on("GET", "/v1/audit/verifier-key", {"origin": "origin", "key": "origin+abc+def"})
    note = "origin\n3\nroot\n\n— origin sig\n".encode()
    service.on("GET", path, Reply(text=note))
    outcome = linkage(*command)
    assert (outcome.code, outcome.out, out.read_bytes()) == (0, "", note)
    assert linkage(*command, "--json").json()["file"] == str(out)
    service.on("GET", path, Reply(text=b"another\n"))
    refused = linkage(*command)
    assert refused.code != 0
    assert "holds something else" in refused.err
    assert [file.name for file in tmp_path.glob("kept*")] == ["kept.txt"]
    assert out.read_bytes() == note


@pytest.mark.usefixtures("registered")
def test_kept_checkpoint_with_other_line_ends_is_sent_as_it_was_signed(
    service: FakeService, linkage: Linkage, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.txt"
    service.on("POST", "/v1/audit/exports", Reply(text=b"zip", headers={"Linkage-Event": "12"}))
    words = ("audit", "export", "--format", "bundle", "--out", str(tmp_path / "a.zip"), "--against", str(kept))
    kept.write_bytes("origin\r\n3\r\n\r\n— sig\r\n".encode())
    assert linkage(*words).code == 0
    assert service.asked[-1].json()["against"] == "origin\n3\n\n— sig\n"
    kept.write_bytes("origin\r\n— sig\r\n".encode("cp1252"))
    assert "--out" in linkage(*words, "--force").err


@pytest.mark.skipif(os.name != "posix", reason="pipes close like this on POSIX")
def test_reader_that_goes_away_is_no_defect(tmp_path: Path) -> None:
    key = tmp_path / "k.jwk"
    SigningKey.generate().save(key)
    program = f"{sys.executable} -m linkage_client key-file show {key} | true"
    done = subprocess.run(["/bin/sh", "-c", program], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
