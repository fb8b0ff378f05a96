from collections.abc import Iterator
from pathlib import Path

import pytest

from support.service_app import Linked, ServiceApp, data_sets, ok, service_app


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[ServiceApp]:
    with service_app(tmp_path, database_url=database_url) as made:
        yield made


@pytest.fixture
def linked(service: ServiceApp) -> Linked:
    """A project of two providers that have uploaded; modules that need another have their own."""
    return service.uploaded(*data_sets(12, 12, shared=6))


@pytest.fixture
def run(linked: Linked) -> str:
    """A run of it that is queued, by its id."""
    made: str = ok(linked.providers[0].post(f"/v1/projects/{linked.project}/runs", {}), 202)["id"]
    return made
