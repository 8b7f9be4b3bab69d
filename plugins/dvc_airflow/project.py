"""What a DVC project consists of: its files, its stages and how they depend on each other."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from dvc_airflow.files import replacing
from dvc_airflow.project_files import ignored_by, project_files
from dvc_airflow.project_root import no_folder, own_dvc_yamls, projects_near

IGNORE_FILES = (".gitignore", ".dvcignore")
DESCRIBE_TIMEOUT = 120  # seconds


class DvcProjectError(Exception):
    """The DVC project cannot be read. The message is DVC's own, with the file and line."""


@dataclass(frozen=True)
class StageSpec:
    """A stage as dvc.yaml defines it, `foreach` and `matrix` expanded.

    ``name`` is what ``dvc repro`` takes; ``command`` is what it then runs, one command or several; ``upstream`` are the
    names of the stages whose outputs it reads; a ``frozen`` one has its outputs by the project's dvc.lock; ``sources``
    are the files and folders of the project that it depends on and that no stage makes; ``folder`` is where its command
    runs, relative to the project; ``airflow`` is what its ``meta.airflow`` says (None: there is none), ``lines`` has
    the lines of the keys in it; ``tags`` are those of ``meta``.
    """

    name: str
    task_id: str
    command: str | list[str]
    description: str | None
    upstream: tuple[str, ...]
    frozen: bool
    sources: tuple[str, ...] = ()
    folder: str = "."
    airflow: Any = None
    lines: Mapping[str, int] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The dvc.yaml that defines it."""
        return self.name.rpartition(":")[0] or "dvc.yaml"


@dataclass(frozen=True)
class ProjectParam:
    """A value of the project's params and variable files.

    ``steps`` are the keys that lead to it in its ``file``; ``fixed`` says why no run may change it, if so.
    """

    file: str
    steps: tuple[str, ...]
    value: Any
    fixed: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From its fields as JSON has them."""
        return cls(**{**document, "steps": tuple(document["steps"])})

    @property
    def name(self) -> str:
        """As DVC writes it: ``train.lr`` in params.yaml, else ``conf/other.json:train.lr``."""
        key = ".".join(self.steps)
        return key if self.file == "params.yaml" else f"{self.file}:{key}"


@dataclass(frozen=True)
class Artifact:
    """A result of a stage that other DAGs may want: an entry of ``artifacts:``, or an output.

    ``path`` is relative to the project; ``recorded`` is the path of the output that it is, or is in, as the stage's
    lock entry has it. An output that is no entry of ``artifacts:`` has its path as ``name``.
    """

    name: str
    path: str
    stage: str
    recorded: str
    type: str | None = None
    description: str | None = None
    is_declared: bool = False


@dataclass(frozen=True)
class Project:
    """What DVC says of a project: its stages, in an order in which they can run, and what it worked them out of.

    ``definitions`` are relative to the project: dvc.yaml and .dvc files, ignore files, and what the templating read.
    ``outputs`` are all files and folders in it that stages make, but for what persists. ``artifacts`` are the results
    for other DAGs. ``params`` are the values of all params and variable files. ``hashes`` are the SHA-256 of the
    definitions as DVC read them; None: it found no such file.
    """

    stages: tuple[StageSpec, ...]
    definitions: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    params: tuple[ProjectParam, ...] = ()
    hashes: Mapping[str, str | None] = field(default_factory=dict, compare=False)

    @property
    def version(self) -> str:
        """A digest of what DVC says of the stages. It stands in the DAG, so that Airflow makes a new version of the DAG
        when one of them changes, also where no task does.
        """
        stages = [asdict(stage) | {"lines": None} for stage in self.stages]
        return hashlib.sha256(json.dumps(stages, sort_keys=True).encode()).hexdigest()[:12]


def load_project(project_dir: Path, cache_dir: Path, *, keep_in: Path | None = None) -> Project:
    """Read the project's stages.

    DVC itself reads them, in a process of its own: the DAG processor imports no DVC. The answer is cached by the
    content of all files that it depends on.

    :param cache_dir: where answers are kept between calls.
    :param keep_in: where a new answer is kept, if not there.
    :raises DvcProjectError: there is no dvc.yaml, or one is wrong.
    """
    if reason := no_folder(project_dir):
        raise DvcProjectError(reason)
    own = {
        path: _file_digest(project_dir / path)
        for path in project_files(project_dir)
        if path.endswith((".dvc", "dvc.yaml", *IGNORE_FILES)) and not ignored_by(project_dir, path, ".dvcignore")
    }
    if not own_dvc_yamls(project_dir, own):
        raise DvcProjectError(
            f"{project_dir}: no dvc.yaml there, so it is not the root of a DVC project.{projects_near(project_dir)}"
        )
    name = f"{_digest(project_dir, own)}.json"
    for folder in (cache_dir, keep_in):
        if folder and (answer := _read_cached(folder / name, project_dir)):
            return _project(answer, own)
    answer = _describe(project_dir)
    answer["variable_files"] = {path: _file_digest(project_dir / path) for path in answer["variable_files"]}
    with replacing((keep_in or cache_dir) / name) as part:
        part.write_text(json.dumps(answer), encoding="utf-8")
    return _project(answer, own)


def default_graph_cache_dir() -> Path:
    """Where the answers of `load_project` are kept if nothing else is said."""
    home = os.environ.get("AIRFLOW_HOME", "~/airflow")
    return Path(home).expanduser() / "dvc_airflow" / "graphs"


def _project(answer: dict[str, Any], own: Mapping[str, str | None]) -> Project:
    stages = tuple(
        StageSpec(**stage | {name: tuple(stage[name]) for name in ("upstream", "sources", "tags")})
        for stage in answer["stages"]
    )
    params = tuple(map(ProjectParam.of, answer["params"]))
    artifacts = tuple(Artifact(**artifact) for artifact in answer["artifacts"])
    hashes = {**own, **answer["variable_files"]}
    return Project(stages, tuple(sorted(hashes)), tuple(answer["outputs"]), artifacts, params, hashes)


def _describe(project_dir: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "dvc_airflow.dvc.describe", str(project_dir)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=DESCRIBE_TIMEOUT, env=environment)
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["DVC gave no reason"]
        raise DvcProjectError(f"{project_dir}: " + "\n".join(line.rstrip() for line in reason[-20:]))
    return dict(json.loads(done.stdout))


def _digest(project_dir: Path, own: Mapping[str, str | None]) -> str:
    whole = json.dumps([str(project_dir), *own.items()])
    return hashlib.sha256(whole.encode()).hexdigest()


def _file_digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _read_cached(cached: Path, project_dir: Path) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = json.loads(cached.read_text(encoding="utf-8"))
        if any(_file_digest(project_dir / path) != digest for path, digest in answer["variable_files"].items()):
            return None
        _project(answer, {})
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or of another version of this module
    return answer
