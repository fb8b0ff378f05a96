"""Use cases of key cards, of the exchange of a project's secret, and of what ends an epoch of it."""

import hmac
import json
from datetime import datetime

from sqlmodel import Session

from linkage_ledger import events
from linkage_service.access.guard import Operation
from linkage_service.audit.catalogue import EventType
from linkage_service.errors import Conflict, FieldError, Invalid, NotFound
from linkage_service.keys import check_values, checking, schemas, tables
from linkage_service.keys.epochs import Reason, closed_because
from linkage_service.organisations import tables as organisations
from linkage_service.projects import tables as projects
from linkage_service.projects.service import Governed, governed
from linkage_service.runs import service as runs
from linkage_service.runs.tables import unfinished_of_project
from linkage_service.uploads import probing
from linkage_service.uploads.tables import complete_uploads, live_uploads


def suite_of(project: Governed) -> schemas.Suite:
    """How a project's envelopes are encrypted: as its agreement version says, by default x25519."""
    security = json.loads(project.agreement.version.document)["security"]
    suite: schemas.Suite = security.get("secret_exchange", checking.REQUIRED)
    return suite


def published(session: Session, organisation: str) -> schemas.KeyCard:
    """The card of an organisation.

    Raises:
        NotFound: it has published none.
    """
    row = tables.card(session, organisation)
    if row is None:
        raise NotFound("This organisation has not published a key card.")
    return render_card(row)


def is_published(session: Session, card: schemas.KeyCardDocument) -> bool:
    """Whether exactly this card counts already."""
    row = tables.card(session, card.organisation)
    return row is not None and _document(row) == card


def publish(operation: Operation, *, organisation: str, card: schemas.KeyCardDocument) -> schemas.KeyCard:
    """Makes a card the one of its organisation; the one before is superseded, and comparisons of it are void.

    Raises:
        Invalid: others could not use it, or it is not the organisation's own.
    """
    session = operation.session
    checking.check_card(card, organisation=organisation)
    checking.check_not_of(card, map(_document, tables.cards_of_others(session, organisation)))
    digest, before = checking.digest_of(card), tables.card(session, organisation)
    if before is not None and before.digest != digest:
        before.superseded_at = operation.now
        session.add(before)
        # Before the other counts: at no time do two of one organisation.
        session.flush()
    row = tables.earlier_card(session, organisation, digest) or tables.KeyCard(
        organisation=organisation, digest=digest, document="", published_at=operation.now
    )
    row.document, row.published_at, row.superseded_at = card.model_dump_json(), operation.now, None
    session.add(row)
    replaced = {} if before is None or before.digest == digest else {"replaced": before.digest}
    operation.record(
        EventType.KEY_CARD_PUBLISHED,
        resource=events.Resource("organisation", organisation),
        detail={"card": digest, **replaced},
    )
    return render_card(row)


def note_comparison(operation: Operation, *, project: Governed, draft: schemas.ComparisonDraft) -> None:
    """Notes that a provider's people compared the safety code of the cards as they are now.

    Raises:
        Conflict: the epoch or the cards are other ones by now.
    """
    _check_epoch(project, draft.epoch)
    keyset = _check_keyset(operation.session, project, draft.keyset_sha256)
    standing = _standing(operation, project)
    standing.compared_keyset, standing.compared_at = keyset, operation.now
    operation.session.add(standing)
    operation.record(
        EventType.KEY_EXCHANGE_CODE_COMPARED,
        resource=events.Resource("project", project.row.id),
        counts={"epoch": draft.epoch},
        detail={"keyset": keyset},
    )


