"""The one map from errors to RFC 9457 problem documents. Nothing that a caller sent is ever sent back."""

import re
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from linkage_service.access.guard import enter
from linkage_service.access.tokens import PROOF_ALGORITHMS
from linkage_service.errors import FieldError, Invalid, Limited, LinkageError, Refused, Unauthenticated, WrongMediaType

MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger(__name__)
_DECLARED = re.compile(r"[0-9]+|[A-Za-z][A-Za-z0-9_-]{0,40}")
_BAD_PROOF = "invalid_dpop_proof"
_ABOUT_PROOFS = "proof_"
_OAUTH_ERRORS = {401: "invalid_client", 400: "invalid_request", 422: "invalid_request"}


class ProblemField(BaseModel):
    """One thing wrong with the request."""

    model_config = ConfigDict(title="ProblemField")

    pointer: Annotated[str, Field(description="RFC 6901 pointer into the body, or /query/…, /path/…, /header/….")]
    code: Annotated[str, Field(description="Stable machine word.")]
    detail: Annotated[str, Field(description="What is wrong, for a person.")]


class ProblemElement(BaseModel):
    """One element of the agreement that refuses."""

    element: Annotated[str, Field(description="Which of the nine elements of the agreement.")]
    policy: Annotated[str, Field(description="Id of the policy that fired.")]
    reason: Annotated[str, Field(description="Why, in words.")]
    remedy: Annotated[str, Field(description="What would change the answer.")]


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: Annotated[str, Field(description="URI of the kind of problem.")]
    title: Annotated[str, Field(description="The kind of problem, for a person.")]
    status: Annotated[int, Field(description="HTTP status.")]
    detail: Annotated[str, Field(description="What happened, what it means, what to do next.")]
    code: Annotated[str, Field(description="Stable machine word for this problem.")]
    request_id: Annotated[str, Field(description="Quote it to the operator.")]
    errors: Annotated[list[ProblemField] | None, Field(description="What is wrong with the request, part by part.")] = (
        None
    )
    agreement: Annotated[str | None, Field(description="Reference of the agreement that refuses.")] = None
    elements: Annotated[list[ProblemElement] | None, Field(description="Elements of the agreement that refuse.")] = None
    error: Annotated[str | None, Field(description="RFC 6749 error word, at the token endpoint.")] = None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problem answers of a route, for OpenAPI. `schemas` has what they refer to."""
    # Not by a model: for each answer of each route the framework would make a validator that nobody uses.
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def schemas() -> dict[str, Any]:
    """The JSON Schema of a problem and its parts by their names, for OpenAPI."""
    _, described = models_json_schema([(Problem, "validation")], ref_template="#/components/schemas/{model}")
    named: dict[str, Any] = described["$defs"]
    return named


OF_EVERY_ROUTE = responses(408, 421, 429)
"""What may come before a route is looked at: too slow, the wrong host, too many requests."""


def problem_of(error: LinkageError, *, request_id: str) -> Problem:
    """The problem document of an error."""
    refused = error if isinstance(error, Refused) else None
    return Problem(
        type=f"urn:linkage:problem:{error.instance_code}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        code=error.instance_code,
        request_id=request_id,
        errors=[ProblemField(pointer=e.pointer, code=e.code, detail=e.detail) for e in error.errors] or None,
        agreement=refused.agreement if refused else None,
        elements=[
            ProblemElement(element=e.element, policy=e.policy, reason=e.reason, remedy=e.remedy)
            for e in refused.elements
        ]
        if refused and refused.elements
        else None,
    )


def render(error: LinkageError, request: Request) -> JSONResponse:
    """An error as a response."""
    problem = problem_of(error, request_id=getattr(request.state, "request_id", "unknown"))
    if request.url.path.endswith("/oauth/token"):
        is_proof = error.instance_code.startswith(_ABOUT_PROOFS)
        problem.error = _BAD_PROOF if is_proof else _OAUTH_ERRORS.get(error.status, "invalid_request")
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = _challenge(error.instance_code)
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "2"
    if isinstance(error, Limited):
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(
        problem.model_dump(exclude_none=True), status_code=error.status, media_type=MEDIA_TYPE, headers=headers
    )


def _challenge(code: str) -> str:
    """RFC 9449 section 7.1; without an error where nobody tried to say who they are (RFC 6750 section 3.1)."""
    word = _BAD_PROOF if code.startswith(_ABOUT_PROOFS) else "invalid_token"
    error = "" if code == Unauthenticated.code else f'error="{word}", '
    return f'DPoP {error}algs="{" ".join(PROOF_ALGORITHMS)}"'


def install(app: FastAPI) -> None:
    """Registers the handlers, so that every error of every route has the one shape."""

    @app.exception_handler(LinkageError)
    async def _linkage(request: Request, error: LinkageError) -> JSONResponse:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request_failed", code=error.instance_code, request_id=request.state.request_id)
        return render(error, request)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        try:
            await enter(request)
        except LinkageError as refused:
            return render(refused, request)
        # The library's own answer repeats the input, which may be an identifier that was sent by mistake.
        if _is_unread(request, error):
            return render(WrongMediaType("Send the body as application/json, with that Content-Type."), request)
        fields = [
            FieldError(pointer=_pointer(item), code=str(item["type"]), detail=_words(item)) for item in error.errors()
        ]
        return render(
            Invalid("Some parts of the request are missing or wrong; each is named in errors.", errors=fields), request
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        response = render(_known(error), request)
        response.headers.update(error.headers or {})
        return response


def _is_unread(request: Request, error: RequestValidationError) -> bool:
    # FastAPI hands a body of another media type on as bytes, and then finds that bytes are no document.
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    wanted_json = any(item["loc"] == ("body",) and item["type"] != "missing" for item in error.errors())
    return wanted_json and declared != "application/json" and not declared.endswith("+json")


def _known(error: HTTPException) -> LinkageError:
    if isinstance(error.__cause__, LinkageError):
        return error.__cause__
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return Invalid("The body cannot be read: it is not valid JSON in UTF-8, or not a valid form.")
    return _http_error(error.status_code, HTTPStatus(error.status_code).phrase)


def _http_error(status: int, phrase: str) -> LinkageError:
    made = LinkageError(
        f"{phrase}. See /openapi.json for the addresses and methods of this service.",
        code=phrase.lower().replace(" ", "_"),
    )
    made.status = status  # type: ignore[misc]  # of this instance: the framework's own errors have no class of ours
    made.title = phrase  # type: ignore[misc]
    return made


def _pointer(item: dict[str, Any]) -> str:
    # A name that the caller made up must not come back: it could be an identifier that was sent by mistake.
    location = item["loc"][:-1] if item["type"] == "extra_forbidden" else item["loc"]
    where, *rest = (str(part) if _DECLARED.fullmatch(str(part)) else "*" for part in location or ("body",))
    return "/" + "/".join(rest if where == "body" else [where, *rest])


def _words(item: dict[str, Any]) -> str:
    kind = str(item["type"])
    context = item.get("ctx") or {}
    limits = {
        name: context[name]
        for name in ("min_length", "max_length", "ge", "gt", "le", "lt", "pattern", "expected")
        if name in context
    }
    words = {
        "missing": "This is required.",
        "extra_forbidden": "This is not a known field.",
        "json_invalid": "The body is not valid JSON.",
        "value_error": str(context.get("error", "This value is not allowed.")),
    }.get(kind, f"This must be of another form ({kind}).")
    return f"{words} Limits: {limits}." if limits else words
