"""The store by an Airflow Connection: no key of it in any process's environment but where it is needed."""

import json

import pytest

from tests.support.strangers import Stranger, dvc

KEYS = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
DAG_FILE = """
from dvc_airflow import DvcDag

DvcDag("own", project_dir="../project", schedule=None, remote_conn_id="store", env=["AWS_ACCESS_KEY_ID"])
"""


@pytest.fixture(scope="module")
def deployment(make_deployment):
    """Without the store's address and keys in the environment."""
    deployment = make_deployment("connection")
    env, deployment.client = deployment.env, deployment.s3
    fields = {
        "conn_type": "aws",
        "login": env["AWS_ACCESS_KEY_ID"],
        "password": env["AWS_SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": env["AWS_ENDPOINT_URL"], "region_name": "us-east-1"},
    }
    env |= {"AIRFLOW_CONN_STORE": json.dumps(fields), "OF_ANOTHER": json.dumps({**fields, "conn_type": "generic"})}
    deployment.s3_keys = {name: env.pop(name) for name in KEYS}
    return deployment


@pytest.fixture(scope="module")
def whole(deployment):
    """A run of the project's own pipeline."""
    (run,) = deployment.dag({}, AIRFLOW_STORE_CONN_ID="store")
    return run


def test_the_pipeline_runs_by_the_connection_alone(whole):
    assert whole["state"] == "success", whole["failures"]
    assert whole["returned"]["dvc_push"]["pushed"] > 0


def test_no_key_is_in_what_airflow_keeps(whole, deployment):
    secret = deployment.s3_keys["AWS_SECRET_ACCESS_KEY"]

    assert secret not in json.dumps(whole)
    assert secret not in deployment.log.read_text()


def test_a_connection_of_another_type_ends_the_first_task_with_the_name_of_the_setting(deployment):
    (run,) = deployment.dag({}, AIRFLOW_STORE_CONN_ID="another", AIRFLOW_CONN_ANOTHER=deployment.env["OF_ANOTHER"])

    message = (
        run["failures"]["resolve_config"] if "resolve_config" in run["failures"] else run["failures"]["setup_bucket"]
    )
    assert "AIRFLOW_STORE_CONN_ID=another: the Connection another is of type generic" in message


@pytest.fixture
def stranger(deployment, tmp_path):
    files = {"dvc.yaml": "stages: {a: {cmd: echo $AWS_ACCESS_KEY_ID.$AWS_SECRET_ACCESS_KEY. > a.txt, outs: [a.txt]}}\n"}
    stranger = Stranger(tmp_path, files)
    dvc(stranger.path, "remote", "add", "--default", "store", f"s3://{deployment.bucket}/own")
    # Of the author's own machine; the Connection wins, for DVC's commands too.
    dvc(stranger.path, "remote", "modify", "store", "endpointurl", "http://127.0.0.1:1")
    dvc(stranger.path, "remote", "modify", "store", "profile", "dev")
    stranger.commit()
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "own.py").write_text(DAG_FILE)
    return stranger


def test_a_dag_reaches_its_remote_by_the_connection_and_a_stage_gets_of_it_what_it_asks_for(deployment, stranger):
    dags = str(stranger.path.parent / "dags")

    (run,) = deployment.dag({}, dag_id="own", AIRFLOW__CORE__DAGS_FOLDER=dags)

    assert run["state"] == "success", run["failures"]
    assert deployment.s3_keys["AWS_SECRET_ACCESS_KEY"] not in str(run)
    (out,) = run["returned"]["a"]["lock"]["dvc.lock"]["a"]["outs"]
    key = deployment.s3_keys["AWS_ACCESS_KEY_ID"]
    stored = deployment.client.get_object(
        Bucket=deployment.bucket, Key=f"own/files/md5/{out['md5'][:2]}/{out['md5'][2:]}"
    )
    assert stored["Body"].read().decode() == f"{key}..\n"


@pytest.mark.parametrize(
    ("conn", "message"),
    [("nowhere", "Airflow has no Connection nowhere"), ("another", "is of type generic, but s3://")],
)
def test_a_connection_that_is_missing_or_does_not_fit_ends_the_run_before_its_first_stage(
    deployment, stranger, conn, message
):
    dags = stranger.path.parent / "dags"
    (dags / "own.py").write_text(DAG_FILE.replace('"store"', f'"{conn}"'))

    (run,) = deployment.dag(
        {}, dag_id="own", AIRFLOW__CORE__DAGS_FOLDER=str(dags), AIRFLOW_CONN_ANOTHER=deployment.env["OF_ANOTHER"]
    )

    assert message in run["failures"]["prepare_run"]
    assert run["tasks"]["a"] == "upstream_failed"
