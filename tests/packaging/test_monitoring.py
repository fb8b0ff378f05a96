"""Prometheus rules and the Grafana dashboard: queries that parse, about figures that the service publishes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.deploying import DEPLOY, require_module

RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "linkage.rules.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana" / "linkage.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _queries() -> Iterator[str]:
    for rule in RULES:
        yield rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield target["expr"]


@pytest.mark.parametrize("query", sorted(set(_queries())))
def test_query_parses(query: str) -> None:
    require_module("promql_parser").parse(query)


def test_query_that_is_none_does_not_parse() -> None:
    with pytest.raises(ValueError, match=r"."):
        require_module("promql_parser").parse("sum by (le (linkage_x)")


def test_alerts_have_names_of_their_own_a_severity_and_words() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"].endswith(".")


def test_every_alert_has_its_place_in_the_runbook() -> None:
    text = (DEPLOY / "runbooks" / "alerts.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(Linkage\w+)`", text, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
