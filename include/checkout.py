"""The project's own folder as a DVC checkout: set it up for working by hand, and bring a run's results into it."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configobj import ConfigObj

from include.errors import PipelineError, exit_with_message
from include.settings import CONFIG_FILE, PROJECT_DIR, PipelineConfig, RuntimeSettings, load_runtime_settings
from include.settings.config_file import dump_yaml, load_config
from include.stages.files import write_bytes
from include.store.client import client, ensure_bucket, translated_errors
from include.store.stored_objects import object_path

LOCK = "dvc.lock"
REMOTE = 'remote "store"'
STATUS_FAILED = 3  # DVC itself ends with 0, 1, 251 or above


def configure(project_dir: Path, config: PipelineConfig, runtime: RuntimeSettings) -> None:
    """Write .dvc/config.local: the remote that config/config.yaml names, the cache that tasks share, no secret.

    With it ``dvc repro``, ``dvc push`` and the rest work by hand, given AWS_* in the environment.
    """
    file = project_dir / ".dvc" / "config.local"
    local = ConfigObj(str(file), encoding="utf-8")  # the format of DVC's configuration; what else stands there stays
    local[REMOTE] = {**local.get(REMOTE, {}), "url": config.remote_url, "verify": "true"}
    if runtime.dvc_cache_dir and runtime.dvc_cache_dir != "none":
        local["cache"] = {**local.get("cache", {}), "dir": str(runtime.dvc_cache_dir)}
    if not (project_dir / ".git").exists():
        local["core"] = {**local.get("core", {}), "no_scm": "true"}
    content = io.BytesIO()
    local.write(content)
    write_bytes(file, content.getvalue())


def unconfigure(project_dir: Path, cache: Path) -> bool:
    """Take back what `configure` wrote into .dvc/config.local, if it names this cache; what else stands there stays.

    :return: whether anything was taken back.
    """
    file = project_dir / ".dvc" / "config.local"
    local = ConfigObj(str(file), encoding="utf-8")
    if local.get("cache", {}).get("dir") != str(cache):
        return False
    for section, names in {"cache": ("dir",), REMOTE: ("url", "verify"), "core": ("no_scm",)}.items():
        for name in names:
            local.get(section, {}).pop(name, None)
        if not local.get(section, True):
            del local[section]
    if local:
        content = io.BytesIO()
        local.write(content)
        write_bytes(file, content.getvalue())
    else:
        file.unlink()
    return True


def make_bucket(config: PipelineConfig, runtime: RuntimeSettings) -> None:
    """Make the bucket if there is none.

    :raises AccessError, ServiceError: see `include.store.client.translated_errors`.
    """
    bucket = config.storage.bucket
    with translated_errors(runtime, f"storage.bucket: {bucket}"):
        ensure_bucket(client(runtime), bucket, runtime)


def materialise(
    project_dir: Path, lock: Mapping[str, Any], environment: Mapping[str, str], *, force: bool = False
) -> dict[str, Any]:
    """Bring a run's dvc.lock and outputs from the cache into the checkout, all or nothing.

    :param lock: the run's dvc.lock files, by path.
    :param force: replace outputs that were edited by hand.
    :return: what ``dvc status`` still finds changed, but for the source's date and version, which the run filled in
        where config/config.yaml leaves them open; empty if the checkout is that run's.
    :raises PipelineError: DVC refuses, as when an output was edited by hand; the checkout is then as it was.
    """
    left_open = _left_open(load_config(project_dir))
    with _undone_on_failure(project_dir, lock, environment):
        for path, content in lock.items():
            write_bytes(project_dir / path, dump_yaml(content).encode())
        done = _dvc_checkout_and_status(project_dir, environment, force=force)
        if done.returncode not in (0, STATUS_FAILED):
            raise PipelineError(
                f"the results were not checked out into {project_dir}; its {LOCK} is unchanged. {_refusal(done.stderr)}"
            )
    if done.returncode:
        raise PipelineError(f"dvc status failed: {done.stderr.strip()}")
    status = json.loads(done.stdout.splitlines()[-1])
    return {stage: changes for stage, changes in status.items() if not _only_pins(changes, left_open)}


@contextmanager
def _undone_on_failure(project_dir: Path, lock: Iterable[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Put the dvc.lock files, and with them the outputs, back if the block raises."""
    before = {path: (project_dir / path).read_bytes() if (project_dir / path).exists() else None for path in lock}
    try:
        yield
    except BaseException:
        for path, text in before.items():
            _put_back(project_dir / path, text)
        _dvc(project_dir, environment, "checkout", "--quiet")
        raise


