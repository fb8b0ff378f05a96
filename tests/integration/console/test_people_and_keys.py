"""People, machines and keys of organisations in the console: what is shown, what is done, and what is refused."""

import json
import re
from typing import Any

import pytest

from linkage_console.calling import Answer, Call
from support.console import Visitor, visitor, words_of
from support.key_exchange import ExchangeKeys
from support.service_app import Json, Key, Organisation, Person, ServiceApp, ok

EVIL = "<script>alert(1)</script>"
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"


@pytest.fixture
def partner(service: ServiceApp) -> Organisation:
    return service.join()


@pytest.fixture
def signatory(service: ServiceApp, partner: Organisation) -> Visitor:
    return visitor(service, partner, "signatory")


@pytest.fixture
def officer(service: ServiceApp) -> Visitor:
    return visitor(service, service.officer, "officer")


def _code(guest: Visitor) -> str:
    assert guest.person is not None
    return guest.person.next_code()


def _path(organisation: Organisation | Visitor) -> str:
    if isinstance(organisation, Visitor):
        assert organisation.person is not None
        return f"/organisations/{organisation.person.organisation}"
    return f"/organisations/{organisation.organisation}"


def _invited(service: ServiceApp, signatory: Visitor, **fields: str) -> Person:
    """Somebody invited with the form, who has enrolled with the link that it showed."""
    assert signatory.person is not None
    draft = {"name": "Alex Morgan", "email": "alex@body.test", "role-analyst": "yes", "code": _code(signatory)}
    page = signatory.post(f"{_path(signatory)}/people/new", {**draft, **fields})
    link = re.search(r'id="link">https://linkage\.test/enrol/([A-Za-z0-9_-]{43})<', page.text)
    assert link is not None, words_of(page)
    person = next(
        item for item in ok(signatory.http.get(f"/v1{_path(signatory)}/people"), 200)["items"]
        if item["email"] == draft["email"]
    )  # fmt: skip
    invitation = {"person": person, "token": link[1]}
    return Person(service, organisation=signatory.person.organisation, invitation=invitation)


def test_signatory_invites_a_person_who_enrols_with_the_link_shown(service: ServiceApp, signatory: Visitor) -> None:
    person = _invited(service, signatory)
    person.sign_in()
    me = ok(person.get("/v1/me"), 200)["person"]
    assert (me["name"], me["roles"]) == ("Alex Morgan", ["analyst"])
    said = words_of(signatory.get(_path(signatory)))
    assert "Alex Morgan enabled As analyst" in said


def test_invitation_without_a_role_or_second_factor_makes_no_account(service: ServiceApp, signatory: Visitor) -> None:
    path = f"{_path(signatory)}/people/new"
    before = service.size()
    missing = signatory.post(path, {"name": "A", "email": "a@body.test", "role-analyst": "yes"})
    assert missing.status_code == 403
    assert "second factor is asked for again" in words_of(missing)
    assert 'value="a@body.test"' in missing.text
    assert 'value="yes" checked' in missing.text
    none = signatory.post(path, {"name": "A", "email": "a@body.test", "code": _code(signatory)})
    assert "Choose at least one role" in words_of(none)
    assert {event["type"] for event in service.events()[before:]} == {"person.refused", "person.stepped_up"}


def test_person_gets_other_roles_and_is_shut_out_and_let_in(service: ServiceApp, signatory: Visitor) -> None:
    person = _invited(service, signatory)
    person.sign_in()
    path = f"{_path(signatory)}/people/{person.person}"
    changed = signatory.post(f"{path}/roles", {"role-recipient": "yes", "role-signatory": "yes"})
    assert "The roles are changed." in words_of(changed)
    assert person.get("/v1/me").status_code == 401
    person.sign_in()
    assert ok(person.get("/v1/me"), 200)["person"]["roles"] == ["recipient", "signatory"]


def test_sessions_of_a_person_end_and_the_account_closes_and_opens(service: ServiceApp, signatory: Visitor) -> None:
    person = _invited(service, signatory)
    person.sign_in()
    path = f"{_path(signatory)}/people/{person.person}"
    for act, said in (("end-sessions", "The sessions have ended."), ("disable", "The account is disabled.")):
        assert said in words_of(signatory.post(f"{path}/{act}"))
        assert person.get("/v1/me").status_code == 401
    assert "Enable the account" in words_of(signatory.get(path))
    assert "End all sessions" not in words_of(signatory.get(path))
    assert "The account is enabled." in words_of(signatory.post(f"{path}/enable"))
    person.sign_in()


def test_new_link_stops_what_the_person_signed_in_with(service: ServiceApp, signatory: Visitor) -> None:
    person = _invited(service, signatory)
    person.sign_in()
    page = signatory.post(f"{_path(signatory)}/people/{person.person}/link")
    assert "Send this link to Alex Morgan" in words_of(page)
    assert person.get("/v1/me").status_code == 401


