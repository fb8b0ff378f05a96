import datetime as dt
import email.utils
import logging
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from linkage_client import errors
from linkage_client._authentication import Credentials
from linkage_client._protocol import path_of, retry_delay
from linkage_client._transport import Transport, check_service_url
from linkage_client.client import LinkageClient
from linkage_client.errors import (
    ConfigurationError,
    InvalidRequestError,
    NotAuthenticatedError,
    NotFoundError,
    PolicyRefusalError,
    RefusedElement,
    ServiceConnectionError,
    ServiceError,
    StateConflictError,
    TryAgainLaterError,
    UnexpectedAnswerError,
)
from linkage_client.keys import SigningKey
from linkage_client.models import Organisation
from support.fake_service import ISSUER, FakeService, Reply, me, organisation, problem


def test_me_with_valid_credentials_answers_the_caller(client: LinkageClient) -> None:
    assert client.me().organisation.name == "Own"


def test_assertion_has_the_claims_of_private_key_jwt(client: LinkageClient, service: FakeService) -> None:
    client.me()
    (claims,) = service.assertions
    assert claims["iss"] == claims["sub"] == "cli_1"
    assert claims["aud"] == ISSUER
    assert claims["exp"] - claims["iat"] == 60


def test_token_is_kept_between_requests(client: LinkageClient, service: FakeService) -> None:
    client.me()
    client.me()
    assert service.tokens_issued == 1


def test_token_shortly_before_its_end_is_renewed(client: LinkageClient, service: FakeService, hand_clock: Any) -> None:
    client.me()
    hand_clock.sleep(271)
    client.me()
    assert service.tokens_issued == 2
    assert len({claims["jti"] for claims in service.assertions}) == 2


def test_rejected_token_is_renewed_once(client: LinkageClient, service: FakeService) -> None:
    client.me()
    service.dead_tokens.add("token-1")
    assert client.me().client.id == "cli_1"
    assert service.tokens_issued == 2


def test_unknown_client_is_not_retried(client: LinkageClient, service: FakeService) -> None:
    service.on("POST", "/v1/oauth/token", problem(401, "invalid_client"))
    with pytest.raises(NotAuthenticatedError) as caught:
        client.me()
    assert caught.value.code == "invalid_client"
    assert service.paths("POST") == ["/v1/oauth/token"]


def test_token_refused_twice_is_an_error(client: LinkageClient, service: FakeService) -> None:
    service.dead_tokens |= {"token-1", "token-2"}
    with pytest.raises(NotAuthenticatedError):
        client.me()
    assert service.tokens_issued == 2


@pytest.mark.parametrize("failure", [problem(429), problem(502), problem(503), problem(504), httpx.ConnectError("x")])
def test_passing_failure_is_retried(client: LinkageClient, service: FakeService, failure: Reply | Exception) -> None:
    client.me()
    service.failures.extend([failure, failure])
    assert client.me().client.id == "cli_1"


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500])
def test_lasting_failure_is_not_retried(client: LinkageClient, service: FakeService, status: int) -> None:
    client.me()
    service.failures.append(problem(status))
    with pytest.raises(ServiceError) as caught:
        client.me()
    assert caught.value.status == status


def test_retries_end_with_the_last_error(client: LinkageClient, service: FakeService) -> None:
    client.me()
    service.failures.extend([httpx.ReadTimeout("x")] * 10)
    with pytest.raises(ServiceConnectionError):
        client.me()
    assert len(service.failures) == 6


def test_retried_post_keeps_its_idempotency_key(client: LinkageClient, service: FakeService) -> None:
    service.on("POST", "/v1/organisations", Reply(201, organisation()))
    client.me()
    service.failures.append(problem(503))
    client.organisations.create(name="Council")
    client.organisations.create(name="Council")
    keys = [asked.headers["idempotency-key"] for asked in service.asked if asked.path == "/v1/organisations"]
    assert keys[0] == keys[1] != keys[2]


def _error(status: int, retry_after_s: float | None) -> ServiceError:
    kind = StateConflictError if status == 409 else TryAgainLaterError
    return kind("x", status=status, retry_after_s=retry_after_s)


def test_retry_delay_follows_retry_after() -> None:
    delay = retry_delay(_error(503, 7))
    assert 7 < delay < 7.5


def test_retry_delay_of_a_very_long_retry_after_gives_up() -> None:
    assert retry_delay(_error(429, 3600)) is False


def test_retry_delay_without_retry_after_backs_off() -> None:
    assert retry_delay(_error(429, None)) is True


