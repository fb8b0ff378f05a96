"""The Helm chart, rendered by Helm itself, checked with Kubernetes' own schemas and the rules of restricted pods."""

import copy
import re
from typing import Any

import pytest
import yaml

from linkage_service.settings import Settings
from support.deploying import CHART, DEPLOY, VALUES, containers_of, pod_of, rendered, require_module

SETTINGS = {f"LINKAGE_{name.upper()}" for name in Settings.model_fields}
VERSIONS = ("1.30", "1.37")
_FOREIGN = {"ServiceMonitor", "PrometheusRule"}


def _changed(*path: str, to: object) -> dict[str, Any]:
    values = copy.deepcopy(dict(VALUES))
    place = values
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = to
    return values


def _named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name)


def _components(policy: dict[str, Any]) -> set[str]:
    """The components whose pods a policy is about."""
    selector = policy["spec"]["podSelector"]
    every = {"api", "worker", "scheduler", "matcher", "migration"}
    if one := selector["matchLabels"].get("app.kubernetes.io/component"):
        return {one}
    return set(selector["matchExpressions"][0]["values"]) if "matchExpressions" in selector else every


def test_chart_has_no_finding_of_helms_linter_but_that_it_lacks_an_icon() -> None:
    found = require_module("helm_python").lint(str(CHART), dict(VALUES), strict=True)
    assert [one for one in found["messages"] if "icon" not in one["error"]] == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dask", [True, False])
def test_documents_are_what_kubernetes_takes(version: str, *, dask: bool) -> None:
    validate = require_module("kubernetes_validate").validate
    documents = rendered(_changed("dask", "enabled", to=dask))
    for document in documents:
        if document["kind"] not in _FOREIGN:
            validate(document, version, strict=True)
    kinds = {one["metadata"]["name"] for one in documents if one["kind"] == "Deployment"}
    assert kinds == {"demo-api", "demo-worker"} | ({"demo-scheduler", "demo-matcher"} if dask else set())


