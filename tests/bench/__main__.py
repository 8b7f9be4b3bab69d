"""``python -m tests.bench [MEASUREMENT ...]``."""

import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.bench.backfill import backfill
from tests.bench.bench import Bench
from tests.bench.gate import gate
from tests.bench.look_up import look_up
from tests.bench.one_run import one_run
from tests.bench.parsing import parsing
from tests.bench.past_runs import past_runs
from tests.bench.peers import peers
from tests.bench.report import RESULTS, Report
from tests.bench.size import size
from tests.bench.streams import streams
from tests.bench.warm_start import warm_start
from tests.support.copies import ROOT, copy_of_project
from tests.support.deployment import new_deployment
from tests.support.shared_services import running_services


def main() -> None:
    """Measure, and write the results."""
    # Ended from outside, it stops the services all the same.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    report = Report()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)

        with running_services(copy_of_project(folder / "project"), folder / "embedded") as services:
            (folder / "bench").mkdir()
            bench = Bench(new_deployment(services, "bench", folder / "bench", whole=True), folder, report)
            works = {
                "one_run": one_run,
                "look_up": look_up,
                "gate": gate,
                "past_runs": past_runs,
                "parsing": parsing,
                "size": size,
                "streams": streams,
                "warm_start": warm_start,
                "peers": peers,
                "backfill": partial(backfill, services=services),
            }
            for name in sys.argv[1:] or works:
                print(f"== {name}", flush=True)
                began = time.monotonic()
                works[name](bench)
                report.add(f"this part of the benchmark: {name}", [(time.monotonic() - began) / 60], "min")
    (RESULTS / "results.md").write_text(report.table())
    report.plot(RESULTS / "results.png")
    print(f"\n{report.table()}\nIn {RESULTS.relative_to(ROOT)}: results.json, results.md, results.png")


if __name__ == "__main__":
    main()
