"""With the real scheduler and triggerer: a scheduled run waits for its object without a worker slot."""

import datetime as dt
import json
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from include.stages.get_data import load_builtin
from tests.support.airflow_api import wait_for
from tests.support.deployment import Deployment
from tests.support.scheduler import Airflow, running_airflow

BUCKET = "arrives-late"
TODAY = dt.datetime.now(dt.UTC).date()


@pytest.fixture(scope="module")
def airflow(make_deployment: Callable[..., Deployment]) -> Iterator[Airflow]:
    deployment = make_deployment("late-data", retries=3)
    deployment.s3.create_bucket(Bucket=BUCKET)
    deployment.edit_config("wait_minutes: 0", "wait_minutes: 30")
    deployment.edit_config("date: logical_date\n", "date: data_interval_start\n")
    source = f"s3://{BUCKET}/{{date:%Y-%m-%d}}.csv"
    start = TODAY - dt.timedelta(days=10)
    with running_airflow(
        deployment, source=source, start=start, max_active_runs=4, parallelism=1, triggerer=True
    ) as airflow:
        yield airflow


def waiting_for(deployment: Deployment) -> list[str]:
    """The arguments of the triggers in Airflow's database, which are plain text there."""
    address = deployment.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("postgresql+psycopg2", "postgresql")
    connection = psycopg2.connect(address)
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT kwargs FROM trigger")
        return [kwargs for (kwargs,) in cursor.fetchall()]
    finally:
        connection.close()


def test_the_run_of_a_new_schedule_waits_for_the_last_complete_date_and_goes_on(airflow):
    (run_id,) = wait_for(lambda: airflow.runs("scheduled__"), 120)
    wait_for(lambda: airflow.tasks(run_id)["wait_for_source"]["state"] == "deferred", 120)
    (arguments,) = waiting_for(airflow.deployment)
    airflow.trigger("beside", **{"data.source": "sklearn:wine", "registry.minimum": 0.5})
    airflow.finished("beside")  # in the only slot

    yesterday = airflow.runs("scheduled__")[run_id]["logical_date"][:10]
    table = load_builtin("iris", "target").to_csv(index=False)
    airflow.deployment.s3.put_object(Bucket=BUCKET, Key=f"{yesterday}.csv", Body=table)

    assert airflow.finished(run_id)["wait_for_source"]["try_number"] == 1
    assert dt.date.fromisoformat(yesterday) in (TODAY - dt.timedelta(days=1), TODAY)  # midnight may have passed
    assert airflow.returned(run_id, "resolve_config")["config"]["data"]["source"] == f"s3://{BUCKET}/{yesterday}.csv"
    assert json.loads(arguments).keys() == {"source", "until"}
    assert json.loads(arguments)["source"] == f"s3://{BUCKET}/{yesterday}.csv"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert airflow.deployment.env[name] not in arguments
    assert f"no object at s3://{BUCKET}/{yesterday}.csv" in airflow.log(run_id, "wait_for_source", 1)
