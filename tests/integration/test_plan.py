"""A plan says what the run then does and says, wherever it is definite; and nothing is written for it."""

import shutil

import pytest

from dvc_airflow.plan import RunPlan, planner_of
from tests.support.plans import differences, nothing_written
from tests.support.strangers import Stranger

FILES = {
    "dvc.yaml": """
stages:
  load: {cmd: cp seed.txt loaded.txt, deps: [seed.txt], outs: [loaded.txt]}
  train: {cmd: bash train.sh > model.txt, deps: [loaded.txt, train.sh], params: [rate], outs: [model.txt]}
  report: {cmd: cp model.txt report.txt, deps: [model.txt], outs: [report.txt]}
""",
    "seed.txt": "seed\n",
    "train.sh": "cat loaded.txt; grep rate params.yaml\n",
    "params.yaml": "rate: 1\n",
}


class Planned:
    def __init__(self, stranger: Stranger, cache: bool) -> None:
        self.stranger, self.cache = stranger, cache

    def plan(self, *, force: bool = False) -> RunPlan:
        own = self.stranger
        run = own.project_run(cache=self.cache)
        with nothing_written(own.path, own.cache, own.remote), planner_of(run, own._graphs) as planner:
            return planner.plan(force=force)

    def run(self, *, force: bool = False) -> dict[str, str]:
        """Plan a run, then run it. :return: the planned outcomes."""
        plan = self.plan(force=force)
        results = self.stranger.run(cache=self.cache, push=True, force=force)
        assert not differences(plan, results)
        return {stage.stage: str(stage.outcome or "depends") for stage in plan.stages}


@pytest.mark.parametrize("cache", [True, False])
def test_try(tmp_path, cache):
    stranger = Stranger(tmp_path, FILES)
    planned = Planned(stranger, cache)
    print(planned.run())
    print(planned.run())
    stranger.write({"params.yaml": "rate: 2\n"})
    print(planned.run())
    stranger.write({"params.yaml": "rate: 1\n"})
    print(planned.run())
    print(planned.run(force=True))
    shutil.rmtree(stranger.cache, ignore_errors=True)
    print(planned.run())