def test_retry_delay_of_a_request_in_flight_waits() -> None:
    assert retry_delay(_error(409, 2)) > 2
    assert retry_delay(_error(409, None)) is False


def _http_date(seconds: float) -> str:
    return email.utils.format_datetime(dt.datetime.fromtimestamp(seconds, dt.UTC), usegmt=True)


def _retry_after_of(client: LinkageClient, service: FakeService, headers: dict[str, str]) -> float | None:
    client.me()
    service.failures.append(Reply(500, {}, headers))
    with pytest.raises(TryAgainLaterError) as caught:
        client.me()
    return caught.value.retry_after_s


def test_retry_after_as_a_date_is_understood(client: LinkageClient, service: FakeService, hand_clock: Any) -> None:
    assert _retry_after_of(client, service, {"Retry-After": _http_date(hand_clock.seconds + 3600)}) == 3600


def test_retry_after_as_a_date_is_compared_with_the_services_clock(
    client: LinkageClient, service: FakeService, hand_clock: Any
) -> None:
    theirs = hand_clock.seconds + 900
    headers = {"Date": _http_date(theirs), "Retry-After": _http_date(theirs + 20)}
    assert _retry_after_of(client, service, headers) == 20


def test_retry_after_in_the_past_is_now(client: LinkageClient, service: FakeService, hand_clock: Any) -> None:
    assert _retry_after_of(client, service, {"Retry-After": _http_date(hand_clock.seconds - 5)}) == 0


@pytest.mark.parametrize("value", ["", "soon", "-3", "1.5", "Wed, 99 Foo 2026", "Mon, 01 Jan 99999 00:00:00 GMT"])
def test_retry_after_that_is_neither_is_passed_over(client: LinkageClient, service: FakeService, value: str) -> None:
    assert _retry_after_of(client, service, {"Retry-After": value}) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (403, PolicyRefusalError),
        (404, NotFoundError),
        (412, StateConflictError),
        (413, InvalidRequestError),
        (500, TryAgainLaterError),
        (418, ServiceError),
    ],
)
def test_problem_becomes_the_error_of_its_status(
    client: LinkageClient, service: FakeService, status: int, kind: type[ServiceError]
) -> None:
    service.on("GET", "/v1/me", problem(status))
    with pytest.raises(kind) as caught:
        client.me()
    assert caught.value.request_id == "req_1"
    assert "req_1" in str(caught.value)


def test_policy_refusal_names_its_elements(client: LinkageClient, service: FakeService) -> None:
    element = {"element": "purpose", "policy": "purpose-listed", "reason": "This purpose is not in the agreement."}
    service.on("GET", "/v1/me", problem(403, "policy", agreement="ISP-1", elements=[element]))
    with pytest.raises(PolicyRefusalError) as caught:
        client.me()
    assert caught.value.elements == (RefusedElement(**element),)
    assert caught.value.agreement == "ISP-1"
    assert "not in the agreement" in caught.value.message


def test_message_from_outside_loses_its_control_characters(client: LinkageClient, service: FakeService) -> None:
    service.on("GET", "/v1/me", problem(404, detail="gone\x1b[2J"))
    with pytest.raises(NotFoundError) as caught:
        client.me()
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("reply", [Reply(200, text=b"<html>"), Reply(200, {"other": 1}), Reply(302, {})])
def test_answer_of_something_else_is_unexpected(client: LinkageClient, service: FakeService, reply: Reply) -> None:
    service.on("GET", "/v1/me", reply)
    with pytest.raises(UnexpectedAnswerError):
        client.me()


def test_answer_with_unknown_members_is_understood(client: LinkageClient, service: FakeService) -> None:
    service.on("GET", "/v1/me", {**me(), "new": 1})
    assert client.me().client.id == "cli_1"


