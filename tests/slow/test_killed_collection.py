"""``kill -9`` in the middle of ``gc``: what is listed is whole, and another call does the rest."""

import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from tests.support.proxy import proxy_to
from tests.support.random_runs import RandomRuns

GC = ("-m", "include", "gc", "--keep-days", "60", "--grace-hours", "0", "--no-keep-champions", "--yes")
PATIENCE = 120  # seconds, for the lock of a collection that was killed


@pytest.mark.parametrize("gone", [1, 60])
def test_a_collection_that_is_killed_leaves_what_is_listed_whole_and_another_does_the_rest(make_deployment, gone):
    runs = RandomRuns(make_deployment(f"killed-gc-{gone}"), datetime.now(UTC), seed=gone)
    runs.make(20)
    for key in runs.deployment.objects():
        if "/airflow/runs/" in key or "/airflow/last_run/" in key:  # they are as young as the store says
            runs.s3.delete_object(Bucket=runs.bucket, Key=key)
    deployment, before = runs.deployment, runs.deployment.objects()
    with proxy_to(deployment.env["AWS_ENDPOINT_URL"]) as store:
        store.silent = lambda line: (
            line.startswith(b"POST") and b"delete" in line and len(before.keys() - deployment.objects().keys()) >= gone
        )
        process = subprocess.Popen(
            [sys.executable, *GC],
            cwd=deployment.project,
            env={**deployment.env, "AWS_ENDPOINT_URL": store.url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not store.swallowed:
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
        process.wait()

    half = deployment.objects()
    assert len(before.keys() - half.keys()) >= gone
    assert {name: runs.damages(one) for name, one in runs.listed().items()} == {name: [] for name in runs.listed()}
    assert "or was killed less than a minute ago" in deployment.cli(*GC[2:], code=1)

    done, deadline = deployment.python(*GC), time.monotonic() + PATIENCE
    while done.returncode and time.monotonic() < deadline:
        time.sleep(5)
        done = deployment.python(*GC)
    assert done.returncode == 0, done.stderr
    assert len(before.keys() - deployment.objects().keys()) > len(before.keys() - half.keys())
    assert {name: runs.damages(one) for name, one in runs.listed().items()} == {name: [] for name in runs.listed()}
    assert "There is nothing to delete." in deployment.cli(*GC[2:])
