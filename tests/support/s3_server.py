"""An S3 server on loopback: moto's, which is not of our making, with failures that a test chooses in front of it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Fault = Callable[[str, str], int | None]
"""Called with method and path of a request; gives the status with which it fails, or None."""


class S3Server:
    """A server that is running."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.fault: Fault | None = None
        self.requests: list[tuple[str, str]] = []
        self._inner = DomainDispatcherApplication(create_backend_app)

    def environment(self) -> dict[str, str]:
        """The variables by which an object store finds it."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def make_bucket(self, name: str) -> str:
        """A bucket, by its address."""
        httpx.put(f"{self.endpoint}/{name}", timeout=60).raise_for_status()
        return f"s3://{name}/linkage"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers, or fails as it was told to."""
        method, path = str(environ["REQUEST_METHOD"]), str(environ["PATH_INFO"])
        self.requests.append((method, path))
        status = self.fault(method, path) if self.fault else None
        if status is None:
            answer: Iterable[bytes] = self._inner(environ, start_response)
            return answer
        # Read whole, so that the connection stays usable.
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(f"{status} Fault", [("Content-Length", "0")])
        return [b""]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server for the block."""
    holder: list[S3Server] = []

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return holder[0](environ, start_response)

    listener = make_server("127.0.0.1", 0, answer, threaded=True)
    holder.append(S3Server(listener.server_port))
    thread = threading.Thread(target=listener.serve_forever, name="s3", daemon=True)
    thread.start()
    try:
        yield holder[0]
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
