"""A stage that fails on what its workspace lacks says what to do, and is not retried; the remedy works."""

import os
import sys

import pytest

from dvc_airflow.errors import TaskError
from dvc_airflow.failure import CommandError
from tests.support.strangers import Stranger, outcomes


def failure_of(stranger: Stranger, *stages: str, **options) -> str:
    """The message of the stage that fails."""
    with pytest.raises(CommandError) as caught:
        stranger.run(*stages, **options)
    assert caught.value.is_final
    return str(caught.value).partition(" Its last output was:")[0]


def stage(command: str, deps: str = "", out: str = "out.txt") -> str:
    return f"stages:\n  use:\n    cmd: {command}\n    deps: [{deps}]\n    outs: [{out}]\n"


def test_an_output_of_another_stage_that_is_no_dependency_is_named_with_its_stage(tmp_path):
    text = """
stages:
  split: {cmd: mkdir -p data/ready && echo 1 > data/ready/train.txt && echo 2 > data/ready/test.txt, outs: [data/ready]}
  grade: {cmd: cat data/ready/test.txt > grade.txt, deps: [rules.txt], outs: [grade.txt]}
"""
    stranger = Stranger(tmp_path, {"dvc.yaml": text, "rules.txt": ""})

    said = failure_of(stranger)
    stranger.write({"dvc.yaml": text.replace("deps: [rules.txt]", "deps: [rules.txt, data/ready/test.txt]")})

    assert said.endswith(
        "What to do: data/ready/test.txt is made by stage split: add it to the deps of stage grade in dvc.yaml."
    )
    assert outcomes(stranger.run())["grade"] == "executed"


def test_what_a_dvc_file_tracks_is_named_with_it_from_a_nested_stage(tmp_path):
    nested = "stages:\n  use:\n    wdir: work\n    cmd: python use.py\n    deps: [use.py]\n    outs: [out.txt]\n"
    tracked = "outs:\n- md5: b026324c6904b2a9cb4b88d6d61c81d1\n  size: 2\n  hash: md5\n  path: raw.csv\n"
    stranger = Stranger(
        tmp_path, {"sub/dvc.yaml": nested, "raw.csv.dvc": tracked, "sub/work/use.py": "open('../../raw.csv')\n"}
    )

    assert failure_of(stranger).endswith(
        "What to do: raw.csv is tracked by raw.csv.dvc: add it to the deps of stage sub/dvc.yaml:use in sub/dvc.yaml."
    )


def test_an_output_of_the_stage_itself_is_gone_before_it_runs(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("cat out.txt > new.txt && mv new.txt out.txt"), "in.txt": ""})

    assert "out.txt is an output of the stage itself" in failure_of(stranger)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_file_that_git_ignores_is_named_with_the_rule(tmp_path, monkeypatch, shell):
    monkeypatch.setenv("SHELL", shell)
    command = 'set -a && . ./.env && echo "$REGION" > out.txt'
    stranger = Stranger(
        tmp_path, {"dvc.yaml": stage(command, "query.sql"), "query.sql": "", ".gitignore": "\n\n.env\n"}
    )
    elsewhere = failure_of(stranger)
    stranger.write({".env": "REGION=north\n"})

    here = failure_of(stranger)
    stranger.write({"dvc.yaml": stage(command, "query.sql, .env")})

    declare = "declare it as a dep of stage use, or pass its variables with env= of the task group, and do not read it."
    assert here.endswith(f"What to do: the project has ./.env, git ignores it (.gitignore:3): {declare}")
    assert (
        f"the project on this worker has no ./.env, for git ignores it (.gitignore:3): put it there, and {declare}"
        in (elsewhere)
    )
    assert outcomes(stranger.run()) == {"use": "executed"}


@pytest.mark.parametrize("place", [".", "src"])
def test_a_module_that_git_ignores_is_named_with_the_rule(tmp_path, place):
    files = {"dvc.yaml": stage(f"python {place}/use.py", f"{place}/use.py"), f"{place}/use.py": "import helpers\n"}
    stranger = Stranger(tmp_path, {**files, ".gitignore": "help*.py\n"})
    stranger.write({f"{place}/helpers.py": ""})

    said = failure_of(stranger)

    path = os.path.normpath(f"{place}/helpers.py")
    assert f"the project has {path}, git ignores it (.gitignore:1): declare it as a dep of stage use" in said


def test_a_module_that_is_not_installed_is_named_with_the_python(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("python -c 'import no_such_module.part'", "in.txt"), "in.txt": ""})

    assert f"the Python of the task ({sys.executable}) has no module no_such_module: install it" in failure_of(stranger)


@pytest.mark.parametrize(
    "command",
    [
        "python use.py",
        'set -u; echo "$SITE_NAME" > out.txt',
        'test -n "$SITE_NAME" || { echo SITE_NAME is not set >&2; exit 1; }; echo "$SITE_NAME" > out.txt',
    ],
)
def test_a_variable_that_the_stage_does_not_get_is_named(tmp_path, monkeypatch, command):
    use = "import os\nopen('out.txt', 'w').write(os.environ['SITE_NAME'])\n"
    stranger = Stranger(tmp_path, {"dvc.yaml": stage(f"'{command}'", "use.py"), "use.py": use})
    nobody_has_it = failure_of(stranger)
    monkeypatch.setenv("SITE_NAME", "north")

    said = failure_of(stranger)

    assert said.endswith('the worker has it: name it in the task group: env=["SITE_NAME"].')
    assert 'set SITE_NAME for the worker, and name it in the task group: env=["SITE_NAME"]' in nobody_has_it
    assert outcomes(stranger.run(env=["SITE_NAME"])) == {"use": "executed"}


