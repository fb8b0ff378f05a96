from collections.abc import Iterator
from pathlib import Path

import pytest

from support.console import with_console
from support.service_app import ServiceApp, service_app


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceApp]:
    with service_app(tmp_path) as made:
        yield with_console(made)
