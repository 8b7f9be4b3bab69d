"""Who may do what: wrong passwords, the rights of each user, open ports, and where the secrets are."""

import json
import re
from datetime import timedelta

import botocore.auth
import pytest
import requests
from botocore.exceptions import ClientError

from include.errors import AccessError
from include.settings import RuntimeSettings
from include.store.client import client, translated_errors
from tests.stack.stack import ONE_SHOT, docker, inspected

WRONG = "not the password"


def test_airflow_refuses_a_wrong_password_and_none(stack):
    wrong = {"username": stack.values["AIRFLOW_ADMIN_USER"], "password": WRONG}
    assert requests.post(f"{stack.airflow}/auth/token", json=wrong, timeout=30).status_code == 401
    for path in ("api/v2/dags", "dvc-runs/dags/ml_pipeline"):
        assert requests.get(f"{stack.airflow}/{path}", timeout=30).status_code == 401


def test_mlflow_refuses_a_wrong_password_and_none_and_the_pipeline_is_no_administrator(stack):
    user = stack.pipeline_login[0]
    assert stack.mlflow("experiments/search", None, max_results="1").status_code == 401
    assert stack.mlflow("experiments/search", (user, WRONG), max_results="1").status_code == 401
    assert stack.mlflow("experiments/search", stack.pipeline_login, max_results="1").status_code == 200
    assert stack.mlflow("users/get", stack.pipeline_login, username="admin").status_code == 403


def test_the_store_refuses_a_wrong_password_none_and_the_bucket_of_another(stack):
    user = stack.values["AWS_ACCESS_KEY_ID"]
    assert requests.get(f"{stack.store}/ml-pipeline", timeout=30).status_code == 403
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stack.s3(user, WRONG).list_objects_v2(Bucket="ml-pipeline")
    for ask in (
        lambda s3: s3.list_objects_v2(Bucket="mlflow"),
        lambda s3: s3.put_object(Bucket="mlflow", Key="x", Body=b""),
        lambda s3: s3.create_bucket(Bucket="another"),
        lambda s3: s3.delete_bucket(Bucket="ml-pipeline"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            ask(stack.s3())
    mlflow = stack.s3(stack.values["MLFLOW_STORE_ACCESS_KEY"], stack.values["MLFLOW_STORE_SECRET_KEY"])
    mlflow.list_objects_v2(Bucket="mlflow")
    with pytest.raises(ClientError, match="AccessDenied"):
        mlflow.list_objects_v2(Bucket="ml-pipeline")


def test_a_clock_that_is_off_is_named(stack, monkeypatch):
    runtime = RuntimeSettings(
        aws_endpoint_url=stack.store,
        aws_access_key_id=stack.values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=stack.values["AWS_SECRET_ACCESS_KEY"],
    )
    s3 = client(runtime)
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: now(*a, **k) - timedelta(hours=1))
    with pytest.raises(AccessError, match=r"clocks .* differ .* NTP"), translated_errors(runtime, "listing"):
        s3.list_objects_v2(Bucket="ml-pipeline")


def test_the_databases_are_separate(stack):
    def entered(user: str, database: str) -> str:
        password = stack.values["AIRFLOW_DB_PASSWORD" if user == "airflow" else "MLFLOW_DB_PASSWORD"]
        command = ["exec", "-T", "-e", f"PGPASSWORD={password}", "postgres", "psql", "-h", "127.0.0.1", "-U", user]
        done = stack.compose(*command, "-d", database, "-Atc", "SELECT 'entered'", check=False)
        return done.stdout + done.stderr

    assert entered("airflow", "airflow") == "entered\n"
    assert entered("mlflow", "mlflow") == "entered\n"
    for user, other in (("airflow", "mlflow"), ("airflow", "mlflow_auth"), ("mlflow", "airflow")):
        assert f'permission denied for database "{other}"' in entered(user, other)


def test_the_ports_are_the_chosen_ones_on_loopback_and_no_others(stack):
    published = [
        (binding["HostIp"], int(binding["HostPort"]))
        for container in stack.containers()
        for bindings in (container["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    ]
    assert sorted(published) == sorted(("127.0.0.1", port) for port in stack.ports.values())


def test_secrets_are_where_they_are_needed_and_nowhere_else(stack):
    values = stack.values
    seen = {
        container["Config"]["Labels"]["com.docker.compose.service"]: json.dumps(container["Config"])
        for container in stack.containers()
    }

    def holders(name: str) -> set[str]:
        return {service for service, text in seen.items() if json.dumps(values[name])[1:-1] in text}

    database = {"airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}
    assert holders("POSTGRES_PASSWORD") == {"postgres", "postgres-init"}
    assert holders("MINIO_ROOT_PASSWORD") == {"minio", "minio-init"}
    assert holders("MLFLOW_ADMIN_PASSWORD") == {"mlflow", "mlflow-init"}
    assert holders("AIRFLOW_ADMIN_PASSWORD") == {"airflow-init"}
    assert holders("AIRFLOW_DB_PASSWORD") - ONE_SHOT == database
    assert holders("AIRFLOW_FERNET_KEY") - ONE_SHOT == database
    assert holders("MLFLOW_DB_PASSWORD") - ONE_SHOT == {"mlflow"}
    assert holders("MLFLOW_TRACKING_PASSWORD") - ONE_SHOT == {"airflow-scheduler"}


def test_no_secret_is_in_a_log_the_image_or_its_history(stack, first_run):
    logs = stack.compose("logs", "--no-color")
    logged = logs.stdout + logs.stderr
    image = docker("history", "--no-trunc", stack.image) + json.dumps(inspected(stack.image))
    secrets = {name: value for name, value in stack.values.items() if re.search("PASSWORD|SECRET|FERNET", name)}

    assert len(secrets) > 10
    assert all(f"{service}-1" in logged for service in ("postgres", "minio", "mlflow", "airflow-scheduler"))
    assert "ml_pipeline" in logged
    assert [name for name, value in secrets.items() if value in logged or value in image] == []
    files = ["run", "--rm", "--no-deps", "-T", "--entrypoint", "find", "airflow-dag-processor", "/opt/project"]
    found = stack.compose(*files, "-name", "*.env*", "-o", "-name", "dvc.yaml").stdout.split()
    assert sorted(found) == ["/opt/project/config/.env.example", "/opt/project/dvc.yaml"]
