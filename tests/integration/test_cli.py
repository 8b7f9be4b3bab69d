"""``python -m include`` from outside, on real runs: what it says, what it leaves, and its exit codes."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.support.login_page import login_page

OUTPUTS = (
    "data/raw/dataset.parquet",
    "data/processed/test.parquet",
    "data/processed/train.parquet",
    "models/log_reg_model.pkl",
    "reports/metrics.json",
    "reports/mlflow_run.json",
)
NOWHERE = "http://127.0.0.1:9"  # the port of `discard`: nothing answers


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("cli")


@pytest.fixture(scope="module")
def runs(deployment):
    """Three runs: two trainings, and one that restores the first; the first is in the checkout."""
    found = deployment.dag({}, {"conf": {"model.C": 0.01}}, {})
    assert [run["state"] for run in found] == ["success"] * 3
    deployment.cli("restore", found[0]["run_id"])
    return [run["run_id"] for run in found]


def aliases(deployment) -> dict[str, str]:
    return dict(deployment.mlflow.get_registered_model(deployment.model).aliases)


def md5s(folder: Path) -> dict[str, str]:
    return {path: hashlib.md5((folder / path).read_bytes()).hexdigest() for path in OUTPUTS}


def test_runs_are_listed_newest_first_with_metrics_outcome_and_the_champion(deployment, runs):
    listed = deployment.cli_json("runs")

    assert [run["run"] for run in listed] == runs[::-1]
    assert [run["outcome"] for run in listed] == ["restored", "executed", "executed"]
    assert [run["version"] for run in listed] == ["1", "2", "1"]
    assert [run["champion"] for run in listed] == [True, False, True]
    assert [run["gate"] for run in listed] == ["passed", "not passed", "passed"]
    assert [run["why_not_champion"] is None for run in listed] == [True, False, True]
    assert re.search(r"is shown worse.*: .*, 95 % interval ", listed[1]["why_not_champion"])
    assert listed[0]["metrics"]["test_accuracy"] >= 0.9
    assert [run["config"] for run in listed] == [{}, {"model.logistic_regression.C": 0.01}, {}]


def test_piped_output_is_plain_and_whole(deployment, runs):
    lines = deployment.cli("runs", COLUMNS="40").splitlines()

    assert [line.split()[0] for line in lines] == ["run", *runs[::-1]]
    assert "champion" in lines[1]
    assert lines[2].endswith(" model.logistic_regression.C=0.01")
    assert not any(char in "".join(lines) for char in "\x1b─│┃…")


def test_pages_of_runs(deployment, runs):
    assert [run["run"] for run in deployment.cli_json("runs", "--limit", "1", "--page", "2")] == [runs[1]]
    assert deployment.cli_json("runs", "--page", "2") == []


def test_a_run_is_shown_with_all_that_led_to_it(deployment, runs):
    shown = deployment.cli_json("show", runs[1])

    assert shown["airflow"]["run_id"] == runs[1]
    assert shown["airflow"]["triggered_by"] == "dag_test"
    assert shown["config"]["model"]["logistic_regression"]["C"] == 0.01
    assert shown["model"] == {"name": deployment.model, "version": "2"}
    assert all(stage["started_at"] for stage in shown["stages"])
    assert shown["verdict"]["compared_with"] == "1"
    assert "scored on the same test rows" in shown["verdict"]["note"]
    text = deployment.cli("show", "2")
    assert shown["verdict"]["table"] in text
    alias = shown["verdict"]["alias"]
    assert text.endswith(
        f"; the run left it with the alias {alias} (which version is champion now: python -m include runs)\n"
    )
    size = {file["path"]: file["size"] for file in shown["files"]}["data/raw/dataset.parquet"]
    assert re.search(rf"data/raw/dataset\.parquet .* {size / 1024:.1f} KiB  ", text), text


def test_without_a_run_the_newest_one_is_shown_and_named(deployment, runs):
    done = deployment.python("-m", "include", "show")

    assert done.stdout == deployment.cli("show", runs[-1])
    assert done.stderr == f"No RUN is given. The newest recorded run is {runs[-1]}:\n"
    assert deployment.cli_json("show")["airflow"]["run_id"] == runs[-1]


def test_two_runs_are_compared(deployment, runs):
    changes = deployment.cli_json("diff", runs[0], runs[1])

    assert changes["config"] == {"model.logistic_regression.C": [1.0, 0.01]}
    assert list(changes["data"]) == ["model"]
    assert changes["metrics"]["test_accuracy"][0] > changes["metrics"]["test_accuracy"][1]
    assert changes["packages"] == {}
    assert deployment.cli("diff", runs[0], runs[2]).strip() == f"{runs[0]} and {runs[2]} do not differ."


def test_a_run_is_restored_without_airflow_and_without_mlflow(deployment, runs, tmp_path):
    without = {"MLFLOW_TRACKING_URI": NOWHERE, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://127.0.0.1:9/x"}
    for run, name in zip(runs, "abc", strict=True):
        done = deployment.cli_json("restore", run, "--to", str(tmp_path / name), **without)
        written = {str(file.relative_to(tmp_path / name)) for file in (tmp_path / name).rglob("*") if file.is_file()}
        assert set(done["files"]) == written >= {*OUTPUTS, "dvc.lock", "config/config.yaml"}
        wanted = {file["path"]: file["md5"] for file in deployment.cli_json("show", run, **without)["files"]}
        assert md5s(tmp_path / name) == {path: wanted[path] for path in OUTPUTS}

    assert md5s(tmp_path / "a") == md5s(tmp_path / "c") != md5s(tmp_path / "b")


def test_a_folder_that_cannot_be_written_to_is_named(deployment, runs, tmp_path):
    (tmp_path / "file").write_text("")

    said = deployment.cli("restore", runs[0], "--to", str(tmp_path / "file" / "folder"), code=1)

    assert str(tmp_path / "file") in said


def test_a_run_is_restored_into_the_checkout_as_dvc_has_it(deployment, runs, tmp_path):
    assert deployment.cli("restore", runs[0]).startswith(
        f"Restored {len(deployment.cli_json('restore', runs[0])['files'])} files"
    )
    assert json.loads(deployment.dvc("status", "--json")) == {}

    said = deployment.cli("restore", "2")

    assert "`dvc status` there shows changes in train_and_evaluate: " in said
    assert "model.logistic_regression.C 0.01 -> 1.0" in said
    deployment.cli("restore", "2", "--to", str(tmp_path))
    assert md5s(deployment.project) == md5s(tmp_path)
    deployment.cli("restore", "1")


def test_what_was_edited_by_hand_is_not_lost(deployment, runs):
    deployment.cli("restore", "1")
    model = deployment.project / "models" / "log_reg_model.pkl"
    lock = (deployment.project / "dvc.lock").read_bytes()
    model.chmod(0o644)
    model.write_bytes(b"mine")
    before = md5s(deployment.project)

    said = deployment.cli("restore", "2", code=1)

    assert "the results were not checked out" in said
    assert "models/log_reg_model.pkl" in said
    assert md5s(deployment.project) == before
    assert (deployment.project / "dvc.lock").read_bytes() == lock
    deployment.cli("restore", "1", "--force")
    assert model.read_bytes() != b"mine"


def test_a_checkout_whose_dvc_yaml_makes_other_files_stays_as_it_was(deployment, runs):
    deployment.cli("restore", "1")
    file = deployment.project / "dvc.yaml"
    text, lock, before = file.read_text(), (deployment.project / "dvc.lock").read_bytes(), md5s(deployment.project)
    file.write_text(text.replace("      - ${paths.mlflow_run}\n", "", 1))
    try:
        said = deployment.cli("restore", "2", code=1)
    finally:
        file.write_text(text)

    assert "does not produce reports/mlflow_run.json. Check out the commit of that run" in said
    assert (deployment.project / "dvc.lock").read_bytes() == lock
    assert md5s(deployment.project) == before


def test_plots_of_two_restored_runs_are_compared(deployment, runs):
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    deployment.cli("restore", "1")
    deployment.run("git", "add", "--force", "dvc.lock")
    assert deployment.run(*git, "commit", "--quiet", "--message", "one run").returncode == 0
    deployment.cli("restore", "2")

    deployment.dvc("plots", "diff", "HEAD")

    page = (deployment.project / "dvc_plots" / "index.html").read_text()
    assert all(f'"rev": "{rev}"' in page for rev in ("HEAD", "workspace"))
    deployment.cli("restore", "1")


def test_a_whole_run_is_verified_and_made_again_with_the_same_bytes(deployment, runs):
    before = len(deployment.mlflow_runs())

    found = deployment.cli_json("verify", runs[1], "--rerun")

    assert found["damaged"] == []
    assert found["objects"] >= len(OUTPUTS)
    different = [check["path"] for check in found["rerun"] if not check["ok"]]
    assert different == ["reports/mlflow_run.json"]
    assert {check["path"] for check in found["rerun"]} >= set(OUTPUTS)
    assert len(deployment.mlflow_runs()) == before


def test_a_run_of_other_code_is_made_again_with_its_own_code(deployment, runs):
    file = deployment.project / "include" / "stages" / "preprocess.py"
    text = file.read_text()
    file.write_text(text.replace("stratify=frame[target]", "stratify=None"))
    try:
        found = deployment.cli_json("verify", "1", "--rerun")
    finally:
        file.write_text(text)

    assert [check["path"] for check in found["rerun"] if not check["ok"]] == ["reports/mlflow_run.json"]


def test_a_changed_object_is_named_and_not_restored(deployment, runs, tmp_path):
    md5 = next(
        file["md5"] for file in deployment.cli_json("show", "2")["files"] if file["path"] == "models/log_reg_model.pkl"
    )
    key = f"dvc/files/md5/{md5[:2]}/{md5[2:]}"
    content = deployment.stored(key)
    deployment.s3.put_object(Bucket=deployment.bucket, Key=key, Body=content[:-1] + bytes([content[-1] ^ 1]))

    try:
        for command in (["verify", "2"], ["restore", "2", "--to", str(tmp_path / "there")], ["restore", "2"]):
            before = md5s(deployment.project)
            said = deployment.cli(*command, code=1)
            assert f"models/log_reg_model.pkl: object s3://{deployment.bucket}/{key} has different content" in said
            assert md5s(deployment.project) == before
        assert not (tmp_path / "there").exists()
        assert (
            json.loads(deployment.python("-m", "include", "verify", "2", "--json").stdout)["damaged"][0]["md5"] == md5
        )
    finally:
        deployment.s3.put_object(Bucket=deployment.bucket, Key=key, Body=content)


def test_a_server_that_is_no_mlflow_is_called_so_and_hides_nothing_else(deployment, runs):
    with login_page() as place:
        variables = {"MLFLOW_TRACKING_URI": f"http://someone:hunter2@{place}"}
        listed = deployment.python("-m", "include", "runs", **variables)
        found = deployment.python("-m", "include", "doctor", **variables)

    assert (listed.returncode, listed.stdout.count("manual__")) == (1, len(runs))
    said = f"the server at http://{place} is not MLflow"
    assert said in listed.stderr
    assert f"FAIL  tracking: {said}" in found.stdout
    assert "ok    disk" in found.stdout
    assert "hunter2" not in listed.stdout + listed.stderr + found.stdout + found.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["diff", "1"],
        ["restore", "1", "--to"],
        ["runs", "--limit", "none"],
        ["rollback", "the-last"],
        ["promote", "previous"],
        ["publish"],
        [],
    ],
)
def test_wrong_usage_ends_with_2(deployment, arguments):
    done = deployment.python("-m", "include", *arguments)

    assert done.returncode == 2
    assert "Usage: python -m include" in done.stdout + done.stderr or done.stderr.startswith("Error: Option")


@pytest.mark.parametrize("command", [["show"], ["diff", "1"], ["restore"], ["verify"]])
def test_an_unknown_run_is_named_by_every_command(deployment, runs, command):
    before = md5s(deployment.project)

    assert "no run, MLflow run or model version is named 'nobody'" in deployment.cli(*command, "nobody", code=1)
    assert "is ambiguous: manual__" in deployment.cli(*command, "manual__", code=1)
    assert md5s(deployment.project) == before


def test_a_store_that_is_away_is_named_by_every_command(deployment, runs, tmp_path):
    before, files = aliases(deployment), md5s(deployment.project)

    for command in (
        ["runs"], ["show", "1"], ["diff", "1", "2"], ["restore", "1"], ["verify", "1"],
        ["rollback", "2", "--yes"],
    ):  # fmt: skip
        said = deployment.cli(*command, code=1, AWS_ENDPOINT_URL=NOWHERE)
        assert f"the object store at {NOWHERE} does not answer" in said

    assert (aliases(deployment), md5s(deployment.project)) == (before, files)


def test_mlflow_that_is_away_stops_what_needs_it_and_nothing_else(deployment, runs):
    before, away = aliases(deployment), {"MLFLOW_TRACKING_URI": NOWHERE}

    done = deployment.python("-m", "include", "runs", **away)
    assert done.returncode == 1
    assert done.stdout.count("manual__") == len(runs)
    assert f"cannot find out which version is champion: MLflow at {NOWHERE} does not answer" in done.stderr
    assert f"MLflow at {NOWHERE} does not answer" in deployment.cli("promote", "2", "--yes", code=1, **away)
    deployment.cli("show", "1", **away)
    deployment.cli("verify", "1", **away)
    assert aliases(deployment) == before
