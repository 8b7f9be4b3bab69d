"""What a stage leaves that dvc.yaml does not declare is named; what git tracks is no output; shells and folders."""

import pytest

from dvc_airflow.errors import DvcError, TaskError
from dvc_airflow.undeclared import Snapshot, shown
from tests.support.strangers import Stranger, md5s, outcomes


def warnings(caplog) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.levelname == "WARNING")


def test_what_is_left_and_changed_is_named_and_new_folders_as_a_whole(tmp_path, caplog):
    text = """
stages:
  fit:
    cmd: >-
      mkdir -p mlruns/0/a live/plots out/deep __pycache__ && touch mlruns/0/a/x mlruns/y live/m.json __pycache__/z
      && echo 2 >> table.csv && touch notes.txt out/deep/one model.bin
    deps: [table.csv]
    outs: [out/deep, model.bin]
    metrics: [live/m.json]
"""
    stranger = Stranger(tmp_path, {"dvc.yaml": text, "table.csv": "1\n", "other.csv": "1\n"})

    stranger.run()

    assert "Stage fit left what dvc.yaml does not declare as its outputs: mlruns/, notes.txt, table.csv. It goes" in (
        warnings(caplog)
    )


def test_a_stage_that_leaves_its_outputs_alone_is_not_warned_of(tmp_path, caplog):
    stranger = Stranger(tmp_path, {"dvc.yaml": "stages: {a: {cmd: mkdir -p d && touch d/x y, outs: [d, y]}}\n"})

    stranger.run()

    assert warnings(caplog) == ""


def test_a_long_list_has_a_bound(tmp_path):
    before = Snapshot(tmp_path)
    for number in range(50):
        (tmp_path / f"{number:02}").touch()

    assert shown(before.left(())) == "00, 01, 02, 03, 04, 05, 06, 07, 08, 09 and 40 more"


@pytest.mark.parametrize("out", ["results.csv", "results"])
def test_an_output_that_git_tracks_too_is_refused_in_dvcs_words_before_it_runs(tmp_path, out):
    command = "mkdir -p results && touch ran results/x results.csv"
    text = f"stages: {{make: {{cmd: '{command}', outs: [{out}]}}}}\n"
    stranger = Stranger(tmp_path, {"dvc.yaml": text, "results.csv": "", "results/old": ""})

    with pytest.raises(DvcError, match=f"output '{out}' is already tracked by SCM") as caught:
        stranger.run()

    assert caught.value.is_final
    assert f"git rm -r --cached '{out}'" in str(caught.value)


def test_a_metric_that_git_tracks_and_dvc_does_not_cache_is_fine(tmp_path):
    text = "stages: {make: {cmd: echo 2 > m.json, metrics: [m.json: {cache: false}]}}\n"
    stranger = Stranger(tmp_path, {"dvc.yaml": text, "m.json": "1\n"})

    assert outcomes(stranger.run()) == {"make": "executed"}


def test_a_command_runs_in_the_users_shell(tmp_path, monkeypatch):
    command = "source ./s.sh && [[ -n $LEVEL ]] && paste <(echo $LEVEL) n{1,2}.txt > out.txt"
    text = f"stages: {{merge: {{cmd: '{command}', deps: [s.sh, n1.txt, n2.txt], outs: [out.txt]}}}}\n"
    files = {"dvc.yaml": text, "s.sh": "LEVEL=high\n", "n1.txt": "1\n", "n2.txt": "2\n"}
    stranger = Stranger(tmp_path, files)

    monkeypatch.setenv("SHELL", "/bin/bash")
    by_bash = stranger.run()["merge"].lock
    monkeypatch.setenv("SHELL", "/usr/sbin/nologin")  # a service's user: bash all the same
    by_default = stranger.run(force=True)["merge"].lock
    monkeypatch.setenv("SHELL", "/bin/sh")
    with pytest.raises(TaskError, match="/bin/sh"):
        stranger.run(force=True)

    assert md5s(by_bash) == md5s(by_default)


def test_the_folders_that_outputs_go_into_are_there(tmp_path):
    text = "stages: {make: {cmd: echo 1 > models/deep/m.txt, outs: [models/deep/m.txt]}}\n"

    assert outcomes(Stranger(tmp_path, {"dvc.yaml": text}).run()) == {"make": "executed"}


def test_a_dependency_of_very_many_files_and_an_empty_one(tmp_path):
    text = "stages: {count: {cmd: ls many | wc -l > n.txt, deps: [many, empty], outs: [n.txt]}}\n"
    stranger = Stranger(tmp_path, {"dvc.yaml": text, ".gitignore": "many/\n", "empty": ""})
    stranger.write({f"many/{number:05}": "" for number in range(2000)})

    assert [outcomes(stranger.run()) for _ in range(2)] == [{"count": "executed"}, {"count": "unchanged"}]
    stranger.write({"many/one_more": ""})
    assert outcomes(stranger.run()) == {"count": "executed"}


def test_without_a_remote_stages_work_in_a_shared_cache_and_a_push_says_what_is_missing(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": "stages: {a: {cmd: echo 1 > a.txt, outs: [a.txt]}}\n"})

    with pytest.raises(
        TaskError, match=r"has no default DVC remote\. Run `dvc remote add --default NAME URL`"
    ) as pushed:
        stranger.run(remote=False, push=True)
    with pytest.raises(TaskError, match=r"they share no DVC cache \(cache_dir=\), and .*has no default") as apart:
        stranger.run(remote=False, cache=False)

    assert outcomes(stranger.run(remote=False)) == {"a": "unchanged"}
    for caught in (pushed, apart):
        assert caught.value.is_final
        assert "dvc-task-" not in str(caught.value)
        assert str(stranger.path) in str(caught.value)
