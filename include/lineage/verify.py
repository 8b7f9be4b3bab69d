"""Check that what a run made is still intact, and that the same inputs still reproduce it."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from include.errors import DataError, PipelineError
from include.lineage.code_pack import StoredCode, sha256_of
from include.lineage.code_state import git
from include.lineage.manifest import Manifest, package_versions
from include.settings import CONFIG_FILE, RuntimeSettings
from include.settings.config_file import dump_yaml, parse_yaml
from include.store.stored_objects import Damage, StoredObjects, md5_of_file

LAST_LINES = 15
# What a stage gets of the shell's environment, as in `dvc_airflow.command` (neither room imports the other): with
# more, a variable that a numerical library heeds would make other bytes than the run did.
PASSED_ON = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TZ",
    "USER",
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
)
NO_CODE = (".git", ".dvc", ".venv", ".embedded", ".env", "__pycache__", ".*_cache", "*.part", "build", "dvc_plots")


@dataclass(frozen=True)
class RerunOutput:
    """One output of a rerun: its md5 by the manifest, and the one that was found."""

    path: str
    md5: str | None
    found: str | None

    @property
    def ok(self) -> bool:
        """Whether both are the same."""
        return self.md5 == self.found


def verify(
    manifest: Manifest, objects: StoredObjects, on_progress: Callable[[str], None] = lambda path: None
) -> tuple[int, list[Damage]]:
    """Read every object of the run from the store, and hash it.

    :return: how many files there are, and what is gone or changed.
    """
    files, damages = objects.files(manifest.outputs)
    return len(files) + len(damages), damages + objects.check(files, on_progress)


def rerun(
    manifest: Manifest,
    objects: StoredObjects,
    project_dir: Path,
    runtime: RuntimeSettings,
    on_progress: Callable[[str], None] = lambda path: None,
) -> list[RerunOutput]:
    """Execute all stages of a run again, without any cache, in a folder of their own; and hash what they made.

    MLflow is a throw-away database there: the real one gets no second run of the same training.

    :param objects: where the code of the run is, by its pack.
    :param project_dir: where the code of a run without a pack is, if it is still that of the run; else git's copy of
        the run's commit is used.
    :raises DataError: the code of the run or its data source is not available.
    """
    with tempfile.TemporaryDirectory(prefix="verify-") as temporary:
        folder = Path(temporary)
        if manifest.code.pack:
            _put_packed(StoredCode(objects, manifest.code.pack), project_dir, folder)
        else:
            _put_code(manifest, project_dir, folder)
        (folder / CONFIG_FILE).write_text(dump_yaml(manifest.config), encoding="utf-8")
        (folder / ".dvc").mkdir(exist_ok=True)
        (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n", encoding="utf-8")
        _repro(folder, project_dir, runtime, on_progress)
        return _compared(manifest, folder)


def other_packages(manifest: Manifest) -> dict[str, tuple[str, str | None]]:
    """The packages that have another version here than in the run: name -> (there, here)."""
    here = package_versions()
    return {name: (there, here.get(name)) for name, there in manifest.packages.items() if here.get(name) != there}


def may_differ(manifest: Manifest) -> str:
    """The one output that names the MLflow run, which is a new one in each training."""
    return str(manifest.config["paths"]["mlflow_run"])


def _put_packed(code: StoredCode, project_dir: Path, folder: Path) -> None:
    """Write the code of the run; what it only names is taken from here, if it is the same."""
    code.write_into(folder)
    for path, file in code.read().named.items():
        if sha256_of(project_dir / path) != file.sha256:
            raise DataError(
                f"{path} of that run is not available: its code has only the hash (SHA-256 {file.sha256}), and "
                f"{project_dir / path} is another file, or none."
            )
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project_dir / path, folder / path)


def _put_code(manifest: Manifest, project_dir: Path, folder: Path) -> None:
    code = {record.path: record.md5 for record in manifest.files}
    for made in manifest.outputs:
        code.pop(made.path, None)
    if not _changed(code, project_dir):
        shutil.copytree(project_dir, folder, ignore=shutil.ignore_patterns(*NO_CODE), dirs_exist_ok=True, symlinks=True)
        for path in (*manifest.lock, *(made.path for made in manifest.outputs)):
            _remove(folder / path)
        return
    archive = git(project_dir, "archive", str(manifest.code.git_sha)) if manifest.code.git_sha else None
    if archive is not None:
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
    if archive is None or (changed := _changed(code, folder)):
        files = ", ".join(changed if archive is not None else _changed(code, project_dir))
        raise DataError(
            f"the code of that run ({manifest.code}) is not available: {files} differ here, and git has no commit with "
            "those versions. Fetch that commit, and run this command in its checkout."
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _changed(code: Mapping[str, str | None], folder: Path) -> list[str]:
    return [path for path, md5 in code.items() if md5 and md5_of_file(folder / path) != md5]


def _repro(folder: Path, project_dir: Path, runtime: RuntimeSettings, on_progress: Callable[[str], None]) -> None:
    environment = {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        **runtime.store_environment(),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / '.dvc' / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(folder),
        "PIPELINE_PROJECT_DIR": str(project_dir),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc" / "site"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"]
    printed = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            printed.append(line.rstrip())
            if line.startswith("Running stage"):
                on_progress(line.split("'")[1])
    if process.returncode:
        said = "\n".join(printed[-LAST_LINES:])
        raise PipelineError(f"the rerun failed: `dvc repro` ended with exit code {process.returncode}:\n{said}")


def _compared(manifest: Manifest, folder: Path) -> list[RerunOutput]:
    found: dict[str, Any] = {}
    for path in manifest.lock:
        for entry in parse_yaml((folder / path).read_text(encoding="utf-8"), path)["stages"].values():
            found |= {out["path"]: out.get("md5") for out in entry.get("outs", [])}
    return [RerunOutput(record.path, record.md5, found.get(record.path)) for record in manifest.outputs]
