"""What a warm start saves, and what the server takes of memory."""

import ast
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from dvc_airflow.command import PASSED_ON, base_environment
from dvc_airflow.warm.start import warm_environment
from tests.bench.bench import RUNS, Bench
from tests.bench.report import ratios, timed
from tests.support.copies import ROOT
from tests.support.warm import WarmStarts

COMMANDS = {
    "python -c pass": "python -c pass",
    "the imports of a training": "python -c 'import pandas, sklearn.linear_model, mlflow.sklearn'",
    "dvc repro": "dvc repro --quiet --force",
}


def warm_start(bench: Bench) -> None:
    """Commands as forks of the DAG's server and as new processes, in turn; the server's own pages."""
    modules = _modules_of_the_dag()
    temporary = Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))  # the path of a socket has to be short
    tempfile.tempdir, before = str(temporary), tempfile.tempdir
    warm = WarmStarts(temporary, modules)
    folder = bench.folder / "warm"
    folder.mkdir()
    (folder / "dvc.yaml").write_text("stages:\n  a:\n    cmd: python -c pass > out\n    outs: [out]\n")
    try:
        cold_environment = base_environment()
        environment = warm_environment(modules, cold_environment, PASSED_ON)
        _run("dvc init --quiet --no-scm", folder, cold_environment)
        for name, command in COMMANDS.items():
            _run(command, folder, environment)  # starts the server
            new, forks = [], []
            for _ in range(max(RUNS, 3)):
                new.append(timed(lambda command=command: _run(command, folder, cold_environment)))
                forks.append(timed(lambda command=command: _run(command, folder, environment)))
            bench.report.add(f"{name}, new process", new, "s")
            bench.report.add(f"{name}, warm", forks, "s")
            bench.report.add(f"{name}, warm / new process", ratios(forks, new), "x")
        (server,) = warm.servers()
        bench.report.add("memory of the warm server (PSS)", [_pss(server) / 1e6], "MB")
        assert not warm.why_cold(), warm.why_cold()
    finally:
        warm.end()
        tempfile.tempdir = before


def _modules_of_the_dag() -> list[str]:
    """As `dags/ml_pipeline.py` names them."""
    (value,) = (
        node.value
        for node in ast.parse((ROOT / "dags" / "ml_pipeline.py").read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "WARM"
    )
    return list(ast.literal_eval(value))


def _run(command: str, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, (sys.executable, done.stdout + done.stderr)


def _pss(process: psutil.Process) -> int:
    """Bytes, shared pages by their share."""
    return int(process.memory_full_info().pss)
