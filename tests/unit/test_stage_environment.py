"""A run that is verified by making it again has the environment that its stages had."""

from dvc_airflow import command
from include.lineage import verify


def test_a_rerun_gets_of_the_shell_what_a_stage_gets():
    assert verify.PASSED_ON == command.PASSED_ON
