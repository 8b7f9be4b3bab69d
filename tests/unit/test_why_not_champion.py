"""Where a person looks, it is said why a version is not champion."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from include.cli import past_runs, run_list
from include.lineage.lineage_store import Entry
from include.lineage.run_keys import RunKey
from include.registry.gate import Verdict, evaluate, why_not_champion
from include.services.embedded import run as make_run
from include.settings import RegistryConfig
from include.settings.config_file import load_config_with, validate_config

OTHER_COLUMNS = (
    "the champion, version 1 of m, cannot be compared: the table of test rows lacks columns petal_width_cm. For ..."
)
APPROVAL = (
    "it passes the gate, but nobody has approved it (registry.approval is manual); `python -m include promote 2` makes "
    "it champion"
)


def verdict(accuracy: float, champion: float | None, note: str = "scored on the same test rows", **values: Any) -> dict:
    rule = RegistryConfig(model_name="m", metric="test_accuracy", minimum=0.9, min_gain=0.01)
    other = None if champion is None else {"test_accuracy": champion}
    checks = evaluate(rule, {"test_accuracy": accuracy}, other)
    return Verdict(**{"version": "2", "passed": False, "alias": "challenger", "compared_with": "1", "champion": "1",
                      "note": note, "checks": checks, **values}).as_dict()  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (verdict(0.95, 0.95), "test_accuracy is 0.9500, the champion's is 0.9500; required: better by 0.01"),
        (verdict(0.8, None, compared_with=None), "test_accuracy is 0.8000; required: at least 0.9 (registry.minimum)"),
        (verdict(0.95, None, OTHER_COLUMNS), OTHER_COLUMNS),
        (
            verdict(0.8, None, OTHER_COLUMNS),
            f"test_accuracy is 0.8000; required: at least 0.9 (registry.minimum); {OTHER_COLUMNS}",
        ),
        (verdict(0.99, 0.95, "version 2 was rolled back"), "version 2 was rolled back"),
        (
            verdict(0.99, 0.95, passed=True),
            APPROVAL,
        ),
        (verdict(0.99, 0.95, passed=True, alias="champion"), None),
        (verdict(0.8, None, alias="champion"), None),  # it was champion before
    ],
)
def test_the_rule_that_failed_or_the_reason_of_the_note_is_given(given, said):
    assert why_not_champion(given) == said


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        (["challenger"], f"m version 2, alias challenger: {OTHER_COLUMNS}"),
        ([], f"m version 2, not champion: {OTHER_COLUMNS}"),
        (["champion"], "m version 2, alias champion"),
    ],
)
def test_the_last_lines_of_make_run_say_it(monkeypatch, aliases, said):
    of_version = {("m", "2"): aliases}
    monkeypatch.setattr(make_run, "aliases_of_version", lambda runtime, *version: of_version[version])
    model = SimpleNamespace(name="m", version="2")

    shown = make_run._model(None, model, verdict(0.95, None, OTHER_COLUMNS))

    assert shown == said


def test_the_last_lines_of_make_run_say_why_the_status_is_not_clean_though_nobody_has_edited_anything():
    values = load_config_with({"model.C": 2.5, "registry.minimum": 0.8}, "CONF").model_dump(mode="json")
    status = {
        "train_and_evaluate": [{"changed deps": {"config/config.yaml": {"model.logistic_regression": "modified"}}}]
    }

    said = make_run._status(SimpleNamespace(config=values), status)

    why = "the run has other values than config/config.yaml: 'model.logistic_regression.C'"
    assert said == f"changed: train_and_evaluate ({why})"


@pytest.mark.parametrize(
    ("warnings", "said"),
    [
        ([], None),
        (["30 rows do not tell"], "a warning: 30 rows do not tell"),
        (["a", "b"], "2 warnings (all of them: python -m include show), such as: a"),
    ],
)
def test_the_last_lines_of_make_run_have_what_the_gate_warns_of(monkeypatch, config_document, warnings, said):
    monkeypatch.setattr(make_run, "aliases_of_version", lambda *_: ["champion"])
    monkeypatch.setattr(make_run, "_bucket", lambda *_: "")
    manifest = SimpleNamespace(
        airflow=SimpleNamespace(run_id="r"),
        stages=(),
        mlflow_run={"run_id": "0" * 32, "experiment": "e"},
        model=SimpleNamespace(name="m", version="2"),
        metrics=dict.fromkeys(("test_accuracy", "test_f1_macro", "train_accuracy"), 0.9),
    )

    lines = make_run._summary(validate_config(config_document), None, manifest, {"warnings": warnings})

    assert lines.get("gate") == said


@pytest.mark.parametrize(("champion", "wanted"), [("1", True), ("2", False)])
def test_the_list_of_runs_says_it_of_the_newest_one(monkeypatch, capsys, config_document, champion, wanted):
    manifest = SimpleNamespace(
        config={},
        airflow=SimpleNamespace(started_at="2026-11-27T08:00:00"),
        mlflow_run={"run_id": "0" * 32},
        model=SimpleNamespace(name="m", version="2"),
        metrics={"test_accuracy": 0.95},
        outcome_of=lambda name: "executed",
    )
    entry = Entry(RunKey("d", "r"), manifest, verdict(0.95, None, OTHER_COLUMNS))
    config_document["registry"]["model_name"] = "m"
    session = SimpleNamespace(
        config=validate_config(config_document),
        runtime=None,
        lineage=SimpleNamespace(
            all_collected=lambda dag_id: set(),
            started=lambda limit: {entry.run: datetime.now(UTC)},
            read_all=lambda runs: [entry],
            bucket="b",
        ),
    )
    monkeypatch.setattr(past_runs, "Session", lambda: session)
    monkeypatch.setattr(run_list, "failed_runs", lambda limit: [])
    monkeypatch.setattr(run_list, "champion_version", lambda runtime, name: champion)

    past_runs.runs(limit=20, page=1, as_json=False)

    said = capsys.readouterr().out
    assert (f"The newest run's version 2 is not champion: {OTHER_COLUMNS}." in said) == wanted
