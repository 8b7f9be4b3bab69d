"""The code of a run: what a project held when the run was prepared, and what DVC said of its stages then.

A `CodePack` is a small list: of each file its mode and the hash of its content. Its id is the hash of the list, so that
the same code has the same id wherever and whenever it is packed. `dvc_airflow.code_store` keeps the contents.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from dvc_airflow.errors import CodeError
from dvc_airflow.project_files import Content, is_in

FORMAT = 1
PACK_ID = re.compile(r"[0-9a-f]{64}")
#: Bytes. What is smaller is kept in one archive per pack: one request, where workers share no cache. What is larger is
#: kept by itself, once for all packs that have it.
LARGE = 1024 * 1024
#: Bytes. What is larger is data, whatever git says of it: only its hash is kept.
LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class PackedFile:
    """A file of the project, or a link to a folder.

    :param sha256: of the content, also where it is a link to a file; None: it is a link to a folder.
    :param size: of the content in bytes.
    :param is_executable: as git knows it.
    :param link: where the link leads, as it says so itself; None: it is none, or leads out of the project.
    :param leads_to: of a link to a folder: the folder's path in the project, or else its absolute path.
    :param is_kept: whether the pack has the content. It has not of what git ignores, and of what is too large.
    """

    sha256: str | None = None
    size: int = 0
    is_executable: bool = False
    link: str | None = None
    leads_to: str | None = None
    is_kept: bool = True


DEFAULTS = {one.name: one.default for one in fields(PackedFile)}


@dataclass(frozen=True)
class PackedStage:
    """What DVC said of a stage, see `dvc_airflow.project.StageSpec`."""

    command: str | list[str]
    upstream: Sequence[str]
    frozen: bool
    sources: Sequence[str]


@dataclass(frozen=True)
class CodePack:
    """The code of a run.

    :param files: what the workspaces of all stages get, by path.
    :param folders: those that are empty but for what is left out.
    :param inputs: what git ignores and stages declare, by path.
    :param inputs_of: which of these files each such declared source means, by source.
    :param tracked: what git tracks of the project.
    :param dvc_config: the project's .dvc/config without its secrets.
    :param stages, definitions, outputs: see `dvc_airflow.project.Project`; the stages by name.
    :param locks: the entries of frozen stages, and of those that the DAG leaves out, by lock file and stage.
    :param params: the fields of `dvc_airflow.project.ProjectParam`, of all values of params and variable files.
    """

    files: Mapping[str, PackedFile]
    folders: Sequence[str]
    inputs: Mapping[str, PackedFile]
    inputs_of: Mapping[str, Sequence[str]]
    tracked: Sequence[str]
    dvc_config: str
    stages: Mapping[str, PackedStage]
    definitions: Sequence[str]
    outputs: Sequence[str]
    locks: Mapping[str, Mapping[str, Mapping[str, Any]]]
    params: Sequence[Mapping[str, Any]]

    def text(self) -> bytes:
        """The list, in its only form."""
        document = {"format": FORMAT, **vars(self)}
        for name in ("files", "inputs"):
            document[name] = {path: _short(file) for path, file in document[name].items()}
        document["stages"] = {name: vars(stage) for name, stage in self.stages.items()}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """The inverse of `text`, whose hash is known to be right.

        :raises CodeError: it was written by another version.
        """
        try:
            document = dict(json.loads(text))
            if document.pop("format") != FORMAT:
                raise ValueError(FORMAT)
            for name, kind in (("files", PackedFile), ("inputs", PackedFile), ("stages", PackedStage)):
                document[name] = {key: kind(**value) for key, value in document[name].items()}
            return cls(**document)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CodeError(
                "the code of this run was packed by another version of dvc_airflow, which this one cannot read. Clear "
                "the task that prepared the run, with all that follow: the run then gets the project as it is now."
            ) from None

    def content(self, sources: Sequence[str], outputs: Collection[str]) -> Content:
        """What the workspace of a stage gets, as `dvc_airflow.project_files.project_content` has it.

        :param sources: of the stage.
        """
        inputs = (path for source in sources for path in self.inputs_of.get(source, ()))
        found = {path for path in {*self.files, *inputs} if not is_in(path, outputs)}
        return Content(tuple(sorted(found)), tuple(self.folders))

    def file(self, path: str) -> PackedFile | None:
        """What is known of a file; None if there is none."""
        return self.files.get(path) or self.inputs.get(path)

    def has(self, path: str) -> bool:
        """Whether there is a file of this path, a link to it, or a folder with something in it."""
        if path in self.inputs_of or path in self.folders or any(map(self.file, _steps(path))):
            return True
        return any(file.startswith(f"{path}/") for file in (*self.files, *self.inputs))

    def is_behind_link(self, path: str) -> bool:
        """Whether a path is a link to a folder, or leads through one."""
        return any(file.leads_to is not None for file in map(self.file, _steps(path)) if file)

    def stage(self, name: str) -> PackedStage:
        """What DVC said of a stage.

        :raises CodeError: the project had no such stage.
        """
        if name not in self.stages:
            raise CodeError(
                f"the project had no stage {name} when this run was prepared, so the run's code lacks it. Start a new "
                "run; or clear the task that prepared this one, with all that follow: it then gets the project as it "
                "is now."
            )
        return self.stages[name]


def pack_id(text: bytes) -> str:
    """The id of the pack with this list."""
    return hashlib.sha256(text).hexdigest()


def _short(file: PackedFile) -> dict[str, Any]:
    """Without what is as by default."""
    return {name: value for name, value in vars(file).items() if value != DEFAULTS[name]}


def _steps(path: str) -> list[str]:
    """The path, and the folders above it."""
    steps = path.split("/")
    return ["/".join(steps[:depth]) for depth in range(1, len(steps) + 1)]
