"""What of a verdict is put on the MLflow run."""

import json
from types import SimpleNamespace

import pytest

from include.lineage.on_mlflow import NOTE_LENGTH, add_report
from include.registry.gate import RuleResult, Verdict


@pytest.fixture
def on_run():
    """What is on the MLflow run after a verdict: its tags and metrics."""

    def on_run(*checks: RuleResult) -> tuple[dict[str, str], dict[str, float]]:
        tags: dict[str, str] = {}
        metrics: dict[str, float] = {}
        client = SimpleNamespace(
            log_text=lambda *_: None,
            set_tag=lambda _, name, value: tags.update({name: value}),
            log_batch=lambda _, metrics: found.extend(metrics),
        )
        found: list = []
        manifest = SimpleNamespace(mlflow_run={"run_id": "m"}, airflow=SimpleNamespace(dag_id="d", run_id="r"))
        add_report(client, manifest, Verdict("2", False, "challenger", "1", "1", "note", list(checks)), "<html>")
        metrics.update({metric.key: metric.value for metric in found})
        return tags, metrics

    return on_run


def result(metric: str, passed: bool = True, **bounds: float) -> RuleResult:
    return RuleResult(metric, 0.9, 0.8, -0.1, "not shown worse", passed, **bounds)


def test_the_change_and_its_interval_are_metrics_but_for_those_of_groups(on_run):
    _, metrics = on_run(
        RuleResult("test_accuracy", None, 0.8, None, "at least 0.5", True),
        result("test_accuracy", lower=-0.2, upper=0.05),
        result("test_recall[species=a b]", lower=-0.3, upper=0.1),
    )

    assert metrics == {
        "gate.test_accuracy.change": -0.1,
        "gate.test_accuracy.lower": -0.2,
        "gate.test_accuracy.upper": 0.05,
    }


def test_values_that_are_compared_as_they_are_make_no_metric(on_run):
    assert on_run(result("test_accuracy"))[1] == {}


def test_of_more_results_than_a_tag_holds_those_that_failed_are_kept(on_run):
    many = [result(f"test_accuracy[region={number}]", passed=number != 90) for number in range(100)]

    tags, _ = on_run(*many)

    kept = json.loads(tags["gate.checks"])
    assert kept[0]["metric"] == "test_accuracy[region=90]"
    assert 1 < len(kept) < 100
    assert all(len(value) <= NOTE_LENGTH for value in tags.values())
