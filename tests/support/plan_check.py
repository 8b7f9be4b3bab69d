"""With ``CHECK_PLANS=FILE``, each stage that the tests run is planned first, and FILE gets a line for each comparison.

Not part of ``make test``: it takes as long again as the look-ups of all stages. Lines with ``wrong`` are to be looked
at: a run beside it may have made the result that the plan did not know of.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from dvc_airflow.errors import TaskError
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import StageResult
from dvc_airflow.stage_plan import PlannedRun, StagePlan, stage_plan
from dvc_airflow.stage_run import StageRun
from tests.support.plans import wrong

VARIABLE = "CHECK_PLANS"


def check_plans() -> None:
    """Have `StageRun.run` compare itself with its plan, if that is asked for; once in a process."""
    if VARIABLE in os.environ and not hasattr(StageRun.run, "is_checked"):
        StageRun.run = _checked(StageRun.run, Path(os.environ[VARIABLE]))  # type: ignore[method-assign]


def _checked(run_stage: Callable[[StageRun], StageResult], report: Path) -> Callable[[StageRun], StageResult]:
    def run(stage: StageRun) -> StageResult:
        began = time.monotonic()
        plan = _planned(stage)
        seconds = time.monotonic() - began
        try:
            result = run_stage(stage)
        except TaskError as error:
            _write(report, stage, plan, seconds, failed=str(error))
            raise
        found = [f"planned {plan}"] if isinstance(plan, str) else list(wrong(plan, result))
        _write(report, stage, plan, seconds, wrong=found, outcome=str(result.outcome), reason=result.reason)
        return result

    run.is_checked = True  # type: ignore[attr-defined]
    return run


def _planned(stage: StageRun) -> StagePlan | str:
    """The plan, or why there is none."""
    own = {one.name: getattr(stage._run, one.name) for one in fields(ProjectRun)}
    with tempfile.TemporaryDirectory(prefix="dvc-plan-") as folder:
        try:
            run = PlannedRun(**own, scratch=Path(folder))
            return stage_plan(run, stage._settings, stage._upstream, force=stage._force)
        except TaskError as error:
            return f"{type(error).__name__}: {error}"


def _write(report: Path, stage: StageRun, plan: StagePlan | str, seconds: float, **found: Any) -> None:
    said = plan if isinstance(plan, str) else f"{plan.outcome}: {plan.reason}"
    test = os.environ.get("PYTEST_CURRENT_TEST")
    line = {"test": test, "stage": stage._settings.name, "plan": said, "seconds": round(seconds, 3), **found}
    with report.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
