"""Unchanged means what DVC means: also without dependencies, without outputs, and with outputs that grow."""

import multiprocessing

import pytest

from tests.support.strangers import Stranger, dvc

HABITS = """
stages:
  download: {cmd: 'date +%N > page.html && echo download >> "$RAN"', outs: [page.html]}
  index: {cmd: 'wc -c page.html > index.txt && echo index >> "$RAN"', deps: [page.html], outs: [index.txt]}
  upload: {cmd: 'cat index.txt && echo upload >> "$RAN"', deps: [index.txt]}
  collect: {cmd: 'cat new.txt >> all.txt && echo collect >> "$RAN"', deps: [new.txt], outs: [all.txt: {persist: true}]}
  count: {cmd: 'wc -l < all.txt > count.txt && echo count >> "$RAN"', deps: [all.txt], outs: [count.txt]}
  remind: {cmd: 'echo remind >> "$RAN"'}
"""
ALL = ["collect", "count", "download", "index", "remind", "upload"]


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A file in which each stage that runs leaves its name, and what is in it since the last look."""
    file = tmp_path / "ran.txt"
    monkeypatch.setenv("RAN", str(file))

    def names() -> list[str]:
        found = sorted(file.read_text().split()) if file.exists() else []
        file.unlink(missing_ok=True)
        return found

    return names


@pytest.fixture
def stranger(tmp_path):
    return Stranger(tmp_path, {"dvc.yaml": HABITS, "new.txt": "one\n"})


def count_in(results) -> int:
    return next(out["size"] for out in results["collect"].entry["outs"])


@pytest.mark.parametrize("cache", [True, False], ids=["shared cache", "no shared cache"])
def test_the_stages_that_run_are_those_that_run_under_plain_dvc(stranger, ran, cache):
    def both(*forced: str):
        results = stranger.run(cache=cache, env=["RAN"], force=bool(forced))
        by_us = ran()
        dvc(stranger.path, "repro", *forced, RAN=str(stranger.path.parent / "ran.txt"))
        return results, by_us, ran()

    first, by_us, by_dvc = both()
    assert by_us == by_dvc == ALL
    second, by_us, by_dvc = both()
    assert by_us == by_dvc == ["remind"]
    assert second["download"].reason.startswith("same inputs as in the last run; executed by ")
    assert second["remind"].reason.startswith("it has neither dependencies nor outputs")

    stranger.write({"new.txt": "two\n"})
    third, by_us, by_dvc = both()
    assert by_us == by_dvc == ["collect", "count", "remind"]
    assert third["collect"].reason == "new.txt changed"
    assert count_in(third) == 2 * count_in(first)  # it went on with what it had

    stranger.write({"new.txt": "one\n"})  # as it was first: what grows does not go back
    fourth, by_us, by_dvc = both()
    assert by_us == by_dvc == ["collect", "count", "remind"]
    assert count_in(fourth) == 3 * count_in(first)


def test_force_runs_them_and_what_grows_goes_on(stranger, ran):
    made = stranger.run("download", "index", env=["RAN"])
    first = stranger.run("collect", "upload", env=["RAN"], earlier=made)
    ran()

    forced = stranger.run("collect", "upload", env=["RAN"], earlier=made, force=True)

    assert ran() == ["collect", "upload"]
    assert forced["upload"].reason == "forced by this run; it has no outputs to compare"
    assert forced["collect"].reason == "forced by this run; not reproduced: all.txt"
    assert count_in(forced) == 2 * count_in(first)


def test_another_dag_has_a_history_of_its_own(stranger, ran):
    runs = [stranger.run("download", env=["RAN"], dag_id=dag_id) for dag_id in ("one", "one", "other", "one")]

    assert [run["download"].outcome for run in runs] == ["executed", "unchanged", "executed", "unchanged"]
    assert ran() == ["download", "download"]


def test_what_had_grown_and_is_lost_begins_anew_and_the_reason_says_so(stranger, ran):
    (one,) = stranger.run("collect", env=["RAN"]).values()
    oid = one.entry["outs"][0]["md5"]
    (stranger.cache / "files" / "md5" / oid[:2] / oid[2:]).unlink()

    (again,) = stranger.run("collect", env=["RAN"]).values()

    assert again.outcome == "executed"
    assert again.reason.endswith("all.txt: missing from the cache and the store, or corrupted there, so it began anew")
    assert again.entry["outs"][0]["md5"] == oid


def test_an_output_that_dvc_yaml_names_newly_runs_the_stage(stranger, ran):
    stranger.run("download", env=["RAN"])
    more = HABITS.replace("date +%N > page.html", "date +%N > page.html && touch more.html", 1)
    stranger.write({"dvc.yaml": more.replace("outs: [page.html]", "outs: [page.html, more.html]", 1)})

    (again,) = stranger.run("download", env=["RAN"]).values()

    assert again.reason == "the command changed; more.html is a new output"


def test_of_two_runs_at_once_one_uploads(stranger, ran):
    """They share a cache, and so a lock for what they need both."""
    made = stranger.run("download", "index", env=["RAN"])
    ran()
    fork = multiprocessing.get_context("fork")
    runs = [
        fork.Process(target=stranger.run, args=["upload"], kwargs={"env": ["RAN"], "earlier": made}) for _ in range(2)
    ]

    for run in runs:
        run.start()
    for run in runs:
        run.join()

    assert [run.exitcode for run in runs] == [0, 0]
    assert ran() == ["upload"]
