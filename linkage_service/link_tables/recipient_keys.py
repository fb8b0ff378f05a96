"""The keys of recipients' link ids: random, one for each recipient under an agreement and epoch, and gone for good.

A key that was derived from another could be derived again. These are drawn, and kept wrapped by the key-encryption key:
once the row is empty nobody can recompute a link id from the database, the blobs and the service's key files together.
"""

from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from linkage_service.errors import Conflict
from linkage_service.link_tables import tables
from linkage_service.storage import BlobStore


def get_or_make(
    session: Session, blobs: BlobStore, *, agreement: str, recipient: str, epoch: int, now: datetime
) -> bytes:
    """The 32-byte key of a recipient's link ids, drawn when it is first asked for.

    Raises:
        Conflict: it was deleted. Another would give other ids for the same people, and nobody would notice.
    """
    row = tables.recipient_key(session, agreement=agreement, recipient=recipient, epoch=epoch)
    if row is None:
        row = _made(session, blobs, agreement=agreement, recipient=recipient, epoch=epoch, now=now)
    if row.data_key is None:
        raise Conflict(
            "The key of these link ids was deleted, because the agreement has ended. No table can be made with it any "
            "more. Use the tables that were retrieved, as long as the agreement allows.",
            code="link_id_key_deleted",
        )
    return blobs.unwrap(row.data_key).plain


def delete(session: Session, *, agreement: str, recipient: str, epoch: int) -> bool:
    """Deletes a key for good; whether there was one. The caller records `release.key_deleted`."""
    row = tables.recipient_key(session, agreement=agreement, recipient=recipient, epoch=epoch)
    if row is None or row.data_key is None:
        return False
    row.data_key = None
    session.add(row)
    return True


def _made(
    session: Session, blobs: BlobStore, *, agreement: str, recipient: str, epoch: int, now: datetime
) -> tables.RecipientKey:
    made = tables.RecipientKey(
        agreement=agreement,
        recipient=recipient,
        epoch=epoch,
        data_key=blobs.new_data_key().wrapped,
        created_at=now,
    )
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError:
        # Another request drew it at the same moment, and tables must have one key.
        found = tables.recipient_key(session, agreement=agreement, recipient=recipient, epoch=epoch)
        if found is None:
            raise
        return found
    return made