def post_envelopes(operation: Operation, *, project: Governed, draft: schemas.EnvelopesDraft) -> None:
    """Keeps envelopes for their recipients. Who posts first in an epoch is its initiator.

    Raises:
        Conflict: the epoch or the cards are other ones by now, another provider has shared its secret, the caller has
            not confirmed that it holds it, or it holds another.
        Invalid: an envelope is not what its recipient could take.
    """
    session, sender = operation.session, operation.caller.organisation
    _check_epoch(project, draft.epoch)
    keyset = _check_keyset(session, project, draft.keyset_sha256)
    _check_envelopes(session, project, draft, sender=sender)
    epoch, standing = _epoch(session, project), _standing(operation, project)
    first = epoch.initiator is None
    if not first and standing.confirmed_at is None:
        _refuse_unconfirmed(epoch, draft.check_value)
    void = check_values.settle(session, epoch, draft.check_value, by=sender, sharing=first and bool(draft.envelopes))
    if first:
        epoch.initiator = sender
        session.add(epoch)
    standing.confirmed_at = standing.confirmed_at or operation.now
    session.add(standing)
    for envelope in draft.envelopes:
        row = tables.envelope(session, project.row.id, draft.epoch, sender=sender, recipient=envelope.recipient)
        row = row or tables.KeyEnvelope(
            project=project.row.id, epoch=draft.epoch, sender=sender, recipient=envelope.recipient,
            keyset=keyset, document="", posted_at=operation.now,
        )  # fmt: skip
        row.keyset, row.document, row.posted_at = keyset, envelope.model_dump_json(), operation.now
        row.retrieved_at = None
        session.add(row)
    operation.record(
        EventType.KEY_EXCHANGE_ENVELOPES_POSTED,
        resource=events.Resource("project", project.row.id),
        counts={"epoch": draft.epoch, "envelopes": len(draft.envelopes)},
        detail={
            "keyset": keyset,
            "to": [envelope.recipient for envelope in draft.envelopes],
            "initiator": first,
            **({} if void is None else {"confirmation_void": void}),
        },
    )


def has_envelopes(session: Session, project: Governed, *, recipient: str) -> bool:
    """Whether there is any envelope to a provider under the cards as they are now."""
    return bool(_envelopes_to(session, project, recipient))


def retrieve_envelopes(operation: Operation, *, project: Governed) -> schemas.ReceivedEnvelopes:
    """The envelopes to the caller's organisation under the cards as they are now, noted before they leave."""
    session = operation.session
    rows = _envelopes_to(session, project, operation.caller.organisation)
    for row in rows:
        row.retrieved_at = row.retrieved_at or operation.now
        session.add(row)
    operation.record(
        EventType.KEY_EXCHANGE_ENVELOPES_RETRIEVED,
        resource=events.Resource("project", project.row.id),
        counts={"epoch": project.row.key_epoch, "envelopes": len(rows)},
        detail={"keyset": keyset_of(session, project), "from": [row.sender for row in rows]},
    )
    return schemas.ReceivedEnvelopes(
        items=[
            schemas.ReceivedEnvelope(
                envelope=schemas.KeyEnvelope.model_validate_json(row.document), posted_at=row.posted_at
            )
            for row in rows
        ]
    )


def confirm(operation: Operation, *, project: Governed, draft: schemas.ConfirmationDraft) -> None:
    """Notes that a provider holds the secret of the epoch. The first says by what it is known, if nobody has yet.

    Raises:
        Conflict: the epoch is another one by now, or the secret is.
    """
    session = operation.session
    _check_epoch(project, draft.epoch)
    holder = operation.caller.organisation
    check_values.settle(session, _epoch(session, project), draft.check_value, by=holder)
    standing = _standing(operation, project)
    standing.confirmed_at = operation.now
    session.add(standing)
    # It has kept the secret before it says so, and no copy is to stay here for whoever gets at its keys later.
    tables.empty_envelopes(session, project.row.id, recipient=holder)
    operation.record(
        EventType.KEY_EXCHANGE_SECRET_CONFIRMED,
        resource=events.Resource("project", project.row.id),
        counts={"epoch": draft.epoch},
    )


def open_epoch(operation: Operation, *, project: Governed, draft: schemas.KeyEpochDraft) -> list[str]:
    """Gives up the secret of a project for a new one.

    Returns:
        Ids of the runs that were ended, of which whatever is stored can be removed.

    Raises:
        Conflict: somebody has opened another epoch meanwhile, or the project is closed.
    """
    _must_be_open(project)
    _check_epoch(project, draft.expected_epoch)
    return _begin_epoch(operation, project, reason=draft.reason)


def join(operation: Operation, *, project: Governed) -> tuple[Governed, list[str]]:
    """Takes the caller's organisation into a project as a provider, with a new epoch: it never held the old secret.

    Returns:
        The project as it is now, and ids of the runs that were ended.

    Raises:
        Conflict: it takes part already.
    """
    session, row, joining = operation.session, project.row, operation.caller.organisation
    if joining in project.providers:
        raise Conflict("Your organisation takes part in this project already.", code="takes_part")
    session.add(projects.ProjectProvider(project=row.id, organisation=joining, joined_epoch=row.key_epoch + 1))
    ended = _begin_epoch(operation, project, reason="provider_joined")
    operation.record(
        EventType.PROJECT_PROVIDER_JOINED,
        resource=events.Resource("project", row.id),
        counts={"epoch": row.key_epoch},
        detail={"provider": joining},
    )
    return governed(session, row.id), ended


