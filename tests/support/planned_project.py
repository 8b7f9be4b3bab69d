"""A project whose runs are planned before they run, each plan compared with what the run then did."""

from pathlib import Path
from typing import Any

from dvc_airflow.plan import RunPlan, planner_of
from dvc_airflow.project_run import ProjectRun
from tests.support.plans import differences, nothing_written
from tests.support.strangers import Stranger

CHAIN = {
    "dvc.yaml": """
stages:
  load: {cmd: mkdir -p out && cp seed.txt out/one && echo 2 > out/two, deps: [seed.txt], outs: [out]}
  train: {cmd: bash train.sh > model.txt, deps: [out, train.sh], params: [rate, depth], outs: [model.txt]}
  report: {cmd: cp model.txt report.txt, deps: [model.txt], outs: [report.txt]}
""",
    "seed.txt": "seed\n",
    "train.sh": "cat out/*; grep rate params.yaml\n",
    "params.yaml": "rate: 0.5\ndepth: 3\n",
}


class Place:
    """A project whose runs are planned first."""

    def __init__(self, folder: Path, files: dict[str, str], *, cache: bool = True) -> None:
        self.stranger, self.cache = Stranger(folder, files), cache

    def run_of(self, dag_id: str = "dag") -> ProjectRun:
        return self.stranger.project_run(dag_id, cache=self.cache)

    def planner(self, dag_id: str = "dag", **options: Any) -> Any:
        return planner_of(self.run_of(dag_id), self.stranger.path.parent / "graphs", **options)

    def plan(self, dag_id: str = "dag", *, force: bool = False, **options: Any) -> RunPlan:
        own = self.stranger
        with nothing_written(own.path, own.cache, own.remote), self.planner(dag_id, **options) as planner:
            return planner.plan(force=force)

    def run(self, dag_id: str = "dag", *, force: bool = False) -> dict[str, str]:
        """Plan a run and run it; the plan may not be wrong. :return: what was planned, for each stage."""
        plan = self.plan(dag_id, force=force)
        results = self.stranger.run(cache=self.cache, push=True, force=force, dag_id=dag_id)
        assert differences(plan, results) == []
        self.results = results
        return {stage.stage: str(stage.outcome or "depends") for stage in plan.stages}

    def remove(self, stage: str, *, where: tuple[Path, ...]) -> None:
        """The first output of a stage, from cache and remote."""
        for path in self.objects(stage, where):
            path.unlink()

    def objects(self, stage: str, where: tuple[Path, ...]) -> list[Path]:
        md5 = self.results[stage].entry["outs"][0]["md5"]
        found = [folder / "files" / "md5" / md5[:2] / md5[2:] for folder in where]
        return [path for path in found if path.exists()]
