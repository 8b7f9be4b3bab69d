"""The Airflow of `make serve`."""

import io
import json
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from include.services.embedded.state import free_ports
from include.stages.get_data import load_builtin
from tests.support.airflow_api import AirflowApi, wait_for
from tests.support.deployment import Deployment
from tests.support.home import PATIENCE, Home

STAGES = ("get_data", "preprocess", "train_and_evaluate")


class Served(AirflowApi):
    """The Airflow of `make serve`, the copy of the project that it serves, and what it said when it was up."""

    def __init__(self, home: Home, deployment: Deployment, front: "subprocess.Popen[str]", said: str) -> None:
        self.home, self.deployment, self.front, self.said = home, deployment, front, said
        self.password = json.loads((home.project / ".embedded" / "airflow" / "passwords.json").read_text())["admin"]
        super().__init__(re.search(r"Airflow  (\S+)", said)[1], "admin", self.password)

    def outcomes(self, run_id: str) -> list[str]:
        return [self.returned(run_id, f"pipeline.{stage}")["outcome"] for stage in STAGES]

    def aliases(self) -> dict[str, str]:
        return dict(self.deployment.mlflow.get_registered_model(self.deployment.model).aliases)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the events of an Asset say, newest first."""
        found = self.ask("GET", f"assets?name_pattern={self.deployment.model}:{kind}")["assets"]
        if not found:
            return []
        events = self.ask("GET", f"assets/events?asset_id={found[0]['id']}&order_by=-timestamp")["asset_events"]
        return [event["extra"] for event in events]

    def roll_back(self, run_id: str, **params: str) -> str:
        """Run `ml_rollback`: the state in which the run ended."""
        self.trigger(run_id, "ml_rollback", **params)
        return self.ended(f"{run_id}$", 1, 300, "ml_rollback")[run_id]


@contextmanager
def served(project: Path, *, first: str, with_rows: Sequence[str], approval: str = "manual") -> Iterator[Served]:
    """Run `make serve` in a copy of the project until the block ends; by default, a person approves each model.

    :param first: the schedule's first date.
    :param with_rows: the dates of which there is a table.
    :param approval: as `registry.approval`.
    """
    home = Home(project)
    deployment = Deployment(home.project, {}, "serve")
    deployment.name_all()
    deployment.retry_soon(3)
    if approval != "auto":
        deployment.edit_config("approval: auto", f"approval: {approval}")
    deployment.edit_config("cron: null", 'cron: "0 0 * * *"')  # a backfill needs a schedule
    deployment.edit_config('start_date: "2026-01-01"', f'start_date: "{first}"')
    # Airflow starts a run for yesterday by itself. It fails, because that date has no object; no test needs it.
    deployment.edit_config("source: sklearn:iris", 'source: "s3://dated/iris/{date:%Y-%m-%d}.csv"')
    airflow_port, mlflow_port = free_ports(2)
    front = home.start("serve", AIRFLOW_PORT=str(airflow_port), MLFLOW_PORT=str(mlflow_port))
    try:
        said = ""
        while "Ctrl-C ends everything" not in said:
            text = front.stdout.readline()
            assert text, f"{said}\n{home.logs()}"
            said += text
        deployment.env |= home.variables()
        airflow = Served(home, deployment, front, said)
        _put_tables(deployment, with_rows)
        wait_for(lambda: airflow.request("GET", "dags/ml_pipeline").ok, PATIENCE, home.logs)
        yield airflow
    finally:
        front.send_signal(signal.SIGINT)
        last, _ = front.communicate(timeout=PATIENCE)
    assert (front.returncode, last.strip(), home.wait_until_gone()) == (0, "All stopped.", [])


def _put_tables(deployment: Deployment, days: Sequence[str]) -> None:
    deployment.s3.create_bucket(Bucket="dated")
    text = io.StringIO()
    load_builtin("iris", "target").to_csv(text, index=False)
    for day in days:
        deployment.s3.put_object(Bucket="dated", Key=f"iris/{day}.csv", Body=text.getvalue())
