"""Commands as forks of a warm process do what new processes do, and whatever fails, they run."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dvc_airflow.command import base_environment, end_group
from dvc_airflow.warm import start
from tests.support.warm import WarmStarts, new_warm_starts, run, until

WARM = ["decimal", "json.tool", "numpy.random", "multiprocessing"]
# Modules that a new process has not imported, whatever it runs.
IS_WARM = "import sys; print('decimal' in sys.modules)"


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmStarts]:
    """One server for the tests that do it no harm."""
    with pytest.MonkeyPatch.context() as patch:
        starts = new_warm_starts(patch, WARM)
        yield starts
        starts.end()
        shutil.rmtree(starts.temporary)


@pytest.fixture
def own_warm(monkeypatch) -> Iterator[WarmStarts]:
    """A server for one test."""
    starts = new_warm_starts(monkeypatch, WARM)
    yield starts
    starts.end()
    shutil.rmtree(starts.temporary)


@pytest.fixture
def project(tmp_path) -> Path:
    """Scripts and modules as a project has them."""
    (tmp_path / "pack").mkdir()
    files = {
        "show.py": "import sys, os\nprint(sys.argv, __name__, __file__, __package__, __spec__, sys.path[0])\n",
        "pack/__init__.py": "print('pack is imported')\n",
        "pack/__main__.py": "import sys\nprint(sys.argv, __name__, __package__, __spec__.name)\n",
        "pack/tool.py": "import sys\nfrom . import other\nprint(sys.argv[1:], other.X, __spec__.name)\n",
        "pack/other.py": "X = 1\ndef f():\n    return 5\n",
        "streams.py": "import sys\nprint(sys.stdin.read(2))\nsys.stdout.reconfigure(encoding='latin-1')\n"
        "print('\\xe9')\nfor s in (sys.stdin, sys.stdout, sys.stderr):\n"
        "    print(s, s is getattr(sys, f'__{s.name[1:-1]}__'), s.errors, s.line_buffering)\n"
        "    print(s.seekable(), type(s.buffer))\n",
        "fails.py": "def f():\n    raise ValueError('no')\n\n\nf()\n",
        "syntax.py": "print(1\n",
        "chained.py": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('x') from e\n",
        "main.py": "import multiprocessing as m\ndef f(x): return x * 2\n"
        "if __name__ == '__main__':\n    with m.get_context('spawn').Pool(1) as p: print(p.map(f, [1, 2]))\n",
        "pickled.py": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)\n",
        "left_open.py": "f = open('left', 'w')\nf.write('all of it')\nclass A:\n"
        "    def __del__(self): print('deleted', f.name)\na = A()\n",
        "at_exit.py": "import atexit, threading, time\natexit.register(print, 'the end')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n",
        "latin.py": "# -*- coding: latin-1 -*-\nprint('\xe4')\n".encode("latin-1"),
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path


SAME = {
    "arguments of any kind": "python show.py a 'b  c' \"d'e\" '' $'new\\nline' $'\\xff' -x --y=é",
    "a module": "python -m pack.tool 1 2",
    "a package": "python3 -m pack x",
    "a folder of its own": "cd pack && python ../show.py",
    "a link": "ln -s ../show.py pack/link.py && python pack/link.py",
    "code": 'python -c "import sys; print(sys.argv, sys.path[0], __name__, __loader__)" a b',
    "unbuffered": "python -u -c 'import sys; print(sys.argv)' a",
    "the full path": f"{sys.executable} show.py",
    "a coding": "python latin.py",
    "exit code": "python -c 'import sys; sys.exit(7)'; echo $?",
    "exit code below zero": "python -c 'import sys; sys.exit(-1)'; echo $?",
    "exit text": "python -c 'import sys; sys.exit(\"gone wrong\")'; echo $?",
    "exit without a word": "python -c 'import sys; sys.exit()'; echo $?",
    "exit at once": "python -c 'import os; print(1, flush=True); os._exit(9)'; echo $?",
    "an exception": "python fails.py; echo $?",
    "an exception of a cause": "python chained.py; echo $?",
    "an exception in code": "python -c 'import json; json.loads(\"{\")'; echo $?",
    "a module's exception": "python -m fails; echo $?",
    "no such file": "python absent.py; echo $?",
    "no such module": "python -m absent; echo $?",
    "no Python": "python syntax.py; echo $?",
    "an interrupt": "python -c 'import os, signal; os.kill(os.getpid(), signal.SIGINT)'; echo $?",
    "a signal": "python -c 'import os; os.kill(os.getpid(), 15)'; echo $?",
    "a crash": "ulimit -c 0; python -c 'import ctypes; ctypes.string_at(0)' 2>/dev/null; echo $?",
    "the environment": "X='a  b' Y=$'\\n' python -c 'import os; print(sorted(os.environ.items()))'",
    "a variable that goes": "unset LANG; python -c 'import os; print(os.environ.get(\"LANG\"))'",
    "the folder": "cd /usr && python -c 'import os; print(os.getcwd())'",
    "standard input": "printf 'a\\nb' | python -c 'import sys; print(sys.stdin.read())'",
    "a script from standard input": "echo 'print(5)' | python -",
    "both streams": "python -c 'import sys; print(1); print(2, file=sys.stderr)' 2>&1 >/dev/null",
    "another stream": "python -c 'import os; os.write(5, b\"five\")' 5>five; cat five",
    "closed streams": "python -c 'import sys; print(sys.stdin, file=sys.stderr)' <&-",
    "a closed pipe": "python -c 'print(1)' | true; echo ${PIPESTATUS[0]}",
    "much output": "python -c 'print(\"x\" * 5_000_000)' | wc -c",
    "bytes": "python -c 'import sys; sys.stdout.buffer.write(bytes(range(256)))'",
    "what stays open": "python left_open.py; cat left",
    "threads and exit functions": "python at_exit.py",
    "another process": "python main.py",
    "a process of its own": 'python -c \'import subprocess, sys; subprocess.run([sys.executable, "-c", "print(1)"])\'',
    "pickled classes": "python pickled.py",
    "fork": 'python -c \'import os; p = os.fork(); os.write(1, b"ab"[p > 0:][:1] + b"\\n"); p and os.wait()\' | sort',
    "exec": 'python -c \'import os; os.execvp("echo", ["echo", "hello"])\'',
    "search path": "PYTHONPATH=pack:/x: python -c 'import other, sys; print(sys.path[:4], other.X)'",
    "another hash seed": "PYTHONHASHSEED=3 python -c 'print(hash(\"a\"))'",
    "options": "python -O -c 'print(__debug__)'; python -W error -c 'import warnings; warnings.warn(\"x\")'; echo $?",
    "isolated": "python -I -c 'import sys; print(sys.flags.isolated)'",
    "version": "python --version; python -V",
    "umask": 'umask 027; python -c \'open("made", "w")\'; stat -c %a made',
    "priority": "nice -n 5 python -c 'import os; print(os.nice(0))'",
    "limits": "ulimit -n 300; python -c 'import resource; print(resource.getrlimit(7))'",
    "ignored signals": "trap '' USR1; python -c 'import signal as s; print(s.getsignal(s.SIGUSR1))'",
    "in the background": "python show.py & wait $!; echo $?",
    "one after the other": "python -c 'print(1)' && python -c 'print(2)' | cat && ! python -c 'exit(1)' && echo 3",
    "in a subshell": "x=$(python -c 'print(4)'); echo $x",
    "streams": "python streams.py | cat",
    "streams of files": "echo 12345 >in; python streams.py <in >>out 2>&1; cat out",
    "a wrapped stream": "python -c 'import io, sys; print(1, file=io.TextIOWrapper(sys.stdout.buffer, \"ascii\"))'",
    "no device": "echo 'print(6)' | python /dev/stdin a",
    "a file of descriptors": "python <(echo 'print(7)')",
    "an archive": "python -m zipapp pack -o pack.pyz && python pack.pyz; echo $?",
    "a session of its own": "python -c 'import os; os.setsid(); print(os.getsid(0) == os.getpid())'",
    "modules in a pool": "cd pack && python -c 'import multiprocessing as m, other; "
    'print(m.get_context("spawn").Pool(1).apply(other.f))\'',
    "a hook that fails": "python -c 'import sys, atexit as a; a.register(print, 1); sys.excepthook = 3; 1 / 0' 2>&1 "
    "| tail -1",
    "a hook that exits": "python -c 'import sys; sys.excepthook = lambda *_: sys.exit(4); 1 / 0'; echo $?",
    "exit functions that fail": "python -c 'import atexit as a; a.register(print, 2); a.register(int, \"x\")' 2>&1 "
    "| tail -1",
    "no standard error": "python -c 'import sys; sys.stderr = None; sys.exit(\"gone\")'; echo $?",
    "interpreter": "python -c 'import sys; print(sys.prefix, sys.base_prefix, sys.flags, sys.getrecursionlimit())'",
}


def seen(done: "subprocess.CompletedProcess[bytes]", folder: Path) -> tuple[int, bytes, bytes]:
    """Without what differs because of where it runs: the folder, and our programs on PATH."""
    texts = []
    for text in (done.stdout, done.stderr):
        text = text.replace(os.fsencode(folder), b"FOLDER")
        text = re.sub(rb"/tmp/warm-\w+/dvc_airflow-\d+/\w+/bin:|\('(BASH_ENV|_)', '[^']*'\)(, )?", b"", text)
        text = re.sub(rb"^\S*python: can't", b"python: can't", text)
        texts.append(re.sub(rb"(0x[0-9a-f]+|line 1: +\d+)", b"N", text))
    return done.returncode, texts[0], texts[1]


@pytest.mark.parametrize("command", SAME.values(), ids=SAME)
def test_a_command_is_what_it_is_in_a_new_process(warm, project, tmp_path_factory, command):
    other = tmp_path_factory.mktemp("other") / "project"
    shutil.copytree(project, other)

    as_ever, done = run(command, other, base_environment()), warm.run(command, project)

    assert seen(done, project) == seen(as_ever, other)


@pytest.mark.parametrize(
    "command",
    [
        f'python -c "{IS_WARM}"',
        f'python3 -c "{IS_WARM}"',
        f'python -u -c "{IS_WARM}"',
        f'{sys.executable} -c "{IS_WARM}"',
        f'exec python -c "{IS_WARM}"',
        f'bash -c "{sys.executable} -c \\"{IS_WARM}\\""',
        "python is_warm.py",
        "python -m is_warm",
        f'A=1 PYTHONPATH=. python -c "{IS_WARM}" 3>&1',
    ],
)
def test_each_way_to_call_the_interpreter_is_warm(warm, tmp_path, command):
    (tmp_path / "is_warm.py").write_text(IS_WARM)

    assert warm.run(command, tmp_path).stdout == b"True\n"


def test_dvc_is_warm_too_and_so_are_the_stages_that_it_runs(monkeypatch, tmp_path):
    warm = new_warm_starts(monkeypatch, WARM, dvc=True)
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  a:\n    cmd: {sys.executable} is_warm.py > out\n    outs: [out]\n")
    # Importing DVC puts a wrapper around the streams.
    (tmp_path / "is_warm.py").write_text(f"{IS_WARM}; print(sys.stdout is sys.__stdout__, type(sys.stdout).__name__)")

    done = warm.run("dvc init --no-scm --quiet && dvc repro", tmp_path)

    assert (done.returncode, warm.why_cold()) == (0, ""), done.stderr
    assert (tmp_path / "out").read_text() == "True\nTrue TextIOWrapper\n"
    warm.end()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("OMP_NUM_THREADS=1 python x.py", "OMP_NUM_THREADS"),
        ("TZ=Asia/Tokyo python x.py", "TZ"),
        ("HOME=/ python x.py", "HOME"),
        ("cd hiding && python x.py", "decimal.py in"),
        ("PYTHONPATH=hiding python x.py", "decimal.py in"),
        ("cd hiding && python -m x", "decimal.py in"),
    ],
)
def test_in_doubt_it_is_a_new_process(warm, tmp_path, command, why):
    (tmp_path / "hiding").mkdir()
    for folder in (tmp_path, tmp_path / "hiding"):
        (folder / "x.py").write_text("import sys; print(len([m for m in sys.modules if m == 'decimal']))")
    (tmp_path / "hiding" / "decimal.py").write_text("")
    before = warm.why_cold()

    assert warm.run(command, tmp_path).stdout == b"0\n"
    assert why in warm.why_cold()[len(before) :]


def test_another_python_that_comes_first_is_the_one_that_runs(own_warm, tmp_path):
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(other)], check=True)
    path = os.pathsep.join([str(other / "bin"), base_environment()["PATH"]])
    code = "import sys; print(sys.prefix)"

    for environment in (own_warm.environment(PATH=path), {**own_warm.environment(), "PATH": path}):
        assert run(f'python -c "{code}"', tmp_path, environment).stdout.decode() == f"{other}\n"


def test_a_variable_that_may_be_secret_is_not_for_the_server(own_warm, tmp_path):
    secrets = {"LANGCHAIN_API_KEY": "hunter2", "FSSPEC_S3_SECRET": "hunter2", "HOMEBREW_TOKEN": "hunter2"}

    own_warm.run(f'python -c "{IS_WARM}"', tmp_path, **secrets)

    (folder,) = own_warm.folders()
    assert not [path for path in folder.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert b"hunter2" not in Path(f"/proc/{own_warm.servers()[0].pid}/environ").read_bytes()
    assert "FSSPEC_S3_SECRET" in own_warm.why_cold()


def test_what_a_stopped_command_leaves_is_killed(own_warm, tmp_path):
    code = "import os, signal, time\nif not os.fork():\n    signal.signal(15, signal.SIG_IGN)\n"
    (tmp_path / "x.py").write_text(f"{code}    open('ready', 'w')\ntime.sleep(600)\n")
    process = own_warm.start("exec python x.py", tmp_path)
    until((tmp_path / "ready").exists)

    end_group(process.pid)

    until(lambda: not [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(tmp_path)])
    process.communicate()


def test_a_hung_import_is_given_up(own_warm, tmp_path, monkeypatch, caplog):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "package.py").write_text("import signal; signal.alarm(1); signal.pause()")
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    own_warm.modules = ["package"]

    assert own_warm.run("python -c 'print(1)'", tmp_path).stdout == b"1\n"
    own_warm.environment()

    assert "No warm start: the imports take longer than 60 s" in caplog.text
    assert not own_warm.servers()


def test_chance_is_not_the_same_in_two_commands(warm, tmp_path):
    draw = "import random, uuid, numpy.random as n, tempfile as t; print(random.random(), n.random(), uuid.uuid4())"

    assert warm.run(f'python -c "{draw}"', tmp_path).stdout != warm.run(f'python -c "{draw}"', tmp_path).stdout


def test_a_module_of_the_project_is_never_the_one_from_before(warm, tmp_path):
    for text in ("1", "2"):
        (tmp_path / "mine.py").write_text(f"X = {text}\nopen('imported', 'a').write('{text}')")
        assert warm.run("python -B -c 'import mine; print(mine.X)'; python -c 'import mine; print(mine.X)'", tmp_path)

    assert (tmp_path / "imported").read_text() == "1122"


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


def test_a_signal_to_the_task_reaches_the_stage_and_all_ends(own_warm, tmp_path):
    script = "import signal, sys, time\nsignal.signal(15, lambda *_: (open('tidy', 'w'), sys.exit(3)))\n"
    (tmp_path / "x.py").write_text(f"{script}open('ready', 'w')\ntime.sleep(600)\n")
    process = own_warm.start("python x.py; exit $?", tmp_path)
    until((tmp_path / "ready").exists)

    end_group(process.pid)

    assert process.wait(10) != 0
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

    assert process.communicate(timeout=10)[0] == b"137\n"
    until(lambda: not forks(own_warm))
    assert not command.is_running() or command.status() == psutil.STATUS_ZOMBIE
    assert not monitor.is_running() or monitor.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("killed", [0, 1], ids=["monitor", "command"])
def test_a_killed_fork_is_a_killed_command(own_warm, tmp_path, killed):
    process = sleeping(own_warm, tmp_path)

    forks(own_warm)[killed].kill()

    assert process.communicate(timeout=10)[0] == b"137\n"
    until(lambda: not forks(own_warm))


def test_a_killed_server_leaves_its_commands_alone_and_the_next_command_starts_another(own_warm, tmp_path):
    (tmp_path / "x.py").write_text("import os, time\nopen('ready', 'w')\nwhile not os.path.exists('go'):\n"
                                   "    time.sleep(0.05)\nprint('all of it')\n")  # fmt: skip
    process = own_warm.start("python x.py; echo $?", tmp_path)
    until((tmp_path / "ready").exists)
    (server,) = own_warm.servers()

    server.kill()
    (tmp_path / "go").touch()

    assert process.communicate(timeout=10)[0] == b"all of it\n0\n"
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


def test_an_idle_server_ends_and_a_day_later_its_folder_goes(own_warm, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "IDLE_SECONDS", 1.0)
    assert own_warm.run(f'python -c "{IS_WARM}"', tmp_path).stdout == b"True\n"
    (folder,) = own_warm.folders()

    until(lambda: not own_warm.servers())
    assert not (folder / "socket").exists()
    assert own_warm.run(f'{sys.executable} -c "{IS_WARM}"', tmp_path).stdout == b"True\n"
    until(lambda: not own_warm.servers())
    os.utime(folder / "settings", (0, 0))
    own_warm.modules = ["decimal"]
    own_warm.environment()

    assert folder not in own_warm.folders()


def test_a_server_that_is_told_to_end_leaves_nothing(own_warm, tmp_path):
    own_warm.run("python -c 'print(1)'", tmp_path)
    (server,) = own_warm.servers()

    server.terminate()
    server.wait(10)

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


def test_many_at_once_and_one_after_the_other_leave_nothing_behind(own_warm, tmp_path):
    environment = own_warm.environment()
    own_warm.run("python -c 'print(1)'", tmp_path)
    (server,) = own_warm.servers()
    before = server.num_fds()
    begun = time.monotonic()

    commands = " ".join(f"python -c 'import os; os.write(1, b\"{n}\\n\")' &" for n in range(60))
    done = run(f"{commands} wait", tmp_path, environment)

    assert sorted(map(int, done.stdout.split())) == list(range(60)), done.stderr
    for _ in range(20):
        assert run("python -c 'print(1)'", tmp_path, environment).stdout == b"1\n"
    assert server.is_running(), f"after {time.monotonic() - begun} s"
    assert server.num_fds() == before
    until(lambda: len(server.children()) <= 1)


def test_many_that_find_no_server_start_one(own_warm, tmp_path):
    code = "import os, sys; os.write(1, b'warm ' * ('decimal' in sys.modules))"
    commands = " ".join(f'python -c "{code}" &' for _ in range(10))

    done = own_warm.run(f"{commands} wait", tmp_path)

    assert done.stdout == b"warm " * 10
    assert len(own_warm.servers()) == 1


def test_what_a_stage_starts_as_a_daemon_goes_on(warm, tmp_path):
    code = "import os, time\nif not os.fork():\n    os.setsid(); time.sleep(0.5); open('later', 'w')\n"
    (tmp_path / "x.py").write_text(code)

    assert warm.run("python x.py > /dev/null 2>&1", tmp_path).returncode == 0
    until((tmp_path / "later").exists)


def test_a_task_that_is_stopped_by_a_signal_ends_like_that(warm, tmp_path):
    process = warm.start('exec python -c \'import time; open("ready", "w"); time.sleep(600)\'', tmp_path)
    until((tmp_path / "ready").exists)

    process.send_signal(signal.SIGTERM)

    assert process.wait(10) == -signal.SIGTERM
    process.communicate()
