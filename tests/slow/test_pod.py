"""``pod`` in dvc.yaml: what it becomes for the KubernetesExecutor, and what is wrong with one."""

import json
import sys
from typing import Any

import pytest

from dvc_airflow import DvcDag
from dvc_airflow.pod import pod_override
from dvc_airflow.project import DvcProjectError, StageSpec
from dvc_airflow.stage_meta import meta_arguments
from tests.support.copies import ROOT
from tests.support.strangers import Stranger

CONTAINER = {"name": "base", "resources": {"limits": {"nvidia.com/gpu": 1}}}
POD = {"spec": {"containers": [CONTAINER], "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}}


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("pod")


def test_it_arrives_in_the_executors_pod_which_kubernetes_would_accept(deployment):
    pod = deployment.pod_of("gpu", "train", AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "examples" / "gpu"))

    (container,) = pod["spec"]["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert container["image"] == "airflow:test"
    assert pod["spec"]["tolerations"] == [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}]
    validate(pod)


def validate(pod) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(json.loads(json.dumps(pod)), kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        ({"sepc": {}}, "Kubernetes knows no field sepc of a pod"),
        (
            {"spec": {"containers": [{"name": "base", "resource": {}}]}},
            r"no field spec\.containers\[0\]\.resource",
        ),
        ({"spec": {"containers": [{"image": "x"}]}}, "name"),
        ({"spec": {"containers": {"name": "base"}}}, "containers|V1Container"),
        ({"spec": "x"}, "V1PodSpec|no field spec|`containers`"),
    ],
)
def test_what_is_no_pod_is_an_error_of_the_dag_with_the_file_and_the_field(pod, message):
    stage = StageSpec("train", "train", "true", None, (), frozen=False, airflow={"pod": pod}, lines={"": 3, "pod": 4})

    with pytest.raises(DvcProjectError, match=rf"^dvc\.yaml:4: stage train: pod: .*({message})"):
        meta_arguments(stage)


def test_numbers_of_resources_may_be_numbers():
    assert pod_override(POD).spec.containers[0].resources.limits == {"nvidia.com/gpu": "1"}


def test_a_task_that_runs_needs_no_pod_and_no_client_of_kubernetes(tmp_path, monkeypatch):
    pod = "{spec: {priorityClassName: low, containers: []}}"
    dvc_yaml = f"stages:\n  train: {{cmd: echo 1 > out, outs: [out], meta: {{airflow: {{pod: {pod}}}}}}}\n"
    project_dir = Stranger(tmp_path, {"dvc.yaml": dvc_yaml}).path

    def executor_config() -> dict[str, Any]:
        dag = DvcDag("own", project_dir=project_dir, push=False, graph_cache_dir=tmp_path / "graphs")
        return dag.stage_tasks["train"].executor_config

    assert executor_config()["pod_override"].spec.priority_class_name == "low"

    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "own")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "train")
    monkeypatch.setitem(sys.modules, "kubernetes.client", None)
    assert executor_config() == {}
