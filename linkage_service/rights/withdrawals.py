"""What stands before every result: withdrawals from it have to be applied first."""

from sqlmodel import Session

from linkage_service.errors import Conflict
from linkage_service.rights import tables


def require_applied(session: Session, run_id: str) -> None:
    """Lets nothing of a run out while rows that were withdrawn are still in it.

    Raises:
        Conflict: the worker has not made the result again yet.
    """
    if tables.pending_in_run(session, run_id):
        raise Conflict(
            "Rows were withdrawn from an upload of this run, and its result is being made again without them. "
            "Try again in a moment.",
            code="recomputing",
        )
