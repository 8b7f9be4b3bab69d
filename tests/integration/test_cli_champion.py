"""``python -m include rollback|promote`` from outside: what has to be confirmed, and what then changes."""

import os
import pty
import subprocess
import sys

import pytest

from include.errors import DataError
from include.registry.champion import CHAMPION, Actor
from tests.support.registries import registries_of


@pytest.fixture(scope="module")
def registries(make_deployment):
    with registries_of(make_deployment("cli-champion")) as registries:
        for number in range(3):
            registries.registry(registries.deployment.model).register(registries.trained(number), {}, "")
        yield registries


@pytest.fixture
def champion(registries):
    """Version 3, after 1 and 2; nothing was rolled back."""
    model = registries.registry(registries.deployment.model)
    for name in registries.mlflow.get_registered_model(model.name).tags:
        registries.mlflow.delete_registered_model_tag(model.name, name)
    registries.mlflow.delete_registered_model_alias(model.name, CHAMPION)
    for version in ("1", "2", "3"):
        model.carry_out(model.plan("promotion", version, "good", Actor("a test", version)))
    return model


def typed(deployment, *arguments: str, answer: str) -> tuple[int, str]:
    """Run a command at a terminal: its exit code, and what the terminal shows."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "include", *arguments]
    process = subprocess.Popen(
        command,
        cwd=deployment.project,
        env=deployment.env,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    shown = process.communicate()[0].decode()
    os.close(ours)
    return process.returncode, shown


def test_without_a_terminal_nothing_changes_and_the_line_that_does_it_is_given(registries, champion):
    deployment, history = registries.deployment, champion.history()

    said = deployment.cli("rollback", "--reason", "it's bad", code=1)

    assert f"Champion of {champion.name}: version 3 -> 2 (it's bad)" in said
    assert "The last change was a promotion from version 2 to 3 on" in said
    assert said.strip().endswith("""run: python -m include rollback 2 --reason 'it'"'"'s bad' --yes""")
    assert (champion.version_of(CHAMPION), champion.history()) == ("3", history)
    assert "python -m include promote 1 --reason 'by hand' --yes --json" in deployment.cli(
        "promote", "1", "--json", code=1
    )


def test_with_yes_it_is_done_and_the_same_line_again_changes_nothing(registries, champion):
    deployment = registries.deployment

    done = deployment.cli("rollback", "2", "--reason", "bad", "--yes")

    assert done.strip() == f"Champion of {champion.name}: version 3 -> 2 (bad)"
    assert "version 2 of model" in deployment.cli("rollback", "2", "--reason", "bad", "--yes", code=1)
    assert champion.version_of(CHAMPION) == "2"


def test_a_second_roll_back_says_that_it_goes_further_and_has_to_be_confirmed(registries, champion):
    deployment = registries.deployment
    deployment.cli("rollback", "--reason", "bad", "--yes")

    refused = deployment.cli("rollback", code=1)
    confirmed = deployment.python("-m", "include", "rollback", "--yes")

    for said in (refused, confirmed.stderr):
        assert "The last change was a roll-back from version 3 to 2 on" in said
        assert "This roll-back goes one version further back, to 1." in said
    assert confirmed.stdout.strip() == f"Champion of {champion.name}: version 2 -> 1 (by hand)"


@pytest.mark.parametrize("command", [["rollback"], ["promote", "1"]])
def test_a_dry_run_says_what_would_change_and_changes_nothing(registries, champion, command):
    deployment, history = registries.deployment, champion.history()
    version = "1" if "1" in command else "2"

    said = deployment.cli(*command, "--dry-run", "--yes")
    plan = deployment.cli_json(*command, "--dry-run")

    assert said.startswith(f"Would change: Champion of {champion.name}: version 3 -> {version} (by hand)\n")
    assert (plan["before"], plan["version"], plan["dry_run"]) == ("3", version, True)
    assert plan["last_change"]["version"] == "3"
    assert (champion.version_of(CHAMPION), champion.history()) == ("3", history)


def test_a_version_that_was_rolled_back_can_be_promoted_with_reason_and_user(registries, champion):
    deployment = registries.deployment
    deployment.cli("rollback", "--reason", "wrong labels", "--yes")

    planned = deployment.cli("promote", "3", "--dry-run")
    change = deployment.cli_json("promote", "v3", "--reason", "labels were right", "--yes", USER="anna", LOGNAME="anna")

    assert "Version 3 lost the alias by a roll-back from version 3 to 2 on" in planned
    assert (change["kind"], change["version"], change["before"]) == ("promotion", "3", "2")
    assert (change["reason"], change["by"]) == ("labels were right", "anna")
    assert champion.history()[-1].by == "anna"
    assert champion.rolled_back() == {}
    assert registries.promote(champion, "3", {"3": 0.9}, task="later").passed
    assert champion.plan("roll-back", "previous", "x", Actor("a test", "x")).version == "2"


@pytest.mark.parametrize(("answer", "code", "holder"), [("y", 0, "2"), ("n", 1, "3"), ("", 1, "3")])
def test_at_a_terminal_it_asks(registries, champion, answer, code, holder):
    ended, shown = typed(registries.deployment, "rollback", "--reason", "bad", answer=answer)

    assert "The last change was a promotion from version 2 to 3 on" in shown
    assert "Change the champion? [y/N]" in shown
    assert (ended, champion.version_of(CHAMPION)) == (code, holder)
    assert ("error: not confirmed. Nothing was changed." in shown) == bool(code)


@pytest.mark.parametrize("command", ["rollback", "promote"])
def test_a_version_whose_mlflow_run_is_in_the_bin_comes_with_a_warning_that_names_the_remedy(
    registries, champion, command
):
    deployment, run = registries.deployment, registries.trained(1)["run_id"]
    deployment.mlflow.delete_run(run)
    try:
        planned = deployment.cli(command, "2", "--dry-run")
        examined = deployment.python("-X", "importtime", "-m", "include", "doctor")
    finally:
        deployment.mlflow.restore_run(run)

    lost = f"the MLflow run of version 2 of {champion.name} is in MLflow's bin"
    assert f"Warning: {lost}" in planned
    assert f"Restore it: mlflow runs restore --run-id {run}" in planned
    assert f"FAIL  registry: champion of {champion.name}: version 3; {lost}" in examined.stdout
    imported = {line.rpartition("|")[2].strip() for line in examined.stderr.splitlines()}
    assert ("include.mlflow_requests" in imported, "mlflow" in imported) == (True, False)  # which would take seconds
    assert "in MLflow's bin" not in deployment.cli(command, "2", "--dry-run")
    assert f"ok    registry: champion of {champion.name}: version 3\n" in deployment.cli("doctor")


@pytest.mark.parametrize("command", ["rollback", "promote"])
def test_what_cannot_be_is_said_before_anything_is_confirmed(registries, champion, command):
    deployment = registries.deployment

    said = deployment.cli(command, "77", code=1)
    assert "has no version 77: it was deleted or never existed. Available: 1, 2, 3" in said
    assert "is already the champion" in deployment.cli(command, "3", code=1)
    assert "--reason is empty" in deployment.cli(command, "2", "--reason", " ", code=1)
    assert champion.version_of(CHAMPION) == "3"


def test_before_the_first_run_it_says_that_no_version_is_registered(registries):
    with pytest.raises(DataError, match=r"no version of it is registered yet\. Run the pipeline first, or check regis"):
        registries.registry("of nobody").plan("roll-back", "previous", "bad", Actor("a test", "x"))
