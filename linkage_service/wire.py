"""What every wire model shares: strict inputs, ids by pattern, times in UTC, and pages."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from http import HTTPStatus
from inspect import iscoroutinefunction, signature
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path, Query, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    TypeAdapter,
)
from starlette.routing import Match
from starlette.types import Scope

from linkage_service.errors import FieldError, Invalid
from linkage_service.ids import id_pattern

# Wide enough for any agreement, and far from where calendars and databases end.
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
# Far more than any document has, and far less than what writes it down again can follow.
_LEVELS_MOST = 64
Item = TypeVar("Item")
Row = TypeVar("Row")
_ANY_ID = re.compile(id_pattern("[a-z]{3}"))


class Input(BaseModel):
    """A request body: an unknown field is an error, not a surprise."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Output(BaseModel):
    """An answer: every field is always there."""

    model_config = ConfigDict(frozen=True)


class Route(APIRoute):
    """A route that writes its answer down in the thread in which it was made, and is quick to say that it is not meant.

    The framework would validate the answer, which is a valid model already, once more, and in another thread: for most
    requests that is a fifth of what they cost. And it would match the path of a request with a pattern for each route.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        by_itself = isinstance(options.get("response_model"), DefaultPlaceholder)
        status = int(options.get("status_code") or HTTPStatus.OK)
        super().__init__(path, _writing(endpoint, status=status) if by_itself else endpoint, **options)
        self._begins_with = self.path.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for this route, as the framework says it."""
        if scope.get("root_path") or scope["path"].startswith(self._begins_with):
            return super().matches(scope)
        return Match.NONE, {}


def _writing(endpoint: Callable[..., Any], *, status: int) -> Callable[..., Any]:
    """The same function, which gives a response where it gave a model."""
    of = signature(endpoint)
    model = of.return_annotation
    sets_headers = any(parameter.annotation is Response for parameter in of.parameters.values())
    if sets_headers or iscoroutinefunction(endpoint) or not (isinstance(model, type) and issubclass(model, BaseModel)):
        return endpoint
    # What is told is what the function says that it tells, whatever else the answer may hold.
    as_declared = TypeAdapter(model)

    @wraps(endpoint)
    def written(*given: Any, **named: Any) -> Response:
        answer = as_declared.dump_json(endpoint(*given, **named), by_alias=True)
        return Response(answer, status_code=status, media_type="application/json")

    return written


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("needs a time zone, such as Z")
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"must lie in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone(UTC)


def _readable(text: str) -> str:
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise ValueError("must not hold control characters but line breaks and tabs")
    return text


def _flat(sent: dict[str, Any]) -> dict[str, Any]:
    inside: list[Any] = [sent]
    for _ in range(_LEVELS_MOST):
        every = (item for outer in inside for item in (outer.values() if isinstance(outer, dict) else outer))
        inside = [item for item in every if isinstance(item, dict | list)]
        if not inside:
            return sent
    raise ValueError(f"must not be nested more than {_LEVELS_MOST} levels deep")


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000), AfterValidator(_readable)]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Base64Url = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=1024)]
Document = Annotated[dict[str, Any], AfterValidator(_flat)]
Timestamp = Annotated[datetime, AfterValidator(_aware), PlainSerializer(_rfc3339, return_type=str)]

OrganisationId = Annotated[str, StringConstraints(pattern=id_pattern("org"))]
AgreementId = Annotated[str, StringConstraints(pattern=id_pattern("agr"))]
ProjectId = Annotated[str, StringConstraints(pattern=id_pattern("prj"))]
UploadId = Annotated[str, StringConstraints(pattern=id_pattern("upl"))]
RunId = Annotated[str, StringConstraints(pattern=id_pattern("run"))]
ReleaseId = Annotated[str, StringConstraints(pattern=id_pattern("rel"))]
CertificateId = Annotated[str, StringConstraints(pattern=id_pattern("crt"))]


class Page(Output, Generic[Item]):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[Item]
    next_cursor: str | None


class PageRequest(BaseModel):
    """Which page is asked for."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500, description="At most so many items.")] = 100
    cursor: Annotated[str | None, Field(max_length=200, description="`next_cursor` of the page before.")] = None

    @property
    def after(self) -> str:
        """The id after which this page starts; empty for the first.

        Raises:
            Invalid: the cursor was not made by this service.
        """
        if self.cursor is None:
            return ""
        try:
            after = base64.urlsafe_b64decode(self.cursor.encode() + b"==").decode()
        except (binascii.Error, ValueError):
            after = ""
        if not _ANY_ID.fullmatch(after):
            wrong = FieldError("/query/cursor", "malformed", "Use next_cursor of the page before, unchanged.")
            raise Invalid("The cursor is not one of this service.", errors=[wrong])
        return after

    def page(self, rows: Sequence[Row], render: Callable[[Row], Item], key: Callable[[Row], str]) -> Page[Item]:
        """Renders `limit + 1` or fewer rows as a page."""
        shown = rows[: self.limit]
        more = len(rows) > self.limit
        cursor = base64.urlsafe_b64encode(key(shown[-1]).encode()).decode().rstrip("=") if more else None
        return Page(items=[render(row) for row in shown], next_cursor=cursor)


PageQuery = Annotated[PageRequest, Query()]


def from_base64url(value: str, *, pointer: str) -> bytes:
    """Decodes base64url without padding.

    Raises:
        Invalid: naming the field.
    """
    try:
        return base64.urlsafe_b64decode(value.encode() + b"=" * (-len(value) % 4))
    except (binascii.Error, ValueError) as error:
        wrong = FieldError(pointer, "malformed", "This must be base64url without padding.")
        raise Invalid("A value is not base64url.", errors=[wrong]) from error


OrganisationPath = Annotated[OrganisationId, Path(description="Id of the organisation.")]
AgreementPath = Annotated[AgreementId, Path(description="Id of the agreement.")]
ProjectPath = Annotated[ProjectId, Path(description="Id of the project.")]
UploadPath = Annotated[UploadId, Path(description="Id of the upload.")]
RunPath = Annotated[RunId, Path(description="Id of the run.")]
ReleasePath = Annotated[ReleaseId, Path(description="Id of the release.")]
CertificatePath = Annotated[CertificateId, Path(description="Id of the certificate.")]
