"""Signing in and out, enrolling, one's own sessions, and the second factor again."""

from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode, urlsplit

from starlette.responses import RedirectResponse, Response

from linkage_console import charts
from linkage_console.calling import Refusal
from linkage_console.forms import own_path
from linkage_console.routing import Page
from linkage_console.visits import Visit

_GROUP: Final = 4
_LONGEST_URI: Final = 1000


async def show_sign_in(visit: Visit) -> Response:
    """The form for both factors."""
    return await _sign_in_page(visit, next_path=visit.query("next"))


async def sign_in(visit: Visit) -> Response:
    """Opens a session with both factors; the API sets its cookie."""
    form = visit.form
    draft = {"email": form["email"], "password": form.exact("password"), "code": form["code"].replace(" ", "")}
    try:
        await visit.call.change("/v1/sessions", draft)
    except Refusal as refusal:
        if refusal.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise
        return await _sign_in_page(visit, next_path=form["next"], email=form["email"], refusal=refusal)
    return _on(visit, form["next"])


async def sign_out(visit: Visit) -> Response:
    """Ends the session of this browser."""
    await visit.call.change("/v1/sessions/current:sign-out")
    return visit.go("/sign-in?" + urlencode({"out": "1"}))


async def show_account(visit: Visit) -> Response:
    """Who is signed in, and every session."""
    sessions = (await visit.call.get("/v1/sessions")).document["items"]
    return visit.page("account.html", sessions=sessions, done=visit.query("done"))


async def end_session(visit: Visit) -> Response:
    """Ends one session of the person's own."""
    await visit.call.change(f"/v1/sessions/{visit.param('session')}", method="DELETE")
    return visit.go("/account?done=ended")


async def end_sessions(visit: Visit) -> Response:
    """Ends all sessions, this one included."""
    await visit.call.change("/v1/sessions", method="DELETE")
    return visit.go("/sign-in?" + urlencode({"out": "1"}))


async def show_step_up(visit: Visit) -> Response:
    """The form for the second factor again."""
    return visit.page(
        "step_up.html",
        next_path=own_path(visit.query("next"), at=visit.console.at),
        confirms_with=await visit.confirms_with(),
        refusal=None,
    )


async def step_up(visit: Visit) -> Response:
    """Takes the second factor again, and goes on to where it was needed."""
    try:
        await visit.step_up()
    except Refusal as refusal:
        if refusal.status == HTTPStatus.UNAUTHORIZED and refusal.code == "session_ended":
            raise
        next_path = own_path(visit.form["next"], at=visit.console.at)
        return visit.page(
            "step_up.html", status=refusal.status, next_path=next_path, confirms_with="code", refusal=refusal
        )
    return _on(visit, visit.form["next"])


async def to_provider(visit: Visit) -> Response:
    """Begins with the identity provider. The browser goes there by a link: forms lead to this service only."""
    draft = {"purpose": visit.form["purpose"]}
    if visit.form["invitation"]:
        draft["invitation"] = visit.form["invitation"]
    url = str((await visit.call.change("/v1/oidc/sign-ins", draft)).document["authorization_url"])
    return visit.page("to_provider.html", url=url, host=urlsplit(url).netloc)


async def from_provider(visit: Visit) -> Response:
    """Where the provider sends the browser to. It comes from another site, so a form of this one takes over."""
    return visit.page(
        "from_provider.html", code=visit.query("code"), state=visit.query("state"), iss=visit.query("iss")
    )


async def finish_with_provider(visit: Visit) -> Response:
    """Opens the session, or counts as the second factor again."""
    brought = {name: visit.form[name] for name in ("code", "state", "iss") if visit.form[name]}
    await visit.call.change("/v1/oidc/sessions", brought)
    return visit.go("/")


async def show_enrolment(visit: Visit) -> Response:
    """What an invitation is for, and the form for a password."""
    token = visit.param("token")
    invited = (await visit.call.get(f"/v1/enrolments/{token}")).document
    return visit.page("enrol.html", invited=invited, token=token, refusal=None)


