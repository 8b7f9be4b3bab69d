"""``python -m include runs``: with runs that failed, and with versions of several models."""

import json
import threading
from contextlib import closing

import psycopg2
import pytest

from include.lineage.lineage_store import VERDICT, RunKey, key_of

OTHER = "another-model"
ADDRESS = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
SAID = "Failed runs are not listed: "


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("run-list")
    (deployment.project / "binary.csv").write_bytes(b"\x7f\xfe\x00\x01")
    return deployment


@pytest.fixture(scope="module")
def runs(deployment):
    """One that is champion, one of no table, one of another model, one with a wrong key."""
    steps = (
        {},
        {"conf": {"data.source": "binary.csv"}},
        {"conf": {"registry.model_name": OTHER, "model.C": 0.5}},
        {"conf": {"split.test_sise": 1}},
    )
    found = deployment.dag(*steps)
    assert [run["state"] for run in found] == ["success", "failed", "success", "failed"]
    return [run["run_id"] for run in found]


def test_failed_runs_are_listed_in_their_place_with_the_task_that_failed(deployment, runs):
    listed = deployment.cli_json("runs")

    assert [run["run"] for run in listed] == runs[::-1]
    assert [run["failed_tasks"] for run in listed] == [["resolve_config"], None, ["pipeline.get_data"], None]
    assert [run["outcome"] for run in listed] == ["failed", "executed", "failed", "executed"]
    assert [run["dag"] for run in listed] == ["ml_pipeline"] * 4
    times = [run["started_at"] for run in listed]
    assert times == sorted(times, reverse=True)
    *lines, _, why = deployment.cli("runs").splitlines()
    assert why.startswith("The newest run failed in resolve_config. Why is at the end of the task's log: ")
    assert [line.split()[0] for line in lines] == ["run", *runs[::-1]]
    assert [line.count("failed: ") for line in lines] == [0, 1, 0, 1, 0]
    assert "failed: pipeline.get_data" in lines[3]


@pytest.fixture
def without_verdict(deployment, runs):
    """The run of the other model, as it would be if its promote_model had failed."""
    verdict = {"Bucket": deployment.bucket, "Key": key_of(RunKey("ml_pipeline", runs[2]), VERDICT)}
    content = deployment.s3.get_object(**verdict)["Body"].read()
    deployment.s3.delete_object(**verdict)
    _set_states(deployment, runs[2], "failed")
    yield runs[2]
    _set_states(deployment, runs[2], "success")
    deployment.s3.put_object(**verdict, Body=content)


def _set_states(deployment, run: str, state: str) -> None:
    address = deployment.env[ADDRESS].replace("+psycopg2", "")
    with closing(psycopg2.connect(address)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE dag_run SET state = %s WHERE run_id = %s", (state, run))
        task = "UPDATE task_instance SET state = %s WHERE run_id = %s AND task_id = 'promote_model'"
        cursor.execute(task, (state, run))


def test_a_run_that_failed_in_promote_model_says_so_when_it_is_shown(deployment, without_verdict):
    shown, document = deployment.cli("show", without_verdict), deployment.cli_json("show", without_verdict)
    elsewhere = deployment.cli("show", without_verdict, **{ADDRESS: ""})

    assert shown.splitlines()[-1].startswith(
        "The run failed in promote_model, and has no verdict. Why is at the end of "
    )
    assert (document["verdict"], document["failed_tasks"]) == (None, ["promote_model"])
    assert elsewhere.splitlines()[-1].startswith(
        "The run has no verdict: promote_model failed or has not ended. Which of both is not known: only Airflow's"
    )


def test_pages_have_both_kinds_of_runs_once_each(deployment, runs):
    pages = [deployment.cli_json("runs", "--limit", "1", "--page", str(page)) for page in range(1, 6)]

    assert [[run["run"] for run in page] for page in pages] == [*([run] for run in runs[::-1]), []]


def test_each_model_has_its_champion_and_a_column_says_which_model(deployment, runs):
    listed = {run["run"]: run for run in deployment.cli_json("runs")}
    lines = deployment.cli("runs").splitlines()

    assert [listed[run]["model"] for run in runs] == [deployment.model, None, OTHER, None]
    assert [listed[run]["champion"] for run in runs] == [True, False, True, False]
    assert "  model  " in lines[0]
    assert f" {OTHER} " in lines[2]
    assert lines[2].endswith("champion  model.logistic_regression.C=0.5, registry.model_name=another-model")
    assert "  model  " not in deployment.cli("runs", "--page", "4", "--limit", "1")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", f'only Airflow\'s database knows them, and {ADDRESS} is not set. To set it: eval "$(make -s env-vars)"'),
        ("sqlite:////airflow.db", f"only Airflow's database knows them, and {ADDRESS} names no PostgreSQL."),
        ("postgresql+psycopg2://user:secret@127.0.0.1:9/x", "Airflow's database does not answer: connection to server"),
        ("postgresql://user:sec/ret@127.0.0.1:9/x", f"{ADDRESS} is not the address of a database"),
    ],
)
def test_without_airflows_database_the_others_are_listed_and_why_is_said_in_one_line(deployment, runs, address, said):
    done = deployment.python("-m", "include", "runs", "--json", **{ADDRESS: address})

    assert done.returncode == 0, done.stderr
    assert [run["run"] for run in json.loads(done.stdout)] == [runs[2], runs[0]]
    (line,) = done.stderr.splitlines()
    assert line.startswith(SAID + said)
    assert "sec" not in line.replace(SAID, "")


def test_a_database_that_is_not_airflows_is_called_so(deployment, runs):
    address = deployment.env[ADDRESS].replace("airflow_run_list", "postgres")
    done = deployment.python("-m", "include", "runs", **{ADDRESS: address})

    assert (done.returncode, done.stdout.count("manual__")) == (0, 2)
    assert f"{SAID}the database of {ADDRESS} cannot be asked: relation" in done.stderr


@pytest.fixture
def locked(deployment):
    """Airflow's database while a migration changes its table of runs."""
    connection = psycopg2.connect(deployment.env[ADDRESS].replace("+psycopg2", ""))
    connection.cursor().execute("LOCK TABLE dag_run IN ACCESS EXCLUSIVE MODE")
    yield connection
    connection.close()


def test_a_database_that_is_being_migrated_is_not_waited_for(deployment, runs, locked):
    too_late = threading.Timer(60, locked.close)
    too_late.start()
    done = deployment.python("-m", "include", "runs")
    too_late.cancel()

    assert (done.returncode, done.stdout.count("manual__")) == (0, 2)
    assert f"{SAID}Airflow's database did not answer within 5 s. " in done.stderr


def test_a_database_that_is_stopped_meanwhile_is_called_so(deployment, runs, locked):
    def stop() -> None:
        waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with locked.cursor() as cursor:
            while not ended.wait(0.1) and not cursor.execute(waiting) and not cursor.rowcount:
                cursor.execute("SELECT pg_stat_clear_snapshot()")

    ended = threading.Event()
    stopping = threading.Thread(target=stop)
    stopping.start()
    done = deployment.python("-m", "include", "runs")
    ended.set()
    stopping.join()

    assert (done.returncode, done.stdout.count("manual__")) == (0, 2)
    assert f"{SAID}Airflow's database closed the connection: " in done.stderr
