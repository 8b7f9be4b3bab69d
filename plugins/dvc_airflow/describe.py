"""``python -m dvc_airflow.describe PROJECT``: print a project's stages as JSON, as DVC's own resolver sees them."""

import json
import re
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.stage import PipelineStage
from networkx import lexicographical_topological_sort

from dvc_airflow.workspace import Workspace


def describe(project_dir: Path) -> dict[str, Any]:
    """:return: ``stages`` in an order in which they can run, and ``variable_files`` that the templating read."""
    # In the workspace, so that DVC's messages name the files as the project does.
    with Workspace(project_dir) as workspace, chdir(workspace.path), Repo(str(workspace.path)) as repo:
        repo.index.check_graph()
        graph = repo.index.graph
        # The graph's edges lead from a stage to those it needs.
        order = lexicographical_topological_sort(graph.reverse(), key=lambda stage: stage.addressing)
        names = {stage: stage_name(stage, repo.root_dir) for stage in order if isinstance(stage, PipelineStage)}
        return {
            "stages": [
                {
                    "name": name,
                    "task_id": task_id(name),
                    "command": stage.cmd,
                    "description": stage.desc,
                    "upstream": sorted(names[other] for other in graph.successors(stage) if other in names),
                }
                for stage, name in names.items()
            ],
            "variable_files": sorted({path for stage in names for path in _variable_files(stage, workspace.path)}),
        }


def stage_name(stage: PipelineStage, root: str) -> str:
    """What ``dvc repro`` in the project's root takes: ``train``, or ``sub/dvc.yaml:train`` for a nested file."""
    file = Path(stage.path).relative_to(root).as_posix()
    return stage.name if file == "dvc.yaml" else f"{file}:{stage.name}"


def task_id(name: str) -> str:
    """An Airflow task id for a stage: ``train@fold-1`` -> ``train.fold-1``, ``sub/dvc.yaml:train`` -> ``sub.train``."""
    readable = re.sub(r"(/?)dvc\.yaml:", r"\1", name).replace("@", ".").replace("/", ".")
    return re.sub(r"[^\w.-]", "_", readable)


def _variable_files(stage: PipelineStage, root: Path) -> set[str]:
    folder = Path(stage.path).parent
    document = stage.dvcfile.contents
    definition = document["stages"][stage.name.partition("@")[0]]
    named = [*document.get("vars", []), *definition.get("vars", []), "params.yaml"]
    paths = {(folder / name.partition(":")[0]).resolve() for name in named if isinstance(name, str)}
    return {path.relative_to(root.resolve()).as_posix() for path in paths if path.is_relative_to(root.resolve())}


if __name__ == "__main__":
    try:
        print(json.dumps(describe(Path(sys.argv[1]))))
    except Exception as error:  # noqa: BLE001 - DVC raises many kinds for a dvc.yaml that is wrong; all are the user's to read
        sys.exit(f"{error}" + (f": {error.__cause__}" if error.__cause__ else ""))
