from pathlib import Path

import pytest

from linkage_client.demo.service import LocalService
from linkage_client.errors import LocalServiceError


@pytest.fixture
def service(tmp_path: Path) -> LocalService:
    return LocalService(
        data_dir=tmp_path / "service", log_path=tmp_path / "service.log", settings={"LINKAGE_LEASE_S": "2"}
    )


def test_environment_settings_of_the_caller_are_not_handed_on(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINKAGE_DATABASE_URL", "postgresql://a.real.one/linkage")

    environment = service._environment()

    assert "LINKAGE_DATABASE_URL" not in environment
    assert environment["LINKAGE_LEASE_S"] == "2"
    assert "PATH" in environment


def test_url_before_start_is_an_error(service: LocalService) -> None:
    with pytest.raises(LocalServiceError):
        _ = service.url
    with pytest.raises(LocalServiceError):
        _ = service.pid


def test_stop_kill_and_leave_before_start_do_nothing(service: LocalService) -> None:
    service.stop()
    service.kill()
    service.leave()

    assert not service.running
    assert service.log_text() == ""
