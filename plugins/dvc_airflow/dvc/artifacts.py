"""What of an opened repo's outputs other DAGs hear about: its ``artifacts:``, or else every output that is pushed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc_airflow.project_files import is_in

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import PipelineStage


def artifacts(repo: "Repo", stages: "Mapping[PipelineStage, str]") -> list[dict[str, Any]]:
    """The entries of ``artifacts:`` that a stage makes; where no dvc.yaml has that section, each pushed output.

    :param stages: the names of the stages, as ``dvc repro`` takes them.
    :return: the fields of `dvc_airflow.project.Artifact`.
    """
    outputs = dict(_pushed(repo, stages))
    if not any(repo.artifacts.read().values()):
        return [{"name": path, "path": path, **output} for path, output in sorted(outputs.items())]
    return list(_declared(repo, outputs))


def _pushed(repo: "Repo", stages: "Mapping[PipelineStage, str]") -> Iterator[tuple[str, dict[str, str]]]:
    """By path in the project, the stage that makes the output and the path as its lock entry has it."""
    for stage, name in stages.items():
        for out in stage.outs:
            if out.can_push and out.protocol == "local" and out.is_in_repo:
                yield _path(repo, out), {"stage": name, "recorded": out.def_path}


def _declared(repo: "Repo", outputs: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    for dvc_yaml, entries in sorted(repo.artifacts.read().items()):
        folder = Path(dvc_yaml).parent.as_posix()
        for name, entry in sorted(entries.items()):
            path = repo.fs.normpath(repo.fs.join(folder, entry.path))
            makers = [output for where, output in outputs.items() if is_in(path, {where})]
            if makers:  # what git or a .dvc file tracks is no result of a run
                full_name = name if folder == "." else f"{folder}:{name}"
                about = {"type": entry.type, "description": entry.desc, "is_declared": True}
                yield {"name": full_name, "path": path, **about, **makers[0]}


def _path(repo: "Repo", out: "Output") -> str:
    return Path(out.fs_path).relative_to(repo.root_dir).as_posix()
