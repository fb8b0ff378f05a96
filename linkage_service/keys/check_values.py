"""By what the secret of a key epoch is known: who said so first, and when another may put it right."""

import hmac
from datetime import datetime

from sqlmodel import Session

from linkage_service.errors import Conflict
from linkage_service.keys import tables
from linkage_service.uploads.tables import complete_uploads

_DIFFERS = (
    "This is another secret than the one that this project's key epoch is known by, so encodings made with it would "
    "match nothing. Take the secret that the other providers hold, or open a new key epoch."
)


def is_of_another_secret(session: Session, epoch: tables.KeyEpoch, check_value: str, *, by: str) -> bool:
    """Whether encodings that a provider declares would not be taken once they are complete."""
    known = epoch.check_value
    if known is None or hmac.compare_digest(known, check_value):
        return False
    return epoch.check_value_set_by != by or not _set_alone(session, epoch, apart_from=by)


def settle(session: Session, epoch: tables.KeyEpoch, check_value: str, *, by: str, sharing: bool = False) -> str | None:
    """Holds a check value against the epoch's, which it becomes where there is none.

    Whoever is first says by what the secret is known, and may have made it up. So one that a provider said alone, with
    no envelope sent and no encodings uploaded, gives way to a secret that is sent to others, or to its own next word.

    Args:
        session: a writing transaction.
        epoch: the project's present one.
        check_value: of the secret that the provider holds.
        by: the provider.
        sharing: whether it sends the secret to others with this.

    Returns:
        Another provider, whose confirmation is void now; None where none is.

    Raises:
        Conflict: it is of another secret, or encodings were uploaded with another one.
    """
    before = epoch.check_value_set_by
    if epoch.check_value is not None:
        if hmac.compare_digest(epoch.check_value, check_value):
            return None
        if not (sharing or before == by) or not _set_alone(session, epoch):
            raise Conflict(_DIFFERS, code="other_secret")
    used = {row.check_value for row in complete_uploads(session, epoch.project, epoch=epoch.epoch)}
    if any(not hmac.compare_digest(value, check_value) for value in used):
        raise Conflict(
            "Encodings that were made with another secret are uploaded in this key epoch, and would match nothing. "
            "Take the secret that they were made with, have them deleted, or open a new key epoch.",
            code="other_secret",
        )
    epoch.check_value, epoch.check_value_set_by = check_value, by
    session.add(epoch)
    if before is None or before == by:
        return None
    standing = tables.standing(session, epoch.project, epoch.epoch, before)
    if standing is not None:
        standing.confirmed_at = None
        session.add(standing)
    return before


def settle_upload(session: Session, *, project: str, number: int, check_value: str, by: str, now: datetime) -> None:
    """Notes that a provider holds the secret of an epoch, because its encodings that were made with it are complete.

    Raises:
        Conflict: they were made with another secret than the epoch's.
    """
    epoch = present(session, project, number)
    settle(session, epoch, check_value, by=by)
    standing = tables.standing(session, project, number, by) or tables.KeyStanding(
        project=project, epoch=number, organisation=by
    )
    standing.confirmed_at = standing.confirmed_at or now
    session.add(standing)


def present(session: Session, project: str, number: int) -> tables.KeyEpoch:
    """The epoch that a project is in."""
    row = tables.epoch(session, project, number)
    if row is None:
        raise RuntimeError("a project without its key epoch")
    return row


def _set_alone(session: Session, epoch: tables.KeyEpoch, *, apart_from: str | None = None) -> bool:
    """Whether nothing but one provider's word speaks for the epoch's check value: no envelope, nothing uploaded.

    Args:
        session: a transaction.
        epoch: which.
        apart_from: a provider whose own uploads do not count.
    """
    if epoch.check_value_set_by is None or epoch.initiator is not None:
        return False
    standings = tables.standings(session, epoch.project, epoch.epoch)
    confirmed = {one for one, standing in standings.items() if standing.confirmed_at is not None}
    uploaded = {row.organisation for row in complete_uploads(session, epoch.project, epoch=epoch.epoch)}
    return confirmed <= {epoch.check_value_set_by} and uploaded <= {apart_from}
