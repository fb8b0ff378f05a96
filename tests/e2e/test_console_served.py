"""`linkage-service serve` shows the console by itself, and a setting leaves it out."""

import json
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from linkage_client.testing.service import RunningService


def _status(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=20) as answer:  # noqa: S310 - a service of this test
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_served_service_shows_the_console_and_keeps_invitation_links_out_of_its_log(
    linkage_service: RunningService,
) -> None:
    status, page = _status(f"{linkage_service.url}/")
    assert status == 200
    assert "<h1" in page
    assert "Sign in" in page
    token = "A" * 43
    status, page = _status(f"{linkage_service.url}/enrol/{token}")
    assert status == 404
    assert "<h1" in page
    assert token not in linkage_service.log_text()


def test_service_without_the_console_answers_as_an_api(tmp_path: Path) -> None:
    with RunningService(tmp_path, settings={"LINKAGE_CONSOLE": "false"}) as service:
        for path in ("/", "/console/", "/enrol/x"):
            status, text = _status(f"{service.url}{path}")
            assert status == 404
            assert json.loads(text)["code"] == "not_found"
