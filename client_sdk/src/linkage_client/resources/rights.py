"""Rights of data subjects: rows taken back, holds, and who received anything made from a row."""

from collections.abc import Sequence

from linkage_client._protocol import path_of
from linkage_client.errors import ConfigurationError
from linkage_client.models import Hold, Trace, Withdrawal, WithdrawnLinks
from linkage_client.resources._base import Listing, Resource

ROWS_A_REQUEST = 10_000


class Rights(Resource):
    """Withdrawals, holds and access requests. Row numbers are sent, never record ids."""

    __slots__ = ()

    def withdraw(
        self, *, upload_id: str, rows: Sequence[int], reason: str, idempotency_key: str | None = None
    ) -> Withdrawal:
        """Take rows of the caller's own upload out of everything that is made from it, for good. Role: analyst.

        Args:
            upload_id: whose rows.
            rows: row numbers from 0, at most 10,000 of them.
            reason: "objection", "opt_out", "erasure" or "error".
            idempotency_key: the same key and arguments answer the same withdrawal again.

        Raises:
            ConfigurationError: no row, or too many.
        """
        if not 0 < len(rows) <= ROWS_A_REQUEST:
            raise ConfigurationError(f"A withdrawal takes 1 to {ROWS_A_REQUEST:,} rows. Make several of more.")
        body = {"rows": list(rows), "reason": reason}
        path = path_of("uploads", upload_id, "withdrawals")
        return self._post(path, body, Withdrawal, idempotency_key=idempotency_key)

    def withdrawals(self, *, upload_id: str, limit: int | None = None) -> Listing[Withdrawal]:
        """Withdrawals from the caller's own upload, and whether they are applied."""
        return self._items(path_of("uploads", upload_id, "withdrawals"), Withdrawal, limit=limit)

    def withdrawn_links(self, *, release_id: str) -> WithdrawnLinks:
        """Link ids under which the recipient has to delete what came from the named provider. Role: recipient."""
        return self._get(path_of("releases", release_id, "withdrawals"), WithdrawnLinks)

    def trace(self, *, upload_id: str, row: int, idempotency_key: str | None = None) -> Trace:
        """Which recipients received anything made from a row of the caller's own upload. Recorded, without the row."""
        path = path_of("uploads", f"{upload_id}:trace")
        return self._post(path, {"row": row}, Trace, idempotency_key=idempotency_key)

    def restrict_run(self, *, run_id: str, ground: str, reason: str) -> Hold:
        """Put a hold on a run and all of its releases. Role: officer.

        `ground` is "accuracy", "unlawful", "legal_claims" or "objection" (Article 18(1) (a) to (d)).
        """
        return self._post(path_of("runs", f"{run_id}:restrict"), {"ground": ground, "reason": reason}, Hold)

    def lift_run(self, *, run_id: str, reason: str) -> None:
        """Lift the hold on a run. Role: officer."""
        self._transport.send("POST", path_of("runs", f"{run_id}:lift-restriction"), json_body={"reason": reason})

    def restrict_release(self, *, release_id: str, ground: str, reason: str) -> Hold:
        """Put a hold on a release, on the grounds that `restrict_run` takes. Role: officer."""
        return self._post(path_of("releases", f"{release_id}:restrict"), {"ground": ground, "reason": reason}, Hold)

    def lift_release(self, *, release_id: str, reason: str) -> None:
        """Lift the hold on a release. Role: officer."""
        path = path_of("releases", f"{release_id}:lift-restriction")
        self._transport.send("POST", path, json_body={"reason": reason})

    def holds(self, *, project_id: str, limit: int | None = None) -> Listing[Hold]:
        """Holds in force on runs and releases of a project, and which of these are past their date."""
        return self._items(path_of("projects", project_id, "holds"), Hold, limit=limit)
