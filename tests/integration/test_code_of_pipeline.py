"""The code of a run of ml_pipeline: one, named by the manifest, brought back, and run again."""

import json
from pathlib import Path

import pytest

from tests.support.dag_runs import outcomes, output

CODE = "dvc/airflow/code/"
STAGE = "include/stages/preprocess.py"
COMMIT = (
    f"echo '# changed in the middle' >> {STAGE} && sed -i 's/-m include.stages.preprocess/-m nothing/' dvc.yaml && "
    "git -c user.name=test -c user.email=test@localhost commit --quiet --all --message middle"
)


@pytest.fixture(scope="module")
def deployment(make_deployment):
    deployment = make_deployment("code")
    project = deployment.project
    (project / "tool.sh").write_text("#!/bin/sh\necho tool\n")
    (project / "tool.sh").chmod(0o755)
    (project / "notes").symlink_to("config")
    (project / "tool").symlink_to("tool.sh")
    (project / "config" / ".env").write_text("MLFLOW_TRACKING_PASSWORD=sesame\n")
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    assert deployment.run("git", "add", ".").returncode == 0
    assert deployment.run(*git, "commit", "--quiet", "--message", "with links").returncode == 0
    return deployment


@pytest.fixture(scope="module")
def runs(deployment):
    """Two runs of one code; a third, in the middle of which something else is committed."""
    commit = deployment.run("git", "rev-parse", "HEAD").stdout.strip()
    first, second = deployment.dag({}, {})
    kept = {key: etag for key, etag in deployment.objects().items() if key.startswith(CODE)}
    (third,) = deployment.dag({"after": {"resolve_config": COMMIT}, "conf": {"split.test_size": 0.3}})
    later = deployment.run("git", "rev-parse", "HEAD").stdout.strip()
    return {"commit": commit, "later": later, "first": first, "second": second, "third": third, "kept": kept}


def manifest(deployment, run: dict) -> dict:
    return deployment.cli_json("show", run["run_id"])


def test_a_commit_in_the_middle_of_a_run_changes_nothing_of_it(deployment, runs):
    third, recorded = runs["third"], manifest(deployment, runs["third"])

    assert third["state"] == "success", third["failures"]
    assert outcomes(third)["preprocess"] == "executed"
    assert recorded["code"] == {**recorded["code"], "git_sha": runs["commit"], "dirty": False}
    assert runs["later"] != runs["commit"]
    used = third["returned"]["pipeline.preprocess"]["lock"]["dvc.lock"]["preprocess"]
    before = runs["first"]["returned"]["pipeline.preprocess"]["lock"]["dvc.lock"]["preprocess"]
    assert used["cmd"] == before["cmd"]
    assert {dep["path"]: dep["md5"] for dep in used["deps"]}[STAGE] == md5_of_code(deployment, runs["first"])


def md5_of_code(deployment, run: dict) -> str:
    entry = run["returned"]["pipeline.preprocess"]["lock"]["dvc.lock"]["preprocess"]
    return {dep["path"]: dep["md5"] for dep in entry["deps"]}[STAGE]


def test_runs_of_one_code_have_one_pack_and_the_second_stores_nothing(deployment, runs):
    packs = {manifest(deployment, runs[name])["code"]["pack"] for name in ("first", "second", "third")}

    assert len(packs) == 1
    assert set(runs["kept"]) == {f"{CODE}{next(iter(packs))}{suffix}" for suffix in (".json", ".zip")}
    assert {key: etag for key, etag in deployment.objects().items() if key.startswith(CODE)} == runs["kept"]


def test_no_secret_is_in_pack_xcom_or_manifest(deployment, runs):
    kept = b"".join(deployment.stored(key) for key in runs["kept"])

    for secret in ("sesame", deployment.env["AWS_SECRET_ACCESS_KEY"]):
        assert secret.encode() not in kept
        assert secret not in json.dumps(runs["third"]["xcoms"])
    assert (
        "config/.env" not in json.loads(deployment.stored(next(key for key in runs["kept"] if "json" in key)))["files"]
    )


