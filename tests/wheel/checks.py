"""What has to be true in a clean environment with the wheel. Each raises an error if it is not."""

import shutil
from collections.abc import Callable

from tests.support.copies import ROOT
from tests.support.examples import EXAMPLES
from tests.wheel.environments import PROVIDER, CleanEnvironment
from tests.wheel.own_tests import copy_own_tests


def airflow_lists_the_provider(environment: CleanEnvironment) -> None:
    """``airflow providers list`` shows the wheel."""
    listed = environment.run("airflow", "providers", "list", "--output", "plain")
    assert any(line.startswith(f"{PROVIDER} ") for line in listed.splitlines()), listed


def airflow_loads_its_plugin(environment: CleanEnvironment) -> None:
    """``airflow plugins`` shows it: it fails runs whose pool does not exist."""
    listed = environment.run("airflow", "plugins", "--output", "plain")
    assert any(line.startswith("dvc_airflow ") for line in listed.splitlines()), listed


def the_examples_run(environment: CleanEnvironment) -> None:
    """Each example by ``airflow dags test``; its results can be pulled from its remote."""
    shutil.copytree(ROOT / "examples", environment.folder / "examples")
    environment.run("airflow", "db", "migrate")
    environment.run("airflow", "pools", "set", "training", "1", "one at a time")
    for example in EXAMPLES:
        if example.extra:
            environment.add(f"{PROVIDER}[{example.extra}]")
        printed = environment.run("airflow", "dags", "test", example.name)
        for stage in example.stages:
            assert f"Stage {stage}: executed" in printed, f"{stage} was not executed: {printed[-4000:]}"
        project = environment.folder / "examples" / example.name / "project"
        environment.run("python", "-m", "dvc_airflow", "pull", project)
        assert (project / example.result).exists(), f"{example.name} made no {example.result}"


def a_second_run_executes_nothing(environment: CleanEnvironment) -> None:
    """The stages of the first example are found unchanged."""
    printed = environment.run("airflow", "dags", "test", "first")
    for stage in EXAMPLES[0].stages:
        assert f"Stage {stage}: unchanged" in printed, f"{stage} is not unchanged: {printed[-4000:]}"


def the_unit_tests_pass(environment: CleanEnvironment) -> None:
    """Those of dvc_airflow, some of which need S3's packages."""
    environment.add(f"{PROVIDER}[s3]", "pytest")
    folder = environment.folder / "own_tests"
    copy_own_tests(folder)
    environment.run("python", "-m", "pytest", "-q", "tests", cwd=folder)


#: in this order: the examples run before any extra is installed that they do not need
CHECKS: tuple[Callable[[CleanEnvironment], None], ...] = (
    airflow_lists_the_provider,
    airflow_loads_its_plugin,
    the_examples_run,
    a_second_run_executes_nothing,
    the_unit_tests_pass,
)
