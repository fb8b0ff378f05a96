import json
from pathlib import Path

import pytest

from linkage_client.client import LinkageClient
from linkage_client.errors import IncompleteDownloadError, NotFoundError, UnexpectedAnswerError
from linkage_client.link_files import MEDIA_TYPES
from linkage_service.link_tables.formats import Batch, Table, written
from support.fake_service import FakeService, FakeUploads, Reply, manifest_of, release, run


def _table(
    service: FakeService,
    rows: list[int],
    *,
    mode: str = "blind",
    tail: bytes = b"",
    announced: int | None = None,
    withdrawn: int | None = None,
    request_id: str = "req_2",
) -> None:
    lines = b"".join(json.dumps({"row": row, "link_id": f"id{row}"}).encode() + b"\n" for row in rows)
    headers = {"X-Request-Id": request_id}
    headers |= {} if announced is None else {"Linkage-Rows": str(announced)}
    headers |= {} if withdrawn is None else {"Linkage-Withdrawn-Rows": str(withdrawn)}
    service.on("GET", "/v1/releases/rel_1", release(mode))
    service.on("GET", "/v1/runs/run_1", run("succeeded"))
    service.on("GET", "/v1/releases/rel_1/link-table", Reply(200, text=lines + tail, headers=headers))


def test_link_table_that_is_whole_is_answered_row_by_row(client: LinkageClient, service: FakeService) -> None:
    _table(service, [0, 1, 2])
    assert list(client.releases.link_table(release_id="rel_1")) == [(0, "id0"), (1, "id1"), (2, "id2")]


def test_link_table_of_matched_rows_may_have_gaps(client: LinkageClient, service: FakeService) -> None:
    _table(service, [0, 2], mode="matched")
    assert [link.row for link in client.releases.link_table(release_id="rel_1")] == [0, 2]


@pytest.mark.parametrize("rows", [[0, 2], [1, 2], [0, 1]])
def test_blind_link_table_may_leave_out_as_many_rows_as_were_withdrawn(
    client: LinkageClient, service: FakeService, rows: list[int]
) -> None:
    _table(service, rows, announced=2, withdrawn=1)
    assert [link.row for link in client.releases.link_table(release_id="rel_1")] == rows


@pytest.mark.parametrize(("rows", "withdrawn"), [([0], 1), ([0, 1, 2], 1), ([0, 2], 0), ([2], 1)])
def test_blind_link_table_that_leaves_out_another_number_is_refused(
    client: LinkageClient, service: FakeService, rows: list[int], withdrawn: int
) -> None:
    _table(service, rows, withdrawn=withdrawn)
    with pytest.raises(IncompleteDownloadError):
        list(client.releases.link_table(release_id="rel_1"))


@pytest.mark.parametrize("announced", [1, 3])
def test_link_table_of_another_length_than_announced_is_refused(
    client: LinkageClient, service: FakeService, announced: int
) -> None:
    _table(service, [0, 2], mode="matched", announced=announced)
    with pytest.raises(IncompleteDownloadError):
        list(client.releases.link_table(release_id="rel_1"))


@pytest.mark.parametrize("rows", [[], [0], [0, 1], [1, 2], [0, 2], [0, 1, 1], [1, 0, 2], [0, 1, 2, 3]])
def test_blind_link_table_that_is_not_whole_is_refused(
    client: LinkageClient, service: FakeService, rows: list[int]
) -> None:
    _table(service, rows)
    with pytest.raises(IncompleteDownloadError):
        list(client.releases.link_table(release_id="rel_1"))


@pytest.mark.parametrize("rows", [[1, 1], [2, 0], [3], [-1]])
def test_matched_link_table_with_impossible_rows_is_refused(
    client: LinkageClient, service: FakeService, rows: list[int]
) -> None:
    _table(service, rows, mode="matched")
    with pytest.raises(IncompleteDownloadError):
        list(client.releases.link_table(release_id="rel_1"))


def test_link_table_that_is_not_whole_says_which_request_it_was(client: LinkageClient, service: FakeService) -> None:
    _table(service, [0], request_id="req_3")
    with pytest.raises(IncompleteDownloadError) as caught:
        list(client.releases.link_table(release_id="rel_1"))
    assert caught.value.request_id == "req_3"


