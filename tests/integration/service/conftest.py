from collections.abc import Iterator
from pathlib import Path

import pytest

from support.service_app import ServiceApp, service_app


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[ServiceApp]:
    with service_app(tmp_path, database_url=database_url) as made:
        yield made
