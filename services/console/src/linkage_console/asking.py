"""Forms with a few fields, all shown alike: what is asked for, what follows, and the second factor where it is due."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from starlette.responses import Response

from linkage_console.calling import Answer, Refusal
from linkage_console.visits import ShowsAgain, Visit

_ROLE: Final = "role-"


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done about a thing, with a form.

    Attributes:
        title: of its page.
        button: what the button says.
        effect: what follows, for the page.
        states: in which the thing can be.
        done: what is said when it was done.
    """

    title: str
    button: str
    effect: str
    states: frozenset[str]
    done: str
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form.

    Attributes:
        name: of what is sent.
        label: what it is called.
        hint: what helps to fill it in.
        kind: a line, an e-mail address, several lines, or boxes to tick, each with a name of its own.
        boxes: of boxes, names with labels.
        ticked: of boxes, the names of those that are ticked before anybody did anything.
        shown_again: whether what was written comes back with a form that was refused.
    """

    name: str
    label: str
    hint: str = ""
    kind: Literal["line", "email", "lines", "boxes"] = "line"
    boxes: Sequence[tuple[str, str]] = ()
    ticked: frozenset[str] = frozenset()
    shown_again: bool = True


REASON = Field("reason", "Why", "It stands in the access log. Name nobody whose data are shared.", kind="lines")


def roles_field(labels: Mapping[str, str], *, had: Iterable[str] = ()) -> Field:
    """Boxes for roles."""
    return Field(
        "roles",
        "Roles",
        kind="boxes",
        boxes=[(f"{_ROLE}{role}", label) for role, label in labels.items()],
        ticked=frozenset(f"{_ROLE}{role}" for role in had),
    )


def roles_given(visit: Visit, known: Iterable[str]) -> list[str]:
    """The roles that were ticked.

    Raises:
        Refusal: none.
    """
    given = [role for role in known if visit.form[f"{_ROLE}{role}"]]
    if not given:
        raise Refusal(422, {"detail": "Choose at least one role."})
    return given


async def show_form(
    visit: Visit, act: Act, about: str, back: str, fields: Sequence[Field], *, refusal: Refusal | None
) -> Response:
    """A form that is sent to the address that it is shown at.

    Args:
        visit: the request.
        act: what the form does.
        about: whom or what it is done to.
        back: path of the page before.
        fields: what is asked for.
        refusal: why it was refused.
    """
    return visit.page(
        "form.html",
        status=200 if refusal is None else refusal.status,
        act=act,
        about=about,
        back=back,
        fields=fields,
        given=visit.form,
        confirms_with=await visit.confirms_with(),
        refusal=refusal,
    )


async def submit(
    visit: Visit, call: Callable[[], Awaitable[Answer]], *, then: Callable[[Answer], Response], again: ShowsAgain
) -> Response:
    """Does what a form asks for, with its code.

    Args:
        visit: the request.
        call: what the API is asked.
        then: makes the page of what it answered.
        again: shows the form again, with why it was refused.
    """
    try:
        await visit.step_up()
        answer = await call()
    except Refusal as refusal:
        if refusal.ended:
            raise
        return await again(visit, refusal=refusal)
    return then(answer)


def done(visit: Visit, page: str, what: str) -> Callable[[Answer], Response]:
    """Goes on to a page that says what was done, and by which event."""

    def go(answer: Answer) -> Response:
        said = f"&event={answer.event}" if answer.event is not None else ""
        return visit.go(f"{page}?done={what}{said}")

    return go
