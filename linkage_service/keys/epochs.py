"""Why a key epoch was closed, in the words for those whose encodings it ended."""

from collections.abc import Mapping
from typing import Literal

from sqlmodel import Session

from linkage_service.errors import Conflict
from linkage_service.keys import tables

Reason = Literal["opened", "provider_joined", "provider_left", "suspected_leak", "planned"]
_BECAUSE: Mapping[str, str] = {
    "provider_joined": "a provider joined",
    "provider_left": "a provider left",
    "suspected_leak": "the secret may have become known",
    "planned": "a new secret was planned",
}


class ClosedEpoch(Conflict):
    """The encodings were made with the secret of an epoch that is over."""

    code = "closed_epoch"
    title = "Made with an earlier secret"


def closed_because(session: Session, *, project: str, epoch: int) -> str:
    """When and why an epoch was closed, and what to do; for an epoch that is over."""
    following = tables.epoch(session, project, epoch + 1)
    if following is None:
        return f"The project's key epoch {epoch} is closed. Encode again with the present secret."
    at = following.opened_at
    return (
        f"The project's key epoch {epoch} was closed on {at.day} {at:%B %Y} because {_BECAUSE[following.reason]}. "
        "Encode again with the present secret."
    )
