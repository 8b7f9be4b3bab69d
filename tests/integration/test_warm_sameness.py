"""Commands as forks of a warm process do what new processes do."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dvc_airflow.command import base_environment
from tests.support.warm import IS_WARM, WARM, WarmStarts, new_warm_starts, run, served, until


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmStarts]:
    """One server for the tests that do it no harm."""
    with pytest.MonkeyPatch.context() as patch:
        yield from served(patch)


@pytest.fixture
def own_warm(monkeypatch) -> Iterator[WarmStarts]:
    """A server for one test."""
    yield from served(monkeypatch)


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
    "an abort": "ulimit -c 0; python -c 'import os; os.abort()'; echo $?",
    "100 MB of output": "python -c 'for n in range(1000): print(str(n % 10) * 99_999)' | md5sum",
    "the environment": "X='a  b' Y=$'\\n' python -c 'import os; print(sorted(os.environ.items()))'",
    "a variable that goes": "unset LANG; python -c 'import os; print(os.environ.get(\"LANG\"))'",
    "the folder": "cd /usr && python -c 'import os; print(os.getcwd())'",
    "a folder that is gone": "mkdir gone && cd gone && rmdir ../gone && python $OLDPWD/show.py && python ../show.py && "
    "python -c 'import sys; print(sys.path[0])'; echo $?",
    "standard input": "printf 'a\\nb' | python -c 'import sys; print(sys.stdin.read())'",
    "a script from standard input": "echo 'print(5)' | python -",
    "both streams": "python -c 'import sys; print(1); print(2, file=sys.stderr)' 2>&1 >/dev/null",
    "another stream": "python -c 'import os; os.write(5, b\"five\")' 5>five; cat five",
    "high streams": "exec 504>4 505>5 506>6 503>3 600>0; python -c 'import os; "
    '[os.write(n, b"%d " % n) for n in (503, 504, 505, 506, 600)]\'; head 0 3 4 5 6',
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
        ("cd hiding && python -m x", "-m x: decimal.py in"),
        ("cd hiding && python -u -m x", "-m x: decimal.py in"),
        ("PYTHONPATH=lib.zip python -c 'import decimal'", "lib.zip comes before"),
    ],
)
def test_in_doubt_it_is_a_new_process(warm, tmp_path, command, why):
    (tmp_path / "hiding").mkdir()
    for folder in (tmp_path, tmp_path / "hiding"):
        (folder / "x.py").write_text("import sys; print(len([m for m in sys.modules if m == 'decimal']))")
    (tmp_path / "hiding" / "decimal.py").write_text("")
    with zipfile.ZipFile(tmp_path / "lib.zip", "w") as archive:
        archive.writestr("decimal.py", "print(0)")
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


def test_chance_is_not_the_same_in_two_commands(warm, tmp_path):
    draw = "import random, uuid, numpy.random as n, tempfile as t; print(random.random(), n.random(), uuid.uuid4())"

    assert warm.run(f'python -c "{draw}"', tmp_path).stdout != warm.run(f'python -c "{draw}"', tmp_path).stdout


def test_a_module_of_the_project_is_never_the_one_from_before(warm, tmp_path):
    for text in ("1", "2"):
        (tmp_path / "mine.py").write_text(f"X = {text}\nopen('imported', 'a').write('{text}')")
        assert warm.run("python -B -c 'import mine; print(mine.X)'; python -c 'import mine; print(mine.X)'", tmp_path)

    assert (tmp_path / "imported").read_text() == "1122"


def test_what_a_stage_starts_as_a_daemon_goes_on(warm, tmp_path):
    code = "import os, time\nif not os.fork():\n    os.setsid(); time.sleep(0.5); open('later', 'w')\n"
    (tmp_path / "x.py").write_text(code)

    assert warm.run("python x.py > /dev/null 2>&1", tmp_path).returncode == 0
    until((tmp_path / "later").exists)
