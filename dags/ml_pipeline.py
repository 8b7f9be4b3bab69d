"""The DAG `ml_pipeline`: the stages of dvc.yaml as tasks, between what prepares a run and what becomes of its model."""

from collections.abc import Sequence
from functools import partial

from airflow.sdk import DAG, BaseOperatorLink
from airflow.sdk.definitions.param import ParamsDict
from pendulum import datetime

from dvc_airflow import DvcPushOperator, DvcTaskGroup
from dvc_airflow.result_field import ResultOf
from include.settings import PROJECT_DIR
from include.settings.config_file import load_config
from ml_operators.assets import champion_asset, model_asset, raw_data_asset
from ml_operators.base import (
    cache_dir,
    retry_arguments,
    store_credentials,
    store_environment,
    store_timeouts,
    tracking_environment,
)
from ml_operators.links import MlflowRunLink, ObjectLink, StoreLink, store_links
from ml_operators.mlflow_runs import mlflow_run_gone
from ml_operators.params import trigger_form
from ml_operators.promote_model import EvaluateModelOperator, PromoteModelOperator
from ml_operators.published import published
from ml_operators.record_lineage import RecordLineageOperator
from ml_operators.register_model import RegisterModelOperator
from ml_operators.resolve_config import ResolveConfigOperator
from ml_operators.run_date import timetable
from ml_operators.setup_bucket import SetupBucketOperator

DOC = """
### From raw data to a champion, every step traceable

The tasks in `pipeline` are the stages of `dvc.yaml`.
A stage whose inputs have been seen before is **skipped**; the task's note says why.

| task | does |
|---|---|
| `wait_for_source` | waits for the data, if `schedule.wait_minutes` says so |
| `resolve_config` | `config/config.yaml` + the run's conf + the run's date, checked |
| `setup_bucket` | makes sure that the bucket exists and can be used |
| `pipeline.*` | `dvc repro --single-item <stage>`, each in a workspace of its own |
| `dvc_push` | pushes the run's outputs, and checks that the store has them |
| `register_model` | one registered version per MLflow run |
| `record_lineage` | writes manifest, `dvc.lock` and configuration into the store and onto the MLflow run |
| `promote_model` | compares with the champion on the same test rows; moves the alias `champion` if the gate passes |

Change a value for one run in the trigger form, or with a conf like `{"model": {"C": 0.5}}`; for all runs in
`config/config.yaml`.
"""

config = load_config()
start = config.schedule.start_date


# What the stages import of others, longest first: their processes find it imported.
WARM = [
    "sklearn.linear_model",
    "sklearn.ensemble",
    "sklearn.inspection",
    "mlflow.sklearn",
    "skops.io",
    "matplotlib.backends.backend_agg",
    "pandas",
    "pyarrow.parquet",
    "boto3",
    "pydantic_settings",
    "ruamel.yaml",
]


def links(*names: str) -> Sequence[BaseOperatorLink]:
    """Buttons to the objects of these ``paths``."""
    return store_links(*(ObjectLink(getattr(config.paths, name)) for name in names))


with DAG(
    "ml_pipeline",
    description="From raw data to a champion: DVC stages on Airflow",
    doc_md=DOC,
    schedule=timetable(config.schedule),
    start_date=datetime(start.year, start.month, start.day, tz="UTC"),
    catchup=config.schedule.catchup,
    max_active_runs=config.schedule.max_active_runs,
    default_args=retry_arguments(config.schedule),
    tags=["dvc", "mlflow"],
) as dag:
    resolve_config = ResolveConfigOperator(task_id="resolve_config")
    resolved = resolve_config.output
    if config.schedule.wait_minutes:
        from ml_operators.wait_for_source import WaitForSourceOperator

        WaitForSourceOperator(task_id="wait_for_source") >> resolve_config
    setup_bucket = SetupBucketOperator(task_id="setup_bucket", resolved=resolved)

    value = ResultOf(resolved)
    dvc = {
        "warm": WARM,
        "env": ["MLFLOW_DISABLE_TELEMETRY"],  # MLflow asks for it when it is imported: the same for all, one server
        "project_dir": PROJECT_DIR,
        "files": value["files"],
        "code": value["code"],
        "remote_url": value["remote_url"],
        "cache_dir": cache_dir,
        "credentials": store_credentials,
        "remote_options": store_timeouts,
    }
    stages = DvcTaskGroup(
        "pipeline",
        force=value["force"],
        stage_environment={"get_data": store_environment, "train_and_evaluate": tracking_environment},
        stage_options={
            "get_data": {"extra_links": links("raw_data")},
            "preprocess": {
                "publish": published(config.paths)["preprocess"],
                "extra_links": links("train_data", "test_data", "columns"),
            },
            "train_and_evaluate": {
                "publish": published(config.paths)["train_and_evaluate"],
                "extra_links": [MlflowRunLink(), *links("model", "metrics", "mlflow_run")],
                "check_restored": partial(mlflow_run_gone, config.paths.mlflow_run),
            },
        },
        **dvc,
    )
    dvc_push = DvcPushOperator(
        task_id="dvc_push",
        upstream_stages=stages.stage_task_ids,
        environment=store_environment,
        extra_links=store_links(StoreLink()),
        **dvc,
    )
    run = {"resolved": resolved, "stage_task_ids": stages.stage_task_ids}
    # Inlets: Airflow's graph of Assets then shows what comes of what.
    raw_data, model = raw_data_asset(config), model_asset(config)
    register_model = RegisterModelOperator(task_id="register_model", asset=model, inlets=[raw_data], **run)
    registered = register_model.output
    record_lineage = RecordLineageOperator(task_id="record_lineage", model=registered, asset=raw_data, **run)
    promote_model = PromoteModelOperator(
        task_id="promote_model", resolved=resolved, model=registered, asset=champion_asset(config), inlets=[model]
    )

    setup_bucket >> stages >> dvc_push >> register_model >> record_lineage
    if config.registry.approval == "manual":
        from ml_operators.approve_promotion import ApprovePromotionOperator

        evaluate_model = EvaluateModelOperator(task_id="evaluate_model", resolved=resolved, model=registered)
        approve = ApprovePromotionOperator(task_id="approve_promotion", verdict=evaluate_model.output)
        record_lineage >> evaluate_model >> approve >> promote_model
    else:
        record_lineage >> promote_model

# Only now: Airflow copies into each task what the DAG has before it, and checks and stores all these copies.
dag.params = ParamsDict(trigger_form(config))
