"""The process of which commands are forks: what it imports and knows, how it ends, where there is none."""

import fcntl
import logging
import os
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dvc_airflow.command import base_environment
from dvc_airflow.warm import start
from tests.support.warm import IS_WARM, WarmStarts, run, served, until


@pytest.fixture
def own_warm(monkeypatch) -> Iterator[WarmStarts]:
    """A server for one test."""
    yield from served(monkeypatch)


def test_a_variable_that_may_be_secret_is_not_for_the_server(own_warm, tmp_path):
    secrets = {"LANGCHAIN_API_KEY": "hunter2", "FSSPEC_S3_SECRET": "hunter2", "HOMEBREW_TOKEN": "hunter2"}

    own_warm.run(f'python -c "{IS_WARM}"', tmp_path, **secrets)

    (folder,) = own_warm.folders()
    assert not [path for path in folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert b"hunter2" not in Path(f"/proc/{own_warm.servers()[0].pid}/environ").read_bytes()
    assert "FSSPEC_S3_SECRET" in own_warm.why_cold()


@pytest.mark.parametrize("caught", ["", "try:\n    signal.pause()\nexcept Exception:\n    pass\n"])
def test_a_hung_import_is_given_up(own_warm, tmp_path, monkeypatch, caplog, caught):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "package.py").write_text(f"import signal\nsignal.alarm(1)\n{caught}signal.pause()")
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    own_warm.modules = ["package"]

    assert own_warm.run("python -c 'print(1)'", tmp_path).stdout == b"1\n"
    own_warm.environment()

    assert "No warm start: the imports take longer than 60 s" in caplog.text
    assert not own_warm.servers()


def test_the_server_knows_nothing_of_what_a_command_gets(own_warm, tmp_path):
    assert own_warm.run(f'python -c "{IS_WARM}" hunter2', tmp_path, SECRET="hunter2").stdout == b"True\n"

    (server,) = own_warm.servers()
    own = Path(f"/proc/{server.pid}")
    assert b"hunter2" not in (own / "environ").read_bytes() + (own / "cmdline").read_bytes()
    (folder,) = own_warm.folders()
    texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert texts
    assert not [text for text in texts if b"hunter2" in text]
    assert {path.stat().st_mode & 0o077 for path in (folder, folder.parent)} == {0}


def is_unlocked(folder: Path) -> bool:
    """A process that ends lets go of its files after it can no longer be found by its command line."""
    with (folder / "lock").open() as lock, suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def test_a_server_keeps_no_file_of_the_command_that_started_it(own_warm, tmp_path):
    assert own_warm.run(f'exec 3>a 499>b 700>c; python -c "{IS_WARM}"', tmp_path).stdout == b"True\n"

    (server,) = own_warm.servers()
    files = [path.readlink() for path in Path(f"/proc/{server.pid}/fd").iterdir()]
    assert [file for file in files if file.is_relative_to(tmp_path)] == []


@pytest.mark.parametrize("bound", ["nice -n 5", "ulimit -n 900;"])
def test_a_server_has_not_the_bounds_of_one_command(own_warm, tmp_path, bound):
    """Unless it is root's, its forks for other commands could not shed them."""
    assert own_warm.run(f'{bound} python -c "{IS_WARM}"', tmp_path).stdout == b"False\n"
    assert "priority and limits" in own_warm.why_cold()
    assert own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout == b"True\n"

    (server,) = own_warm.servers()
    assert server.nice() == os.getpriority(os.PRIO_PROCESS, 0)
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_an_idle_server_ends_and_a_day_later_its_folder_goes(own_warm, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "IDLE_SECONDS", 1.0)
    assert own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout == b"True\n"
    (folder,) = own_warm.folders()

    until(lambda: not own_warm.servers())
    assert not (folder / "socket").exists()
    assert own_warm.run(f'{sys.executable} -c "{IS_WARM}"', tmp_path).stdout == b"True\n"
    until(lambda: not own_warm.servers() and is_unlocked(folder))
    os.utime(folder / "settings", (0, 0))
    own_warm.modules = ["decimal"]
    own_warm.environment()

    assert folder not in own_warm.folders()


def test_a_server_that_is_told_to_end_leaves_nothing(own_warm, tmp_path):
    own_warm.run("python -c 'print(1)'", tmp_path)
    (server,) = own_warm.servers()

    server.terminate()
    server.wait(60)

    assert list(own_warm.temporary.iterdir()) == []


def test_a_server_is_not_idle_while_a_command_runs(own_warm, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "IDLE_SECONDS", 0.1)

    assert (
        own_warm.run("python -c 'import time; time.sleep(7)'; python -c \"" + IS_WARM + '"', tmp_path).stdout
        == b"True\n"
    )


