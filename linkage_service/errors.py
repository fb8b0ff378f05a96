"""Everything the service refuses or fails at, one tree with a stable code for each; `problems.py` turns it into HTTP.

    LinkageError
    ├── Unauthenticated        401  who is calling is not proven
    ├── Refused                403  the agreement, or the lack of a grant, says no
    ├── ForeignOrigin          403  a page of another site sent it
    ├── NotFound               404  missing, or not the caller's: the answer is the same
    ├── Conflict               409  the thing is not in a state that allows this
    ├── Invalid                422  the request is well formed and wrong
    ├── TooLarge               413  a body above its limit
    ├── WrongMediaType         415  a body of another kind
    ├── TooManyAttempts        429  wrong codes or passwords too often; later again
    ├── Limited                429  more than a limit allows at once; Retry-After says when
    ├── TooSlow                408  a body that did not come in time
    ├── Misdirected            421  the request names a host that this service is not
    ├── NotAcceptable          406  no representation that the caller accepts
    ├── NotReady               500  the service cannot start as things are; said to the operator, never to a caller
    └── Unavailable            503  the service cannot do it now; the same request may succeed later

A detail says what happened, what it means and what to do next. It never quotes input, keys, SQL, paths or other
parties.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request.

    Attributes:
        pointer: RFC 6901 pointer into the request body, or `/query/<name>`, `/path/<name>`, `/header/<name>`.
        code: stable machine word.
        detail: one sentence for a person.
    """

    pointer: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class RefusedElement:
    """Why the policy said no: which of the nine elements, which policy, in words, and what would change the answer."""

    element: str
    policy: str
    reason: str
    remedy: str


class LinkageError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The service failed"

    def __init__(self, detail: str, *, code: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.instance_code = code or self.code
        self.errors = tuple(errors)


class Unauthenticated(LinkageError):
    """Who is calling is not proven."""

    code = "unauthenticated"
    status = 401
    title = "Not signed in"


class Refused(LinkageError):
    """The policy said no."""

    code = "refused"
    status = 403
    title = "Refused"

    def __init__(self, detail: str, *, agreement: str | None = None, elements: Sequence[RefusedElement] = ()) -> None:
        super().__init__(detail)
        self.agreement = agreement
        self.elements = tuple(elements)


class ForeignOrigin(LinkageError):
    """A page of another site sent it."""

    code = "foreign_origin"
    status = 403
    title = "Not from a page of this service"


class NotFound(LinkageError):
    """Missing, or not the caller's."""

    code = "not_found"
    status = 404
    title = "Not found"
    # One text: what differs between missing and not the caller's tells which of them it is.
    HIDDEN: ClassVar[str] = "There is no such resource, or it is not yours to see."


class Conflict(LinkageError):
    """The thing is not in a state that allows this."""

    code = "conflict"
    status = 409
    title = "Not possible in the present state"


class ChangedMeanwhile(LinkageError):
    """Somebody changed the thing after the caller read it."""

    code = "precondition_failed"
    status = 412
    title = "It was changed meanwhile"


class PreconditionRequired(LinkageError):
    """The request does not say which state of the thing it is meant for."""

    code = "precondition_required"
    status = 428
    title = "If-Match is required"


class Invalid(LinkageError):
    """The request is well formed and wrong."""

    code = "invalid"
    status = 422
    title = "The request is not valid"


class TooLarge(LinkageError):
    """A body above its limit."""

    code = "too_large"
    status = 413
    title = "Too large"


class WrongMediaType(LinkageError):
    """A body of another kind than the route takes."""

    code = "wrong_media_type"
    status = 415
    title = "Wrong media type"


class TooManyAttempts(LinkageError):
    """Wrong codes or passwords too often."""

    code = "too_many_attempts"
    status = 429
    title = "Too many attempts"


class Limited(LinkageError):
    """More than a limit allows at once."""

    code = "limited"
    status = 429
    title = "Too much at once"

    def __init__(self, detail: str, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class TooSlow(LinkageError):
    """A body that did not come in time."""

    code = "too_slow"
    status = 408
    title = "Too slow"


class Misdirected(LinkageError):
    """The request names a host that this service is not."""

    code = "unknown_host"
    status = 421
    title = "Not at this host"


class NotAcceptable(LinkageError):
    """No representation that the caller accepts."""

    code = "not_acceptable"
    status = 406
    title = "Not acceptable"


class NotReady(LinkageError):
    """The service cannot start as things are."""

    code = "not_ready"


class Unavailable(LinkageError):
    """The service cannot do it now."""

    code = "unavailable"
    status = 503
    title = "Not available now"
