"""``python -m include gc`` from outside: what it shows, what has to be confirmed, and what it refuses."""

import subprocess
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from include.errors import DataError
from include.lineage.collected import FOLDER as NOTES
from include.lineage.run_keys import RunKey, key_of
from include.registry.champion import CHAMPION, Actor, Champion
from tests.integration.test_cli_champion import typed
from tests.support.proxy import proxy_to
from tests.support.random_runs import DAG, RandomRuns

# The store's clock says that all was written just now.
GC = ("gc", "--keep-days", "60", "--grace-hours", "0")
AGES = (190, 150, 120, 100, 80, 40, 20, 5)  # of the runs, in days


@pytest.fixture(scope="module")
def runs(make_deployment) -> RandomRuns:
    runs = RandomRuns(make_deployment("cli-gc"), datetime.now(UTC), seed=3)
    runs.model = runs.deployment.model
    trained = [runs.deployment.mlflow.create_run("0").info for _ in AGES]
    runs.deployment.mlflow.create_registered_model(runs.model)
    for one in trained:
        runs.deployment.mlflow.create_model_version(runs.model, f"{one.artifact_uri}/model", run_id=one.run_id)
    runs.trained = [one.run_id for one in trained]
    return runs


@pytest.fixture(autouse=True)
def store(runs) -> RandomRuns:
    """Runs 1 to 8, the oldest first, with versions 1 to 8; 2 was champion, then 3; 5 is, after 6 was rolled back."""
    for key in runs.deployment.objects():
        runs.s3.delete_object(Bucket=runs.bucket, Key=key)
    runs.forget()
    for number, age in enumerate(AGES, start=1):
        runs.run(f"run-{number}", age, str(number), runs.trained[number - 1], is_new=True)
    for key in runs.deployment.objects():
        if "/airflow/runs/" in key or "/airflow/last_run/" in key:  # they are as young as the store says
            runs.s3.delete_object(Bucket=runs.bucket, Key=key)
    for name in runs.deployment.mlflow.get_registered_model(runs.model).tags:
        runs.deployment.mlflow.delete_registered_model_tag(runs.model, name)
    champion = Champion(
        runs.config.model_copy(update={"registry": runs.config.registry.model_copy(update={"model_name": runs.model})}),
        runs.runtime,
        runs.deployment.mlflow,
    )
    with suppress(Exception):
        runs.deployment.mlflow.delete_registered_model_alias(runs.model, CHAMPION)
    for number, version in enumerate(("2", "3", "5", "6")):
        champion.carry_out(champion.plan("promotion", version, "good", Actor("a test", str(number))))
    champion.carry_out(champion.plan("roll-back", "5", "bad", Actor("a test", "back")))
    return runs


def test_it_shows_what_would_go_asks_and_keeps_the_champions_and_those_before(runs):
    before, deployment = runs.deployment.objects(), runs.deployment

    shown = deployment.cli(*GC, "--dry-run")
    assert f"s3://{runs.bucket}: 2 of 8 runs go, 6 are kept." in shown
    assert "The oldest that goes: run-1 of " in shown
    assert "the newest: run-4 of " in shown
    assert "\nmanifests                  2  " in shown
    document = deployment.cli_json(*GC, "--dry-run")
    assert [run["run"] for run in document["runs"]] == ["run-1", "run-4"]
    assert document["garbage"]["objects"]["bytes"] > 0
    said = deployment.cli(*GC, code=1)
    assert said.strip().endswith("run: python -m include gc --keep-days 60 --grace-hours 0 --yes")
    code, said = typed(deployment, *GC, answer="n")
    assert (code, "not confirmed. Nothing was deleted." in said) == (1, True)
    assert deployment.objects() == before

    code, said = typed(deployment, *GC, answer="y")
    assert code == 0, said

    assert [row["run"] for row in deployment.cli_json("runs")] == [f"run-{number}" for number in (8, 7, 6, 5, 3, 2)]
    assert runs.lineage.all_collected(DAG) == {RunKey(DAG, "run-1"), RunKey(DAG, "run-4")}
    assert {name: runs.damages(one) for name, one in runs.listed().items()} == {name: [] for name in runs.listed()}
    assert "There is nothing to delete." in deployment.cli(*GC, "--dry-run")
    for name in ("run-1", "1", "v4"):
        assert f"gc removed run {name}" in (said := deployment.cli("show", name, code=1))
        assert " on 20" in said
    assert "gc removed the run of version 4 on 20" in deployment.cli("rollback", "4", "--dry-run")


def test_without_champions_they_go_too_and_mlflow_keeps_the_runs_of_aliases(runs):
    runs.s3.put_object(Bucket=runs.bucket, Key="lineage/notes.txt", Body=b"mine")

    said = runs.deployment.cli(*GC, "--no-keep-champions", "--mlflow-artifacts", "--yes")

    assert "4 MLflow runs are in MLflow's bin: `mlflow gc` removes what is there with its artifacts" in said
    stages = [runs.deployment.mlflow.get_run(run).info.lifecycle_stage for run in runs.trained]
    assert stages == ["deleted"] * 4 + ["active"] * 4
    for run in runs.trained[:4]:
        runs.deployment.mlflow.restore_run(run)
    assert runs.listed().keys() == {"run-6", "run-7", "run-8"}
    assert "lineage/notes.txt" in runs.deployment.objects()


