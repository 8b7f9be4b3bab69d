"""``python -m include.services.embedded setup|run|serve|env|status|stop|forget``: what the Makefile calls."""

import argparse
import os
import signal
import subprocess
import sys
import time
from typing import Any

from include.errors import ServiceError, exit_with_message
from include.services.embedded.guard import Interrupted, guarded
from include.services.embedded.state import HOST, State
from include.settings import PROJECT_DIR

KEEP_TIMEOUT = 120  # seconds


def main() -> int:
    """Dispatch.

    :return: the exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m include.services.embedded")
    parser.add_argument("command", choices=["setup", "run", "serve", "env", "keep", "status", "stop", "forget"])
    command = parser.parse_args().command
    os.chdir(PROJECT_DIR)
    state = State.default()
    at_once = {"env": _env, "status": _status, "stop": _stop, "forget": _forget}
    if command in at_once:
        return at_once[command](state)
    return guarded(lambda: _work(command, state), state.remove_left)


def _work(command: str, state: State) -> int:
    with exit_with_message():
        if command == "run":
            from include.services.embedded.run import run

            return run(state)
        if command == "serve":
            from include.services.embedded.serve import serve

            return serve(state)
        from include.services.embedded.deployment import running

        with running(state, command):
            if command == "keep":
                _sleep_until_interrupted()
        print("ready: databases migrated, bucket created, DVC configured")
    return 0


def _sleep_until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except Interrupted:
        return


def _env(state: State) -> int:
    """Print the exports for a shell. Starts services that do not run, as ``ssh-agent`` does; `stop` ends them."""
    with exit_with_message():
        from include.services.embedded.environment import shell_exports

        there = state.running()
        if there is None:
            _start_keeper(state)
        addresses = _wait_for_addresses(state)
        print(shell_exports(state, addresses))
    return 0


def _start_keeper(state: State) -> None:
    state.make()
    print("Starting PostgreSQL, the object store and MLflow in the background; `make stop` ends them.", file=sys.stderr)
    with open(state.log("keep"), "wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "include.services.embedded", "keep"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_for_addresses(state: State) -> dict[str, Any]:
    end = time.monotonic() + KEEP_TIMEOUT
    seen = False
    while time.monotonic() < end:
        there = state.running()
        if there and there.get("addresses"):
            return dict(there["addresses"])
        if seen and there is None:
            break
        seen = seen or there is not None
        time.sleep(0.2)
    last = state.log("keep").read_text(errors="replace").strip().splitlines()[-3:] if state.log("keep").exists() else []
    raise ServiceError(f"the services did not start; see {state.log('keep')}. " + " ".join(last))


def _status(state: State) -> int:
    there = state.running()
    if there is None:
        print(f"nothing is running (state: {state.root})")
        return 0
    print(f"{there['mode']} runs, process {there.get('pid', '?')} (state: {state.root})")
    addresses = there.get("addresses", {})
    for name in ("store", "mlflow"):
        if name in addresses:
            print(f"  {name:<8}{addresses[name]}")
    if there["mode"] == "serve" and addresses:
        print(f"  airflow {_airflow(addresses['airflow_port'])}")
    if there["mode"] != "run" and state.a_run_is_going():
        print("  run     make run works beside it")
    return 0


def _airflow(port: int) -> str:
    from include.services.embedded.waiting import http_ok

    url = f"http://{HOST}:{port}"
    return f"{url} (user admin)" if http_ok(f"{url}/api/v2/monitor/health") else f"{url} (is starting)"


def _stop(state: State) -> int:
    there = state.running()
    if there is None or "pid" not in there:
        print("nothing runs")
        return 0
    os.kill(there["pid"], signal.SIGTERM)
    while state.running() is not None:
        time.sleep(0.1)
    print(f"stopped {there['mode']} (process {there['pid']})")
    return 0


def _forget(state: State) -> int:
    """Before the state is removed: stop what uses it, and let the checkout's DVC not look for it any more."""
    from include.checkout import unconfigure

    with exit_with_message():
        _stop(state)
        if state.a_run_is_going():
            print("waiting for `make run` to end: it uses the cache ...", flush=True)
            while state.a_run_is_going():
                time.sleep(0.1)
        state.remove_left()
        if unconfigure(PROJECT_DIR, state.dvc_cache):
            print("removed cache and remote from .dvc/config.local")
    return 0


if __name__ == "__main__":
    sys.exit(main())
