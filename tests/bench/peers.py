"""A small job by `airflow dags test`, in two systems: this project's `DvcTaskGroup`, and kedro-airflow.

Both have the same three steps (peers_job/job) and the same environment. Kedro runs its nodes in one process and always
all of them; it keeps no results in a store.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.bench import RUNS, Bench
from tests.bench.report import RESULTS, ratios, timed
from tests.support.copies import ROOT
from tests.support.warm import WarmStarts

JOB = ROOT / "tests" / "bench" / "peers_job"
LOCK = JOB / "requirements.txt"
SCENARIOS = ("cold", "C changed", "unchanged")
OTHER_C = 0.5
INIT = "airflow db migrate && airflow dags reserialize"


@dataclass(frozen=True)
class System:
    """How a new project of it is made, and where the job's C stands."""

    name: str
    init: str
    change: Callable[[Path], Any]


def _change_params(project: Path) -> None:
    file = project / "params.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"C": OTHER_C}))


OURS = System(
    "ours",
    "dvc init -q --no-scm && dvc remote add -q -d store s3://$JOB_BUCKET/$JOB_PREFIX && " + INIT,
    _change_params,
)
KEDRO = System(
    "kedro",
    "kedro airflow create -t dags && " + INIT,
    lambda project: (project / "conf" / "local" / "parameters.yml").write_text(f"C: {OTHER_C}\n"),
)


def peers(bench: Bench) -> None:
    """Cold, with C changed, and unchanged; the systems take turns. A round begins with new projects."""
    binaries = _environment()
    bench.deployment.s3.create_bucket(Bucket="peers")
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(RUNS):
        # What warm starts share begins anew with each round too; the path of a socket has to be short.
        with tempfile.TemporaryDirectory(prefix="peers-", dir="/tmp") as temporary:
            systems = {system: _new_project(bench, system, Path(temporary), binaries) for system in (KEDRO, OURS)}
            for scenario in SCENARIOS:
                for system, (project, env) in systems.items():
                    if scenario == "C changed":
                        system.change(project)
                    took = timed(lambda: _run("airflow dags test iris", project, env))  # noqa: B023
                    seconds.setdefault((system.name, scenario), []).append(took)
                    load = os.getloadavg()[0]
                    print(f"round {number + 1}: {scenario}, {system.name}: {took:.1f} s; load {load:.1f}", flush=True)
            WarmStarts(Path(temporary), ()).end()
    for scenario in SCENARIOS:
        ours, kedro = (seconds[system.name, scenario] for system in (OURS, KEDRO))
        bench.report.add(f"peers' job, {scenario}: this project", ours, "s")
        bench.report.add(f"peers' job, {scenario}: kedro-airflow", kedro, "s")
        bench.report.add(f"peers' job, {scenario}: this project / kedro-airflow", ratios(ours, kedro), "ratio")


def _environment() -> Path:
    """The folder of the programs of an environment with both systems; it is kept for the next time."""
    folder = RESULTS / "peers-venv"
    made_of = folder / LOCK.name
    if not made_of.exists() or made_of.read_text() != LOCK.read_text():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", folder / "bin" / "python", LOCK]
        subprocess.run(install, check=True)
        shutil.copy(LOCK, made_of)
    return folder / "bin"


def _new_project(bench: Bench, system: System, temporary: Path, binaries: Path) -> tuple[Path, dict[str, str]]:
    """:return: the project, ready for its first run, and the environment of its commands."""
    project = temporary / system.name
    for part in ("job", system.name):
        shutil.copytree(JOB / part, project, dirs_exist_ok=True)
    home = project / ".airflow"
    deployment = bench.deployment.env
    env = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"{ROOT / 'plugins'}:{project}:{project / 'src'}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "JOB_PROJECT": str(project),
        "JOB_TRACKING": str(project / "mlflow.db"),
        "JOB_BUCKET": "peers",
        "JOB_PREFIX": temporary.name,
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **{name: value for name, value in deployment.items() if name.startswith("AWS_")},
    }
    _run(system.init, project, env)
    return project, env


def _run(command: str, project: Path, env: dict[str, str]) -> None:
    done = subprocess.run(["bash", "-c", command], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
