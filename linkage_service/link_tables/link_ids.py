"""Link ids: pseudonyms of groups in one recipient's domain, derived so that two recipients' tables cannot be joined."""

import base64
import hmac
from collections.abc import Iterator, Sequence

from linkage_service.rights.membership import FORMER, WITHDRAWN

_GROUP, _ROW, _OWN = b"linkage/group/v1\0", b"linkage/unmatched-row/v1\0", b"linkage/own-group/v1\0"
_ID_BYTES = 16
_BY_ITSELF = -1


def link_ids(
    groups: Sequence[int], *, run_key: bytes, recipient_key: bytes, upload: str, blind: bool
) -> Iterator[tuple[int, str]]:
    """Row number and link id of each row, in row order.

    The inner step makes the group's internal id, which never leaves: a keyed function of the run's own random key, as
    good as a random id for anyone without it. The outer step moves it into the recipient's domain. An unmatched row
    gets an id in the same two steps, so nothing in its form tells it from a matched one. Rows of one person share an
    id, matched or not.

    Args:
        groups: group of each row, below 0 for a row without a match: -1, or below that a number that rows of one
            person share; with those of `rights.membership`.
        run_key: 32 random bytes of the run.
        recipient_key: 32 bytes of (agreement, recipient, epoch).
        upload: id of the upload that the rows are of.
        blind: whether unmatched rows are listed too.
    """
    place = upload.encode() + b"\0"
    for row, group in enumerate(groups):
        if group >= 0:
            inner = _GROUP + group.to_bytes(8, "big")
        elif not blind or group == WITHDRAWN:
            continue
        elif group <= FORMER:
            inner = _GROUP + (FORMER - group).to_bytes(8, "big")
        elif group == _BY_ITSELF:
            inner = _ROW + place + row.to_bytes(8, "big")
        else:
            inner = _OWN + place + (-group).to_bytes(8, "big")
        internal = hmac.digest(run_key, inner, "sha256")[:_ID_BYTES]
        yield row, _base32(hmac.digest(recipient_key, internal, "sha256")[:_ID_BYTES])


def _base32(value: bytes) -> str:
    return base64.b32encode(value).decode().rstrip("=").lower()
