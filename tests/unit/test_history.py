"""What earlier runs left to know about a stage."""

from dvc_airflow.history import History

ENTRY = {"cmd": "x", "outs": [{"path": "o", "md5": "1"}]}


def test_what_was_recorded_is_known_to_other_processes(tmp_path):
    History(tmp_path).record("dag", "run-1", "sub/dvc.yaml:train@a", ENTRY, executed=True)

    assert History(tmp_path).last("dag", "sub/dvc.yaml:train@a") == {"entry": ENTRY}
    assert History(tmp_path).maker(ENTRY)["run_id"] == "run-1"
    assert History(tmp_path).last("other dag", "sub/dvc.yaml:train@a") is None
    assert History(tmp_path).maker({**ENTRY, "cmd": "y"}) is None


def test_a_restored_result_keeps_its_maker(tmp_path):
    History(tmp_path).record("dag", "run-1", "train", ENTRY, executed=True)
    History(tmp_path).record("dag", "run-2", "train", ENTRY, executed=False)

    assert History(tmp_path).maker(ENTRY)["run_id"] == "run-1"


def test_a_broken_history_is_no_history(tmp_path):
    History(tmp_path).record("dag", "run-1", "train", ENTRY, executed=True)
    for file in (tmp_path / "airflow").rglob("train"):
        file.write_text("{")

    assert History(tmp_path).last("dag", "train") is None


def test_without_a_shared_cache_nothing_is_known_and_nothing_kept():
    History(None).record("dag", "run-1", "train", ENTRY, executed=True)

    assert History(None).last("dag", "train") is None
