"""A service that lies while the secret is shared: each attempt is refused, or shows in the code that people compare.

The real service stands behind a go-between that may change what each provider is shown. It plays the operator who wants
the secret, with keys of its own and everything that passes through the service.
"""

import copy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from linkage_client.agreed import agreed_terms
from linkage_client.errors import KeyExchangeError, LinkageClientError, UnexpectedAnswerError
from linkage_client.exchange.envelopes import wrap
from linkage_client.exchange.keyset import Keyset
from linkage_client.exchange.private_keys import ExchangeKeys
from support.providers import Lie, Machine
from support.service_app import Linked, ServiceApp, service_app

Json = dict[str, Any]
EVIL_SECRET = b"what the operator would like to know"


class Round:
    """A project of three providers who have published their cards."""

    def __init__(self, service: ServiceApp, linked: Linked, folder: Path) -> None:
        self.service = service
        self.linked = linked
        self.project = linked.project
        self.a, self.b, self.c = (
            Machine(service, organisation, folder / name)
            for name, organisation in zip("abc", linked.providers, strict=True)
        )
        for provider in (self.a, self.b, self.c):
            provider.init()

    def compare(self) -> None:
        """The honest call: each hears what the first one sees."""
        code = self.a.code(self.project)
        for provider in (self.a, self.b, self.c):
            provider.ceremony.confirm_code(self.project, said=code)

    def share(self) -> None:
        self.compare()
        self.a.ceremony.share(self.project)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceApp]:
    with service_app(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    return service.project(providers=3)


@pytest.fixture
def round_(service: ServiceApp, linked: Linked, tmp_path: Path) -> Round:
    return Round(service, linked, tmp_path)


def replaced_card(of: Machine, keys: ExchangeKeys) -> Lie:
    """Shows a card with the operator's keys for a provider, wherever it is shown, with a keyset digest that fits."""
    card = keys.card(of.id).document

    def lie(_: str, path: str, document: Json) -> None:
        if path.endswith("/key-exchange") or "keyset_sha256" in document:
            for one in document.get("providers", []):
                if one["organisation"] == of.id:
                    one["card"] = copy.deepcopy(card)
            # The digest of the real cards would give the lie away at once; a clever operator leaves it out.
            document["keyset_sha256"] = None

    return lie


def on_envelopes(change: Callable[[Json], Json | None]) -> Lie:
    """Changes every envelope that is handed out; one that becomes None is withheld."""

    def lie(method: str, path: str, document: Json) -> None:
        if method == "GET" and path.endswith("/key-envelopes"):
            changed = [(item, change(item["envelope"])) for item in document["items"]]
            document["items"] = [{**item, "envelope": envelope} for item, envelope in changed if envelope is not None]

    return lie


def evil_envelope(round_: Round) -> Json:
    """What the third provider seals for the second, of its own accord."""
    return wrap(
        keys=round_.c.keys,
        keyset=round_.c.keyset(round_.project),
        sender=round_.c.id,
        recipient=round_.b.id,
        secret=EVIL_SECRET,
        at=datetime.now(UTC),
    )


def refused(action: Callable[[], object]) -> KeyExchangeError:
    with pytest.raises(KeyExchangeError) as raised:
        action()
    return raised.value


def members(**values: Any) -> Callable[[Json], Json]:
    return lambda envelope: {**envelope, **values}


# ---- cards ----


def test_swapped_card_before_the_call_changes_the_code_and_stops_everything(round_: Round) -> None:
    evil = ExchangeKeys.generate()
    round_.a.wire.lies.append(replaced_card(round_.b, evil))
    assert round_.a.code(round_.project) != round_.b.code(round_.project)
    heard = round_.b.code(round_.project)
    error = refused(lambda: round_.a.ceremony.confirm_code(round_.project, said=heard))
    assert error.code == "codes_differ"
    assert "different keys" in error.message
    assert refused(lambda: round_.a.ceremony.share(round_.project)).code == "not_compared"
    assert round_.a.secret(round_.project) is None


def test_cards_shown_differently_to_each_provider_give_each_another_code(round_: Round) -> None:
    round_.a.wire.lies.append(replaced_card(round_.b, ExchangeKeys.generate()))
    round_.b.wire.lies.append(replaced_card(round_.a, ExchangeKeys.generate()))
    codes = {provider.code(round_.project) for provider in (round_.a, round_.b, round_.c)}
    assert len(codes) == 3


def test_swapped_card_after_the_call_is_named_and_nothing_is_sealed(round_: Round) -> None:
    round_.compare()
    round_.a.wire.lies.append(replaced_card(round_.b, ExchangeKeys.generate()))
    error = refused(lambda: round_.a.ceremony.share(round_.project))
    assert error.code == "cards_changed"
    assert "not those that were compared" in error.message
    assert round_.a.secret(round_.project) is None


def test_swapped_card_after_the_secret_was_shared_does_not_get_it_again(round_: Round) -> None:
    round_.share()
    evil = ExchangeKeys.generate()
    round_.a.wire.lies.append(replaced_card(round_.c, evil))

    def pretend_that_it_waits(_: str, path: str, document: Json) -> None:
        for one in document.get("providers", []) if path.endswith("/key-exchange") else []:
            if one["organisation"] == round_.c.id:
                one |= {"confirmed_at": None, "envelope_waiting": False, "envelope_retrieved_at": None}

    round_.a.wire.lies.append(pretend_that_it_waits)
    assert refused(lambda: round_.a.ceremony.share(round_.project)).code == "cards_changed"


def test_own_card_that_is_shown_swapped_is_noticed_by_its_owner(round_: Round) -> None:
    round_.b.wire.lies.append(replaced_card(round_.b, ExchangeKeys.generate()))
    assert round_.b.ceremony.look(round_.project).own_keys == "other_card"
    said = "0" * 30
    assert refused(lambda: round_.b.ceremony.confirm_code(round_.project, said=said)).code == "own_card_replaced"


def test_card_with_a_forged_signature_is_refused(round_: Round) -> None:
    def forge(_: str, path: str, document: Json) -> None:
        for one in document.get("providers", []) if path.endswith("/key-exchange") else []:
            if one["organisation"] == round_.b.id:
                one["card"]["hpke_keys"] = ExchangeKeys.generate().card(round_.b.id).document["hpke_keys"]

    round_.a.wire.lies.append(forge)
    assert refused(lambda: round_.a.ceremony.look(round_.project)).code == "bad_card"


def test_provider_that_no_agreement_names_is_refused(round_: Round, service: ServiceApp) -> None:
    stranger = service.join().organisation

    def slip_in(_: str, path: str, document: Json) -> None:
        if path.endswith("/key-exchange"):
            one = copy.deepcopy(document["providers"][1])
            card = ExchangeKeys.generate().card(stranger).document
            document["providers"].append({**one, "organisation": stranger, "name": "A hospital", "card": card})
            document["keyset_sha256"] = None

    round_.a.wire.lies.append(slip_in)
    error = refused(lambda: round_.a.ceremony.look(round_.project))
    assert error.code == "not_agreed"
    assert "A hospital" in error.message


def test_provider_that_is_left_out_changes_the_code(round_: Round) -> None:
    def leave_out(_: str, path: str, document: Json) -> None:
        if path.endswith("/key-exchange"):
            document["providers"] = [one for one in document["providers"] if one["organisation"] != round_.c.id]
            document["keyset_sha256"] = None

    round_.a.wire.lies.append(leave_out)
    assert round_.a.code(round_.project) != round_.b.code(round_.project)


def test_suite_that_the_service_talks_down_is_refused(service: ServiceApp, tmp_path: Path) -> None:
    from support.service_app import agreement_document

    security = agreement_document({"org": ["provider"]})["security"] | {"secret_exchange": "mlkem768-x25519"}
    round_ = Round(service, service.project(providers=3, security=security), tmp_path)

    def talk_down(_: str, path: str, document: Json) -> None:
        if path.endswith("/key-exchange"):
            document |= {"suite": "x25519", "keyset_sha256": None}

    round_.a.wire.lies.append(talk_down)
    assert refused(lambda: round_.a.ceremony.look(round_.project)).code == "other_suite"
    round_.a.wire.lies.clear()
    round_.share()
    round_.b.ceremony.accept(round_.project)
    assert round_.b.secret(round_.project) == round_.a.secret(round_.project)


# ---- another project than the one that was typed ----


def recorded(provider: Machine, ask: Callable[[], object]) -> Json:
    """What the service really answers."""
    shown: list[Json] = []
    provider.wire.lies.append(lambda _, __, document: shown.append(copy.deepcopy(document)))
    ask()
    provider.wire.lies.clear()
    return shown[-1]


def answered_instead(endings: dict[str, Json]) -> Lie:
    """Answers with something else, by the end of the path."""

    def lie(method: str, path: str, document: Json) -> None:
        for ending, other in endings.items():
            if method == "GET" and path.endswith(ending):
                document.clear()
                document.update(copy.deepcopy(other))

    return lie


def test_project_that_the_service_answers_with_instead_is_refused_at_every_step(
    round_: Round, service: ServiceApp
) -> None:
    """A secret that is kept under the name that was typed must not be the one of another project."""
    typed, client = round_.project, round_.a.client
    other = service.open_project(round_.linked.providers[0], round_.linked.agreement, name="Another round").json()["id"]
    project = recorded(round_.a, lambda: client.projects.get(project_id=other))
    exchange = recorded(round_.a, lambda: client.keys.exchange(project_id=other))
    lie = answered_instead({f"/projects/{typed}": project, "/key-exchange": exchange})
    round_.a.wire.lies.append(lie)
    round_.b.wire.lies.append(lie)
    for step in (round_.a.ceremony.share, round_.b.ceremony.accept, round_.a.ceremony.look):
        with pytest.raises(UnexpectedAnswerError, match="another project"):
            step(typed)
    with pytest.raises(UnexpectedAnswerError, match="another project"):
        agreed_terms(client, project_id=typed)
    # The project itself may be shown, and only its key exchange be another's.
    round_.a.wire.lies[:] = [answered_instead({"/key-exchange": exchange})]
    with pytest.raises(UnexpectedAnswerError, match="another project"):
        round_.a.ceremony.share(typed)
    assert round_.a.secret(typed) is None


# ---- envelopes ----


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(members(project="prj_other"), "envelope_other_project", id="other-project"),
        pytest.param(members(epoch=2), "envelope_other_epoch", id="other-epoch"),
        pytest.param(members(to="org_other"), "envelope_other_recipient", id="retargeted"),
        pytest.param(members(at="2031-01-01T00:00:00Z"), "envelope_forged", id="other-time"),
        pytest.param(members(suite="mlkem768-x25519"), "envelope_damaged", id="other-suite"),
        pytest.param(members(extra="1"), "envelope_damaged", id="further-member"),
        # To a length that no bytes have.
        pytest.param(
            lambda e: {**e, "ciphertext": e["ciphertext"][: len(e["ciphertext"]) // 4 * 4 - 3]},
            "envelope_damaged",
            id="truncated",
        ),
        pytest.param(lambda e: {**e, "ciphertext": ""}, "envelope_damaged", id="emptied"),
        pytest.param(lambda e: {k: v for k, v in e.items() if k != "signature"}, "envelope_damaged", id="unsigned"),
        pytest.param(
            lambda e: {**e, "ciphertext": ("B" if e["ciphertext"][0] == "A" else "A") + e["ciphertext"][1:]},
            "envelope_forged",
            id="bytes-changed",
        ),
    ],
)
def test_envelope_that_the_service_changes_is_refused(round_: Round, change: Callable[[Json], Json], code: str) -> None:
    round_.share()
    round_.b.wire.lies.append(on_envelopes(change))
    error = refused(lambda: round_.b.ceremony.accept(round_.project))
    assert error.code == code
    assert len(error.message) > 40
    assert round_.b.secret(round_.project) is None
    round_.b.wire.lies.clear()
    round_.b.ceremony.accept(round_.project)
    assert round_.b.secret(round_.project) == round_.a.secret(round_.project)


def test_envelope_of_another_provider_is_refused_by_whom_it_is_not_for(round_: Round) -> None:
    round_.share()
    for_c = round_.c.client.keys.envelopes(project_id=round_.project)[0].envelope
    round_.b.wire.lies.append(on_envelopes(lambda _: dict(for_c)))
    assert refused(lambda: round_.b.ceremony.accept(round_.project)).code == "envelope_other_recipient"
    retargeted = {**for_c, "to": round_.b.id}
    round_.b.wire.lies[:] = [on_envelopes(lambda _: retargeted)]
    assert refused(lambda: round_.b.ceremony.accept(round_.project)).code == "envelope_forged"


def test_envelope_that_the_operator_makes_with_its_own_keys_is_refused(round_: Round) -> None:
    round_.share()
    evil = ExchangeKeys.generate()
    honest = round_.b.keyset(round_.project)
    cards = tuple(evil.card(card.organisation) if card.organisation == round_.a.id else card for card in honest.cards)
    false = Keyset(project_id=honest.project_id, epoch=honest.epoch, suite=honest.suite, cards=cards)
    made = wrap(
        keys=evil, keyset=false, sender=round_.a.id, recipient=round_.b.id, secret=EVIL_SECRET, at=datetime.now(UTC)
    )
    # Under its own keyset it is none that counts; under the one that was compared its signature is not the sender's.
    round_.b.wire.lies.append(on_envelopes(lambda _: made))
    assert refused(lambda: round_.b.ceremony.accept(round_.project)).code == "nothing_to_accept"
    round_.b.wire.lies[:] = [on_envelopes(lambda _: {**made, "keyset": honest.digest})]
    assert refused(lambda: round_.b.ceremony.accept(round_.project)).code == "envelope_forged"
    assert round_.b.secret(round_.project) is None


def test_envelope_that_another_provider_forges_in_a_partners_name_is_refused(round_: Round) -> None:
    round_.share()
    forged = evil_envelope(round_)
    round_.b.wire.lies.append(on_envelopes(lambda _: {**forged, "from": round_.a.id}))
    assert refused(lambda: round_.b.ceremony.accept(round_.project)).code == "envelope_forged"


def test_second_secret_that_a_provider_slips_in_is_refused(round_: Round) -> None:
    round_.share()
    other = evil_envelope(round_)

    def add(method: str, path: str, document: Json) -> None:
        if method == "GET" and path.endswith("/key-envelopes"):
            document["items"].append({**document["items"][0], "envelope": other})

    round_.b.wire.lies.append(add)
    accepted = round_.b.ceremony.accept(round_.project)
    assert (accepted.sent_by, accepted.false_from) == ((round_.a.id,), (round_.c.id,))
    assert round_.b.secret(round_.project) == round_.a.secret(round_.project)


def test_bad_envelope_does_not_keep_a_good_one_from_being_opened(round_: Round) -> None:
    round_.share()

    def add(method: str, path: str, document: Json) -> None:
        if method == "GET" and path.endswith("/key-envelopes"):
            honest = document["items"][0]
            forged = {**honest["envelope"], "from": round_.c.id}
            document["items"] = [{**honest, "envelope": forged}, honest]

    round_.b.wire.lies.append(add)
    accepted = round_.b.ceremony.accept(round_.project)
    assert (accepted.sent_by, accepted.false_from) == ((round_.a.id,), (round_.c.id,))
    assert round_.b.secret(round_.project) == round_.a.secret(round_.project)


def test_card_swapped_under_cover_of_a_lost_laptop_needs_its_owner_on_the_call(round_: Round) -> None:
    """C really has new keys. A calls C only, while the service shows both of them another card of B as well."""
    round_.share()
    for provider in (round_.b, round_.c):
        provider.ceremony.accept(round_.project)
    evil = ExchangeKeys.generate()
    lie = replaced_card(round_.b, evil)
    round_.c.ceremony.renew()
    round_.a.wire.lies.append(lie)
    round_.c.wire.lies.append(lie)
    heard = round_.c.code(round_.project)
    assert heard == round_.a.code(round_.project)
    confirm = partial(round_.a.ceremony.confirm_code, round_.project, said=heard)
    error = refused(lambda: confirm(on_call=[round_.c.id]))
    assert error.code == "not_on_call"
    assert round_.a.ceremony.look(round_.project).name_of(round_.b.id) in error.message
    for named in (round_.b.id, round_.c.id):
        assert refused(partial(round_.a.ceremony.share, round_.project, recipients=[named])).code == "cards_changed"


def test_envelope_of_another_project_of_the_same_providers_does_not_open(round_: Round, service: ServiceApp) -> None:
    opened = service.open_project(round_.linked.providers[0], round_.linked.agreement, name="Second round")
    second = opened.json()["id"]
    round_.share()
    first = round_.b.client.keys.envelopes(project_id=round_.project)[0].envelope
    code = round_.a.code(second)
    for provider in (round_.a, round_.b, round_.c):
        provider.ceremony.confirm_code(second, said=code)
    round_.a.ceremony.share(second)
    keyset = round_.b.keyset(second)
    round_.b.wire.lies.append(on_envelopes(lambda _: dict(first)))
    assert refused(lambda: round_.b.ceremony.accept(second)).code == "nothing_to_accept"
    round_.b.wire.lies[:] = [on_envelopes(lambda _: {**first, "keyset": keyset.digest})]
    assert refused(lambda: round_.b.ceremony.accept(second)).code == "envelope_other_project"
    round_.b.wire.lies[:] = [on_envelopes(lambda _: {**first, "keyset": keyset.digest, "project": second})]
    assert refused(lambda: round_.b.ceremony.accept(second)).code == "envelope_forged"
    assert round_.b.secret(second) is None


def test_envelope_of_a_closed_epoch_does_not_open_in_the_next(round_: Round) -> None:
    round_.share()
    old = round_.b.client.keys.envelopes(project_id=round_.project)[0].envelope
    round_.a.ceremony.new_epoch(round_.project, reason="suspected_leak")
    round_.share()
    keyset = round_.b.keyset(round_.project)
    assert keyset.epoch == 2
    round_.b.wire.lies.append(on_envelopes(lambda _: {**old, "keyset": keyset.digest}))
    assert refused(lambda: round_.b.ceremony.accept(round_.project)).code == "envelope_other_epoch"
    round_.b.wire.lies[:] = [on_envelopes(lambda _: {**old, "keyset": keyset.digest, "epoch": 2})]
    assert refused(lambda: round_.b.ceremony.accept(round_.project)).code == "envelope_forged"


def test_service_that_goes_back_to_a_closed_epoch_is_noticed(round_: Round) -> None:
    round_.share()
    round_.b.ceremony.accept(round_.project)
    before = recorded(round_.b, lambda: round_.b.client.keys.exchange(project_id=round_.project))
    round_.a.ceremony.new_epoch(round_.project, reason="suspected_leak")
    round_.share()
    round_.b.ceremony.accept(round_.project)

    def go_back(_: str, path: str, document: Json) -> None:
        if path.endswith("/key-exchange"):
            document.clear()
            document.update(copy.deepcopy(before))

    round_.b.wire.lies.append(go_back)
    assert refused(lambda: round_.b.ceremony.look(round_.project)).code == "epoch_went_back"


# ---- withholding ----


def test_envelope_that_is_withheld_is_missed_by_both_sides(round_: Round) -> None:
    round_.share()
    round_.b.wire.lies.append(on_envelopes(lambda _: None))
    error = refused(lambda: round_.b.ceremony.accept(round_.project))
    assert error.code == "nothing_to_accept"
    assert "share-secret" in error.message
    awaited = " ".join(round_.a.ceremony.look(round_.project).awaited)
    assert "has not opened its envelope" in awaited


def test_confirmation_that_the_service_makes_up_does_not_make_a_secret(round_: Round) -> None:
    """The service can say that all is well. Whoever holds no secret knows better, and cannot encode."""
    round_.share()

    def all_is_well(_: str, path: str, document: Json) -> None:
        for one in document.get("providers", []) if path.endswith("/key-exchange") else []:
            one["confirmed_at"] = document["opened_at"]

    round_.b.wire.lies += [all_is_well, on_envelopes(lambda _: None)]
    assert round_.b.ceremony.look(round_.project).held is False
    assert refused(lambda: round_.b.ceremony.accept(round_.project)).code == "nothing_to_accept"


# ---- what the operator can see ----


def test_what_passed_the_service_does_not_open_without_a_providers_key(round_: Round) -> None:
    """All that the operator has are the cards and the envelopes; its own keys open none of them."""
    round_.share()
    keyset = round_.b.keyset(round_.project)
    envelopes = [
        posted.envelope
        for provider in (round_.b, round_.c)
        for posted in provider.client.keys.envelopes(project_id=round_.project)
    ]
    secret = round_.a.secret(round_.project)
    assert secret is not None
    stored = round_.service.database_file.read_bytes()
    assert secret not in stored
    assert secret.hex().encode() not in stored
    from linkage_client.exchange.envelopes import unwrap

    for envelope in envelopes:
        with pytest.raises(LinkageClientError):
            unwrap(
                keys=ExchangeKeys.generate(),
                keyset=keyset,
                sender=round_.a.id,
                recipient=str(envelope["to"]),
                envelope=envelope,
            )