def cache_folder(project_dir: Path, environment: Mapping[str, str]) -> Path:
    """Where the checkout's DVC cache is.

    :raises PipelineError: the folder is not a DVC checkout.
    """
    done = _dvc(project_dir, environment, "cache", "dir")
    if done.returncode:
        raise PipelineError(f"{project_dir} has a dvc.yaml, but DVC fails there: {done.stderr.strip()}")
    return project_dir / done.stdout.strip()


def outputs_of(project_dir: Path) -> set[str]:
    """The paths of all outputs that the checkout's dvc.yaml files name.

    :raises PipelineError: DVC cannot read them.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(project_dir)) as repo:
            return {os.path.relpath(out.fs_path, repo.root_dir) for out in repo.index.outs}
    except DvcException as error:
        raise PipelineError(f"{project_dir}: DVC cannot read its dvc.yaml: {error}") from None


def put_into_cache(cache: Path, source: Path) -> None:
    """Put a file into the DVC cache.

    :param source: checked by the caller; its name is its md5.
    """
    write_bytes(
        cache / object_path(source.name), source.read_bytes(), mode=0o444
    )  # as DVC protects what is in its cache


def behind(status: Mapping[str, Any], values: Iterable[str]) -> list[str]:
    """Which of these values stages have as params that ``dvc status`` finds changed.

    :param status: see `materialise`.
    :param values: names such as ``model.C``.
    """
    deps = [dep for changes in status.values() for dep in _changed_deps(changes)]
    params = {param for dep in deps for param in dep.get(str(CONFIG_FILE), ())}
    return [name for name in values if any(f"{name}.".startswith(f"{param}.") for param in params)]


def _left_open(config: PipelineConfig) -> set[str]:
    """The params that each run fills in by itself."""
    is_open = {"data.source": "{" in config.data.source, "data.version": not config.data.version}
    return {name for name in is_open if is_open[name]}


def _changed_deps(changes: Any) -> list[dict[str, Any]]:
    """Of what ``dvc status`` says of a stage; empty for what is no dependency."""
    return [change.get("changed deps", {}) for change in changes if isinstance(change, dict)]


def _only_pins(changes: Any, pins: set[str]) -> bool:
    deps = _changed_deps(changes)
    return len(deps) == len(changes) and all(
        dep and dep.keys() == {str(CONFIG_FILE)} and dep[str(CONFIG_FILE)].keys() <= pins for dep in deps
    )


def _refusal(said: str) -> str:
    """What DVC says of a checkout that failed, and what to do."""
    lines = [line for line in said.strip().splitlines() if line.strip() and "Having any troubles" not in line]
    if any("unexpected error" in line for line in lines):  # of the system: it did not get to the outputs
        what = "See to the file or folder that it names (may it be written to? is there room?), then try again."
    else:
        what = "Move the files that it names, or keep them with `dvc commit`, then try again."
    return f"DVC says: {' '.join(lines)} {what}"


def _dvc(project_dir: Path, environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=project_dir, env=environment, capture_output=True, text=True)


def _dvc_checkout_and_status(
    project_dir: Path, environment: Mapping[str, str], *, force: bool
) -> "subprocess.CompletedProcess[str]":
    """``dvc checkout`` and, if that succeeds, ``dvc status --json``, in one process: it takes DVC longer to start.

    :return: the exit code is `STATUS_FAILED` if only the second command failed; its answer is the last line of stdout.
    """
    code = (
        "import gc, sys; gc.disable(); from dvc.cli import main\n"  # too short-lived for garbage to matter
        f"sys.exit(main(['checkout', *sys.argv[1:]]) or (main(['status', '--json']) and {STATUS_FAILED}))"
    )
    command = [sys.executable, "-c", code, *(["--force"] if force else [])]
    return subprocess.run(command, cwd=project_dir, env=environment, capture_output=True, text=True)


def _put_back(file: Path, before: bytes | None) -> None:
    if before is None:
        file.unlink(missing_ok=True)
    else:
        write_bytes(file, before)


def main() -> None:
    """Set this checkout up for working by hand with DVC, against the store of the environment or config/.env."""
    config, runtime = load_config(), load_runtime_settings()
    configure(PROJECT_DIR, config, runtime)
    make_bucket(config, runtime)
    print(f"DVC pushes to {config.remote_url} at {runtime.aws_endpoint_url or 'AWS'}")


if __name__ == "__main__":
    os.chdir(PROJECT_DIR)
    with exit_with_message():
        main()
