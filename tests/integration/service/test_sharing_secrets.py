"""Providers share one secret through the real service: the whole ceremony, its accidents, what a false service gets.

Each machine has a folder of its own and talks to the service over HTTP, in this process.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from linkage_client.agreed import agreed_terms
from linkage_client.config import save_profile
from linkage_client.encoding.key_check import check_value
from linkage_client.encoding.working_keys import working_key
from linkage_client.errors import (
    AgreementMismatchError,
    InvalidRequestError,
    KeyExchangeError,
    PolicyRefusalError,
    StateConflictError,
)
from linkage_client.exchange.cards import KeyCard
from linkage_client.exchange.comparisons import Comparisons
from linkage_client.exchange.envelopes import wrap
from linkage_client.exchange.private_keys import ExchangeKeys
from linkage_client.exchange.sealed import seal, unseal
from linkage_client.exchange.storage import exchange_keys_of
from linkage_client.exchange.suites import Suite
from linkage_client.keys import SigningKey
from linkage_client.keystore import Secrets
from support.providers import Killed, Machine, compare, machines_of, meet
from support.service_app import Linked, ServiceApp, data_sets, ok, service_app

Machines = list[Machine]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    with service_app(tmp_path_factory.mktemp("service")) as made:
        yield made


@pytest.fixture
def linked(service: ServiceApp, request: pytest.FixtureRequest) -> Linked:
    """A project of two providers, or of as many as the test is marked with: each costs requests."""
    return service.project(providers=getattr(request, "param", 2))


@pytest.fixture
def machines(service: ServiceApp, linked: Linked, tmp_path: Path) -> Machines:
    return machines_of(linked, service, tmp_path)


def begin(machines: Machines, project: str) -> bytes:
    """All of it, for everybody; gives the secret."""
    meet(machines, project)
    first, *others = machines
    first.share(project)
    for machine in others:
        machine.accept(project)
    secret = first.secret(project)
    assert secret is not None
    return secret


def refused(code: str, act: Callable[[], Any]) -> KeyExchangeError:
    """What is said when something is not done."""
    with pytest.raises(KeyExchangeError) as raised:
        act()
    assert raised.value.code == code, raised.value
    return raised.value


# --- the ceremony -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_three_providers_come_to_hold_one_secret(service: ServiceApp, linked: Linked, machines: Machines) -> None:
    secret = begin(machines, linked.project)
    assert {machine.secret(linked.project) for machine in machines} == {secret}
    for machine in machines:
        standing = machine.look(linked.project)
        assert all(one.holds for one in standing.providers)
        assert "linkage encode" in standing.next_steps[0]
    types = [event["type"] for event in service.events()]
    assert {"key_card.published", "key_exchange.code_compared", "key_exchange.secret_confirmed"} <= set(types)
    assert service.verified()


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_standing_leads_each_provider_through_the_ceremony(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b, c = machines

    def step(machine: Machine) -> str:
        return "".join(machine.look(project).next_steps[:1])

    assert "`linkage keys init`" in step(a)
    a.init()
    assert step(a) == ""
    assert all("has not published its keys" in sentence for sentence in a.look(project).awaited)
    b.init()
    c.init()
    assert "`linkage project confirm-code" in step(a)
    compare(machines, project)
    assert "`linkage project share-secret" in step(a)
    a.share(project)
    assert "`linkage project accept-secret" in step(b)
    assert "has not opened its envelope" in a.look(project).awaited[0]
    b.accept(project)
    assert "`linkage encode" in step(b)
    (waiting,) = [one for one in a.look(project).awaited if "envelope" in one]
    assert a.look(project).name_of(c.id) in waiting


def test_nothing_is_sealed_or_opened_before_the_code_was_compared(linked: Linked, machines: Machines) -> None:
    a, b = machines
    for machine in machines:
        machine.init()
    refused("not_compared", lambda: a.share(linked.project))
    assert a.secret(linked.project) is None
    compare([a], linked.project)
    a.share(linked.project)
    refused("not_compared", lambda: b.accept(linked.project))
    assert b.secret(linked.project) is None


def test_code_that_differs_is_said_plainly_and_not_recorded(linked: Linked, machines: Machines) -> None:
    a = machines[0]
    for machine in machines:
        machine.init()
    code = a.look(linked.project).code
    assert code is not None
    other = code[:-1] + str((int(code[-1]) + 1) % 10)
    said = refused("codes_differ", lambda: a.ceremony.confirm_code(linked.project, said=other))
    assert "Nobody should share anything" in said.message
    refused("code_not_whole", lambda: a.ceremony.confirm_code(linked.project, said=code[:-1]))
    assert not a.look(linked.project).compared_here
    assert not any(one.compared for one in machines[1].look(linked.project).providers)
    a.ceremony.confirm_code(linked.project, said=code.replace(" ", ""))
    assert a.look(linked.project).compared_here


def test_second_provider_that_shares_is_told_to_accept(linked: Linked, machines: Machines) -> None:
    a, b = machines
    meet(machines, linked.project)
    a.share(linked.project)
    said = refused("already_shared", lambda: b.share(linked.project))
    assert "accept-secret" in said.message
    assert b.secret(linked.project) is None
    b.accept(linked.project)
    assert b.secret(linked.project) == a.secret(linked.project)


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_providers_that_draw_at_the_same_time_end_with_one_secret(linked: Linked, machines: Machines) -> None:
    a, b, c = machines
    meet(machines, linked.project)
    # B has drawn, and was cut off before the service heard of it; meanwhile A shares.
    Secrets(b.profile).add(linked.project, 1, secrets.token_bytes(31) + b"x")
    a.share(linked.project)
    refused("already_shared", lambda: b.share(linked.project))
    b.accept(linked.project)
    c.accept(linked.project)
    assert len({machine.secret(linked.project) for machine in machines}) == 1


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_each_step_can_be_killed_at_every_request_and_done_again(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b, c = machines
    kills = sum(machine.repeated(machine.init) for machine in machines)
    codes = {machine.look(project).code for machine in machines}
    assert len(codes) == 1
    (code,) = codes
    assert code is not None
    for machine in machines:
        kills += machine.repeated(lambda machine=machine: machine.ceremony.confirm_code(project, said=code))  # type: ignore[misc]
    kills += a.repeated(lambda: a.share(project))
    kept = a.secret(project)
    kills += b.repeated(lambda: b.accept(project))
    kills += c.repeated(lambda: c.accept(project))
    assert kills > 15
    assert {machine.secret(project) for machine in machines} == {kept}
    assert all(one.holds for one in a.look(project).providers)


@pytest.mark.parametrize("place", ["add", "replace"])
def test_step_killed_while_it_keeps_the_secret_can_be_done_again(
    linked: Linked, machines: Machines, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = linked.project
    a, b = machines
    meet(machines, project)
    if place == "replace":
        Secrets(b.profile).add(project, 1, b"a secret that nobody else has")
    whole = getattr(Secrets, place)

    def cut(self: Secrets, *arguments: Any, **named: Any) -> None:
        whole(self, *arguments, **named)
        raise Killed

    for machine, act in ((a, a.share), (b, b.accept)):
        with monkeypatch.context() as patch:
            patch.setattr(Secrets, place, cut)
            if place == "add" or machine is b:
                with pytest.raises(Killed):
                    act(project)
        act(project)
    assert a.secret(project) == b.secret(project)


# --- what happens later -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_lost_keystore_is_mended_by_another_provider_and_by_nobody_else(
    service: ServiceApp, linked: Linked, machines: Machines, tmp_path: Path
) -> None:
    project = linked.project
    secret = begin(machines, project)
    a, b, c = machines
    before = _working_key(b, project)

    new = Machine(service, b.organisation, tmp_path / "new-laptop")
    assert "keys init" in new.look(project).next_steps[0]
    new.init()
    # Nobody shares with the new keys before a new comparison, and the service has nothing that they open.
    refused("not_compared", lambda: new.accept(project))
    said = refused("cards_changed", lambda: a.share(project))
    assert a.look(project).name_of(b.id) in said.message
    refused("not_on_call", lambda: a.ceremony.confirm_code(project, said=str(c.look(project).code)))
    assert not a.look(project).compared_here
    a.ceremony.confirm_code(project, said=str(c.look(project).code), on_call=[b.id])
    new.ceremony.confirm_code(project, said=str(c.look(project).code))
    refused("nothing_to_accept", lambda: new.accept(project))
    assert new.secret(project) is None

    said = refused("say_for_whom", lambda: a.share(project))
    assert f"--for {b.id}" in said.message
    refused("nothing_to_accept", lambda: new.accept(project))
    refused("no_such_provider", lambda: a.share(project, "Somebody"))
    shared = a.share(project, a.look(project).name_of(b.id))
    assert (shared.drawn, shared.sealed_for) == (False, (b.id,))
    new.accept(project)
    assert new.secret(project) == secret
    assert _working_key(new, project) == before
    assert new.look(project).epoch == 1
    # The machine that was lost cannot take part with its old keys.
    assert "not of the keys on this machine" in b.look(project).next_steps[0]
    refused("own_card_replaced", lambda: b.share(project))


def test_initiator_that_lost_all_gets_the_secret_from_who_accepted(
    service: ServiceApp, linked: Linked, machines: Machines, tmp_path: Path
) -> None:
    project = linked.project
    secret = begin(machines, project)
    a, b = machines
    new = Machine(service, a.organisation, tmp_path / "new-laptop")
    new.init()
    compare([b, new], project)
    b.share(project, a.id)
    new.accept(project)
    assert new.secret(project) == secret


def test_secret_that_nobody_holds_any_more_leads_to_a_new_epoch(
    service: ServiceApp, linked: Linked, machines: Machines, tmp_path: Path
) -> None:
    project = linked.project
    a, b = machines
    meet(machines, project)
    a.share(project)
    new = Machine(service, a.organisation, tmp_path / "new-laptop")
    new.init()
    compare([new, b], project)
    assert "new-epoch" in new.look(project).next_steps[0]


def test_rotated_keys_need_a_new_code_and_no_new_secret(linked: Linked, machines: Machines) -> None:
    project = linked.project
    secret = begin(machines, project)
    a, c = machines
    code = a.look(project).code
    c.rotate()
    standing = a.look(project)
    assert standing.code != code
    assert not standing.compared_here
    assert standing.changed == (standing.name_of(c.id),)
    # It has said again that it holds the secret, so that nobody has to seal it for the new keys.
    assert standing.to_seal_for == []
    assert c.secret(project) == secret
    assert "linkage encode" in c.look(project).next_steps[0]


def test_rotation_killed_at_every_request_ends_with_one_set_of_keys(linked: Linked, machines: Machines) -> None:
    project = linked.project
    secret = begin(machines, project)
    a, b = machines
    assert b.repeated(b.rotate) > 0
    keys = exchange_keys_of(b.profile)
    assert keys is not None
    assert b.client.keys.card(organisation_id=b.id).digest == keys.card(b.id).digest
    assert len(list(b.profile.folder.glob("exchange-keys*"))) == 1
    assert b.secret(project) == secret
    assert a.look(project).to_seal_for == []


def test_service_that_denies_what_it_has_noted_changes_nothing(linked: Linked, machines: Machines) -> None:
    project = linked.project
    secret = begin(machines, project)
    b = machines[1]
    # As if the service had another check value now than when it noted this one.
    Secrets(b.profile).delete(project, 1)
    Secrets(b.profile).add(project, 1, b"another secret than was noted")
    refused("other_secret", lambda: b.accept(project))
    assert b.secret(project) == b"another secret than was noted" != secret


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_new_epoch_needs_a_new_code_and_gives_a_new_secret(linked: Linked, machines: Machines) -> None:
    project = linked.project
    secret = begin(machines, project)
    a, b, c = machines
    found, opened = c.ceremony.new_epoch(project, reason="suspected_leak")
    assert (found.epoch, opened) == (2, True)
    assert a.look(project).epoch == 2
    refused("not_compared", lambda: a.share(project))
    compare(machines, project)
    b.share(project)
    a.accept(project)
    c.accept(project)
    assert {machine.secret(project, epoch=2) for machine in machines} == {b.secret(project, epoch=2)}
    assert b.secret(project, epoch=2) != secret
    assert a.secret(project) == secret


def test_new_epoch_whose_answer_was_lost_is_not_opened_twice(linked: Linked, machines: Machines) -> None:
    a = machines[0]
    a.wire.mend()
    a.wire.cut_after = 1
    with pytest.raises(Killed):
        a.ceremony.new_epoch(linked.project, reason="suspected_leak")
    a.wire.mend()
    found, opened = a.ceremony.new_epoch(linked.project, reason="suspected_leak")
    assert (found.epoch, opened) == (2, False)
    found, opened = a.ceremony.new_epoch(linked.project, reason="suspected_leak")
    assert (found.epoch, opened) == (3, True)


def test_new_epoch_is_opened_though_the_service_says_that_it_was(linked: Linked, machines: Machines) -> None:
    a, b = machines
    b.ceremony.new_epoch(linked.project, reason="suspected_leak")
    assert a.ceremony.new_epoch(linked.project, reason="suspected_leak")[1] is True


def test_epoch_that_was_only_opened_here_is_remembered(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a = machines[0]
    before = a.client.projects.get(project_id=project)
    a.ceremony.new_epoch(project, reason="suspected_leak")
    a.wire.tamper[project] = lambda answer: answer | {"key_epoch": before.key_epoch}
    said = refused("epoch_went_back", lambda: agreed_terms(a.client, project_id=project, profile=a.profile))
    assert "until the epoch is above 2" in said.message


def test_secret_that_was_lost_alone_comes_back_from_another_provider(linked: Linked, machines: Machines) -> None:
    project = linked.project
    secret = begin(machines, project)
    a, b = machines
    # An envelope is gone once its receiver has shown that it holds the secret, and who drew it never had one. So
    # another provider seals one, though the service says that it is held.
    Secrets(b.profile).delete(project, 1)
    assert f"--for {b.id}" in b.look(project).next_steps[0]
    refused("nothing_to_accept", lambda: b.accept(project))
    assert a.share(project, b.id).sealed_for == (b.id,)
    b.accept(project)
    assert b.secret(project) == secret
    Secrets(a.profile).delete(project, 1)
    said = refused("already_shared", lambda: a.share(project))
    assert "accept-secret" in said.message
    assert f"--for {a.id}" in refused("nothing_to_accept", lambda: a.accept(project)).message
    assert b.share(project, a.id).sealed_for == (a.id,)
    a.accept(project)
    assert a.secret(project) == secret


def test_service_that_denies_that_a_secret_was_shared_does_not_get_it_sealed_for_all(
    linked: Linked, machines: Machines
) -> None:
    project = linked.project
    begin(machines, project)
    a, b = machines

    def denied(answer: Any) -> Any:
        gone = {"confirmed_at": None, "envelope_waiting": False, "envelope_retrieved_at": None}
        providers = [one | gone for one in answer["providers"]]
        return answer | {"check_value_known": False, "initiator": None, "providers": providers}

    for machine in (a, b):
        machine.wire.tamper["/key-exchange"] = denied
        refused("say_for_whom", lambda machine=machine: machine.share(project))  # type: ignore[misc]


def test_imported_secret_is_confirmed_and_not_shared_next(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b = machines
    for machine in machines:
        machine.init()
    Secrets(a.profile).add(project, 1, b"what the providers handed over themselves")
    assert "`linkage project accept-secret" in a.look(project).next_steps[0]
    compare(machines, project)
    refused("kept_secret_imported", lambda: a.share(project))
    a.accept(project)
    refused("say_for_whom", lambda: a.share(project))
    assert next(one for one in b.look(project).providers if one.organisation == a.id).holds


def test_secret_that_uploads_were_not_made_with_is_neither_shared_nor_confirmed(
    service: ServiceApp, tmp_path: Path
) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    machines = machines_of(linked, service, tmp_path / "uploaded")
    for machine in machines:
        machine.init()
    a, b = machines
    compare(machines, linked.project)
    refused("already_shared", lambda: a.share(linked.project))
    assert a.secret(linked.project) is None
    Secrets(a.profile).add(linked.project, 1, b"not what was encoded with")
    refused("already_shared", lambda: a.share(linked.project, b.id))
    refused("nothing_to_accept", lambda: a.accept(linked.project))
    assert a.secret(linked.project) == b"not what was encoded with"


def test_leak_makes_uploads_of_the_old_secret_unusable(service: ServiceApp, tmp_path: Path) -> None:
    linked = service.uploaded(*data_sets(12, 12, shared=6))
    machines = machines_of(linked, service, tmp_path / "uploaded")
    for machine in machines:
        machine.init()
    machines[0].ceremony.new_epoch(linked.project, reason="suspected_leak")
    shown = ok(linked.providers[0].get(f"/v1/uploads/{linked.uploads[0]}"), 200)
    assert shown["usable"] is False
    assert not any(one.uploaded for one in machines[0].look(linked.project).providers)


def test_late_joiner_gets_a_secret_of_a_new_epoch_and_the_old_one_never(service: ServiceApp, tmp_path: Path) -> None:
    linked = service.project(providers=3)
    some = [provider.organisation for provider in linked.providers[:2]]
    project = ok(service.open_project(linked.providers[0], linked.agreement, providers=some), 201)["id"]
    a, b, late = machines_of(linked, service, tmp_path)
    secret = begin([a, b], project)
    late.init()
    assert "linkage project join" in late.look(project).next_steps[0]
    refused("not_a_provider", lambda: late.accept(project))

    late.client.projects.join(project_id=project)
    assert late.look(project).epoch == 2
    compare([a, b, late], project)
    a.share(project)
    b.accept(project)
    late.accept(project)
    assert late.secret(project, epoch=2) == a.secret(project, epoch=2) != secret
    assert late.secret(project) is None


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_leaver_gets_no_later_secret(linked: Linked, machines: Machines) -> None:
    project = linked.project
    begin(machines, project)
    a, b, leaver = machines
    leaver.client.projects.leave(project_id=project, organisation_id=leaver.id)
    assert a.look(project).epoch == 2
    compare([a, b], project)
    a.share(project)
    b.accept(project)
    assert a.secret(project, epoch=2) == b.secret(project, epoch=2) != a.secret(project)
    refused("not_a_provider", lambda: leaver.accept(project))
    with pytest.raises((PolicyRefusalError, StateConflictError)):
        leaver.client.keys.envelopes(project_id=project)


def test_agreement_for_the_hybrid_suite_seals_with_it(service: ServiceApp, tmp_path: Path) -> None:
    if Suite.MLKEM768_X25519 not in ExchangeKeys.generate().suites:
        pytest.skip("this installation of cryptography has no ML-KEM")
    hybrid = {"encoding_profile": None, "key_rotation_days": 3650, "secret_exchange": "mlkem768-x25519"}
    linked = service.project(providers=2, security=hybrid)
    machines = machines_of(linked, service, tmp_path)
    secret = begin(machines, linked.project)
    assert machines[1].secret(linked.project) == secret
    assert machines[0].look(linked.project).suite is Suite.MLKEM768_X25519


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_secret_handed_over_without_the_service_is_shown_to_be_the_same(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b, c = machines
    for machine in machines:
        machine.init()
    drawn = secrets.token_bytes(32).rstrip(b"\n")
    sealed = seal(drawn, kind="secret", passphrase="quince harbour ninety two")
    for machine in (a, b):
        opened = unseal(sealed, kind="secret", passphrase="quince harbour ninety two")
        Secrets(machine.profile).add(project, 1, opened)
        machine.accept(project)
    Secrets(c.profile).add(project, 1, b"not the secret of the others")
    refused("not_compared", lambda: c.accept(project))
    standing = a.look(project)
    assert [one.holds for one in standing.providers if one.organisation != c.id] == [True, True]
    assert not next(one for one in standing.providers if one.organisation == c.id).holds


def test_last_provider_of_a_project_needs_nobody(service: ServiceApp, tmp_path: Path) -> None:
    linked = service.project(providers=2)
    project = linked.project
    last, leaver = machines_of(linked, service, tmp_path)
    leaver.client.projects.leave(project_id=project, organisation_id=leaver.id)
    last.init()
    refused("nobody_to_compare_with", lambda: last.ceremony.confirm_code(project, said="1" * 30))
    assert last.share(project).sealed_for == ()
    assert last.secret(project, epoch=2) is not None
    assert "linkage encode" in last.look(project).next_steps[0]


def test_providers_that_people_cannot_tell_apart_are_refused(linked: Linked, machines: Machines) -> None:
    for machine in machines:
        machine.init()
    names = ["Northgate  Trust", "NORTHGATE TRU\uff33T"]

    def alike(answer: Any) -> Any:
        providers = [one | {"name": name} for one, name in zip(answer["providers"], names, strict=True)]
        return answer | {"providers": providers}

    machines[0].wire.tamper["/key-exchange"] = alike
    said = refused("names_alike", lambda: machines[0].look(linked.project))
    assert all(machine.id in said.message for machine in machines)


def test_agreement_signed_for_the_own_organisation_with_another_key_is_refused(
    linked: Linked, machines: Machines
) -> None:
    """A service that makes up the keys of parties can make up their signatures, but not by the key that lies here."""
    a = machines[0]
    a.init()
    private = a.organisation.signing_key.private
    assert isinstance(private, Ed25519PrivateKey)
    own = SigningKey(private)
    for key, outcome in ((own, None), (SigningKey.generate(), "is not the one of your organisation")):
        path = a.profile.folder / f"{key.thumbprint}.jwk"
        key.save(path)
        save_profile(replace(a.profile, signing_key_file=path), replace=True)
        if outcome is None:
            a.look(linked.project)
            continue
        for step in (a.look, a.share, a.accept):
            with pytest.raises(AgreementMismatchError, match=outcome):
                step(linked.project)


# --- a service that lies ----------------------------------------------------------------------------------------------


def test_service_that_shows_keys_of_its_own_shows_another_code(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b = machines
    for machine in machines:
        machine.init()
    of_the_service = ExchangeKeys.generate()
    a.wire.tamper["/key-exchange"] = _substitute(b.id, of_the_service)
    seen, true = a.look(project).code, b.look(project).code
    assert seen != true
    refused("codes_differ", lambda: a.ceremony.confirm_code(project, said=str(true)))
    refused("not_compared", lambda: a.share(project))


def test_card_swapped_after_the_comparison_stops_sharing(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b = machines
    meet(machines, project)
    a.wire.tamper["/key-exchange"] = _substitute(b.id, ExchangeKeys.generate())
    refused("cards_changed", lambda: a.share(project))
    assert a.secret(project) is None
    del a.wire.tamper["/key-exchange"]
    assert Comparisons(a.profile).confirmed(_keyset(a, project))
    a.share(project)


def test_own_card_that_is_not_of_the_own_keys_is_noticed(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a = machines[0]
    for machine in machines:
        machine.init()
    a.wire.tamper["/key-exchange"] = _substitute(a.id, ExchangeKeys.generate())
    refused("own_card_replaced", lambda: a.ceremony.confirm_code(project, said="1" * 30))
    assert a.look(project).code is None


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("other_suite", lambda answer: answer | {"suite": "mlkem768-x25519"}),
        ("not_agreed", lambda answer: answer | {"providers": [*answer["providers"], _stranger()]}),
        ("bad_card", lambda answer: answer | {"providers": _cards_mixed(answer["providers"])}),
        ("other_keyset", lambda answer: answer | {"keyset_sha256": "0" * 64}),
    ],
    ids=["another suite than agreed", "a provider that is none", "cards under other names", "another keyset"],
)
def test_answer_that_contradicts_the_agreement_or_itself_is_refused(
    linked: Linked, machines: Machines, code: str, change: Callable[[Any], Any]
) -> None:
    for machine in machines:
        machine.init()
    machines[0].wire.tamper["/key-exchange"] = change
    refused(code, lambda: machines[0].look(linked.project))


def test_service_that_goes_back_to_an_older_epoch_is_refused(linked: Linked, machines: Machines) -> None:
    project = linked.project
    begin(machines, project)
    a = machines[0]
    a.ceremony.new_epoch(project, reason="planned")
    compare(machines, project)
    a.share(project)
    a.wire.tamper["/key-exchange"] = lambda answer: answer | {"epoch": 1}
    refused("epoch_went_back", lambda: a.look(project))


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("envelope_forged", lambda envelope: envelope | {"at": "2026-01-01T00:00:00Z"}),
        ("envelope_forged", lambda envelope: envelope | {"ciphertext": _other(envelope["ciphertext"])}),
        ("envelope_damaged", lambda envelope: envelope | {"ciphertext": "="}),
        ("envelope_other_recipient", lambda envelope: envelope | {"to": "org_somebody"}),
        ("envelope_other_sender", lambda envelope: envelope | {"from": "org_somebody"}),
    ],
    ids=["another time", "another content", "no content", "another recipient", "another sender"],
)
def test_envelope_that_was_changed_is_not_opened_and_nothing_is_kept(
    linked: Linked, machines: Machines, code: str, change: Callable[[Any], Any]
) -> None:
    project = linked.project
    a, b = machines
    meet(machines, project)
    a.share(project)

    def changed(answer: Any) -> Any:
        return {"items": [item | {"envelope": change(item["envelope"])} for item in answer["items"]]}

    b.wire.tamper["/key-envelopes"] = changed
    refused(code, lambda: b.accept(project))
    assert b.secret(project) is None
    del b.wire.tamper["/key-envelopes"]
    b.accept(project)
    assert b.secret(project) == a.secret(project)


@pytest.mark.parametrize("linked", [3], indirect=True)
def test_false_secret_of_a_provider_is_found_out_and_forgotten(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b, c = machines
    meet(machines, project)
    a.share(project)
    b.accept(project)
    # B seals something else for C, and says that it was the secret.
    keys, keyset = exchange_keys_of(b.profile), _keyset(b, project)
    assert keys is not None
    false = wrap(keys=keys, keyset=keyset, sender=b.id, recipient=c.id, secret=b"f" * 32, at=b.service.clock())
    b.client.keys.post_envelopes(
        project_id=project,
        epoch=1,
        keyset_sha256=keyset.digest,
        check_value=check_value(b.secret(project) or b"", project_id=project, epoch=1),
        envelopes=[false],
    )

    def only_the_false_one(answer: Any) -> Any:
        return {"items": [item for item in answer["items"] if item["envelope"]["from"] == b.id]}

    c.wire.tamper["/key-envelopes"] = only_the_false_one
    refused("other_secret", lambda: c.accept(project))
    assert c.secret(project) is None
    del c.wire.tamper["/key-envelopes"]
    accepted = c.accept(project)
    assert (accepted.sent_by, accepted.false_from) == ((a.id,), (b.id,))
    assert c.secret(project) == a.secret(project)


def test_card_of_another_organisation_is_not_taken_by_the_service(machines: Machines) -> None:
    a, b = machines
    card = ExchangeKeys.generate().card(b.id)
    with pytest.raises((PolicyRefusalError, InvalidRequestError)):
        a.client.keys.publish_card(organisation_id=b.id, document=card.document)
    with pytest.raises(InvalidRequestError):
        a.client.keys.publish_card(organisation_id=a.id, document=card.document)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _working_key(machine: Machine, project: str) -> bytes:
    """What the machine encodes with, with the secret that it keeps."""
    secret = machine.secret(project)
    assert secret is not None
    return working_key(secret, project_id=project, epoch=1, linkage_schema_sha256="ab" * 32, encoding_profile=None)


def _keyset(machine: Machine, project: str) -> Any:
    keyset = machine.look(project).keyset
    assert keyset is not None
    return keyset


def _substitute(organisation: str, keys: ExchangeKeys) -> Callable[[Any], Any]:
    """The exchange with another card for one provider, as a service would show it that wants to read the secret."""

    def change(answer: Any) -> Any:
        card = keys.card(organisation).document
        providers = [
            one | {"card": card} if one["organisation"] == organisation else one for one in answer["providers"]
        ]
        return answer | {"providers": providers, "keyset_sha256": None}

    return change


def _stranger() -> dict[str, Any]:
    card = ExchangeKeys.generate().card("org_stranger")
    assert isinstance(card, KeyCard)
    return {"organisation": "org_stranger", "name": "Stranger", "card": card.document}


def _cards_mixed(providers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    cards = [one["card"] for one in providers]
    return [one | {"card": card} for one, card in zip(providers, [*cards[1:], cards[0]], strict=True)]


def _other(ciphertext: str) -> str:
    return ("B" if ciphertext[0] == "A" else "A") + ciphertext[1:]


def test_secret_from_a_file_is_not_shared_as_the_first_unasked(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b = machines
    meet(machines, project)
    planted = b"planted by somebody who left it "
    Secrets(a.profile).add(project, 1, planted)
    with pytest.raises(KeyExchangeError, match="secret delete") as caught:
        a.share(project)
    assert caught.value.code == "kept_secret_imported"
    assert not b.look(project).shared
    Secrets(a.profile).delete(project, 1)
    assert a.share(project).drawn
    b.accept(project)
    origins = [held.origin for machine in machines for held in Secrets(machine.profile).held()]
    assert origins == ["drawn", "opened"]


def test_secret_from_a_file_is_shared_once_it_is_confirmed(linked: Linked, machines: Machines) -> None:
    project = linked.project
    a, b = machines
    meet(machines, project)
    agreed_on = b"what all of them agreed on once."
    Secrets(a.profile).add(project, 1, agreed_on)
    a.accept(project)
    a.share(project, b.id)
    b.accept(project)
    assert b.secret(project) == agreed_on
