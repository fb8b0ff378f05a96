"""A feasibility project from agreement to summary, over HTTP with the real client."""

from pathlib import Path

import pytest

from linkage_client.errors import PolicyRefusalError, ServiceError
from linkage_client.testing.rounds import open_round
from linkage_client.testing.service import RunningService


def test_feasibility_round_gives_a_summary_and_leaves_no_encodings(tmp_path: Path) -> None:
    with RunningService(tmp_path) as service, open_round(service, rows=300, feasibility=True) as round_:
        assert round_.project.kind == "feasibility"
        assert [upload.findings for upload in round_.upload_all()] == [[], []]
        run = round_.match()
        assert run.state == "succeeded"
        summary = round_.recipient.client.runs.summary(run_id=run.id)
        shared = [pattern.groups for pattern in summary.patterns if len(pattern.organisations) == 2]
        assert shared == [pytest.approx(150, abs=15)]
        assert summary.precision is not None
        uploads = list(round_.recipient.client.uploads.list(project_id=round_.project.id))
        assert [upload.state for upload in uploads] == ["deleted", "deleted"]
        with pytest.raises(PolicyRefusalError):
            round_.release(run)
        with pytest.raises(PolicyRefusalError):
            round_.recipient.client.runs.report(run_id=run.id)
        with pytest.raises(ServiceError):
            round_.match()
        blobs = [path for path in (service.folder).rglob("*") if path.is_file() and "blobs" in path.parts]
        assert blobs == []
