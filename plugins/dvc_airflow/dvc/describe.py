"""``python -m dvc_airflow.dvc.describe PROJECT``: print a project's stages as JSON, as DVC's own resolver sees them."""

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

from dvc.exceptions import CyclicGraphError
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage
from networkx import lexicographical_topological_sort

from dvc_airflow.dvc.artifacts import artifacts
from dvc_airflow.dvc.meta import settings_of
from dvc_airflow.dvc.outputs import stage_name
from dvc_airflow.dvc.packages import missing_package
from dvc_airflow.dvc.params import project_params
from dvc_airflow.dvc.repo import own_site_cache
from dvc_airflow.dvc.templating import recorded_templating
from dvc_airflow.project_files import is_in
from dvc_airflow.workspace import Workspace

LONGEST_TASK_ID = 200  # Airflow allows 250, with the ids of the groups around


class UnfitStageError(Exception):
    """A stage that cannot run in a workspace of its own."""


def describe(project_dir: Path) -> dict[str, Any]:
    """:return: what `dvc_airflow.project.Project` has: ``stages`` in an order in which they can run, ``outputs``,
    ``artifacts``, ``params``; and ``variable_files``, from which the templating and the params come.
    """
    # In the workspace, so that DVC's messages name the files as the project does.
    with (
        Workspace(project_dir) as workspace,
        chdir(workspace.path),
        recorded_templating() as templating,
        own_site_cache(),
        Repo(str(workspace.path)) as repo,
    ):
        _check_graph(repo)
        graph = repo.index.graph
        # The graph's edges lead from a stage to those it needs.
        order = lexicographical_topological_sort(graph.reverse(), key=lambda stage: stage.addressing)
        names = {stage: stage_name(stage, repo.root_dir) for stage in order if isinstance(stage, PipelineStage)}
        for stage, name in names.items():
            _check_paths(stage, name, repo.root_dir)
        ids = task_ids(names.values())
        outputs = set(_below(Path(repo.root_dir), {Path(out.fs_path) for out in _local_outputs(repo)}))
        root = workspace.path.resolve()
        params = project_params(root, names, templating)
        # What the templating takes from there as soon as it is there.
        variable_files = templating.files | {Path(stage.path).parent / "params.yaml" for stage in names}
        variable_files |= {root / param["file"] for param in params}
        return {
            "stages": [
                {
                    "name": name,
                    "task_id": ids[name],
                    "command": stage.cmd,
                    "description": stage.desc,
                    "upstream": sorted(names[other] for other in graph.successors(stage) if other in names),
                    "frozen": stage.frozen,
                    "sources": _sources(stage, repo.root_dir, outputs),
                    "folder": Path(stage.wdir).relative_to(repo.root_dir).as_posix(),
                    **settings_of(stage),
                }
                for stage, name in names.items()
            ],
            "variable_files": sorted(_below(workspace.path, variable_files)),
            "outputs": sorted(_below(Path(repo.root_dir), {Path(out.fs_path) for out in _made(names)})),
            "artifacts": artifacts(repo, names),
            "params": params,
        }


def _check_graph(repo: Repo) -> None:
    """:raises UnfitStageError, DvcException: the stages do not fit together."""
    try:
        repo.index.check_graph()
    except CyclicGraphError as error:  # it names them in any order
        stages = sorted(str(error).partition(": ")[2].rstrip(".").split(", "))
        if len(stages) == 1:
            raise UnfitStageError(f"stage {stages[0]} depends on its own output: take it out of the deps.") from None
        raise UnfitStageError(
            f"the stages {', '.join(stages)} need each other in a circle: each depends on what another one makes. Take "
            "one of these deps out of dvc.yaml."
        ) from None


def _local_outputs(repo: Repo) -> Iterator["Output"]:
    return (out for stage in repo.index.stages for out in stage.outs if out.protocol == "local" and out.is_in_repo)


def _made(stages: Iterable[PipelineStage]) -> Iterator[Output]:
    """What stages make anew each time: what persists, they go on with."""
    return (out for stage in stages for out in stage.outs if out.protocol == "local" and not out.persist)


def _sources(stage: PipelineStage, root: str, outputs: set[str]) -> list[str]:
    """The files and folders of the project that the stage depends on and that no output is, or holds."""
    paths = [Path(dep.fs_path) for dep in stage.deps if dep.protocol == "local"]
    own = {path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)}
    return sorted(path for path in own if not is_in(path, outputs))


def task_ids(names: Iterable[str]) -> dict[str, str]:
    """An Airflow task id for each stage: ``train@fold-1`` -> ``train.fold-1``, ``sub/dvc.yaml:train`` -> ``sub.train``.

    A name's id does not depend on the other names, but where two would have the same: then both end with a digest.
    """
    ids = {name: _readable(name) for name in names}
    shared = {task_id for task_id, count in Counter(ids.values()).items() if count > 1}
    return {
        name: f"{task_id[: LONGEST_TASK_ID - 9]}-{_digest(name)}"
        if task_id in shared or len(task_id) > LONGEST_TASK_ID
        else task_id
        for name, task_id in ids.items()
    }


def _readable(name: str) -> str:
    readable = re.sub(r"(/?)dvc\.yaml:", r"\1", name).replace("@", ".").replace("/", ".")
    return re.sub(r"[^\w.-]", "_", readable, flags=re.ASCII)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _check_paths(stage: PipelineStage, name: str, root: str) -> None:
    for kind, items in (("reads", stage.deps), ("writes", stage.outs)):
        for item in items:
            is_below = item.protocol != "local" or Path(item.fs_path).is_relative_to(root)
            if not is_below and not Path(item.def_path).is_absolute():
                raise UnfitStageError(
                    f"dvc.yaml: stage {name} {kind} {item.def_path}, which is outside the project. Each task runs in a "
                    "copy of the project's folder, so that path would be another file there: move it into the project, "
                    "or write it as an absolute path."
                )


def _below(root: Path, paths: set[Path]) -> Iterator[str]:
    for path in {path.resolve() for path in paths}:
        if path.is_relative_to(root.resolve()):
            yield path.relative_to(root.resolve()).as_posix()


def _say(error: Exception) -> None:
    """Print an error as DVC's own command line does, with the line of the file."""
    error = missing_package(error) or error
    pretty = getattr(error, "__pretty_exc__", None)
    try:
        if pretty is None:
            raise ValueError(error)
        pretty()
    except Exception:  # noqa: BLE001 - it may find nothing to show
        print(f"{error}" + (f": {error.__cause__}" if error.__cause__ else ""), file=sys.stderr)


if __name__ == "__main__":
    try:
        print(json.dumps(describe(Path(sys.argv[1]))))
    except Exception as error:  # noqa: BLE001 - DVC raises many kinds for a dvc.yaml that is wrong; all are the user's to read
        _say(error)
        sys.exit(1)
