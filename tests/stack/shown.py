"""What a failed test of the stack shows: the runs that are not well, and what the containers logged since it began."""

from datetime import UTC, datetime

import pytest
import requests

from include.services.stack.up import CONTROL
from tests.stack.stack import Stack

BEGUN = pytest.StashKey[str]()  # of a test
LINES = 25  # of each container


def now() -> str:
    return datetime.now(UTC).isoformat()


def what_happened(stack: Stack, since: str) -> list[tuple[str, str]]:
    """Titles and texts.

    :param since: when the test began, as `now` gives it.
    """
    states = stack.compose("ps", "--all", "--format", "table {{.Service}}\t{{.Status}}", check=False)
    logs = stack.compose("logs", "--no-color", "--since", since, "--tail", str(LINES), check=False)
    return [
        ("containers", states.stdout + states.stderr),
        ("runs of this test, and those that failed", runs(stack, since)),
        (f"last {LINES} lines of each container since the test began", CONTROL.sub("", logs.stdout + logs.stderr)),
    ]


def runs(stack: Stack, since: str) -> str:
    try:
        found = stack.api.runs("")
        # The API writes times with a Z, and otherwise as isoformat() does.
        shown = [name for name, run in found.items() if run["state"] == "failed" or (run["queued_at"] or "") >= since]
        return "\n".join(stack.api.detail(name.replace("+", r"\+") + "$") for name in shown)
    except (AssertionError, requests.RequestException) as error:
        return f"Airflow does not answer: {error}"