def test_link_table_cut_within_a_line_is_refused(client: LinkageClient, service: FakeService) -> None:
    _table(service, [0, 1], tail=b'{"row": 2, "link_')
    with pytest.raises(IncompleteDownloadError):
        list(client.releases.link_table(release_id="rel_1"))


@pytest.mark.parametrize(
    "line", [b"<html>\n", b'{"row": "0", "link_id": "a"}\n', b'{"row": true, "link_id": "a"}\n', b"[]\n"]
)
def test_line_that_is_none_of_a_link_table_is_refused(client: LinkageClient, service: FakeService, line: bytes) -> None:
    _table(service, [], tail=line)
    with pytest.raises(UnexpectedAnswerError):
        list(client.releases.link_table(release_id="rel_1"))


def test_link_table_that_is_not_there_is_a_problem(client: LinkageClient, service: FakeService) -> None:
    _table(service, [])
    service.routes.pop(("GET", "/v1/releases/rel_1/link-table"))
    with pytest.raises(NotFoundError) as caught:
        list(client.releases.link_table(release_id="rel_1"))
    assert caught.value.request_id == "req_1"


def test_own_upload_is_the_one_of_the_run_even_when_it_was_deleted(client: LinkageClient, service: FakeService) -> None:
    _table(service, [])
    made = FakeUploads(service)
    for name in ("upl_1", "upl_3"):
        made.add(name, manifest=manifest_of(name.encode() * 128), size_bytes=640, part_size=640)
    made.uploads["upl_1"]["state"] = "deleted"
    upload = client.releases.own_upload(release_id="rel_1")
    assert upload.id == "upl_1"
    assert upload.manifest.sha256 == manifest_of(b"upl_1" * 128)["sha256"]
    assert not any(path.endswith("/link-table") for path in service.paths("GET"))


def test_own_upload_of_a_run_without_one_is_not_guessed(client: LinkageClient, service: FakeService) -> None:
    _table(service, [])
    service.on("GET", "/v1/runs/run_1", run("succeeded", uploads=[]))
    with pytest.raises(UnexpectedAnswerError, match="lists 0 uploads"):
        client.releases.own_upload(release_id="rel_1")


def test_matched_link_table_tells_what_the_release_has_columns_for(client: LinkageClient, service: FakeService) -> None:
    lines = [
        {"row": 0, "link_id": "id0", "match_probability": 0.97, "group_size": 2},
        {"row": 2, "link_id": "id2", "match_probability": None, "group_size": None},
    ]
    _table(service, [], mode="matched")
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    service.on("GET", "/v1/releases/rel_1/link-table", Reply(200, text=text))
    found = list(client.releases.detailed_link_table(release_id="rel_1"))
    assert found == [(0, "id0", 0.97, 2), (2, "id2", None, None)]
    assert list(client.releases.link_table(release_id="rel_1")) == [(0, "id0"), (2, "id2")]


def _saved(form: str, rows: list[int]) -> bytes:
    table = Table(("row", "link_id"), iter([Batch(rows, [f"id{row}" for row in rows])]), {"linkage.release": "rel_1"})
    return b"".join(written(table, MEDIA_TYPES[form]))


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_link_table_is_saved_as_the_service_writes_it(
    client: LinkageClient, service: FakeService, tmp_path: Path, form: str
) -> None:
    _table(service, [])
    content = _saved(form, [0, 1, 2])
    service.on("GET", "/v1/releases/rel_1/link-table", Reply(200, text=content))
    assert client.releases.save_link_table(release_id="rel_1", out=tmp_path / "links", form=form) == 3
    assert (tmp_path / "links").read_bytes() == content
    assert service.asked[-1].headers["accept"] == MEDIA_TYPES[form]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("content", ["short", "cut"])
def test_link_table_that_is_not_whole_is_not_saved(
    client: LinkageClient, service: FakeService, tmp_path: Path, form: str, content: str
) -> None:
    _table(service, [])
    sent = _saved(form, [0, 1]) if content == "short" else _saved(form, [0, 1, 2])[:-200]
    service.on("GET", "/v1/releases/rel_1/link-table", Reply(200, text=sent))
    with pytest.raises(IncompleteDownloadError):
        client.releases.save_link_table(release_id="rel_1", out=tmp_path / "links", form=form)
    assert list(tmp_path.iterdir()) == []
