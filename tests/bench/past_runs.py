"""The command ``runs`` when a thousand runs are recorded."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from include.lineage.recorder import LineageRecorder
from include.lineage.run_keys import VERDICT, RunKey
from include.settings import RuntimeSettings
from include.settings.config_file import load_config
from tests.bench.bench import RUNS, START, Bench
from tests.bench.report import timed


def past_runs(bench: Bench) -> None:
    """The command ``runs``, start of Python included, when a thousand runs are recorded."""
    deployment, report = bench.deployment, bench.report
    deployment.dag({})
    config = load_config(deployment.project)
    runtime = RuntimeSettings.model_validate({name.lower(): value for name, value in deployment.env.items()})
    lineage = LineageRecorder(config, runtime)
    (first,) = lineage.newest(1)
    manifest, verdict = lineage.read(first), json.dumps(lineage.verdict(first)).encode()

    def put(number: int) -> None:
        started = f"{START + timedelta(days=number)}T00:00:00+00:00"
        run = manifest.airflow.model_copy(update={"run_id": f"scheduled__{number:04}", "started_at": started})
        lineage.record(manifest.model_copy(update={"airflow": run}))
        lineage.add(RunKey(run.dag_id, run.run_id), VERDICT, verdict)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(999)))

    def page() -> None:
        done = deployment.python("-m", "include", "runs")
        assert done.returncode == 0, done.stderr
        assert sum("scheduled__" in line for line in done.stdout.splitlines()) == 20, done.stdout

    report.add("first page of `runs` over 1,000 runs", [timed(page) for _ in range(3 * RUNS)], "s")
    report.add(
        "python -c pass, for comparison", [timed(lambda: deployment.python("-c", "pass")) for _ in range(RUNS)], "s"
    )