def test_own_account_is_changed_by_others_only(signatory: Visitor) -> None:
    assert signatory.person is not None
    path = f"{_path(signatory)}/people/{signatory.person.person}"
    assert "This is your own account" in words_of(signatory.get(path))
    assert "Disable" not in words_of(signatory.get(path))
    refused = signatory.post(f"{path}/disable", {"code": _code(signatory)})
    assert refused.status_code == 409
    assert "your own account" in words_of(refused)


def test_officer_of_the_unit_looks_after_officers_only(service: ServiceApp, officer: Visitor) -> None:
    other = service.person(service.officer, "officer")
    administrator = service.person(service.administrator, "administrator")
    assert "Disable the account" in words_of(officer.get(f"{_path(officer)}/people/{other.person}"))
    page = officer.get(f"{_path(officer)}/people/{administrator.person}")
    assert "Disable the account" not in words_of(page)
    refused = officer.post(
        f"{_path(officer)}/people/{administrator.person}/roles", {"role-officer": "yes", "code": _code(officer)}
    )
    assert refused.status_code == 403
    form = words_of(officer.get(f"{_path(officer)}/people/new"))
    assert "Officer: reads" in form
    assert "Administrator" not in form


def test_administrator_of_the_unit_invites_the_first_signatory_of_a_partner(service: ServiceApp) -> None:
    administrator = visitor(service, service.administrator, "administrator")
    made = ok(service.administrator.post("/v1/organisations", {"name": "Northshire"}), 201)
    path = f"/organisations/{made['id']}"
    before = service.size()
    assert "invites the first signatory" in words_of(administrator.get(path))
    # To look at the page is nothing that was refused.
    assert [event["type"] for event in service.events()[before:]] == []
    draft = {"name": "Sam", "email": "sam@north.test", "role-signatory": "yes", "code": _code(administrator)}
    assert "Send this link to Sam" in words_of(administrator.post(f"{path}/people/new", draft))


def test_people_of_others_are_not_shown(service: ServiceApp, signatory: Visitor) -> None:
    other = service.join()
    person = service.person(other, "analyst")
    assert "People" not in words_of(signatory.get(_path(other)))
    assert signatory.get(f"{_path(other)}/people/{person.person}").status_code in {403, 404}
    assert signatory.get(f"{_path(signatory)}/people/{person.person}").status_code == 404


def test_machine_is_registered_gets_a_key_and_loses_one_and_is_removed(
    partner: Organisation, signatory: Visitor
) -> None:
    first, second = Key(), Key()
    draft = {"name": "night server", "role-analyst": "yes", "jwk": json.dumps(first.jwk), "code": _code(signatory)}
    page = signatory.post(f"{_path(partner)}/clients/new", draft)
    assert "The machine is registered." in words_of(page)
    found = next(
        item for item in ok(partner.get(f"/v1{_path(partner)}/clients"), 200)["items"] if item["name"] == "night server"
    )
    path = f"{_path(partner)}/clients/{found['id']}"
    assert "The key is added." in words_of(signatory.post(f"{path}/add-key", {"jwk": json.dumps(second.jwk)}))
    assert "The key is removed." in words_of(signatory.post(f"{path}/keys/{first.thumbprint}/remove"))
    said = words_of(signatory.get(path))
    assert f"{first.thumbprint} removed" in said
    assert f"{second.thumbprint} in force" in said
    last = signatory.post(f"{path}/keys/{second.thumbprint}/remove")
    assert last.status_code == 409
    assert "the client's last key" in words_of(last)
    assert "The machine is removed." in words_of(signatory.post(f"{path}/remove"))
    assert "Remove this key" not in words_of(signatory.get(path))
    assert "Add a key" not in words_of(signatory.get(path))


def test_private_key_is_neither_passed_on_nor_shown_again(
    service: ServiceApp, partner: Organisation, signatory: Visitor
) -> None:
    path = f"{_path(partner)}/clients/{partner.client}/add-key"
    before = service.size()
    refused = signatory.post(path, {"jwk": json.dumps({**Key().jwk, "d": SECRET})})
    assert refused.status_code == 422
    assert "This is a private key" in words_of(refused)
    assert SECRET not in refused.text
    assert service.size() == before
    for text in ("", "[]", "{", "[" * 100_000):
        assert "Paste the public key as JSON" in words_of(signatory.post(path, {"jwk": text}))