def test_a_run_whose_results_are_gone_is_not_recorded_again(runs):
    manifest = runs.listed()["run-1"]
    runs.deployment.cli(*GC, "--yes")
    before = runs.deployment.objects()

    with pytest.raises(DataError, match=r"gc removed what run run-1 had made, on 20.*: .* is gone.*Clear the run from"):
        runs.lineage.record(manifest)
    assert runs.deployment.objects() == before

    again = runs.run("run-1", 190, "1", is_new=True)
    assert runs.damages(again) == []
    assert f"{NOTES}/runs/{DAG}/run-1" not in runs.deployment.objects()


def test_commits_of_the_checkout_keep_what_they_name(runs):
    project, manifest = runs.deployment.project, runs.listed()["run-1"]
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    (project / "sub").mkdir()
    (project / "sub" / "dvc.lock").write_bytes(runs.lineage.get(key_of(RunKey(DAG, "run-1"), "dvc.lock")) or b"")
    for line in ("add --force sub/dvc.lock", "commit -qm x -- sub/dvc.lock", "tag -am x old", "reset -q HEAD~"):
        subprocess.run([*git, *line.split()], check=True, capture_output=True)
    (project / "sub" / "dvc.lock").unlink()
    try:
        runs.deployment.cli(*GC, "--yes")
    finally:
        subprocess.run([*git, "tag", "-d", "old"], check=True, capture_output=True)

    assert "run-1" not in runs.listed()
    files, damages = runs.lineage.objects_of(manifest).files(manifest.outputs)
    assert damages == runs.lineage.objects_of(manifest).check(files) == []


def unreadable(runs: RandomRuns, what: str) -> str:
    """Damage something; gives what is said of it."""
    keys = sorted(runs.deployment.objects())
    run = RunKey(DAG, "run-8")
    by_what = {
        "a manifest": key_of(run, "manifest.json"),
        "a lock file": runs.put("airflow/runs/dag/run", b"{}"),
        "the list of a folder": next(
            key
            for key in keys
            if key.endswith(".dir") and runs.listed()["run-8"].md5_of("plots").replace(".dir", "")[2:] in key
        ),
        "a list of code": f"{runs.config.storage.prefix}/airflow/code/{runs.listed()['run-8'].code.pack}.json",
    }
    if what != "a lock file":
        runs.s3.delete_object(Bucket=runs.bucket, Key=by_what["a lock file"])
    runs.s3.put_object(Bucket=runs.bucket, Key=by_what[what], Body=b'{"truncated":')
    return f"s3://{runs.bucket}/{by_what[what]} "


@pytest.mark.parametrize("what", ["a manifest", "a lock file", "the list of a folder", "a list of code"])
def test_where_something_cannot_be_read_nothing_is_deleted(runs, what):
    where = unreadable(runs, what)
    before = runs.deployment.objects()

    said = runs.deployment.cli(*GC, "--yes", code=1)

    assert where in said
    assert "if what it is of need not be kept, remove it, and call gc again. Nothing was deleted." in said
    assert runs.deployment.objects() == before


def test_where_something_cannot_be_asked_nothing_is_deleted(runs):
    deployment, before = runs.deployment, runs.deployment.objects()

    assert "no champions known" not in (
        said := deployment.cli(*GC, "--yes", code=1, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    )
    assert "Without them: --no-keep-champions. Nothing was deleted." in said
    head = deployment.project / ".git" / "HEAD"
    text = head.read_text()
    head.write_text("damaged")
    try:
        said = deployment.cli(*GC, "--yes", code=1)
    finally:
        head.write_text(text)
    assert f"git in {deployment.project}: " in said
    assert "Repair the checkout, or call gc in another one. Nothing was deleted." in said
    with proxy_to(deployment.env["AWS_ENDPOINT_URL"]) as store:
        store.refused = lambda line: b"list-type=2" in line and b"runs" in line
        said = deployment.cli(*GC, "--yes", code=1, AWS_ENDPOINT_URL=store.url)
        assert "refuses the credentials" in said
        assert said.strip().endswith("Nothing was deleted.")
        store.refused = lambda line: line.startswith(b"DELETE") or (line.startswith(b"POST") and b"delete" in line)
        said = deployment.cli(*GC, "--yes", code=1, AWS_ENDPOINT_URL=store.url)
        assert "deleting in bucket" in said
        assert "gc needs s3:DeleteObject there" in said
    assert deployment.objects() == before


def test_a_store_without_runs_is_left_alone(runs):
    for key in runs.deployment.objects():
        if key.startswith("lineage/"):
            runs.s3.delete_object(Bucket=runs.bucket, Key=key)
    before = runs.deployment.objects()

    said = runs.deployment.cli(*GC, "--yes", code=1)

    remedy = "Run the pipeline first, or check storage.bucket in config/config.yaml."
    assert said.strip().endswith(f"{remedy} Nothing was deleted.")
    assert runs.deployment.cli("show", code=1) == f"error: no run is recorded in s3://{runs.bucket}. {remedy}\n"
    assert f"no run is recorded in s3://{runs.bucket}, so it is not known what is needed. {remedy}" in said
    assert runs.deployment.objects() == before
