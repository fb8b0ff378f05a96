"""Notices providers that upload again and again to learn about single people from how results differ.

Small differences between a provider's uploads, and many uploads in a day, are findings. A few small differences are
what corrections look like; from the fourth on, in one project, an upload is not taken any more. The sketches by which
uploads are compared live as long as encodings may, at most, and their key as long as the project. That of an upload
from which rows are withdrawn goes at once, since it is made from them too: what follows is compared with other uploads.
"""

from datetime import timedelta
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from linkage_service.access.guard import Operation
from linkage_service.errors import Conflict
from linkage_service.storage import BlobStore
from linkage_service.uploads import tables
from linkage_service.uploads.judging import Found
from linkage_service.uploads.sketches import Sketch

FEW_ROWS: Final = 10
FEW_SHARE: Final = 0.001
"""A difference is small in so many rows, or in this share of them."""
SMALL_DIFFERENCES: Final = 3
"""So many are taken in a project, as findings."""
FREQUENT: Final = 5
_DAY = timedelta(days=1)
SMALL_DIFFERENCE: Final = "small_difference"
_SMALL = Found(
    SMALL_DIFFERENCE,
    "This upload differs from an earlier one of yours in this project in a few rows only. Whoever compares the results "
    "of both learns about these few people. Correct a file once, and say to the linkage unit why it was needed.",
)
_OFTEN = Found(
    "frequent_uploads",
    f"Your organisation has completed {FREQUENT} uploads or more in this project within a day. Each gives another "
    "result to compare. Prepare the file before uploading, and say to the linkage unit why it was needed.",
)


class ProbingSuspected(Conflict):
    """A provider's uploads differ in few rows too often."""

    code = "probing_suspected"


def make_key(session: Session, blobs: BlobStore, *, project: str) -> None:
    """Makes the key of a project's sketches, unless it has one."""
    if tables.probe_key(session, project) is not None:
        return
    try:
        with session.begin_nested():
            session.add(tables.ProbeKey(project=project, data_key=blobs.new_data_key().wrapped))
    except IntegrityError:
        # Another provider's first upload was quicker; its key is as good.
        return


def compare(operation: Operation, *, row: tables.Upload, sketch: Sketch | None) -> list[Found]:
    """What the provider's earlier uploads say of this one, which is kept for the next.

    Raises:
        ProbingSuspected: it is one small difference too many.
    """
    session, now = operation.session, operation.now
    found: list[Found] = []
    if sketch is not None:
        small = False
        for earlier in tables.sketches(session, project_id=row.project, organisation=row.organisation):
            if earlier.delete_by <= now:
                session.delete(earlier)
                continue
            difference = sketch.difference(Sketch.parse(earlier.sketch))
            few = max(FEW_ROWS, FEW_SHARE * min(row.count, earlier.rows))
            small |= difference is not None and 0 < difference.changed <= few
        if small:
            _refuse_if_too_many(session, row)
            found.append(_SMALL)
        session.add(
            tables.UploadSketch(
                upload=row.id,
                project=row.project,
                organisation=row.organisation,
                rows=row.count,
                sketch=sketch.to_bytes(),
                delete_by=row.delete_by,
            )
        )
    before = tables.count_completed_since(
        session, project_id=row.project, organisation=row.organisation, since=now - _DAY
    )
    if before + 1 >= FREQUENT:
        found.append(_OFTEN)
    return found


def forget(session: Session, *, project: str) -> bool:
    """Destroys the key of a project's sketches, and the sketches, when the project has ended; whether there was one."""
    for sketch in tables.all_sketches(session, project):
        session.delete(sketch)
    key = tables.probe_key(session, project)
    if key is not None:
        session.delete(key)
    return key is not None


def forget_upload(session: Session, *, upload: str) -> None:
    """Deletes the sketch of an upload, if there is one."""
    sketch = session.get(tables.UploadSketch, upload)
    if sketch is not None:
        session.delete(sketch)


def _refuse_if_too_many(session: Session, row: tables.Upload) -> None:
    before = tables.count_findings(
        session, project_id=row.project, organisation=row.organisation, code=SMALL_DIFFERENCE
    )
    if before >= SMALL_DIFFERENCES:
        raise ProbingSuspected(
            f"This is upload number {before + 1} in this project that differs from an earlier one of your "
            "organisation in a few rows only. Comparing their results tells about single people, so it is not taken, "
            "and its encodings are deleted; what was uploaded before stays. Ask the linkage unit's officer, who sees "
            "this in the ledger."
        )
