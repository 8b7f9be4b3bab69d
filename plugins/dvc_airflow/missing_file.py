"""Why a file is not where a stage looks for it, and what to do, by the project and what a workspace has of it."""

from pathlib import Path

from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.git_checkout import git_checkout_of
from dvc_airflow.project_files import LIST, NEVER_COPIED, ignored_by, is_in
from dvc_airflow.run_code import RunCode
from dvc_airflow.stage_settings import StageSettings

WITH_ENV = ", or pass its variables with env= of the task group, and do not read it"


def dvc_yaml_of(settings: StageSettings) -> str:
    """The file that defines a stage."""
    return settings.name.rpartition(":")[0] or "dvc.yaml"


def left_out(workspace: DvcWorkspace, settings: StageSettings, word: str, path: str) -> str:
    """Why a file of the project is not in the workspace.

    :param word: the path as the stage said it.
    """
    original = workspace.project_dir / path
    if not original.exists():
        return f"{word} is a broken link in the project"
    if not original.is_file() and not original.is_dir():
        return f"{word} is neither a file nor a folder of the project (a socket, a pipe or a device)"
    if not NEVER_COPIED.isdisjoint(path.split("/")):
        return f"the project has {word}, but tasks do not get it: it belongs to one checkout"
    rule = ignored_by(workspace.project_dir, path)
    if rule is None and isinstance(workspace.code, RunCode):
        return (
            f"the project has {word} now, but had not when this run was prepared: start a new run, or clear the "
            "task that prepared this one, with all that follow"
        )
    why = f"git ignores it ({rule})" if rule else "but the task's copy of the project has not"
    more = WITH_ENV if "env" in Path(path).name else ""
    if git_checkout_of(workspace.project_dir) is None:
        more += f". If git tracks it, ship the list {LIST} with the project (python -m dvc_airflow list-files)"
    return f"the project has {word}, {why}: declare it as a dep of stage {settings.name}{more}"


def nowhere(workspace: DvcWorkspace, settings: StageSettings, word: str, path: str) -> str:
    """What to do about a file that the project does not have.

    :param word: the path as the stage said it.
    """
    rule, is_dep = ignored_by(workspace.project_dir, path), is_in(path, settings.sources)
    if rule:
        declare = "" if is_dep else f", and declare it as a dep of stage {settings.name}"
        variables = WITH_ENV if "env" in Path(path).name else ""
        return (
            f"the project on this worker has no {word}, for git ignores it ({rule}): put it there{declare}{variables}"
        )
    if is_dep:
        return (
            f"{word} is a dep of stage {settings.name}, but the project has no such file, and no stage makes "
            f"it: add it to the project, or correct {dvc_yaml_of(settings)}"
        )
    return (
        f"neither the project nor the outs of its stages have {word}: if a stage makes it, add it to the outs "
        f"of that stage, and to the deps of stage {settings.name}"
    )