@pytest.mark.parametrize(
    "pasted",
    [
        {"keys": [{**Key().jwk, "d": SECRET}]},
        {"kty": "oct", "k": SECRET},
        {**Key().jwk, "p": SECRET},
        {**Key().jwk, "x": {"d": SECRET}},
        {**Key().jwk, "kty": ["OKP", SECRET]},
        {"kty": "OKP", "crv": "Ed25519"},
        {},
    ],
)
def test_what_is_not_one_public_key_is_not_passed_on(
    partner: Organisation, signatory: Visitor, monkeypatch: pytest.MonkeyPatch, pasted: Json
) -> None:
    sent: list[Any] = []
    send = Call._send

    async def watched(self: Call, method: str, path: str, **content: Any) -> Answer:
        sent.append(content.get("json"))
        return await send(self, method, path, **content)

    monkeypatch.setattr(Call, "_send", watched)
    refused = signatory.post(f"{_path(partner)}/clients/{partner.client}/add-key", {"jwk": json.dumps(pasted)})
    assert refused.status_code == 422
    assert "was not passed on" in words_of(refused)
    assert SECRET not in refused.text
    assert SECRET not in json.dumps(sent)


def test_public_key_with_its_name_is_taken(partner: Organisation, signatory: Visitor) -> None:
    path = f"{_path(partner)}/clients/{partner.client}/add-key"
    jwk = {**Key().jwk, "kid": "server", "alg": "Ed25519", "use": "sig"}
    taken = signatory.post(path, {"jwk": json.dumps(jwk), "code": _code(signatory)})
    assert taken.status_code == 200
    assert "The key is added" in taken.text


def test_officer_suspends_a_partners_machine_from_its_event(
    service: ServiceApp, partner: Organisation, officer: Visitor
) -> None:
    ok(partner.get("/v1/audit/events"), 200)
    seq = next(seq for seq, event in enumerate(service.events()) if event["actor"]["id"] == partner.client)
    event = officer.get(f"/activity/{seq}")
    path = f"{_path(partner)}/clients/{partner.client}"
    assert f'href="/console{path}"' in event.text
    said = words_of(officer.get(path))
    assert "What is registered of it is for the people of" in said
    assert "first machine" not in said
    done = officer.post(f"{path}/suspend", {"reason": "Probing.", "code": _code(officer)})
    assert "The machine is suspended." in words_of(done)
    assert partner.get("/v1/agreements").status_code in {401, 403}
    assert "may act again" in words_of(officer.post(f"{path}/reinstate", {"reason": "An error."}))
    partner.forget_token()
    ok(partner.get("/v1/agreements"), 200)
    assert "warning is on record" in words_of(officer.post(f"{path}/warn", {"reason": "Once more."}))


def test_machine_of_others_is_not_there_for_people_of_partners(service: ServiceApp, signatory: Visitor) -> None:
    other = service.join()
    path = f"{_path(other)}/clients/{other.client}"
    assert signatory.get(path).status_code == 404
    refused = signatory.post(f"{path}/suspend", {"reason": "x", "code": _code(signatory)})
    assert refused.status_code in {403, 404}
    ok(other.get("/v1/me"), 200)


def test_key_card_and_signing_key_are_shown_with_what_they_are_compared_by(
    partner: Organisation, officer: Visitor
) -> None:
    assert "Key card none published" in words_of(officer.get(_path(partner)))
    card = ExchangeKeys(partner.organisation).card()
    published = ok(partner.request("PUT", f"/v1{_path(partner)}/key-card", json=card), 200)
    said = words_of(officer.get(_path(partner)))
    assert partner.signing_key.thumbprint in said
    assert published["digest"] in said.replace(" ", "")
    assert "Since 1 March 2026" in said


def test_names_of_people_and_machines_are_never_markup(service: ServiceApp, signatory: Visitor) -> None:
    person = _invited(service, signatory, name=EVIL)
    draft = {"name": EVIL, "role-analyst": "yes", "jwk": json.dumps(Key().jwk)}
    pages = [signatory.post(f"{_path(signatory)}/clients/new", draft)]
    people = f"{_path(signatory)}/people/{person.person}"
    pages += [signatory.get(path) for path in (_path(signatory), people, f"{people}/disable")]
    pages.append(signatory.post(f"{people}/link"))
    assert [page.url.path for page in pages if EVIL in page.text] == []
    assert all("&lt;script&gt;" in page.text for page in pages)


def test_form_of_people_from_another_site_changes_nothing(service: ServiceApp, signatory: Visitor) -> None:
    person = _invited(service, signatory)
    before = service.size()
    foreign = {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}
    for path in (f"/people/{person.person}/disable", "/people/new", "/clients/new"):
        answer = signatory.post(f"{_path(signatory)}{path}", {}, headers=foreign)
        assert answer.status_code == 403
        assert "Not sent by a page of this service" in words_of(answer)
    assert service.size() == before