class Numbered:
    """Organisations org_0, org_1, ... in pages of the size that is asked for; notes the sizes."""

    def __init__(self, service: FakeService, *, count: int) -> None:
        self.sizes: list[int] = []
        self._count = count
        service.on("GET", "/v1/organisations", self.page)

    def page(self, asked: Any) -> Reply:
        first, size = int(asked.query.get("cursor", 0)), int(asked.query["limit"])
        self.sizes.append(size)
        end = min(first + size, self._count)
        items = [{**organisation(), "id": f"org_{number}"} for number in range(first, end)]
        return Reply(content={"items": items, "next_cursor": str(end) if end < self._count else None})


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_list_walks_through_all_pages(client: LinkageClient, service: FakeService, count: int) -> None:
    numbered = Numbered(service, count=count)
    listing = client.organisations.list()
    assert [found.id for found in listing] == [f"org_{number}" for number in range(count)]
    assert len(numbered.sizes) == max(1, -(-count // 100))
    assert list(listing) == []
    assert len(numbered.sizes) == max(1, -(-count // 100))


@pytest.mark.parametrize(
    ("limit", "sizes"), [(0, []), (1, [1]), (100, [100]), (120, [100, 20]), (249, [100, 100, 49]), (999, [100] * 3)]
)
def test_list_with_a_limit_asks_for_no_more(
    client: LinkageClient, service: FakeService, limit: int, sizes: list[int]
) -> None:
    numbered = Numbered(service, count=250)
    assert len(list(client.organisations.list(limit=limit))) == min(limit, 250)
    assert numbered.sizes == sizes


def test_list_gives_no_more_than_its_limit_even_if_the_service_does(
    client: LinkageClient, service: FakeService
) -> None:
    service.on("GET", "/v1/organisations", {"items": [organisation()] * 5, "next_cursor": None})
    assert len(list(client.organisations.list(limit=2))) == 2


def test_list_with_a_negative_limit_is_refused(client: LinkageClient) -> None:
    with pytest.raises(ConfigurationError):
        client.organisations.list(limit=-1)


def test_list_fetches_a_page_when_it_is_needed(client: LinkageClient, service: FakeService) -> None:
    numbered = Numbered(service, count=250)
    listing = client.organisations.list()
    assert numbered.sizes == []
    first = listing.first()
    assert first is not None
    assert first.id == "org_0"
    assert len(numbered.sizes) == 1


def test_first_of_an_empty_list_is_none(client: LinkageClient, service: FakeService) -> None:
    Numbered(service, count=0)
    assert client.organisations.list().first() is None


def test_list_passes_over_empty_pages(client: LinkageClient, service: FakeService) -> None:
    def pages(asked: Any) -> Reply:
        place = int(asked.query.get("cursor", 0))
        items = [organisation()] if place == 3 else []
        return Reply(content={"items": items, "next_cursor": str(place + 1) if place < 4 else None})

    service.on("GET", "/v1/organisations", pages)
    assert len(list(client.organisations.list())) == 1


@pytest.mark.parametrize("cursor", ["same", 7, {}])
def test_list_that_turns_in_circles_is_refused(client: LinkageClient, service: FakeService, cursor: Any) -> None:
    service.on("GET", "/v1/organisations", {"items": [], "next_cursor": cursor})
    with pytest.raises(UnexpectedAnswerError):
        list(client.organisations.list())


def test_list_of_nothing_but_new_cursors_is_refused(client: LinkageClient, service: FakeService) -> None:
    def pages(asked: Any) -> Reply:
        return Reply(content={"items": [], "next_cursor": f"{asked.query.get('cursor', '')}x"})

    service.on("GET", "/v1/organisations", pages)
    with pytest.raises(UnexpectedAnswerError):
        list(client.organisations.list())


def _event(seq: int) -> dict[str, Any]:
    return {"seq": seq, "leaf_hash": "00", "header": {"type": "run.started"}}


def test_events_are_paged_by_sequence_number(client: LinkageClient, service: FakeService) -> None:
    def pages(asked: Any) -> Reply:
        after = int(asked.query.get("after", -1))
        items = [_event(after + 1), _event(after + 2)]
        return Reply(content={"items": items, "next_after": after + 2 if after < 3 else None})

    service.on("GET", "/v1/audit/events", pages)
    assert [event.seq for event in client.audit.events()] == [0, 1, 2, 3, 4, 5]


def test_events_are_paged_backwards_too(client: LinkageClient, service: FakeService) -> None:
    def pages(asked: Any) -> Reply:
        before = int(asked.query.get("before", 6))
        items = [_event(before - 1), _event(before - 2)]
        return Reply(content={"items": items, "next_before": before - 2 if before > 2 else None})

    service.on("GET", "/v1/audit/events", pages)
    assert [event.seq for event in client.audit.events(newest_first=True)] == [5, 4, 3, 2, 1, 0]


def test_events_that_turn_in_circles_are_refused(client: LinkageClient, service: FakeService) -> None:
    service.on("GET", "/v1/audit/events", {"items": [_event(1)], "next_after": 1})
    with pytest.raises(UnexpectedAnswerError):
        list(client.audit.events())


def test_events_with_a_limit_ask_for_no_more(client: LinkageClient, service: FakeService) -> None:
    def pages(asked: Any) -> Reply:
        after, size = int(asked.query.get("after", -1)), int(asked.query["limit"])
        return Reply(
            content={"items": [_event(after + 1 + place) for place in range(size)], "next_after": after + size}
        )

    service.on("GET", "/v1/audit/events", pages)
    assert [event.seq for event in client.audit.events(limit=503)] == list(range(503))
    sizes = [asked.query["limit"] for asked in service.asked if asked.path == "/v1/audit/events"]
    assert sizes == ["500", "3"]


def test_answer_knows_its_request_and_its_event_in_the_ledger(client: LinkageClient, service: FakeService) -> None:
    headers = {"X-Request-Id": "req_9", "Linkage-Event": "41"}
    service.on("POST", "/v1/organisations", Reply(201, organisation(), headers))
    made = client.organisations.create(name="Council")
    assert (made.request_id, made.ledger_event) == ("req_9", 41)
    assert "request_id" not in made.model_dump()
    assert made == Organisation.model_validate(organisation())


def test_answer_without_such_headers_knows_neither(client: LinkageClient, service: FakeService) -> None:
    service.on("GET", "/v1/me", Reply(200, me(), {"Linkage-Event": "many"}))
    assert (client.me().request_id, client.me().ledger_event) == (None, None)


def test_creating_call_with_a_key_of_the_caller_sends_that_one(client: LinkageClient, service: FakeService) -> None:
    service.on("POST", "/v1/organisations", Reply(201, organisation()))
    client.organisations.create(name="Council", idempotency_key="nightly-7")
    assert service.asked[-1].headers["idempotency-key"] == "nightly-7"


def test_version_needs_no_log_in(client: LinkageClient, service: FakeService) -> None:
    service.on("GET", "/version", {"name": "linkage-service", "version": "1.2.3"})
    service.public.add("/version")
    assert client.version().version == "1.2.3"
    assert service.tokens_issued == 0


@pytest.mark.parametrize("reply", [Reply(200, text=b"<html>"), Reply(200, {"other": 1}), Reply(302, {})])
def test_answer_of_something_else_keeps_its_request_id(
    client: LinkageClient, service: FakeService, reply: Reply
) -> None:
    service.on("GET", "/v1/me", replace(reply, headers={"X-Request-Id": "req_7"}))
    with pytest.raises(UnexpectedAnswerError) as caught:
        client.me()
    assert caught.value.request_id == "req_7"
    assert "req_7" in str(caught.value)


def test_every_error_has_a_code_a_message_and_a_place_for_a_request_id() -> None:
    error = ConfigurationError("What to do.")
    assert (error.code, error.message, error.request_id, str(error)) == (
        "configuration",
        "What to do.",
        None,
        "What to do.",
    )


def test_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert next(name for _, name in drawn) == "LinkageClientError"
    above: list[str] = []
    for lines, name in drawn:
        depth = len(lines) // 4
        kind: type[Exception] = getattr(errors, name)
        assert depth == 0 or kind.__bases__ == (getattr(errors, above[depth - 1]),), name
        above[depth:] = [name]
    defined = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {name for _, name in drawn} == defined


def test_anonymous_client_is_told_to_register(service: FakeService) -> None:
    url = "https://service.example"
    with (
        LinkageClient(service_url=url, transport=Transport(url, http_transport=service.transport())) as anonymous,
        pytest.raises(ConfigurationError, match="register"),
    ):
        anonymous.me()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:1", "https://a.example"])
def test_service_url_that_is_safe_is_taken(url: str) -> None:
    check_service_url(url)


@pytest.mark.parametrize(
    "url", ["http://a.example", "http://localhost.a.example", "ftp://a", "a.example", "https://me:pw@a.example", ""]
)
def test_service_url_that_is_not_safe_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        check_service_url(url)


def test_service_url_of_plain_http_can_be_allowed() -> None:
    check_service_url("http://a.example", allow_plain_http=True)


@pytest.mark.parametrize("segment", ["", "..", "a/b", "a?b", "a%2Fb"])
def test_path_of_something_that_is_no_id_is_refused(segment: str) -> None:
    with pytest.raises(ConfigurationError):
        path_of("runs", segment)


def test_requests_name_the_client_and_no_secret_is_logged(
    client: LinkageClient, service: FakeService, client_key: SigningKey, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.me()
        service.failures.append(problem(503))
        client.me()
    assert service.asked[-1].headers["user-agent"].startswith("linkage-client/")
    assert "token-1" not in caplog.text
    assert "eyJ" not in caplog.text
    assert "token-1" not in repr(client.__dict__)
    assert client_key.thumbprint in repr(Credentials(client_id="cli_1", client_key=client_key))
