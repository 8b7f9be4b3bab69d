"""``python -m include`` from outside, on real runs: what it says, what it leaves, and its exit codes."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

OUTPUTS = (
    "data/raw/dataset.csv",
    "data/processed/test.csv",
    "data/processed/train.csv",
    "models/log_reg_model.pkl",
    "reports/metrics.json",
    "reports/mlflow_run.json",
)
NOWHERE = "http://127.0.0.1:9"  # the port of `discard`: nothing answers


@pytest.fixture(scope="module")
def site(make_site):
    return make_site("cli")


@pytest.fixture(scope="module")
def runs(site):
    """Three runs: two trainings, and one that restores the first; the first is in the checkout."""
    found = site.dag({}, {"conf": {"model.C": 0.01}}, {})
    assert [run["state"] for run in found] == ["success"] * 3
    cli(site, "restore", found[0]["run_id"])
    return [run["run_id"] for run in found]


def cli(site, *arguments: str, code: int = 0, **env: str) -> str:
    done = site.python("-m", "include", *arguments, **env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def as_json(site, *arguments: str, **env: str):
    return json.loads(cli(site, *arguments, "--json", **env))


def aliases(site) -> dict[str, str]:
    return dict(site.mlflow.get_registered_model(site.model).aliases)


def md5s(folder: Path) -> dict[str, str]:
    return {path: hashlib.md5((folder / path).read_bytes()).hexdigest() for path in OUTPUTS}


def test_runs_are_listed_newest_first_with_metrics_outcome_and_the_champion(site, runs):
    listed = as_json(site, "runs")

    assert [run["run"] for run in listed] == runs[::-1]
    assert [run["outcome"] for run in listed] == ["restored", "executed", "executed"]
    assert [run["version"] for run in listed] == ["1", "2", "1"]
    assert [run["champion"] for run in listed] == [True, False, True]
    assert [run["gate"] for run in listed] == ["passed", "not passed", "passed"]
    assert listed[0]["metrics"]["test_accuracy"] >= 0.9


def test_piped_output_is_plain_and_whole(site, runs):
    lines = cli(site, "runs", COLUMNS="40").splitlines()

    assert [line.split()[0] for line in lines] == ["run", *runs[::-1]]
    assert "champion" in lines[1]
    assert not any(char in "".join(lines) for char in "\x1b─│┃…")


def test_pages_of_runs(site, runs):
    assert [run["run"] for run in as_json(site, "runs", "--limit", "1", "--page", "2")] == [runs[1]]
    assert as_json(site, "runs", "--page", "2") == []


def test_a_run_is_shown_with_all_that_led_to_it(site, runs):
    shown = as_json(site, "show", runs[1])

    assert shown["airflow"]["run_id"] == runs[1]
    assert shown["airflow"]["triggered_by"] == "dag_test"
    assert shown["config"]["model"]["C"] == 0.01
    assert shown["model"] == {"name": site.model, "version": "2"}
    assert all(stage["started_at"] for stage in shown["stages"])
    assert shown["verdict"]["compared_with"] == "1"
    assert "scored on the same test rows" in shown["verdict"]["note"]
    assert shown["verdict"]["table"] in cli(site, "show", "2")


def test_two_runs_are_compared(site, runs):
    changes = as_json(site, "diff", runs[0], runs[1])

    assert changes["config"] == {"model.C": [1.0, 0.01]}
    assert list(changes["data"]) == ["model"]
    assert changes["metrics"]["test_accuracy"][0] > changes["metrics"]["test_accuracy"][1]
    assert changes["packages"] == {}
    assert cli(site, "diff", runs[0], runs[2]).strip() == f"{runs[0]} and {runs[2]} do not differ."


def test_a_run_is_restored_without_airflow_and_without_mlflow(site, runs, tmp_path):
    without = {"MLFLOW_TRACKING_URI": NOWHERE, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://127.0.0.1:9/x"}
    for run, name in zip(runs, "abc", strict=True):
        done = as_json(site, "restore", run, "--to", str(tmp_path / name), **without)
        assert set(OUTPUTS) <= set(done["files"])
        wanted = {file["path"]: file["md5"] for file in as_json(site, "show", run, **without)["files"]}
        assert md5s(tmp_path / name) == {path: wanted[path] for path in OUTPUTS}

    assert md5s(tmp_path / "a") == md5s(tmp_path / "c") != md5s(tmp_path / "b")


def test_a_folder_that_cannot_be_written_to_is_named(site, runs, tmp_path):
    (tmp_path / "file").write_text("")

    said = cli(site, "restore", runs[0], "--to", str(tmp_path / "file" / "folder"), code=1)

    assert str(tmp_path / "file") in said


def test_a_run_is_restored_into_the_checkout_as_dvc_has_it(site, runs, tmp_path):
    assert cli(site, "restore", runs[0]).startswith(f"Restored {len(as_json(site, 'restore', runs[0])['files'])} files")
    assert json.loads(site.dvc("status", "--json")) == {}

    said = cli(site, "restore", "2")

    assert "`dvc status` there differs in train_and_evaluate: " in said
    assert "model.C 0.01 -> 1.0" in said
    cli(site, "restore", "2", "--to", str(tmp_path))
    assert md5s(site.project) == md5s(tmp_path)
    cli(site, "restore", "1")


def test_what_was_edited_by_hand_is_not_lost(site, runs):
    cli(site, "restore", "1")
    model = site.project / "models" / "log_reg_model.pkl"
    lock = (site.project / "dvc.lock").read_bytes()
    model.chmod(0o644)
    model.write_bytes(b"mine")
    before = md5s(site.project)

    said = cli(site, "restore", "2", code=1)

    assert "the results were not checked out" in said
    assert "models/log_reg_model.pkl" in said
    assert md5s(site.project) == before
    assert (site.project / "dvc.lock").read_bytes() == lock
    cli(site, "restore", "1", "--force")
    assert model.read_bytes() != b"mine"


def test_a_checkout_whose_dvc_yaml_makes_other_files_stays_as_it_was(site, runs):
    cli(site, "restore", "1")
    file = site.project / "dvc.yaml"
    text, lock, before = file.read_text(), (site.project / "dvc.lock").read_bytes(), md5s(site.project)
    file.write_text(text.replace("      - ${paths.mlflow_run}\n", "", 1))
    try:
        said = cli(site, "restore", "2", code=1)
    finally:
        file.write_text(text)

    assert "does not make reports/mlflow_run.json (any more). Check out the commit of that run" in said
    assert (site.project / "dvc.lock").read_bytes() == lock
    assert md5s(site.project) == before


def test_plots_of_two_restored_runs_are_compared(site, runs):
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    cli(site, "restore", "1")
    site.run("git", "add", "--force", "dvc.lock")
    assert site.run(*git, "commit", "--quiet", "--message", "one run").returncode == 0
    cli(site, "restore", "2")

    site.dvc("plots", "diff", "HEAD")

    page = (site.project / "dvc_plots" / "index.html").read_text()
    assert all(f'"rev": "{rev}"' in page for rev in ("HEAD", "workspace"))
    cli(site, "restore", "1")


def test_a_whole_run_is_verified_and_made_again_with_the_same_bytes(site, runs):
    before = len(site.mlflow_runs())

    found = as_json(site, "verify", runs[1], "--rerun")

    assert found["damaged"] == []
    assert found["objects"] >= len(OUTPUTS)
    different = [check["path"] for check in found["rerun"] if not check["ok"]]
    assert different == ["reports/mlflow_run.json"]
    assert {check["path"] for check in found["rerun"]} >= set(OUTPUTS)
    assert len(site.mlflow_runs()) == before


def test_a_run_of_other_code_is_made_again_with_the_code_of_its_commit(site, runs):
    file = site.project / "include" / "stages" / "preprocess.py"
    text = file.read_text()
    file.write_text(text.replace("stratify=frame[target]", "stratify=None"))
    try:
        found = as_json(site, "verify", "1", "--rerun")
    finally:
        file.write_text(text)

    assert [check["path"] for check in found["rerun"] if not check["ok"]] == ["reports/mlflow_run.json"]


def test_a_changed_object_is_named_and_not_restored(site, runs, tmp_path):
    md5 = next(
        file["md5"] for file in as_json(site, "show", "2")["files"] if file["path"] == "models/log_reg_model.pkl"
    )
    key = f"dvc/files/md5/{md5[:2]}/{md5[2:]}"
    content = site.s3.get_object(Bucket=site.bucket, Key=key)["Body"].read()
    site.s3.put_object(Bucket=site.bucket, Key=key, Body=content[:-1] + bytes([content[-1] ^ 1]))

    try:
        for command in (["verify", "2"], ["restore", "2", "--to", str(tmp_path / "there")], ["restore", "2"]):
            before = md5s(site.project)
            said = cli(site, *command, code=1)
            assert f"models/log_reg_model.pkl: object s3://{site.bucket}/{key} holds other bytes" in said
            assert md5s(site.project) == before
        assert not (tmp_path / "there").exists()
        assert json.loads(site.python("-m", "include", "verify", "2", "--json").stdout)["damaged"][0]["md5"] == md5
    finally:
        site.s3.put_object(Bucket=site.bucket, Key=key, Body=content)


def test_a_roll_back_and_its_undoing(site, runs):
    assert aliases(site)["champion"] == "1"

    there = as_json(site, "rollback", "2", "--reason", "to see")
    assert (there["before"], there["version"], there["reason"]) == ("1", "2", "to see")
    assert aliases(site)["champion"] == "2"
    back = cli(site, "rollback", "--reason", "seen")

    assert back.strip() == f"Champion of {site.model}: version 2 -> 1 (seen)"
    assert aliases(site)["champion"] == "1"


def test_the_doctor_finds_everything_in_order(site, runs):
    lines = cli(site, "doctor").splitlines()

    assert {line.split()[0] for line in lines} == {"ok"}
    found = {finding["what"]: finding["detail"] for finding in as_json(site, "doctor")}
    assert set(found) >= {"packages", "config", "store", "store permissions", "store locks", "tracking", "registry"}
    assert found["registry"] == f"champion of {site.model}: version 1"


def test_the_doctor_says_what_to_do_about_each_thing_that_is_not_in_order(site, runs):
    done = site.python("-m", "include", "doctor", MLFLOW_TRACKING_URI=NOWHERE, AWS_SECRET_ACCESS_KEY="wrong")

    failed = {line.split(":")[0]: line for line in done.stdout.splitlines() if line.startswith("FAIL")}
    assert done.returncode == 1
    assert set(failed) >= {"FAIL  store", "FAIL  store permissions", "FAIL  tracking", "FAIL  registry"}
    assert "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in failed["FAIL  store"]
    assert f"MLflow at {NOWHERE} does not answer" in failed["FAIL  tracking"]
    assert "wrong" not in done.stdout


class LoginPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>log in</html>")

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_server_that_is_no_mlflow_is_called_so_and_hides_nothing_else(site, runs):
    server = HTTPServer(("127.0.0.1", 0), LoginPage)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        away = {"MLFLOW_TRACKING_URI": f"http://someone:hunter2@127.0.0.1:{server.server_port}"}
        listed = site.python("-m", "include", "runs", **away)
        found = site.python("-m", "include", "doctor", **away)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert (listed.returncode, listed.stdout.count("manual__")) == (1, len(runs))
    said = f"the server at http://127.0.0.1:{server.server_port} is not MLflow"
    assert said in listed.stderr
    assert f"FAIL  tracking: {said}" in found.stdout
    assert "ok    disk" in found.stdout
    assert "hunter2" not in listed.stdout + listed.stderr + found.stdout + found.stderr


@pytest.mark.parametrize(
    "variables", [{"AWS_PROFILE": "nobody"}, {"AWS_DEFAULT_REGION": "no region"}, {"AWS_ENDPOINT_URL": "nowhere"}]
)
def test_settings_of_the_store_that_cannot_be_are_named(site, runs, variables):
    (name,) = variables

    assert f"{name}" in cli(site, "show", "1", code=1, **variables)


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["restore", "1", "--to"], ["runs", "--limit", "none"], ["rollback", "the-last"], ["publish"], []],
)
def test_wrong_usage_ends_with_2(site, arguments):
    done = site.python("-m", "include", *arguments)

    assert done.returncode == 2
    assert "Usage: python -m include" in done.stdout + done.stderr or done.stderr.startswith("Error: Option")


@pytest.mark.parametrize("command", [["show"], ["diff", "1"], ["restore"], ["verify"]])
def test_an_unknown_run_is_named_by_every_command(site, runs, command):
    before = md5s(site.project)

    assert "no run, MLflow run or model version is called 'nobody'" in cli(site, *command, "nobody", code=1)
    assert "is ambiguous: manual__" in cli(site, *command, "manual__", code=1)
    assert md5s(site.project) == before


def test_a_roll_back_to_a_version_that_is_not_there(site, runs):
    before = aliases(site)

    assert "has no version 77: it was deleted, or never was. There are: 1, 2" in cli(site, "rollback", "77", code=1)
    assert "version 1 of model" in cli(site, "rollback", "1", code=1)
    assert aliases(site) == before


def test_a_store_that_is_away_is_named_by_every_command(site, runs, tmp_path):
    before, files = aliases(site), md5s(site.project)

    for command in (
        ["runs"], ["show", "1"], ["diff", "1", "2"], ["restore", "1"], ["verify", "1"], ["rollback", "2"],
    ):  # fmt: skip
        said = cli(site, *command, code=1, AWS_ENDPOINT_URL=NOWHERE)
        assert f"the object store at {NOWHERE} does not answer" in said

    assert (aliases(site), md5s(site.project)) == (before, files)


def test_mlflow_that_is_away_stops_what_needs_it_and_nothing_else(site, runs):
    before, away = aliases(site), {"MLFLOW_TRACKING_URI": NOWHERE}

    done = site.python("-m", "include", "runs", **away)
    assert done.returncode == 1
    assert done.stdout.count("manual__") == len(runs)
    assert f"cannot tell which version is champion: MLflow at {NOWHERE} does not answer" in done.stderr
    assert f"MLflow at {NOWHERE} does not answer" in cli(site, "rollback", "2", code=1, **away)
    cli(site, "show", "1", **away)
    cli(site, "verify", "1", **away)
    assert aliases(site) == before
