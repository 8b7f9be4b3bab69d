"""Commands as forks of a warm process when they, or what runs them, are stopped or killed, or are many."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from dvc_airflow.command import CommandRunner, base_environment, end_group
from tests.support.strangers import WITH_PLUGINS
from tests.support.warm import IS_WARM, WarmStarts, run, served, until


@pytest.fixture
def own_warm(monkeypatch) -> Iterator[WarmStarts]:
    """A server for one test."""
    yield from served(monkeypatch)


def test_what_a_stopped_command_leaves_is_killed(own_warm, tmp_path):
    code = "import os, signal, time\nif not os.fork():\n    signal.signal(15, signal.SIG_IGN)\n"
    (tmp_path / "x.py").write_text(f"{code}    open('ready', 'w')\ntime.sleep(600)\n")
    process = own_warm.start("exec python x.py", tmp_path)
    until((tmp_path / "ready").exists)

    end_group(process.pid)

    until(lambda: processes_in(tmp_path) == [])
    process.communicate()


TIDY = (
    "import os, signal, sys, time\n"
    "if not os.fork():\n"
    "    signal.signal(15, lambda *_: (time.sleep(1.5), open('tidy', 'w'), sys.exit()))\n"
    "    open('ready', 'w')\n"
    "time.sleep(600)\n"
)


@pytest.mark.parametrize("called", ["python", sys.executable])
def test_a_stopped_command_ends_when_what_it_started_has_tidied_up(own_warm, tmp_path, called):
    (tmp_path / "x.py").write_text(TIDY)
    process = own_warm.start(f"{called} x.py; exit $?", tmp_path)
    until((tmp_path / "ready").exists)

    end_group(process.pid)

    assert (tmp_path / "tidy").exists()
    process.communicate()


@pytest.mark.parametrize("called", ["python", sys.executable])
def test_a_stopped_command_gets_one_signal(own_warm, tmp_path, called):
    script = "import signal, time\nsignal.signal(15, lambda *_: open('got', 'a').write('15 '))\nopen('ready', 'w')\n"
    (tmp_path / "x.py").write_text(f"{script}for _ in range(2): time.sleep(1)\n")
    process = own_warm.start(f"{called} x.py; exit $?", tmp_path)
    until((tmp_path / "ready").exists)

    end_group(process.pid)

    assert (tmp_path / "got").read_text() == "15 "
    process.communicate()


def test_a_command_that_is_timed_out_is_gone_when_its_runner_returns(own_warm, tmp_path, monkeypatch):
    """Also what does not end of SIGTERM, and is killed."""
    code = "import os, signal, time\nsignal.signal(15, signal.SIG_IGN)\nos.fork(), os.fork()\n"
    (tmp_path / "x.py").write_text(f"{code}open('ready', 'w')\nprint('ready', flush=True)\ntime.sleep(600)\n")
    runner = CommandRunner(own_warm.modules)

    def time_out(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("dvc_airflow.command.WRITERS_SECONDS", 60.0)
    monkeypatch.setattr("dvc_airflow.command.log.info", lambda *given: "ready" in given[-1] and time_out())
    with pytest.raises(TimeoutError):
        runner.run("python x.py", base_environment(), tmp_path)

    assert processes_in(tmp_path) == []


def processes_in(folder: Path) -> list[psutil.Process]:
    """Without those that have no memory any more: they have ended, if not yet to the last."""
    processes = psutil.process_iter(["cwd", "cmdline"])
    return [one for one in processes if one.info["cwd"] == str(folder) and one.info["cmdline"]]


def test_a_signal_to_the_task_reaches_the_stage_and_all_ends(own_warm, tmp_path):
    script = "import signal, sys, time\nsignal.signal(15, lambda *_: (open('tidy', 'w'), sys.exit(3)))\n"
    (tmp_path / "x.py").write_text(f"{script}open('ready', 'w')\ntime.sleep(600)\n")
    process = own_warm.start("python x.py; exit $?", tmp_path)
    until((tmp_path / "ready").exists)

    end_group(process.pid)

    assert process.wait(60) != 0
    until((tmp_path / "tidy").exists)
    (server,) = own_warm.servers()
    until(lambda: all(one.status() == psutil.STATUS_ZOMBIE for one in server.children(recursive=True)))
    process.communicate()


@pytest.mark.parametrize("called", ["python", sys.executable])
def test_a_signal_to_the_process_that_bash_knows_reaches_the_stage(own_warm, tmp_path, called):
    code = "import time; open('ready', 'w'); time.sleep(600)"
    script = f'{called} -c "{code}" & until [ -e ready ]; do sleep 0.1; done; kill $!; wait $!; echo $?'

    done = own_warm.run(script, tmp_path)

    assert done.stdout == b"143\n"
    (server,) = own_warm.servers()
    until(lambda: all(one.status() == psutil.STATUS_ZOMBIE for one in server.children(recursive=True)))


def test_a_task_that_is_stopped_by_a_signal_ends_like_that(own_warm, tmp_path):
    process = own_warm.start('exec python -c \'import time; open("ready", "w"); time.sleep(600)\'', tmp_path)
    until((tmp_path / "ready").exists)

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == -signal.SIGTERM
    process.communicate()


def test_a_fault_of_our_own_is_shown():
    """A process that cannot become the command, for a reason that nobody thought of."""
    code = "from dvc_airflow.warm import command as c; c._take_over = lambda *_: 1 / 0; c.become(None, 1, None)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=WITH_PLUGINS)

    assert done.returncode == 1
    assert b"ZeroDivisionError: division by zero" in done.stderr


def forks(starts: WarmStarts) -> list[psutil.Process]:
    """The monitor and the command."""
    (server,) = starts.servers()
    return [one for one in server.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]


def sleeping(starts: WarmStarts, folder: Path) -> "subprocess.Popen[bytes]":
    code = "import time; open('ready', 'w'); time.sleep(600)"
    process = starts.start(f'python -c "{code}"; echo $?', folder)
    until((folder / "ready").exists)
    return process


def test_a_killed_launcher_takes_the_command_with_it(own_warm, tmp_path):
    process = sleeping(own_warm, tmp_path)
    monitor, command = forks(own_warm)
    (launcher,) = psutil.Process(process.pid).children()

    launcher.kill()

    assert process.communicate(timeout=60)[0] == b"137\n"
    until(lambda: not forks(own_warm))
    assert not command.is_running() or command.status() == psutil.STATUS_ZOMBIE
    assert not monitor.is_running() or monitor.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("killed", [0, 1], ids=["monitor", "command"])
def test_a_killed_fork_is_a_killed_command(own_warm, tmp_path, killed):
    process = sleeping(own_warm, tmp_path)

    forks(own_warm)[killed].kill()

    assert process.communicate(timeout=60)[0] == b"137\n"
    until(lambda: not forks(own_warm))


def test_a_killed_server_leaves_its_commands_alone_and_the_next_command_starts_another(own_warm, tmp_path):
    (tmp_path / "x.py").write_text("import os, time\nopen('ready', 'w')\nwhile not os.path.exists('go'):\n"
                                   "    time.sleep(0.05)\nprint('all of it')\n")  # fmt: skip
    process = own_warm.start("python x.py; echo $?", tmp_path)
    until((tmp_path / "ready").exists)
    (server,) = own_warm.servers()

    server.kill()
    (tmp_path / "go").touch()

    assert process.communicate(timeout=60)[0] == b"all of it\n0\n"
    assert own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout == b"True\n"
    assert own_warm.servers()[0].pid != server.pid


def test_a_server_that_does_not_answer_is_done_without(own_warm, tmp_path, monkeypatch):
    own_warm.run(f'python -c "{IS_WARM}"', tmp_path)
    (server,) = own_warm.servers()
    (folder,) = own_warm.folders()
    launcher = (folder / "bin" / "python").read_text()
    impatient = launcher.replace("main(", "main.__globals__['IMPORT_SECONDS'] = 0.5\nmain(", 1)
    (folder / "bin" / "python").write_text(impatient)

    server.suspend()
    try:
        assert own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout == b"False\n"
    finally:
        server.resume()
    until(lambda: not forks(own_warm))


def test_a_server_that_is_gone_with_its_folder_is_done_without(own_warm, tmp_path):
    environment = own_warm.environment()
    shutil.rmtree(own_warm.folders()[0])

    for python in ("python", sys.executable):
        assert run(f'{python} -c "{IS_WARM}"', tmp_path, environment).stdout == b"False\n"


def test_two_hundred_at_once_all_run(own_warm, tmp_path):
    """Be it that some are not warm."""
    commands = " ".join(f"python -c 'import os; os.write(1, b\"{n}\\n\")' &" for n in range(200))

    done = own_warm.run(f"{commands} wait", tmp_path)

    assert sorted(map(int, done.stdout.split())) == list(range(200)), done.stderr


def test_a_thousand_in_a_row_cost_the_server_nothing(own_warm, tmp_path):
    environment = own_warm.environment()
    some = "for _ in {1..125}; do python -c pass || exit; done"  # a thousand with all eight threads
    with ThreadPoolExecutor(8) as threads:
        [*threads.map(lambda _: run("python -c pass", tmp_path, environment), range(8))]
        (server,) = own_warm.servers()
        before = server.num_fds(), private(server)
        done = [*threads.map(lambda _: run(some, tmp_path, environment), range(8))]

    assert [one.returncode for one in done] == [0] * 8, done
    assert own_warm.servers() == [server]
    assert server.num_fds() == before[0]
    assert private(server) - before[1] < 500_000
    assert (own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout, own_warm.why_cold()) == (b"True\n", "")


def private(process: psutil.Process) -> int:
    """Bytes of memory that it may have written, shared with its forks or not; what is in files does not count."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def test_many_that_find_no_server_start_one(own_warm, tmp_path):
    code = "import os, sys; os.write(1, b'warm ' * ('decimal' in sys.modules))"
    commands = " ".join(f'python -c "{code}" &' for _ in range(10))

    done = own_warm.run(f"{commands} wait", tmp_path)

    assert done.stdout == b"warm " * 10
    assert len(own_warm.servers()) == 1