def leave(operation: Operation, *, project: Governed, leaving: str) -> tuple[Governed, list[str]]:
    """Takes a provider out of a project, with a new epoch: it goes on knowing the old secret.

    Returns:
        The project as it is now, and ids of the runs that were ended.

    Raises:
        NotFound: it does not take part.
        Conflict: nobody would be left, or the project is closed.
    """
    session, row = operation.session, project.row
    _must_be_open(project)
    taking_part = projects.provider(session, row.id, leaving)
    if taking_part is None:
        raise NotFound("This organisation is not a provider in this project.")
    if len(project.providers) == 1:
        raise Conflict(
            "This is the project's last provider. Close the project instead; that deletes what was uploaded.",
            code="last_provider",
        )
    session.delete(taking_part)
    ended = _begin_epoch(operation, project, reason="provider_left")
    operation.record(
        EventType.PROJECT_PROVIDER_LEFT,
        resource=events.Resource("project", row.id),
        counts={"epoch": row.key_epoch},
        detail={"provider": leaving},
    )
    return governed(session, row.id), ended


def keyset_of(session: Session, project: Governed) -> str | None:
    """The digest of the cards of all providers as they are now; None while one has none, or none for the suite."""
    found = tables.cards(session, project.providers)
    if len(found) < len(project.providers):
        return None
    documents = [_document(row) for row in found.values()]
    return checking.keyset_digest(
        documents, project=project.row.id, epoch=project.row.key_epoch, suite=suite_of(project)
    )


def render_card(row: tables.KeyCard) -> schemas.KeyCard:
    """A card for the wire."""
    return schemas.KeyCard(
        organisation=row.organisation, digest=row.digest, document=_document(row), published_at=row.published_at
    )


def render(session: Session, project: Governed) -> schemas.KeyExchange:
    """How far the providers are. Check values are told to nobody."""
    session.flush()
    epoch, keyset = _epoch(session, project), keyset_of(session, project)
    return schemas.KeyExchange(
        project=project.row.id,
        epoch=epoch.epoch,
        reason=epoch.reason,
        opened_by=epoch.opened_by,
        opened_at=epoch.opened_at,
        suite=suite_of(project),
        initiator=epoch.initiator,
        keyset_sha256=keyset,
        check_value_known=epoch.check_value is not None,
        check_value_set_by=epoch.check_value_set_by,
        providers=_render_providers(session, project, keyset),
    )


def _render_providers(session: Session, project: Governed, keyset: str | None) -> list[schemas.KeyExchangeProvider]:
    number = project.row.key_epoch
    names = organisations.organisations(session, project.providers)
    cards, changed = tables.cards(session, project.providers), tables.changed_cards(session, project.providers)
    standings = tables.standings(session, project.row.id, number)
    uploaded = {row.organisation for row in complete_uploads(session, project.row.id, epoch=number)}
    sent: dict[str, list[tables.KeyEnvelope]] = {}
    for row in tables.envelopes(session, project.row.id, number, keyset=keyset) if keyset else ():
        sent.setdefault(row.recipient, []).append(row)
    found = []
    for one in project.providers:
        card, standing = cards.get(one), standings.get(one)
        compared = standing.compared_at if standing and keyset and standing.compared_keyset == keyset else None
        retrieved = [row.retrieved_at for row in sent.get(one, ())]
        found.append(
            schemas.KeyExchangeProvider(
                organisation=one,
                name=names[one].name,
                card=_document(card) if card else None,
                published_at=card.published_at if card else None,
                card_changed_at=card.published_at if card and one in changed else None,
                code_compared_at=compared,
                envelope_waiting=None in retrieved,
                envelope_retrieved_at=_latest(retrieved),
                confirmed_at=standing.confirmed_at if standing else None,
                uploaded=one in uploaded,
            )
        )
    return found


def _latest(times: list[datetime | None]) -> datetime | None:
    return max((at for at in times if at is not None), default=None)


def _document(row: tables.KeyCard) -> schemas.KeyCardDocument:
    return schemas.KeyCardDocument.model_validate_json(row.document)


def _epoch(session: Session, project: Governed) -> tables.KeyEpoch:
    return check_values.present(session, project.row.id, project.row.key_epoch)


