"""A restored stage that is looked up in the store, with few and with many entries of other runs there."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from tests.bench.bench import RUNS, Bench
from tests.support.deployment import Deployment


def look_up(bench: Bench) -> None:
    """A restored stage that is looked up in the store, with 10 and with 10,000 entries of other runs there."""
    env = {"DVC_CACHE_DIR": "none"}
    prefix = "lookup"
    step = {"conf": {"storage.prefix": prefix}}
    bench.dag(step, **env)
    medians = {}
    there = 0
    for entries in (10, 10_000):
        print(f"with {entries} entries", flush=True)
        _put_entries(bench.deployment, prefix, entries - there)
        there = entries
        # The first run pays for the imports; under the scheduler each task would.
        runs = bench.dag(*[step] * (max(RUNS, 3) + 1), **env)
        seconds = [run["durations"]["pipeline.preprocess"] for run in runs[1:]]
        medians[entries] = bench.report.add(f"look-up in the store with {entries:,} entries", seconds, "s")
    bench.report.add("look-up with 10,000 / with 10 entries", [medians[10_000] / medians[10]], "ratio")


def _put_entries(deployment: Deployment, prefix: str, count: int) -> None:
    """Run-cache entries as other runs would leave them."""
    s3 = deployment.s3
    text = b"cmd: x\ndeps:\n- path: x\n  md5: " + b"0" * 32 + b"\nouts:\n- path: y\n  md5: " + b"0" * 32 + b"\n"

    def put(_: int) -> None:
        key, value = uuid4().hex * 2, uuid4().hex * 2
        s3.put_object(Bucket=deployment.bucket, Key=f"{prefix}/runs/{key[:2]}/{key}/{value}", Body=text)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(count)))