def test_a_variable_that_a_shell_takes_for_empty_is_warned_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SITE_NAME", "north")
    monkeypatch.setenv("OWN", "x")
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("OWN=1; echo $SITE_NAME $OWN > out.txt")})

    stranger.run()

    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "uses $SITE_NAME, which the worker has and the stage does not get" in warning


def test_git_where_there_is_none_is_named(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("git rev-parse HEAD > out.txt")})
    (stranger.path / ".git").rename(tmp_path / "elsewhere")

    assert f"the stage reads git, but {stranger.path} is not in a git checkout on this worker" in failure_of(stranger)


def test_a_command_that_is_not_there_is_named(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("no-such-command > out.txt")})

    assert "the worker has no command no-such-command on its PATH: install it there" in failure_of(stranger)


def test_what_nobody_has_is_said_to_be_nowhere(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("cat notes/none.txt > out.txt")})

    assert "neither the project nor the outs of its stages have notes/none.txt" in failure_of(stranger)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("'true'", "the command ended well, but did not write out.txt, an output of the stage: correct its path"),
        ("cp in.txt uot.txt", "in the command or in dvc.yaml. It wrote uot.txt, which is declared nowhere"),
        ("cp in.txt out.txt && rm in.txt", "in.txt"),
    ],
)
def test_a_stage_that_does_not_do_what_it_declares_fails_with_dvcs_own_words(tmp_path, command, said):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage(command, "in.txt"), "in.txt": "1\n"})

    assert said in failure_of(stranger)
    assert (stranger.path / "in.txt").read_text() == "1\n"


@pytest.mark.parametrize("name", ["in.txt", "data"])
def test_a_dependency_that_is_a_broken_link_is_named_before_the_command_runs(tmp_path, name):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage(f"cat {name} > out.txt", name)})
    (stranger.path / name).symlink_to("nowhere")

    with pytest.raises(TaskError, match=rf"^stage use: {name} is a broken link in the project\.$"):
        stranger.run()


def test_a_file_that_a_folder_lacks_is_named_with_the_stage_that_depends_on_it(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("cat data/in.txt > out.txt", "data"), "data/other.txt": ""})

    said = failure_of(stranger)

    assert "data/in.txt is a dep of stage use, but the project has no such file, and no stage makes it" in said
    assert "dvc-task-" not in said


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ("set the environment variable TF_ENABLE_ONEDNN_OPTS=0", "ConnectionError('refused')"),
        ("the environment variable is optional", "SystemExit(75)"),
        ("fused kernels off: No module named apex", "ConnectionError('refused')"),
        ("fatal: not a git repository", "TimeoutError('timed out')"),
        ("INFO environment: production", "KeyError('price')"),
        ("error: no such file " + "a" * 300, "RuntimeError('other')"),
    ],
)
def test_what_was_said_before_is_not_taken_for_the_cause(tmp_path, said, then):
    stranger = Stranger(
        tmp_path, {"dvc.yaml": stage("python use.py", "use.py"), "use.py": f"print({said!r})\nraise {then}\n"}
    )

    with pytest.raises(CommandError) as caught:
        stranger.run()

    assert "What to do" not in str(caught.value)
    assert caught.value.is_final is ("KeyError" in then)


def test_a_variable_of_an_env_file_that_git_ignores_is_found_there(tmp_path):
    """As with dotenv, which says nothing of a file that is not there."""
    use = "import os\nopen('out.txt', 'w').write(os.environ['DB_URL'])\n"
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("python use.py", "use.py"), "use.py": use, ".gitignore": ".env\n"})
    stranger.write({".env": "export DB_URL=x\n"})

    assert "the project's .env has DB_URL, and git ignores it (.gitignore:1): declare .env as a dep" in (
        failure_of(stranger)
    )


def test_a_variable_that_is_named_but_not_there_is_to_be_set(tmp_path):
    stranger = Stranger(tmp_path, {"dvc.yaml": stage("set -u; echo $SITE_NAME > out.txt")})

    said = failure_of(stranger, passed_on=["SITE_NAME"])

    assert said.endswith("What to do: env= names SITE_NAME, but this worker does not have it: set it there.")


def test_without_git_the_list_is_named(tmp_path):
    files = {"dvc.yaml": stage("cat codes.csv > out.txt"), ".gitignore": "*.csv\n", "codes.csv": ""}
    stranger = Stranger(tmp_path, files)
    (stranger.path / ".git").rename(tmp_path / "elsewhere")

    assert "ship the list .dvc/files.txt with the project (python -m dvc_airflow list-files)" in failure_of(stranger)


def test_what_another_stage_makes_is_not_read_from_git_by_one_that_does_not_declare_it(tmp_path):
    """It would be what an earlier run made."""
    text = """
stages:
  score: {cmd: echo 2 > score.json, metrics: [score.json: {cache: false}]}
  use: {cmd: cat score.json > out.txt, deps: [rules.txt], outs: [out.txt]}
"""
    stranger = Stranger(tmp_path, {"dvc.yaml": text, "rules.txt": "", "score.json": "1\n"})

    assert "score.json is made by stage score: add it to the deps of stage use" in failure_of(stranger)


def test_what_persists_begins_with_what_git_has(tmp_path):
    text = "stages: {grow: {cmd: echo 2 >> all.txt, outs: [all.txt: {persist: true, cache: false}]}}\n"
    stranger = Stranger(tmp_path, {"dvc.yaml": text, "all.txt": "1\n"})

    assert [stranger.run(force=True)["grow"].entry["outs"][0]["size"] for _ in range(2)] == [4, 6]
