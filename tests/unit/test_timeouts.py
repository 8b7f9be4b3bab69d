"""How long tasks wait: the settings reach every client, and a server that says nothing fails a task that soon."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from configobj import ConfigObj

from dvc_airflow.dvc.remote import remote_odb, translated_errors
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.errors import RemoteError, WorkspaceError
from dvc_airflow.operators import DvcPushOperator
from dvc_airflow.workspace import Workspace
from include import mlflow_client, mlflow_requests
from include.errors import ConfigError, ServiceError
from include.settings import RuntimeSettings, load_runtime_settings
from include.store import client as store
from include.store import sources
from ml_operators import base

DEFAULTS = {
    "store_connect_timeout": 5,
    "store_read_timeout": 15,
    "source_connect_timeout": 5,
    "source_read_timeout": 30,
    "mlflow_http_request_timeout": 15,
    "mlflow_http_request_max_retries": 2,
}
SOON = 6.0  # seconds; with the defaults each of these takes 15 at least


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in DEFAULTS:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes every request, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def code(tmp_path):
    (tmp_path / "project" / ".dvc").mkdir(parents=True)
    (tmp_path / "project" / "dvc.yaml").write_text("stages: {}\n")
    return tmp_path / "project"


@contextmanager
def ended_soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


def dvc_config(workspace: Workspace, remote: str) -> dict[str, str]:
    return dict(ConfigObj(str(workspace.path / ".dvc" / "config"), list_values=False)[f'remote "{remote}"'])


def test_the_defaults(tmp_path):
    settings = load_runtime_settings(tmp_path)

    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_environment_changes_each(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name.upper(), "7")

    assert getattr(load_runtime_settings(tmp_path), name) == 7


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("value", ["-1", "", "soon", "1.5", "100000"])
def test_an_impossible_value_is_refused_and_the_variable_named(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name.upper(), value)

    with pytest.raises(ConfigError, match=rf"^environment or config/\.env: {name.upper()} \("):
        load_runtime_settings(tmp_path)


def test_the_stores_client_has_them(silent):
    runtime = RuntimeSettings(
        aws_endpoint_url=silent, aws_access_key_id="a", aws_secret_access_key="b", store_connect_timeout=2,
        store_read_timeout=1,
    )  # fmt: skip
    s3 = store.client(runtime)

    assert (s3.meta.config.connect_timeout, s3.meta.config.read_timeout) == (2, 1)
    with (
        ended_soon(),
        pytest.raises(ServiceError, match="does not answer"),
        store.translated_errors(runtime, "listing"),
    ):
        s3.list_buckets()


def test_the_amazon_providers_hook_has_them():
    from ml_operators.store_hook import StoreHook

    runtime = RuntimeSettings(
        aws_access_key_id="a", aws_secret_access_key="b", store_connect_timeout=3, store_read_timeout=4
    )
    config = StoreHook(runtime, "SetupBucketOperator").get_conn().meta.config

    assert (config.connect_timeout, config.read_timeout) == (3, 4)
    assert "Caller/SetupBucketOperator" in config.user_agent_extra


def test_an_http_source_has_them(silent, tmp_path):
    runtime = RuntimeSettings(source_read_timeout=1)

    with ended_soon(), pytest.raises(ServiceError, match="does not answer"):
        sources.current_version(f"{silent}/x.csv", runtime, tmp_path)
    reading = sources.local_file(f"{silent}/x.csv", None, runtime, tmp_path)
    with ended_soon(), pytest.raises(ServiceError, match="does not answer"), reading:
        pass


def test_our_own_requests_to_mlflow_have_them(silent):
    runtime = RuntimeSettings(mlflow_tracking_uri=silent, mlflow_http_request_timeout=1)

    with ended_soon(), pytest.raises(ServiceError, match="does not answer"):
        mlflow_requests.server_version(runtime)


def test_mlflows_client_has_them(silent, monkeypatch):
    for name in RuntimeSettings().tracking_environment():
        monkeypatch.setenv(name, "")  # put back afterwards: `connect` sets them
    import mlflow

    uri = mlflow.get_tracking_uri()
    runtime = RuntimeSettings(
        mlflow_tracking_uri=silent, mlflow_http_request_timeout=1, mlflow_http_request_max_retries=1
    )
    try:
        client = mlflow_client.connect(runtime)
        with (
            ended_soon(),
            pytest.raises(ServiceError, match="does not answer"),
            mlflow_client.translated_errors(runtime),
        ):
            client.get_run("0" * 32)
    finally:
        mlflow.set_tracking_uri(uri)


def test_a_stage_gets_them_with_its_environment(tmp_path, monkeypatch):
    """As a stage reads them: from nothing but what the operators hand to its process."""
    for name in DEFAULTS:
        monkeypatch.setenv(name.upper(), "7")
    handed = {**base.store_environment(), **base.tracking_environment()}
    for name in DEFAULTS:
        monkeypatch.delenv(name.upper())
    for name, value in handed.items():
        monkeypatch.setenv(name, value)

    settings = load_runtime_settings(tmp_path)

    assert {getattr(settings, name) for name in DEFAULTS} == {7}


def test_dvc_waits_as_long_as_is_set_else_by_its_own_default(code, monkeypatch):
    push = DvcPushOperator(
        task_id="push", project_dir=code, remote_url="s3://bucket/dvc", remote_options=base.store_timeouts
    )
    monkeypatch.setenv("STORE_READ_TIMEOUT", "1")

    context = {"ti": SimpleNamespace(dag_id="dag", run_id="run")}
    with push.project_run(context).workspace({}) as workspace:
        found = dvc_config(workspace, "airflow")

    assert (found["connect_timeout"], found["read_timeout"]) == ("5", "1")


def test_the_remote_is_asked_with_them(code, silent):
    credentials = {"endpointurl": silent, "access_key_id": "a", "secret_access_key": "b", "region": "x"}
    with (
        DvcWorkspace(
            code,
            remote_url="s3://bucket/dvc",
            remote_options={"read_timeout": 1},
            credentials=lambda: credentials,
        ) as workspace,
        workspace.repo() as repo,
        ended_soon(),
        pytest.raises(RemoteError, match="does not answer"),
        translated_errors(repo),
    ):
        remote_odb(repo).fs.info("bucket/dvc/x")


def test_the_projects_own_dvc_configuration_counts_unless_the_dag_says_more(code):
    (code / ".dvc" / "config").write_text(
        "[core]\n    remote = mine\n['remote \"mine\"']\n    url = s3://bucket/x\n    read_timeout = 60\n"
        "['remote \"other\"']\n    url = s3://bucket/y\n['remote \"disk\"']\n    url = /mirror\n"
    )

    with Workspace(code) as workspace:
        mine, other, disk = (dvc_config(workspace, name) for name in ("mine", "other", "disk"))
    with Workspace(code, remote_options={"read_timeout": 2}) as workspace:
        asked, beside = dvc_config(workspace, "mine"), dvc_config(workspace, "other")

    assert (mine["connect_timeout"], mine["read_timeout"]) == ("5", "60")
    assert (other["connect_timeout"], other["read_timeout"]) == ("5", "8")
    assert "read_timeout" not in disk
    assert (asked["connect_timeout"], asked["read_timeout"]) == ("5", "2")
    assert beside == other


def test_an_option_cannot_smuggle_others_into_dvcs_configuration(code):
    with (
        pytest.raises(WorkspaceError, match="cannot be the read_timeout of a DVC remote"),
        Workspace(code, remote_url="s3://b/p", remote_options={"read_timeout": "1\n[core]\n    autostage = true"}),
    ):
        pass
