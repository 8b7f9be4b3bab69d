"""What users get wrong: one clear message, no retry in vain, and nothing of the last good run lost."""

import hashlib
import socket
from pathlib import Path

import pytest

from include.stages.get_data import load_builtin

STAGES = ("get_data", "preprocess", "train_and_evaluate")


@pytest.fixture(scope="module")
def deployment(make_deployment):
    """A deployment with a good run, its results checked out."""
    deployment = make_deployment("bad-input")
    (good,) = deployment.dag({})
    assert good["state"] == "success"
    done = deployment.python("-m", "include", "restore", good["run_id"])
    assert done.returncode == 0, done.stderr
    return deployment


def state_of(deployment) -> dict:
    """All that a failed run must leave as it was."""
    files = [
        deployment.project / "dvc.lock",
        *(f for folder in ("data", "models", "reports") for f in (deployment.project / folder).rglob("*")),
    ]
    return {
        "files": {
            str(file.relative_to(deployment.project)): hashlib.md5(file.read_bytes()).hexdigest()
            for file in files
            if file.is_file()
        },
        "aliases": deployment.mlflow.get_registered_model(deployment.model).aliases,
        "versions": len(deployment.mlflow.search_model_versions(f"name = '{deployment.model}'")),
        "bucket": deployment.objects(),
    }


@pytest.fixture(autouse=True)
def untouched(deployment):
    before = state_of(deployment)
    assert {"dvc.lock", "models/log_reg_model.pkl", "data/raw/dataset.parquet"} <= set(before["files"])
    assert before["aliases"] == {"champion": "1"}
    yield
    assert state_of(deployment) == before


@pytest.fixture(scope="module")
def bad_data(deployment):
    """A run per task that can find the data unfit, all in one process; by name. The unit tests have the other kinds."""
    iris = load_builtin("iris", "target")
    folder = deployment.project / "incoming"
    folder.mkdir()
    iris[iris["target"] == "setosa"].to_csv(folder / "one_class.csv", index=False)
    (folder / "binary.csv").write_bytes(b"\x7f\xfe\x00\x01")
    names = ("absent", "binary", "one_class")
    results = deployment.dag(*({"conf": {"data.source": f"incoming/{name}.csv"}} for name in names))
    return dict(zip(names, results, strict=True))


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("absent", "resolve_config", ["data.source: no file at ", "incoming/absent.csv. Put it there"]),
        ("binary", "pipeline.get_data", ["data.source: incoming/binary.csv contains zero bytes"]),
        ("one_class", "pipeline.preprocess", ["the target 'target' has 1 class"]),
    ],
)
def test_bad_data_fail_at_once_with_what_and_where(bad_data, name, task, said):
    run = bad_data[name]

    assert run["state"] == "failed"
    assert run["tasks"][task] == "failed"
    assert run["tries"][task] == 1
    for words in said:
        assert words in run["failures"][task]
    assert "Traceback" not in run["failures"][task]


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound, but nobody listens: a connection is refused


def test_a_store_that_is_away_is_retried_and_named(deployment, closed_port):
    (run,) = deployment.dag({"env": {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed_port}"}})

    assert (run["state"], run["tasks"]["resolve_config"], run["tries"]["resolve_config"]) == ("failed", "failed", 2)
    said = run["failures"]["resolve_config"]
    assert said.startswith(
        f"storage.bucket: {deployment.bucket}: the object store at http://127.0.0.1:{closed_port} does not answer"
    )
    assert "AWS_ENDPOINT_URL" in said


def test_wrong_credentials_fail_at_once_and_are_not_shown(deployment):
    for run in deployment.dag({"env": {"AWS_SECRET_ACCESS_KEY": "wrong"}}, {"env": {"AWS_ACCESS_KEY_ID": "nobody"}}):
        assert (run["state"], run["tasks"]["resolve_config"], run["tries"]["resolve_config"]) == ("failed", "failed", 1)
        assert "refuses the credentials" in run["failures"]["resolve_config"]
        assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in run["failures"]["resolve_config"]
        assert deployment.env["AWS_SECRET_ACCESS_KEY"] not in str(run)


def test_a_wrong_conf_fails_at_once(deployment):
    confs = {
        "unknown key 'split.test_sise' (did you mean 'split.test_size'?)": {"split": {"test_sise": 0.2}},
        "model.logistic_regression.C: Input should be greater than 0 (got -1)": {"model": {"C": -1}},
    }
    for said, run in zip(confs, deployment.dag(*({"conf": conf} for conf in confs.values())), strict=True):
        assert (run["state"], run["tasks"]["resolve_config"], run["tries"]["resolve_config"]) == ("failed", "failed", 1)
        assert said in run["failures"]["resolve_config"]


def test_an_mlflow_that_is_away_is_retried_and_named(deployment, closed_port):
    address = f"http://127.0.0.1:{closed_port}"
    (run,) = deployment.dag({"conf": {"model.C": 7.0}, "env": {"MLFLOW_TRACKING_URI": address}})  # refused: no waiting

    task = "pipeline.train_and_evaluate"
    assert (run["state"], run["tasks"][task], run["tries"][task]) == ("failed", "failed", 2)
    assert (
        f"error: MLflow at {address} does not answer. Is it running, and is MLFLOW_TRACKING_URI right?"
        in run["failures"][task]
    )


def test_hyperparameters_that_do_not_fit_the_data_fail_at_once_and_leave_no_mlflow_run(deployment):
    (run,) = deployment.dag({"conf": {"model.solver": "liblinear"}})

    task = "pipeline.train_and_evaluate"
    assert (run["tasks"][task], run["tries"][task]) == ("failed", 1)
    assert "error: model.logistic_regression: " in run["failures"][task]
    assert [run.info.status for run in deployment.mlflow_runs()] == ["FINISHED"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("C: 1.0", "C: -1", "config/config.yaml: model.logistic_regression.C: Input should be greater than 0 (got -1)"),
        ("  tol: 0.0001", "\ttol: 0.0001", "not valid YAML"),
        (None, None, "config/config.yaml is missing in"),
    ],
)
def test_a_wrong_config_file_is_an_error_of_one_line_by_hand_and_an_import_error_in_airflow(deployment, old, new, said):
    file = deployment.project / "config" / "config.yaml"
    text = file.read_text()
    try:
        if old is None:
            file.unlink()
        else:
            deployment.edit_config(old, new)
        by_hand = deployment.python("-m", "include.stages.preprocess")
        by_make = deployment.python(
            "-m", "include.services.embedded", "run", EMBEDDED_DIR=str(deployment.project / ".embedded" / "never")
        )
        in_airflow = deployment.import_errors()
    finally:
        file.write_text(text)

    for done in (by_hand, by_make):
        assert done.returncode == 78
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    (message,) = {error.strip().splitlines()[-1] for error in in_airflow.values()}
    assert message.partition(": ")[0].endswith("ConfigError")
    assert not Path(deployment.project / ".embedded" / "never" / "postgres").exists()
