"""`make down`, and `make up` again, with another executor: nothing is lost."""

import time


def test_down_and_up_again_with_several_workers_loses_nothing(stack, first_run, start):
    def seen() -> tuple:
        runs = {run_id: run["state"] for run_id, run in stack.api.runs("").items()}
        found = stack.mlflow("model-versions/search", stack.pipeline_login).json()["model_versions"]
        versions = sorted((version["name"], version["version"], version["run_id"]) for version in found)
        return runs, versions, stack.objects(), stack.api.log(first_run, "promote_model", 1)

    stack.idle()
    before = seen()
    runs, versions, keys, log = before
    assert runs[first_run] == "success"
    assert versions
    assert keys
    assert "alias" in log

    stack.make("down")
    assert stack.containers() == []
    begun = time.monotonic()
    start(celery=True)
    print(f"up again after {time.monotonic() - begun:.0f} s")

    assert seen() == before