def test_a_changed_package_is_imported_anew(own_warm, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    own_warm.modules = ["package"]

    for text in ("1", "2"):
        (packages / "package.py").write_text(f"VALUE = {text}  # of a length of its own{text}")
        shutil.rmtree(packages / "__pycache__", ignore_errors=True)
        done = own_warm.run("python -c 'import sys; print(sys.modules[\"package\"].VALUE)'", tmp_path)
        assert done.stdout.decode() == f"{text}\n", done.stderr


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("print('hello')", "the imports print: hello"),
        ("import os; os.chdir('/usr')", "the imports change the folder"),
        ("import os; os.umask(0)", "the imports change the umask"),
        ("import signal; signal.signal(10, print)", "the imports change the signal handlers"),
        ("import threading, time; threading.Thread(target=time.sleep, args=[9], daemon=True).start()", "leave threads"),
        ("raise RuntimeError('broken')", "importing package fails: RuntimeError: broken"),
        ("import sys; sys.exit(3)", "importing package fails: SystemExit: 3"),
        ("import absent", "importing package fails: ModuleNotFoundError: No module named 'absent'"),
        ("class M:\n    def __getattr__(self, name): 1 / 0\nimport sys; sys.modules['odd'] = M()", "ZeroDivisionError"),
        ("import os; os._exit(1)", None),
    ],
)
def test_imports_with_side_effects_are_left_to_the_commands(own_warm, tmp_path, monkeypatch, caplog, module, why):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "package.py").write_text(module)
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    own_warm.modules = ["decimal", "package"]

    assert own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout == b"False\n"
    with caplog.at_level(logging.WARNING):
        assert own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout == b"False\n"

    assert not why or why in caplog.text
    assert not own_warm.servers()


def test_a_broken_module_of_dvc_is_named(own_warm, tmp_path, monkeypatch, caplog):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "package.py").write_text("None.absent")
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    monkeypatch.setattr(start, "DVC_MODULES", ["absent", "package"])
    own_warm.modules = ["decimal"]

    for _ in range(2):
        assert own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout == b"False\n"

    assert "importing package fails: AttributeError: 'NoneType' object has no attribute 'absent'" in caplog.text


def test_a_module_that_may_be_the_project_is_not_kept(own_warm, tmp_path, caplog):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.py").write_text("")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "mine.pth").write_text(str(elsewhere))  # as of an editable installation
    own_warm.modules = ["mine"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(venv / "bin" / "python"))
        for _ in range(2):
            assert own_warm.run("python -c 'import mine; print(1)'", tmp_path).stdout == b"1\n"

    assert f"mine is not of an installed package: {elsewhere / 'mine.py'}" in caplog.text


def test_the_folder_of_another_is_not_used(own_warm, tmp_path, caplog):
    own_warm.environment()
    (folder,) = own_warm.folders()
    folder.parent.chmod(0o777)

    environment = own_warm.environment()

    assert environment == base_environment()
    assert f"{folder.parent} is not a folder of this user alone" in caplog.text


def test_a_path_that_is_too_long_for_a_socket_is_not_used(own_warm, caplog, monkeypatch):
    deep = own_warm.temporary / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr(start.tempfile, "tempdir", str(deep))

    assert own_warm.environment() == base_environment()
    assert "the path of the folder for temporary files is too long" in caplog.text
    assert list(deep.iterdir()) == []


def test_a_task_that_may_not_look_at_itself_has_warm_commands(own_warm, tmp_path, monkeypatch):
    """Airflow makes its tasks' processes so, whose folder in /proc is root's then."""

    def refuse(path: object = ".") -> list[str]:
        assert not str(path).startswith("/proc")
        return []

    monkeypatch.setattr(start.os, "listdir", refuse)
    environment = own_warm.environment()
    monkeypatch.undo()

    assert run(f'python -c "{IS_WARM}"', tmp_path, environment).stdout == b"True\n"


@pytest.mark.parametrize(("name", "is_warm"), [("vénv-ü_1@%+=,.", b"True\n"), ("v(1)&'$x", b"False\n")])
def test_an_interpreter_with_a_special_path_can_be_called(own_warm, tmp_path, monkeypatch, name, is_warm):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / name)], check=True)
    python = tmp_path / name / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    own_warm.modules = ["decimal"]

    done = own_warm.run(f'{shlex.quote(str(python))} -c "{IS_WARM}"; python -c "{IS_WARM}"', tmp_path)

    assert (done.stdout, done.stderr) == (is_warm + b"True\n", b"")


def test_a_full_disk_is_no_hindrance(own_warm, tmp_path, caplog, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)

    assert own_warm.environment() == base_environment()
    assert "No space left on device" in caplog.text


def test_a_folder_from_which_no_program_runs_is_not_used(own_warm, caplog, monkeypatch):
    monkeypatch.setattr(start.os, "access", lambda *_: False)  # as on a file system that is mounted with noexec

    assert own_warm.environment() == base_environment()
    assert "no program can be run from" in caplog.text


@pytest.mark.parametrize(("name", "value"), [("AIRFLOW_IS_K8S_EXECUTOR_POD", "True"), ("DVC_AIRFLOW_WARM", "off")])
def test_a_pod_has_none_and_a_worker_that_wants_none(own_warm, monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    assert own_warm.environment() == base_environment()
    assert own_warm.folders() == []
