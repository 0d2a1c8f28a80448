"""The dashboard for Grafana shows numbers that there are."""

import importlib
import json
import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.runtime import job_metrics

DASHBOARD = json.loads((Path(__file__).parents[2] / "deploy/grafana/onoma.json").read_text())
SUFFIXES = {
    "counter": ["_total"],
    "gauge": [""],
    "histogram": ["_bucket", "_sum", "_count"],
}
QUERIES = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
]


def exposed():
    """Names of the numbers that the servers expose."""
    for name in (
        "gateway.app",
        "naming.service",
        "inference.service",
        "attribution.service",
        "analytics.service",
    ):
        importlib.import_module(f"services.{name}")
    families = [*REGISTRY.collect(), *job_metrics._queues.describe()]
    return {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, [])}


@pytest.mark.parametrize(("panel", "query"), QUERIES, ids=[panel for panel, _ in QUERIES])
def test_every_number_of_a_panel_exists(panel, query):
    named = set(re.findall(r"\b(?:onoma|process)_\w+", query))
    assert named
    assert named <= exposed()


def test_every_number_of_our_own_is_on_the_dashboard():
    shown = " ".join(query for _, query in QUERIES)
    own = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exposed() if name.startswith("onoma_")}
    assert {name for name in own if name not in shown} == set()


def test_panels_have_ids_and_places_of_their_own():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
