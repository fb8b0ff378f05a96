"""The API does what its description says, and the description that is committed is the one of this code."""

import contextlib
import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import HOST
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from linkage_service import openapi
from linkage_service.wire import Input
from support.databases import KINDS, migrated, on_each_database
from support.service_app import Caller, Linked, ServiceApp, data_sets, ok, service_app

COMMITTED = Path(__file__).parents[2] / "openapi" / "openapi.json"
OPERATIONS = [
    (method.upper(), path, operation)
    for path, item in json.loads(COMMITTED.read_text("utf-8"))["paths"].items()
    for method, operation in item.items()
]
PUBLIC = {
    "get_agreement_schema",
    "get_health", "get_readiness", "get_version", "get_metadata", "get_jwks", "issue_token", "register",
    "get_enrolment", "begin_enrolment", "confirm_enrolment", "get_sign_in_options", "check_password", "open_session",
    "start_with_provider", "finish_with_provider",
}  # fmt: skip
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
World = tuple[ServiceApp, Linked, dict[str, str]]
_BOUNDED: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
ROLES = ("administrator", "officer", "provider", "recipient")
ENOUGH_STEPS = 60


def test_committed_description_is_the_one_of_this_code() -> None:
    assert COMMITTED.read_text("utf-8") == openapi.document(), (
        "openapi/openapi.json is not what the code describes. Look at the difference, say in CHANGELOG.md what changes "
        "for integrators, and write it again: linkage-service openapi > openapi/openapi.json"
    )


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[operation["operationId"] for *_, operation in OPERATIONS]
)
def test_operation_says_what_an_integrator_needs(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["operationId"].isidentifier()
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    public = operation["operationId"] in PUBLIC
    assert bool(operation.get("security")) != public, f"{method} {path}"
    refusals = {status for status in operation["responses"] if status >= "400"}
    assert public or "401" in refusals
    json_body = "application/json" in operation.get("requestBody", {}).get("content", {})
    assert not json_body or {"413", "415", "422"} <= refusals
    for status in refusals:
        content = operation["responses"][status]["content"]
        assert "application/problem+json" in content or (operation["operationId"], status) == ("get_readiness", "503")


def _body_of(operation: dict[str, Any]) -> str | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    reference = content.get("schema", {}).get("$ref")
    return str(reference).rsplit("/", 1)[-1] if reference else None


def test_every_json_body_has_an_example_that_its_own_model_accepts() -> None:
    components = json.loads(COMMITTED.read_text("utf-8"))["components"]
    models = {model.__name__: model for model in Input.__subclasses__()}
    bodies = {name for *_, operation in OPERATIONS if (name := _body_of(operation))}
    assert bodies <= models.keys()
    for name in bodies:
        for example in components["schemas"][name]["examples"]:
            models[name].model_validate(example)


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service in which every kind of thing exists once, with the parameters that find it."""
    folder = tmp_path_factory.mktemp("contract")
    # The tool calls it by a name of its own.
    with (
        migrated(request.param, request, folder) as database_url,
        service_app(folder, hosts=[HOST], database_url=database_url) as service,
    ):
        linked = service.uploaded(*data_sets(12, 12, shared=6))
        abandoned = ok(linked.providers[0].declare(linked.project, b"a" * 3200), 201)["id"]
        ok(linked.providers[0].delete(f"/v1/uploads/{abandoned}"), 204)
        (certificate,) = service.sweep().certificates
        run = service.run(linked)
        release = service.release(linked, run)
        known = {
            "organisation_id": linked.providers[0].organisation,
            "client_id": linked.providers[0].client,
            "thumbprint": linked.providers[0].key.thumbprint,
            "agreement_id": linked.agreement["id"],
            "version": "1",
            "project_id": linked.project,
            "upload_id": linked.uploads[0],
            "number": "1",
            "run_id": run["id"],
            "release_id": release["id"],
            "certificate_id": certificate,
            "alarm_id": service.alarms()[0]["id"],
            "seq": "1",
            "person_id": service.invite_person(linked.providers[0], "analyst")["person"]["id"],
            "session_id": "0" * 64,
            "token": service.invite_person(linked.providers[0], "analyst")["token"],
        }
        yield service, linked, known


@pytest.fixture(scope="module")
def schema(world: World) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", world[0].app)


def _caller(world: World, role: str) -> Caller:
    service, linked, _ = world
    callers: dict[str, Caller] = {
        "administrator": service.administrator,
        "officer": service.officer,
        "provider": linked.providers[0],
        "recipient": linked.recipients[0],
    }
    return callers[role]


def _credentials(world: World, role: str, case: schemathesis.Case[Any]) -> dict[str, str]:
    return _caller(world, role).credentials(case.method, case.formatted_path)


@pytest.mark.parametrize(("method", "path"), [operation[:2] for operation in OPERATIONS])
def test_operation_answers_anything_as_described(method: str, path: str, world: World, schema: Any) -> None:
    @settings(max_examples=10, **_BOUNDED)
    @given(case=schema[path][method].as_strategy(), role=st.sampled_from(ROLES))
    def check(case: schemathesis.Case[Any], role: str) -> None:
        case.call_and_validate(headers=_credentials(world, role, case), checks=CHECKS)

    check()


@pytest.mark.parametrize(
    ("method", "path"), [operation[:2] for operation in OPERATIONS if "{" in operation[1] and operation[0] != "DELETE"]
)
def test_operation_on_what_exists_answers_as_described(method: str, path: str, world: World, schema: Any) -> None:
    @settings(max_examples=6, **_BOUNDED)
    @given(case=schema[path][method].as_strategy(), role=st.sampled_from(ROLES))
    def check(case: schemathesis.Case[Any], role: str) -> None:
        case.path_parameters = {name: world[2][name] for name in case.path_parameters or {}}
        case.call_and_validate(headers=_credentials(world, role, case), checks=CHECKS)

    check()


@contextlib.contextmanager
def _not_as_before() -> Iterator[None]:
    """An assertion of the tool in its record of earlier choices is the same complaint as `FlakyStrategyDefinition`."""
    try:
        yield
    except AssertionError as error:
        *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
        if frame.f_globals["__name__"] != "hypothesis.internal.conjecture.datatree":
            raise


@on_each_database
def test_sequences_of_operations_that_follow_from_each_other_answer_as_described(
    tmp_path: Path, database_url: str
) -> None:
    followed: set[str] = set()
    checked: list[str] = []
    wrong: list[BaseException] = []
    # Of its own: what a sequence suspends, closes or deletes is not missed by the tests above.
    with service_app(tmp_path, hosts=[HOST], database_url=database_url) as service:
        linked = service.uploaded(*data_sets(12, 12, shared=6))
        service.run(linked)
        schema = schemathesis.openapi.from_asgi("/openapi.json", service.app)

        class Sequence(schema.as_state_machine()):  # type: ignore[misc]  # made from the description
            """What an operation answers is given to the next one: the tool sees which by the names of ids."""

            def step(self, planned: Any) -> Any:
                output = super().step(planned)
                if planned.applied_parameters:
                    followed.add(planned.case.operation.label)
                return output

            def get_call_kwargs(self, case: schemathesis.Case[Any]) -> dict[str, Any]:
                # Who may do most with these, so that sequences get somewhere.
                unit = case.path.startswith("/v1/organisations")
                caller = service.administrator if unit else linked.providers[0]
                return {"headers": caller.credentials(case.method, case.formatted_path)}

            def validate_response(self, response: Any, case: schemathesis.Case[Any], **_: Any) -> None:
                try:
                    case.validate_response(response, checks=CHECKS)
                except BaseException as error:
                    wrong.append(error)
                    raise
                checked.append(case.operation.label)

        # The service keeps what an earlier sequence did, so the same choices may lead elsewhere the second time. The
        # tool complains of that, and so it may when it repeats a sequence to report a wrong answer.
        for number in range(8):
            with contextlib.suppress(FlakyStrategyDefinition), _not_as_before():
                seed(number)(Sequence).run(settings=settings(max_examples=12, stateful_step_count=15, **_BOUNDED))
            if wrong:
                raise wrong[0]
            if followed and len(checked) >= ENOUGH_STEPS:
                break
        assert service.verified()
    assert followed
    assert len(checked) >= ENOUGH_STEPS
