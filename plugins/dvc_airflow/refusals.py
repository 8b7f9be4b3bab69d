"""What is refused of a stage before its command runs. A plan says the same."""

import os

from dvc_airflow.dvc.defined import DefinedStage
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.dvc.resolve import ResolvedStage
from dvc_airflow.dvc.unmet import Absent
from dvc_airflow.errors import ElsewhereError, TaskError
from dvc_airflow.missing_file import dvc_yaml_of, left_out, nowhere
from dvc_airflow.stage_settings import StageSettings


def refuse_absent(workspace: DvcWorkspace, settings: StageSettings, stage: ResolvedStage) -> None:
    """Refuse a stage that reads what is not there, whatever the stages before it make.

    :param stage: of the opened workspace.
    :raises TaskError: a dependency is not there; with what to do.
    """
    for absent in stage.absent_dependencies():
        error = TaskError if absent.is_inside else ElsewhereError
        raise error(f"{_why(workspace, settings, absent)}.")


def refuse_execution(workspace: DvcWorkspace, settings: StageSettings, stage: ResolvedStage) -> None:
    """Refuse to execute a stage whose command could not do its work.

    :param stage: of the opened workspace.
    :raises TaskError: a dependency is not there; and see `refuse_outputs`.
    :raises DvcError: see `refuse_outputs`.
    """
    refuse_outputs(workspace, settings, stage)
    refuse_absent(workspace, settings, stage)


def refuse_outputs(workspace: DvcWorkspace, settings: StageSettings, stage: DefinedStage) -> None:
    """Refuse to execute a stage that could not leave its outputs.

    :param stage: of the opened workspace.
    :raises TaskError: a file is where an output's folder has to be.
    :raises DvcError: git tracks one of the outputs.
    """
    stage.refuse_tracked(workspace.code.tracked)
    for path, file in stage.blocked_outputs():
        raise TaskError(
            f"{path} is an output of stage {settings.name}, but {file} is a file of the project, not a folder: remove "
            f"it, or correct {dvc_yaml_of(settings)}."
        )


def refuse_other_command(settings: StageSettings, stage: DefinedStage) -> None:
    """Refuse values that change a command: it is code.

    :raises TaskError: the stage would run something else than by the project's own files.
    """
    if stage.command != settings.command:
        raise TaskError(
            f"stage {settings.name}: the values of this run would change its command in dvc.yaml, which is "
            "refused. Let the command read the value from a params file instead of ${...}."
        )


def _why(workspace: DvcWorkspace, settings: StageSettings, absent: Absent) -> str:
    name, maker = absent.name, absent.maker
    dep, correct = f"{name} is a dep of stage {settings.name}", f"correct {dvc_yaml_of(settings)}"
    if maker is not None:
        made = f"stage {maker.name} did not make it" if maker.is_stage else f"what {maker.name} tracks does not have it"
        return f"{dep}, but {made}: {correct}{', or let that stage make it' if maker.is_stage else ''}"
    if not absent.is_inside:
        return f"{dep}, but this machine finds nothing there: put it there, let it be reached, or {correct}"
    tell = left_out if os.path.lexists(workspace.project_dir / name) else nowhere
    said = tell(workspace, settings, name, name)
    return said if settings.name in said else f"stage {settings.name}: {said}"
