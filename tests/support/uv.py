"""uv, for tests that build and resolve."""

import os
import shutil

import pytest


def require_uv() -> str:
    """The path of uv; without it the test skips, except in CI, where that is a failure."""
    found = shutil.which("uv")
    if found is not None:
        return found
    reason = "uv is not on the PATH; `uv run pytest` puts it there"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
