"""Alerting rules: every metric, label and value that they name exists."""

import re
from typing import Any

import pytest
import yaml
from django.test import Client

from config.local.runtime import ROOT
from sagas.core.states import Outcome, SagaState
from sagas.models import InboxState
from sagas.monitoring.metrics import SagaCollector
from sagas.operators.presentation import REASONS

RULES = ROOT / "docs" / "reference" / "prometheus-rules.yaml"
METRIC = re.compile(r"\b(sagas_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)(=~|!~|!=|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring) \(([^)]*)\)")
VALUES = {
    "reason": set(REASONS),
    "state": {state.value for state in (*SagaState, *InboxState)},
    "outcome": {outcome.value for outcome in Outcome},
}


def read_rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def labels_of_metrics() -> dict[str, set[str]]:
    """Return the labels of every metric, as the collector declares them."""
    return {metric.name: set(getattr(metric, "_labelnames", ())) for metric in SagaCollector().describe()}


@pytest.mark.parametrize("rule", read_rules(), ids=lambda rule: rule["alert"])
def test_rule_is_complete_and_names_existing_metrics(rule: dict[str, Any]) -> None:
    known = labels_of_metrics()
    used = METRIC.findall(rule["expr"])

    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert re.fullmatch(r"[0-9]+[smhd]", rule["for"])
    assert used
    assert {name for name, _ in used} <= set(known)
    for name, selector in used:
        for label, operator, value in MATCHER.findall(selector):
            assert label in known[name]
            values = set(value.split("|")) if "~" in operator else {value}
            assert values <= VALUES[label]
    labels = {label.strip() for names in GROUPING.findall(rule["expr"]) for label in names.split(",")}
    assert labels <= set().union(*(known[name] for name, _ in used))
    shown = set(re.findall(r"\$labels\.([a-z_]+)", str(rule["annotations"])))
    assert shown <= labels


@pytest.mark.parametrize("rule", read_rules(), ids=lambda rule: rule["alert"])
def test_brackets_of_an_expression_are_closed(rule: dict[str, Any]) -> None:
    text = re.sub(r'"[^"]*"', "", rule["expr"])

    assert all(text.count(opened) == text.count(closed) for opened, closed in ("()", "{}"))


def test_names_are_unique_and_every_failure_has_a_rule() -> None:
    names = [rule["alert"] for rule in read_rules()]
    used = {name for rule in read_rules() for name, _ in METRIC.findall(rule["expr"])}

    assert len(names) == len(set(names))
    assert {"sagas_attention", "sagas_oldest_due_age_seconds", "sagas_last_sweep_age_seconds", "sagas_up"} <= used


@pytest.mark.django_db
def test_watched_metrics_are_exported_from_the_start() -> None:
    served = Client().get("/metrics").content.decode()

    assert "sagas_up 1.0" in served
    for reason in REASONS:
        assert f'sagas_attention{{reason="{reason}"}} 0.0' in served
    assert "sagas_oldest_due_age_seconds 0.0" in served
    assert "sagas_workers 0.0" in served
    assert "sagas_oldest_due_bulk_age_seconds 0.0" in served
