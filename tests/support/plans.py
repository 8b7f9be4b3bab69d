"""A plan beside the run that it is of: where the plan is definite, the run has to do and say the same."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dvc_airflow.lockfile import digest
from dvc_airflow.plan import RunPlan
from dvc_airflow.result import StageResult
from dvc_airflow.stage_plan import StagePlan
from tests.support.code_project import files


def differences(plan: RunPlan, results: Mapping[str, StageResult]) -> list[str]:
    """Where a plan was wrong."""
    return [found for stage in plan.stages for found in wrong(stage, results[stage.stage])]


def wrong(plan: StagePlan, result: StageResult) -> Iterator[str]:
    if plan.outcome is None:
        return
    if plan.outcome != result.outcome:
        yield f"{plan.stage}: planned {plan.outcome} ({plan.reason}), was {result.outcome} ({result.reason})"
    elif not is_reason(plan, result.reason):
        yield f"{plan.stage}: planned {plan.reason!r}, said {result.reason!r}"
    if plan.lock is not None and digest(plan.lock) != digest(result.lock):
        yield f"{plan.stage}: planned {plan.lock}, made {result.lock}"


def is_reason(plan: StagePlan, said: str) -> bool:
    """Whether the run gave the planned reason: all of it, but for what only the run can know."""
    if plan.inputs is None and plan.outcome == "executed":  # what the stages before made may be a reason too
        return plan.reason in said.split("; ")
    return said == plan.reason or ("forced by this run" in plan.reason and said.startswith(f"{plan.reason}; "))


@contextmanager
def nothing_written(*folders: Path) -> Iterator[None]:
    """The files in these folders have to be the same after the block: content, and time of the last change."""
    before = files(*folders), states(*folders)
    yield
    assert before == (files(*folders), states(*folders))


def states(*folders: Path) -> dict[str, tuple[int, int]]:
    """Of files and folders, how and when they were changed."""
    paths = [path for folder in folders for path in [folder, *folder.rglob("*")]]
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in paths if path.exists()}