def _standing(operation: Operation, project: Governed) -> tables.KeyStanding:
    """How far the caller's organisation is, to be changed."""
    key = project.row.id, project.row.key_epoch, operation.caller.organisation
    return tables.standing(operation.session, *key) or tables.KeyStanding(
        project=key[0], epoch=key[1], organisation=key[2]
    )


def _envelopes_to(session: Session, project: Governed, recipient: str) -> list[tables.KeyEnvelope]:
    keyset = keyset_of(session, project)
    if keyset is None:
        return []
    return list(tables.envelopes(session, project.row.id, project.row.key_epoch, keyset=keyset, recipient=recipient))


def _must_be_open(project: Governed) -> None:
    if project.row.state != "open":
        raise Conflict("This project is closed: its encodings were deleted, and its secret protects nothing any more.")


def _check_epoch(project: Governed, number: int) -> None:
    if number != project.row.key_epoch:
        raise Conflict(
            f"The project is in key epoch {project.row.key_epoch}, and this request is about another. Look at the "
            "exchange of keys again, and go on from there.",
            code="other_epoch",
        )


def _check_keyset(session: Session, project: Governed, stated: str) -> str:
    keyset = keyset_of(session, project)
    if keyset is None:
        raise Conflict(
            "Not every provider has a key card for the way of encryption that the agreement asks for, so there is no "
            "safety code yet. Wait until each has published one, then compare the code.",
            code="other_keyset",
        )
    if not hmac.compare_digest(keyset, stated):
        raise Conflict(
            "The key cards are other ones than those of this request: a provider has changed its card. Look at the "
            "exchange of keys again, and compare the new safety code with the other providers before going on.",
            code="other_keyset",
        )
    return keyset


def _check_envelopes(session: Session, project: Governed, draft: schemas.EnvelopesDraft, *, sender: str) -> None:
    card = published(session, sender).document
    expected = {
        "project": project.row.id,
        "epoch": draft.epoch,
        "from": sender,
        "keyset": draft.keyset_sha256,
        "suite": suite_of(project),
    }
    recipients = [one for one in project.providers if one != sender]
    for place, envelope in enumerate(draft.envelopes):
        checking.check_envelope(
            envelope, expected=expected, recipients=recipients, card=card, pointer=f"/envelopes/{place}"
        )
    if len({envelope.recipient for envelope in draft.envelopes}) < len(draft.envelopes):
        twice = FieldError("/envelopes", "repeated", "There are two envelopes to one provider.")
        raise Invalid("Send one envelope to each provider.", errors=[twice])


def _refuse_unconfirmed(epoch: tables.KeyEpoch, check_value: str) -> None:
    """Refuses the envelopes of a provider that has not shown that it holds the secret.

    Raises:
        Conflict: with what it has to do.
    """
    if epoch.check_value is not None and hmac.compare_digest(epoch.check_value, check_value):
        raise Conflict(
            "Your organisation has not confirmed yet that it holds this secret. Confirm it, then send it on.",
            code="not_confirmed",
        )
    raise Conflict(
        "Another provider has shared the secret of this key epoch already. Accept that one, and forget yours.",
        code="already_shared",
    )


def _begin_epoch(operation: Operation, project: Governed, *, reason: Reason) -> list[str]:
    """Closes the present epoch: its uploads are due at once, its unfinished runs end, its envelopes are deleted.

    Returns:
        Ids of the runs that were ended.
    """
    session, row = operation.session, project.row
    closed, row.key_epoch = row.key_epoch, row.key_epoch + 1
    session.add(row)
    session.add(
        tables.KeyEpoch(
            project=row.id,
            epoch=row.key_epoch,
            reason=reason,
            opened_by=operation.caller.organisation,
            opened_at=operation.now,
        )
    )
    session.flush()
    tables.empty_envelopes(session, row.id)
    # Sketches of encodings by another key are like those of no others.
    probing.forget(session, project=row.id)
    live = live_uploads(session, row.id)
    for upload in live:
        upload.delete_by = min(upload.delete_by, operation.now)
        session.add(upload)
    unfinished = unfinished_of_project(session, row.id)
    because = closed_because(session, project=row.id, epoch=closed)
    for run in unfinished:
        runs.close_epoch(operation, row=run, because=because)
    operation.record(
        EventType.KEY_EPOCH_OPENED,
        resource=events.Resource("project", row.id),
        counts={
            "epoch": row.key_epoch,
            "uploads": sum(upload.key_epoch == closed for upload in live),
            "runs": len(unfinished),
        },
        detail={"reason": reason},
    )
    return [run.id for run in unfinished]
