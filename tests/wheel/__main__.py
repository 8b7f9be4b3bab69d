"""Try the wheel in clean environments: ``python -m tests.wheel [PYTHON ...] [--airflow oldest|newest]``."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.support.built import build
from tests.wheel.checks import CHECKS
from tests.wheel.environments import OLDEST, Airflow, CleanEnvironment, CommandError, newest_airflow


def main() -> int:
    """:return: the exit code: 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="make test-wheel ARGS=", description=__doc__)
    parser.add_argument("pythons", nargs="*", default=[sys.executable], help="versions or paths of interpreters")
    parser.add_argument("--airflow", choices=("oldest", "newest"), help="default: both")
    options = parser.parse_args()
    airflows = {"oldest": OLDEST, "newest": newest_airflow()}
    chosen = [airflows[options.airflow]] if options.airflow else list(airflows.values())
    folder = Path(tempfile.mkdtemp(prefix="dvc-airflow-wheel-"))
    try:
        wheel, _ = build(folder / "dist")
        tries = [(python, airflow) for python in options.pythons for airflow in chosen]
        passed = [_try(folder / "environment", wheel, *one) for one in tries]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(passed) else 1


def _try(folder: Path, wheel: Path, python: str, airflow: Airflow) -> bool:
    """Make an environment, run the checks in it, and remove it.

    :return: whether they all passed.
    """
    folder.mkdir()
    print(f"Python {python}, Airflow {airflow.version}", flush=True)
    begun = time.monotonic()
    try:
        environment = CleanEnvironment(folder, python, airflow)
        environment.install(wheel)
        _report("installed", begun)
        for check in CHECKS:
            begun = time.monotonic()
            check(environment)
            _report(check.__name__.replace("_", " "), begun)
    except (AssertionError, CommandError) as error:
        print(f"  FAILED: {error}", flush=True)
        return False
    finally:
        shutil.rmtree(folder)
    return True


def _report(what: str, begun: float) -> None:
    print(f"  {time.monotonic() - begun:4.0f} s  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
