"""``python -m include plan``: what it says of a run of the pipeline is what the run then does."""

import time

import pytest


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("plan")


def planned(deployment, *arguments):
    return deployment.cli_json("plan", *arguments)["runs"][0]["stages"]


def test_try(deployment):
    for conf in (None, None, '{"model.C": 0.5}', None, '{"force": true}'):
        arguments = ["--conf", conf] if conf else []
        t = time.time()
        print(deployment.cli("plan", *arguments), time.time() - t)
        stages = planned(deployment, *arguments)
        import json

        (run,) = deployment.dag({"conf": json.loads(conf)} if conf else {})
        print(run["state"], run["failures"])
        for stage in stages:
            result = run["returned"][f"pipeline.{stage['stage']}"]
            print(
                stage["outcome"],
                "|",
                stage["reason"],
                "||",
                result["outcome"],
                "|",
                result["reason"],
                result["seconds"],
            )
    print(deployment.cli("plan", "--from-date", "2026-03-01", "--to-date", "2026-03-05", code=1))
    deployment.edit_config("cron: null", "cron: '@daily'")
    t = time.time()
    print(deployment.cli("plan", "--from-date", "2026-03-01", "--to-date", "2026-03-05"))
    print(
        deployment.cli(
            "plan", "--from-date", "2026-03-01", "--to-date", "2026-03-05", "--conf", '{"split.test_size": 0.3}', "--md"
        ),
        time.time() - t,
    )
    t = time.time()
    print(deployment.cli("plan", "--conf", '{"model.CC": 0.3}', "--md", code=1), time.time() - t)
