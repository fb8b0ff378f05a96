"""What the files of deploy/ come to once their own tools have read them."""

import importlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "linkage-service"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
ENVIRONMENT = {"LINKAGE_ISSUER": "https://linkage.example.org"}
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")

VALUES: Mapping[str, Any] = {
    "issuer": "https://linkage.example.org",
    "trustedProxies": ["10.1.0.0/16"],
    "settings": {"LOG_LEVEL": "INFO", "UPLOAD_BYTES_MAX": "8589934592"},
    "secretSettings": {"OIDC_CLIENT_SECRET": {"secret": "linkage-oidc", "key": "client-secret"}},
    "keys": {"secret": "linkage-keys"},
    "database": {
        "url": "postgresql+psycopg://linkage_service@db.example/linkage?sslmode=verify-full",
        "password": {"secret": "linkage-database", "key": "password"},
        "ownerUrl": "postgresql+psycopg://linkage_owner@db.example/linkage?sslmode=verify-full",
        "ownerPassword": {"secret": "linkage-owner", "key": "password"},
    },
    "blobs": {"url": "s3://linkage", "credentialsSecret": "linkage-store", "environment": {"AWS_REGION": "eu-west-2"}},
    "dask": {"enabled": True, "certificatesSecret": "linkage-cluster"},
    "networkPolicy": {
        "ingressFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "monitoringFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "database": {"to": [{"ipBlock": {"cidr": "10.2.0.5/32"}}]},
        "store": {"to": [{"ipBlock": {"cidr": "10.3.0.0/16"}}]},
    },
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
}
"""Values that an operator would write, with everything switched on."""


def require_module(name: str) -> Any:
    """A module of the dependency group `deploy`. Without it the test is skipped, but fails where CI is set."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return _lacking("The dependency group deploy is not installed: uv sync --group deploy")


def require_program(name: str, *, package: str) -> str:
    """Path of a program of the system. Without it the test is skipped, but fails where CI is set."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    return found or str(_lacking(f"{name} is not installed: apt-get install {package}"))


def rendered(values: Mapping[str, Any] = VALUES) -> list[dict[str, Any]]:
    """The documents that Helm makes of the chart."""
    with require_module("helm_python").Chart.load(str(CHART)) as chart:
        texts = chart.render(dict(values), name="demo", namespace="linkage")
    return [
        document
        for path, text in texts.items()
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def pod_of(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The pod of a Deployment or Job."""
    if document["kind"] not in {"Deployment", "Job"}:
        return None
    pod: dict[str, Any] = document["spec"]["template"]["spec"]
    return pod


def containers_of(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every container, those that run before the others included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def compose_text(environment: Mapping[str, str] = ENVIRONMENT) -> str:
    """The compose file after its variables were put in, as `docker compose config` begins."""

    def value(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        if environment.get(name):
            return environment[name]
        if operator == "-":
            return str(word)
        raise KeyError(name)

    return _VARIABLE.sub(value, COMPOSE.read_text("utf-8"))


def compose_services() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every service of the compose file, anchors resolved."""
    services: dict[str, dict[str, Any]] = yaml.safe_load(compose_text())["services"]
    yield from services.items()


def _lacking(reason: str) -> Any:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