def test_pods_are_restricted() -> None:
    pods = [pod for document in rendered() if (pod := pod_of(document))]
    assert len(pods) == 5
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {next(key for key in volume if key != "name") for volume in pod["volumes"]} <= {
            "secret",
            "emptyDir",
            "configMap",
        }
        for container in containers_of(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_secrets_are_named_and_never_made_or_written_out() -> None:
    documents = rendered()
    assert [one for one in documents if one["kind"] == "Secret"] == []
    for pod in filter(None, map(pod_of, documents)):
        for container in containers_of(pod):
            for variable in container.get("env", []):
                if re.search(r"PASSWORD|SECRET|ENCRYPTION", variable["name"]):
                    assert variable.keys() == {"name", "valueFrom"}


def test_only_the_migration_knows_the_owner_of_the_tables() -> None:
    holders = [one["metadata"]["name"] for one in rendered() if "linkage_owner@" in str(one)]
    assert holders == ["demo-migration"]


def test_settings_named_by_the_chart_exist() -> None:
    named = {
        variable["name"]
        for pod in filter(None, map(pod_of, rendered()))
        for container in containers_of(pod)
        for variable in container.get("env", [])
        if variable["name"].startswith("LINKAGE_")
    }
    assert {"LINKAGE_ISSUER", "LINKAGE_SCHEDULER_KEY", "LINKAGE_OIDC_CLIENT_SECRET"} <= named <= SETTINGS


def test_settings_of_the_chart_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = pod_of(_named(rendered(_changed("secretSettings", to={})), "Deployment", "demo-api"))
    assert pod is not None
    for variable in pod["containers"][0]["env"]:
        if variable["name"].startswith("LINKAGE_"):
            monkeypatch.setenv(variable["name"], variable["value"])
    settings = Settings()
    assert settings.upload_bytes_max == 8 * 2**30
    assert settings.executor == "dask"


def test_every_deployment_that_listens_has_probes() -> None:
    for document in rendered():
        pod = pod_of(document)
        for container in containers_of(pod) if pod else ():
            if container.get("ports"):
                assert {"startupProbe", "livenessProbe"} <= container.keys(), container["name"]
    api = pod_of(_named(rendered(), "Deployment", "demo-api"))
    assert api is not None
    assert api["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert api["containers"][0]["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_pods_are_let_end_in_order() -> None:
    for name in ("demo-api", "demo-worker"):
        pod = pod_of(_named(rendered(), "Deployment", name))
        assert pod is not None
        assert pod["terminationGracePeriodSeconds"] >= 60
    api = _named(rendered(), "Deployment", "demo-api")
    assert api["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_nothing_is_allowed_on_the_network_unless_a_policy_says_so() -> None:
    policies = [one for one in rendered() if one["kind"] == "NetworkPolicy"]
    nothing = _named(policies, "NetworkPolicy", "demo-nothing")
    assert nothing["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & nothing["spec"].keys()
    for document in rendered():
        if pod_of(document):
            labels = document["spec"]["template"]["metadata"]["labels"]
            assert nothing["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    reached = {name: _components(_named(policies, "NetworkPolicy", f"demo-{name}")) for name in ("database", "store")}
    assert reached == {"database": {"api", "worker", "migration"}, "store": {"api", "worker", "matcher"}}
    for policy in policies:
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            assert rule.get("from") or rule.get("to"), "a rule without peers means everybody"
            assert rule["ports"]


def test_cluster_is_reached_by_the_services_worker_and_not_by_the_api() -> None:
    scheduler = _named(rendered(), "NetworkPolicy", "demo-cluster-scheduler")
    (rule,) = scheduler["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchExpressions"][0]["values"] == ["worker", "matcher"]


def test_cluster_grows_with_its_load_and_its_deployment_says_no_number() -> None:
    documents = rendered()
    scaler = _named(documents, "HorizontalPodAutoscaler", "demo-matcher")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "demo-matcher"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, 8)
    assert "replicas" not in _named(documents, "Deployment", "demo-matcher")["spec"]
    budgets = {one["metadata"]["name"] for one in documents if one["kind"] == "PodDisruptionBudget"}
    assert budgets == {"demo-api", "demo-worker", "demo-matcher"}


def test_migration_runs_before_pods_of_the_new_release() -> None:
    documents = rendered()
    weights = {
        one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"])
        for one in documents
        if "helm.sh/hook" in one["metadata"].get("annotations", {})
    }
    assert max(weights, key=lambda kind: weights[kind]) == "Job"
    assert weights.keys() == {"Job", "ConfigMap", "ServiceAccount"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("issuer",), "http://linkage.example.org"),
        (("keys", "secret"), ""),
        (("database", "url"), "postgresql+psycopg://linkage_service:password@db/linkage"),
        (("blobs", "url"), "file:///var/lib/linkage"),
        (("dask", "certificatesSecret"), ""),
        (("settings", "KEY_ENCRYPTION_KEY"), "c2VjcmV0"),
        (("settings", "UPLOAD_BYTES_MAX"), 8589934592),
        (("blobs", "environment", "AWS_SECRET_ACCESS_KEY"), "secret"),
        (("networkPolicy", "database", "to"), []),
        (("networkPolicy", "ingressFrom"), []),
        (("api", "replica"), 2),
    ],
)
def test_values_that_are_wrong_or_unsafe_are_refused(path: tuple[str, ...], value: object) -> None:
    helm = require_module("helm_python")
    with pytest.raises(helm.HelmValuesError):
        rendered(_changed(*path, to=value))


def test_values_of_the_chart_alone_are_not_enough() -> None:
    helm = require_module("helm_python")
    with pytest.raises(helm.HelmValuesError):
        rendered({})


@pytest.mark.parametrize(("kept", "source"), [("grants.sql", "postgresql"), ("linkage.rules.yaml", "prometheus")])
def test_files_that_the_chart_carries_are_those_of_the_other_ways(kept: str, source: str) -> None:
    assert (CHART / "files" / kept).read_text("utf-8") == (DEPLOY / source / kept).read_text("utf-8")


def test_chart_carries_the_rules_of_prometheus() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "linkage.rules.yaml").read_text("utf-8"))
    assert _named(rendered(), "PrometheusRule", "demo")["spec"] == rules


def test_rights_of_the_services_role_are_those_of_the_operators_guide() -> None:
    guide = (DEPLOY.parent / "docs" / "operator.md").read_text("utf-8")
    grants = [
        line for line in (DEPLOY / "postgresql" / "grants.sql").read_text("utf-8").splitlines() if line[:2] != "--"
    ]
    assert "\n".join(grants) in guide