def test_restore_brings_the_code_back_with_modes_and_links(deployment, runs, tmp_path):
    found = deployment.cli_json("restore", runs["first"]["run_id"], "--code", "--to", str(tmp_path / "code"))
    code = tmp_path / "code"

    assert found["left_out"] == []
    assert deployment.run("git", "worktree", "add", "--detach", str(tmp_path / "tree"), runs["commit"]).returncode == 0
    wanted, restored = (tree(tmp_path / "tree"), tree(code))
    assert restored == {path: wanted[path] for path in restored}
    assert {path for path in wanted.keys() - restored.keys() if not path.startswith(".dvc/")} == {".git"}
    assert (code / "tool.sh").stat().st_mode & 0o777 == 0o755
    assert (code / STAGE).stat().st_mode & 0o111 == 0
    assert ((code / "notes").readlink(), (code / "tool").readlink()) == (Path("config"), Path("tool.sh"))
    assert not (code / "config" / ".env").exists()


def tree(folder: Path) -> dict[str, object]:
    """What is there: contents with the executable bit, and where links lead; not how .dvc/config is laid out."""
    return {
        path.relative_to(folder).as_posix(): path.readlink()
        if path.is_symlink()
        else (path.read_bytes(), path.stat().st_mode & 0o111 > 0)
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.parts[-2:] != (".dvc", "config")
    }


def test_restore_never_writes_over_a_folder_without_force(deployment, runs, tmp_path):
    (tmp_path / "mine.txt").write_text("mine\n")
    (tmp_path / "dvc.yaml").write_text("mine\n")
    run = runs["first"]["run_id"]

    assert "is not empty" in deployment.cli("restore", run, "--code", "--to", str(tmp_path), code=1)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "dvc.yaml"}
    assert "--to DIR" in deployment.cli("restore", run, "--code", code=1)

    deployment.cli("restore", run, "--code", "--to", str(tmp_path), "--force")
    assert (tmp_path / "mine.txt").read_text() == "mine\n"
    assert (tmp_path / "dvc.yaml").read_text() != "mine\n"


def test_a_run_is_made_again_by_its_code_without_git(deployment, runs):
    git, away = deployment.project / ".git", deployment.project.parent / "git"
    git.rename(away)
    try:
        found = deployment.cli_json("verify", runs["third"]["run_id"], "--rerun")
    finally:
        away.rename(git)

    assert [check["path"] for check in found["rerun"] if not check["ok"]] == ["reports/mlflow_run.json"]
    assert output(runs["third"], "preprocess", "data/processed/train.parquet")["md5"] in {
        check["found"] for check in found["rerun"]
    }


def test_a_code_that_is_damaged_in_the_store_is_named_and_not_restored(deployment, runs, tmp_path):
    (key,) = (key for key in runs["kept"] if key.endswith(".zip"))
    content = deployment.stored(key)
    middle, flags = len(content) // 2, content.index(b"PK\x01\x02") + 8  # the first of them: "is encrypted"
    for damaged in (content[:middle], changed(content, middle), changed(content, flags), b""):
        deployment.s3.put_object(Bucket=deployment.bucket, Key=key, Body=damaged)
        try:
            said = deployment.cli("restore", runs["first"]["run_id"], "--code", "--to", str(tmp_path / "code"), code=1)
        finally:
            deployment.s3.put_object(Bucket=deployment.bucket, Key=key, Body=content)
        assert "the code of that run is damaged in the store" in said
        assert list(tmp_path.iterdir()) == []


def changed(content: bytes, place: int) -> bytes:
    """With one bit that is another one."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_run_goes_on_where_the_cache_lost_its_code(deployment, runs):
    code = Path(deployment.env["DVC_CACHE_DIR"]) / "airflow" / "code"
    lose = f"rm -r {code}"
    assert deployment.run("git", "checkout", "--quiet", "--force", runs["commit"]).returncode == 0

    (run,) = deployment.dag({"after": {"resolve_config": lose}, "conf": {"model.C": 7.0}})

    assert run["state"] == "success", run["failures"]
    assert outcomes(run)["train_and_evaluate"] == "executed"
    pack = manifest(deployment, run)["code"]["pack"]
    assert {path.name for path in code.iterdir()} == {f"{pack}.json", f"{pack}.zip"}
