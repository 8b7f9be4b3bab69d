"""What earlier runs left to know about a stage."""

from pathlib import Path

from dvc_airflow.history import CacheFolder, History


def history(folder: Path) -> History:
    return History(CacheFolder(folder))


ENTRY = {"cmd": "x", "outs": [{"path": "o", "md5": "1"}]}


def test_what_was_recorded_is_known_to_other_processes(tmp_path):
    history(tmp_path).record("dag", "run-1", "sub/dvc.yaml:train@a", ENTRY, executed=True)

    assert history(tmp_path).last("dag", "sub/dvc.yaml:train@a") == ENTRY
    assert history(tmp_path).executed_by(ENTRY)["run_id"] == "run-1"
    assert history(tmp_path).last("other dag", "sub/dvc.yaml:train@a") is None
    assert history(tmp_path).executed_by({**ENTRY, "cmd": "y"}) is None


def test_a_restored_result_keeps_the_run_that_executed_it(tmp_path):
    history(tmp_path).record("dag", "run-1", "train", ENTRY, executed=True)
    history(tmp_path).record("dag", "run-2", "train", ENTRY, executed=False)

    assert history(tmp_path).executed_by(ENTRY)["run_id"] == "run-1"


def test_a_broken_history_is_no_history(tmp_path):
    history(tmp_path).record("dag", "run-1", "train", ENTRY, executed=True)
    for file in (tmp_path / "airflow").rglob("train"):
        file.write_text("{")

    assert history(tmp_path).last("dag", "train") is None


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path):
    (tmp_path / "airflow").write_text("a file where a folder should be")

    history(tmp_path).record("dag", "run-1", "train", ENTRY, executed=True)

    assert history(tmp_path).last("dag", "train") is None


def test_how_long_the_last_executions_took_is_known_by_dag_and_stage(tmp_path):
    for number in range(25):
        history(tmp_path).record("dag", "run", "train", ENTRY, executed=True, seconds=float(number))
    history(tmp_path).record("dag", "run", "train", ENTRY, executed=False, seconds=99.0)

    assert history(tmp_path).seconds("dag", "train") == [float(number) for number in range(5, 25)]
    assert history(tmp_path).seconds("dag", "other") == history(tmp_path).seconds("other", "train") == []
