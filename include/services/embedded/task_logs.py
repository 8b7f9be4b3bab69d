"""The logs of a run's tasks, where the web UI of a later ``make serve`` looks for them.

``airflow dags test`` logs to stdout alone. The files here have the names and the form of those that Airflow's workers
write: by its default ``log_filename_template``, one JSON object per line.
"""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class TaskLogs:
    """Writes what each try of a task logged into a file of its own.

    :param folder: Airflow's ``base_log_folder``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._failed: Counter[str] = Counter()

    def file(self, dag_id: str, run_id: str, task_id: str) -> Path:
        """The log of the task's present try."""
        attempt = 1 + self._failed[task_id]
        return self._folder / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}" / f"attempt={attempt}.log"

    def write(self, dag_id: str, run_id: str, task_id: str, event: dict[str, Any]) -> None:
        """Add an event to the log of the task's present try.

        :param event: as ``airflow dags test`` logs it with ``json_logs``.
        """
        entry = {"timestamp": datetime.now(UTC).isoformat(), "level": "info", **event}
        if "exception" in entry:
            entry["error_detail"] = entry.pop("exception")  # as Airflow's workers rename it
        file = self.file(dag_id, run_id, task_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8") as log:
            log.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def next_try(self, task_id: str) -> None:
        """The task's present try has failed; what it logs from now on is of the next one."""
        self._failed[task_id] += 1