async def begin_enrolment(visit: Visit) -> Response:
    """Takes the password, and shows the second factor this once."""
    token, form = visit.param("token"), visit.form
    invited = (await visit.call.get(f"/v1/enrolments/{token}")).document
    if form.exact("password") != form.exact("again"):
        refusal = Refusal(422, {"detail": "The two passwords are not the same. Write one phrase in both."})
        return visit.page("enrol.html", status=422, invited=invited, token=token, refusal=refusal)
    try:
        draft = {"password": form.exact("password")}
        factor = (await visit.call.change(f"/v1/enrolments/{token}:begin", draft)).document
    except Refusal as refusal:
        return visit.page("enrol.html", status=refusal.status, invited=invited, token=token, refusal=refusal)
    return _factor_page(visit, factor["secret"], factor["otpauth_uri"], factor["enrolment"])


async def confirm_enrolment(visit: Visit) -> Response:
    """Takes the first code; the account is open."""
    token, form = visit.param("token"), visit.form
    draft = {"enrolment": form["enrolment"], "code": form["code"].replace(" ", "")}
    try:
        await visit.call.change(f"/v1/enrolments/{token}:confirm", draft)
    except Refusal as refusal:
        return _factor_page(visit, form["secret"], form["uri"], form["enrolment"], refusal)
    return visit.go("/sign-in?" + urlencode({"enrolled": "1"}))


def _factor_page(visit: Visit, secret: str, uri: str, note: str, refusal: Refusal | None = None) -> Response:
    if not uri.startswith("otpauth://totp/") or len(uri) > _LONGEST_URI:
        # It came back with the form, and becomes a link.
        raise Refusal(
            422, {"detail": "The form was not the one that was shown. Open the link of your invitation again."}
        )
    groups = [secret[place : place + _GROUP] for place in range(0, len(secret), _GROUP)]
    token = visit.param("token")
    return visit.page(
        "enrol_factor.html",
        status=200 if refusal is None else refusal.status,
        token=token,
        secret=secret,
        groups=groups,
        uri=uri,
        qr_code=charts.qr_code(uri),
        enrolment=note,
        refusal=refusal,
    )


async def _sign_in_page(visit: Visit, *, next_path: str, email: str = "", refusal: Refusal | None = None) -> Response:
    options = (await visit.call.get("/v1/sign-ins")).document
    return visit.page(
        "sign_in.html",
        status=200 if refusal is None else refusal.status,
        next_path=own_path(next_path, at=visit.console.at),
        # A link on another site sends no cookie with it; one on this page does.
        from_elsewhere=visit.request.headers.get("sec-fetch-site") == "cross-site" and bool(next_path),
        with_provider=options["oidc"],
        email=email,
        refusal=refusal,
        notice=next((name for name in ("ended", "out", "enrolled") if visit.query(name)), ""),
    )


def _on(visit: Visit, path: str) -> Response:
    target = own_path(path, at=visit.console.at)
    return visit.answer(RedirectResponse(target, status_code=HTTPStatus.SEE_OTHER))


PAGES: Final = (
    Page("GET", "/sign-in", show_sign_in, public=True),
    Page("POST", "/sign-in", sign_in, public=True),
    Page("POST", "/sign-in/provider", to_provider, public=True),
    Page("GET", "/sign-in/provider", from_provider, public=True),
    Page("POST", "/sign-in/provider/finish", finish_with_provider, public=True),
    Page("POST", "/sign-out", sign_out),
    Page("GET", "/account", show_account),
    Page("POST", "/account/sessions/{session}/end", end_session),
    Page("POST", "/account/sessions/end", end_sessions),
    Page("GET", "/step-up", show_step_up),
    Page("POST", "/step-up", step_up),
    Page("GET", "/enrol/{token}", show_enrolment, public=True),
    Page("POST", "/enrol/{token}/begin", begin_enrolment, public=True),
    Page("POST", "/enrol/{token}/confirm", confirm_enrolment, public=True),
)
