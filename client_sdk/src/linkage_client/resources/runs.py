"""Runs: start the matcher, follow it, stop it, read its summary and its report."""

import math
from collections.abc import Callable

from linkage_client._protocol import path_of
from linkage_client.errors import ConfigurationError, RunEndedError, RunStillGoingError, StoppedError
from linkage_client.models import Run, RunReport, Summary
from linkage_client.resources._base import Listing, Resource

LONG_POLL_S = 20
# The service holds a request until the run ends; whoever watches wants to see it move.
WATCHED_POLL_S = 2
# A service that does not hold the request open is asked at most this often.
SHORTEST_POLL_S = 1.0


class Runs(Resource):
    """Executions of the matcher."""

    __slots__ = ()

    def start(
        self,
        *,
        project_id: str,
        target_precision: float | None = None,
        threshold: float | None = None,
        blocking: bool = False,
        idempotency_key: str | None = None,
    ) -> Run:
        """Queue a run on the project's complete uploads.

        With neither `target_precision` nor `threshold` the agreement's target precision holds, or, where it names
        none, the run looks for the best balance of precision and recall (the best expected F1).

        Args:
            project_id: whose uploads.
            target_precision: the share of links that shall be right, 0.5 or more and less than 1.
            threshold: instead: the least Dice similarity of a link, 0.1 to 1. For experts: no value fits all data.
            blocking: compare only pairs that a sample of their bits brings together. For very large uploads; loses
                some matches.
            idempotency_key: the same key and arguments answer the same run again, also from another process.

        Raises:
            ConfigurationError: both a target precision and a threshold are given.
        """
        if target_precision is not None and threshold is not None:
            raise ConfigurationError("A run has a target precision or a fixed threshold, not both. Leave one out.")
        body: dict[str, float | bool] = {}
        if target_precision is not None:
            body["target_precision"] = target_precision
        if threshold is not None:
            body["threshold"] = threshold
        if blocking:
            body["blocking"] = True
        return self._post(path_of("projects", project_id, "runs"), body, Run, idempotency_key=idempotency_key)

    def get(self, *, run_id: str, wait_s: int = 0) -> Run:
        """One run; with `wait_s` the service answers when it ended, or after that many seconds (RFC 7240)."""
        headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        return self._get(path_of("runs", run_id), Run, headers=headers)

    def list(self, *, project_id: str, limit: int | None = None) -> Listing[Run]:
        """The runs of a project."""
        return self._items(path_of("projects", project_id, "runs"), Run, limit=limit)

    def cancel(self, *, run_id: str) -> Run:
        """Ask the matcher to stop."""
        return self._post(path_of("runs", f"{run_id}:cancel"), {}, Run)

    def summary(self, *, run_id: str) -> Summary:
        """Rounded and suppressed counts by overlap pattern; the retrieval is a disclosure."""
        return self._get(path_of("runs", run_id, "summary"), Summary)

    def report(self, *, run_id: str) -> RunReport:
        """What a run that succeeded found, and how far to trust it; counts are rounded and suppressed.

        The agreement has to list the output "summary", and the retrieval is a disclosure.
        """
        return self._get(path_of("runs", run_id, "report"), RunReport)

    def wait(
        self,
        *,
        run_id: str,
        progress: Callable[[Run], None] | None = None,
        timeout_s: float | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Run:
        """Follow a run to its success by long polls, shorter ones if somebody watches.

        Whatever ends the waiting, the run goes on; `cancel` stops it.

        Args:
            run_id: the run.
            progress: told every state that is seen, the first and the last one too.
            timeout_s: how long to wait; None: as long as it takes.
            stopped: asked every two seconds whether to stop waiting.

        Raises:
            RunEndedError: the run failed or was cancelled.
            RunStillGoingError: `timeout_s` passed first.
            StoppedError: `stopped` said so.
        """
        clock = self._transport.clock
        until = math.inf if timeout_s is None else clock.monotonic() + timeout_s
        longest_s = LONG_POLL_S if progress is None and stopped is None else WATCHED_POLL_S
        run = self.get(run_id=run_id)
        while True:
            if progress is not None:
                progress(run)
            if run.ended:
                return _succeeded(run)
            asked = clock.monotonic()
            if asked >= until:
                raise RunStillGoingError(
                    f"Run {run.id} is still {run.state} after {timeout_s:.0f} s. It goes on; ask for it again later.",
                    request_id=run.request_id,
                )
            if stopped is not None and stopped():
                raise StoppedError(f"Waiting for run {run.id} was stopped. The run goes on.", request_id=run.request_id)
            run = self.get(run_id=run_id, wait_s=math.ceil(min(longest_s, until - asked)))
            held_s = clock.monotonic() - asked
            if not run.ended and held_s < SHORTEST_POLL_S:
                clock.sleep(SHORTEST_POLL_S - held_s)


def _succeeded(run: Run) -> Run:
    if run.state == "succeeded":
        return run
    if run.state == "cancelled":
        raise RunEndedError(f"Run {run.id} was cancelled.", run_id=run.id, state=run.state, request_id=run.request_id)
    if run.state == "deleted":
        message = f"The result of run {run.id} was deleted at its date. Start a new run, if the agreement allows one."
        raise RunEndedError(message, run_id=run.id, state=run.state, request_id=run.request_id)
    why = (run.error or {}).get("detail") or "The service gave no reason."
    raise RunEndedError(
        f"Run {run.id} failed: {why}",
        run_id=run.id,
        state=run.state,
        problem=run.error,
        request_id=run.request_id,
    )
