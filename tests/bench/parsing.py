"""Parsing a DAG file with many stages."""

import statistics

from tests.bench.bench import RUNS, Bench
from tests.support.copies import ROOT

EMPTY_DAG = """
from pathlib import Path
from airflow.sdk import DAG
from dvc_airflow.operators import DvcPushOperator
from dvc_airflow.task_group import DvcTaskGroup
with DAG("bench", schedule=None):
    pass
"""


def parsing(bench: Bench) -> None:
    """(e): the DAG file of a project with 3 and with 300 stages, in a fresh process, the second time."""
    files = {}
    for count in (3, 300):
        project = bench.folder / f"stages-{count}"
        project.mkdir()
        stages = "".join(
            f"  s{number}: {{cmd: 'cp in{number} out{number}', deps: [in{number}], outs: [out{number}]}}\n"
            for number in range(count)
        )
        (project / "dvc.yaml").write_text(f"stages:\n{stages}")
        files[f"{count} stages"] = EMPTY_DAG.replace(
            "    pass\n", f"    DvcTaskGroup('stages', project_dir=Path({str(project)!r}))\n"
        )
    files["an empty file"] = EMPTY_DAG
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for name, text in files.items():
        file = bench.folder / "parse.py"
        file.write_text(text)
        code = (
            "import runpy, time; started = time.perf_counter(); "
            f"runpy.run_path({str(file)!r}); print(time.perf_counter() - started)"
        )
        for number in range(max(RUNS, 3) + 1):
            done = bench.deployment.python("-c", code, PYTHONPATH=f"{ROOT}/plugins:{ROOT}")
            assert done.returncode == 0, done.stderr
            if number:
                seconds[name].append(float(done.stdout.splitlines()[-1]))
        bench.report.add(f"parsing {name}, second time", seconds[name], "s")
    above = statistics.median(seconds["300 stages"]) - statistics.median(seconds["an empty file"])
    bench.report.add("parsing 300 stages, above an empty file", [above], "s")
