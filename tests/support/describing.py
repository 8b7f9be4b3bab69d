"""DVC's description of a project without a process of its own, in processes of tests, which have DVC imported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def describing_here(in_a_process: Callable[[Path], dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    """What can stand for `dvc_airflow.project._describe`, half a second quicker for each project that is new.

    What is wrong with a project is said by the process, as to users.
    """

    def describe(project_dir: Path) -> dict[str, Any]:
        from dvc_airflow.dvc.describe import describe as here

        try:
            return dict(json.loads(json.dumps(here(project_dir))))
        except Exception:  # noqa: BLE001 - whatever it is
            return in_a_process(project_dir)

    return describe
