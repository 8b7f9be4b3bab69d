"""A backfill right after an edit of ``schedule`` in config/config.yaml, before Airflow has read the file again."""

import pytest

from tests.support.airflow_fork import AirflowCallError

BACKFILL = ("backfill", "create", "--dag-id=ml_pipeline", "--from-date=2026-01-01", "--to-date=2026-01-03")


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("new-schedule")
    # As if the last change were older than that: within half a minute of it Airflow writes no other.
    deployment.env["AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL"] = "0"
    return deployment


def test_a_backfill_is_refused_until_airflow_has_read_the_file_again(deployment):
    deployment.airflow("dags", "reserialize")
    deployment.edit_config("cron: null", 'cron: "0 0 * * *"')
    refused = "DagNonPeriodicScheduleException: ml_pipeline has a non-periodic schedule that does not support backfills"

    with pytest.raises(AirflowCallError, match=refused):
        deployment.airflow(*BACKFILL)
    deployment.airflow("dags", "reserialize")
    deployment.airflow(*BACKFILL)

    listed = deployment.airflow("dags", "list-runs", "ml_pipeline", "--output=plain")
    assert [f"backfill__2026-01-0{day}T00:00:00" in listed for day in (1, 2, 3)] == [True] * 3
