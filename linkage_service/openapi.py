"""The OpenAPI document of this release: generated, committed as openapi/openapi.json, and compared in the tests."""

import json
import tempfile
from pathlib import Path

from linkage_service import service_keys
from linkage_service.app import create_app
from linkage_service.runtime import build
from linkage_service.settings import Settings


def document() -> str:
    """The document as text, the same for every build of a release."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), database_url=None, blob_url="memory://", keys_dir=None)
        service_keys.create(settings.resolved_keys_dir, log_origin="openapi.invalid/log")
        runtime = build(settings)
        try:
            return json.dumps(create_app(runtime).openapi(), indent=2, sort_keys=True) + "\n"
        finally:
            runtime.close()
