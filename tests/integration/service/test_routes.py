"""No route is open by accident: every one has a guard with its action, or says that it is public."""

from collections.abc import Iterator

from fastapi.dependencies.models import Dependant

from linkage_service.access.guard import Guard, public
from linkage_service.app import routes_of
from support.service_app import ServiceApp, problem

PUBLIC = {
    "get_agreement_schema",
    "begin_enrolment", "check_password", "confirm_enrolment", "finish_with_provider", "get_enrolment", "get_health",
    "get_jwks", "get_metadata", "get_readiness", "get_sign_in_options", "get_version", "issue_token", "open_session",
    "openapi_document", "register", "start_with_provider",
}  # fmt: skip


def _calls(dependant: Dependant) -> Iterator[object]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _calls(inner)


def test_routes_of_sees_every_operation_of_the_description(service: ServiceApp) -> None:
    described = {(method.upper(), path) for path, item in service.app.openapi()["paths"].items() for method in item} | {
        ("GET", "/openapi.json")
    }
    assert {(method, route.path) for route in routes_of(service.app) for method in route.methods or ()} == described


def test_every_route_has_one_guard_or_is_public_on_purpose(service: ServiceApp) -> None:
    open_to_all = set()
    for route in routes_of(service.app):
        calls = list(_calls(route.dependant))
        guards = [call for call in calls if isinstance(call, Guard)]
        assert len(guards) + calls.count(public) == 1, route.path
        if not guards:
            open_to_all.add(route.name)
    assert open_to_all == PUBLIC


def test_every_guarded_route_without_a_token_says_401(service: ServiceApp) -> None:
    for route in routes_of(service.app):
        if route.name in PUBLIC:
            continue
        path = route.path
        path = path.replace("{certificate_id}", f"crt_{'0' * 26}").replace("{alarm_id}", f"alm_{'0' * 26}")
        for name in ("organisation", "agreement", "project", "upload", "run", "release", "client", "person"):
            path = path.replace(f"{{{name}_id}}", f"{name[:3]}_{'0' * 26}".replace("cli_", "cli_"))
        path = path.replace("{version}", "1").replace("{number}", "1").replace("{seq}", "0")
        path = path.replace("{session_id}", "0" * 64)
        for method in route.methods or ():
            answer = service.http.request(method, path)
            problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("DPoP")


def test_unknown_address_and_method_are_problems(service: ServiceApp) -> None:
    problem(service.http.get("/v1/nothing-here"), 404)
    problem(service.http.put("/v1/me"), 405)
