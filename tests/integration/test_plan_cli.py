"""``python -m include plan``: what it says of a run of the pipeline is what the run then does; it changes nothing."""

import json

import pytest

from tests.support.dag_runs import STAGES
from tests.support.plans import nothing_written


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("plan")


def planned(deployment, *arguments, conf=None):
    """The stages of the planned run, by their names."""
    given = ["--conf", json.dumps(conf)] if conf else []
    document = deployment.cli_json("plan", *given, *arguments)
    return {stage["stage"]: stage for stage in document["runs"][0]["stages"]}


def run_as_planned(deployment, conf=None):
    """Plan a run, run it, and compare. :return: what was planned."""
    plan = planned(deployment, conf=conf)
    (run,) = deployment.dag({"conf": conf or {}})
    assert run["state"] == "success", run["failures"]
    ended = {stage: run["returned"][f"pipeline.{stage}"] for stage in STAGES}
    definite = [stage for stage in STAGES if plan[stage]["outcome"] != "depends"]
    assert {stage: [plan[stage][name] for name in ("outcome", "reason")] for stage in definite} == {
        stage: [ended[stage][name] for name in ("outcome", "reason")] for stage in definite
    }
    return plan


def outcomes(plan):
    return [plan[stage]["outcome"] for stage in STAGES]


def test_runs_of_the_pipeline_do_what_is_planned(deployment):
    assert outcomes(run_as_planned(deployment)) == ["executed", "depends", "depends"]

    before, mlflow = deployment.objects(), len(deployment.mlflow_runs())
    with nothing_written(deployment.project / ".embedded" / "cache", deployment.project / "config"):
        plan = planned(deployment, conf={"model.C": 0.5})
    assert (deployment.objects(), len(deployment.mlflow_runs())) == (before, mlflow)
    assert outcomes(plan) == ["unchanged", "unchanged", "executed"]
    assert plan["train_and_evaluate"]["reason"] == "model.logistic_regression.C 1.0 -> 0.5"
    assert plan["train_and_evaluate"]["usual_seconds"] > 0

    without_cache = deployment.cli_json("plan", "--conf", '{"model.C": 0.5}', DVC_CACHE_DIR="none")["runs"][0]["stages"]
    assert [stage["outcome"] for stage in without_cache] == ["restored", "restored", "executed"]
    assert without_cache[2]["usual_seconds"] > 0  # by the manifests in the store, for there is no history

    (first,) = deployment.mlflow_runs()
    deployment.mlflow.delete_run(first.info.run_id)
    gone = planned(deployment)
    assert outcomes(gone) == ["unchanged", "unchanged", "executed"]
    assert gone["train_and_evaluate"]["reason"] == f"MLflow run {first.info.run_id} of the earlier result was deleted"


def test_a_backfill_is_a_table_by_date_and_resolves_the_data_of_each(deployment):
    data = deployment.project / "data"
    config = deployment.project / "config" / "config.yaml"
    text = config.read_text()
    table = "length,width,kind\n" + "".join(f"{n}.5,{n % 7}.5,{'ab'[n % 2]}\n" for n in range(40))
    for day in (1, 2):
        (data / f"{day}.csv").parent.mkdir(exist_ok=True)
        (data / f"2026-03-0{day}.csv").write_text(table.replace("3.5", f"{day}.5"))
    (data / "2026-03-03.csv").write_text((data / "2026-03-02.csv").read_text())
    try:
        deployment.edit_config("cron: null", 'cron: "@daily"')
        deployment.edit_config("source: sklearn:iris", "source: data/{date}.csv")
        deployment.edit_config("target: target", "target: kind")

        document = deployment.cli_json("plan", "--from-date", "2026-03-01", "--to-date", "2026-03-03")
        shown = deployment.cli("plan", "--from-date", "2026-03-01", "--to-date", "2026-03-03", "--md")
        missing = deployment.cli("plan", "--date", "2026-03-04", code=1)
    finally:
        config.write_text(text)

    assert [run["run"] for run in document["runs"]] == ["2026-03-01", "2026-03-02", "2026-03-03"]
    assert {run["stages"][0]["outcome"] for run in document["runs"]} == {"executed"}
    reasons = [run["stages"][0]["reason"] for run in document["runs"]]
    assert "data.source data/2026-03-01.csv -> data/2026-03-02.csv" in reasons[1]
    assert "| 2026-03-02 | executed | depends | depends | " in shown
    assert "data/2026-03-04.csv" in missing


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--conf", '{"model.CC": 1}'], {}, "--conf: unknown key 'model.CC' (did you mean 'model.C'?)"),
        (["--conf", '{"force": 1}'], {}, "--conf, force: 1 is neither true nor false"),
        (["--from-date", "2026-03-01", "--to-date", "2026-03-05"], {}, "schedule.cron is null, which has no dates"),
        ([], {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "DVC_CACHE_DIR": "none"}, "http://127.0.0.1:9 does not answer"),
    ],
)
def test_what_is_wrong_is_one_line(deployment, arguments, env, message):
    said = deployment.cli("plan", *arguments, code=1, **env)

    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
