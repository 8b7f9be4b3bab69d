"""A fork becomes a command: its files, environment, arguments and path; then it runs, and ends, as a new process."""

import atexit
import ctypes
import fcntl
import gc
import io
import linecache
import os
import runpy
import signal
import socket
import stat
import sys
import threading
import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from traceback import format_exc, print_exc
from typing import Any, NoReturn

from dvc_airflow.warm.imports import MAIN, search_path
from dvc_airflow.warm.request import HIGH, Request

PR_SET_PDEATHSIG = 1


@dataclass
class Command:
    """What a fork is to become.

    :param arguments: of the program, ``sys.argv``.
    :param original: of the interpreter, ``sys.orig_argv``.
    :param module: that ``-m`` names.
    :param code: of ``-c``, or of the script.
    :param script: path of the script.
    :param first_path: what Python puts before all else on its path.
    :param files: the open files, by the numbers under which the command finds them.
    :param folder: descriptor of the one in which it runs.
    """

    arguments: list[str]
    original: list[str]
    module: str | None
    code: bytes
    script: str | None
    first_path: str
    environment: dict[bytes, bytes]
    files: dict[int, int]
    folder: int
    ignored: list[int]
    blocked: list[int]

    @classmethod
    def of(
        cls, request: Request, environment: dict[str, str], set_variables: dict[str, str], files: list[int]
    ) -> "Command":
        """Find what a request runs; the process is in its folder.

        :param set_variables: what imports have set in the environment.
        :raises OSError: the script does not exist.
        :raises ValueError: it is none of Python's source.
        """
        given = [os.fsdecode(one) for one in request.program()]
        module = script = None
        first, code = "", b""
        if given[0] == "-m":
            module, arguments, first = given[1], ["-m", *given[2:]], os.getcwd()
        elif given[0] == "-c":
            arguments, code = ["-c", *given[2:]], os.fsencode(given[1])
        else:
            script, arguments = given[0], given
            code = _source(script)
            first = os.path.dirname(os.path.realpath(script))
        missing = {os.fsencode(n): os.fsencode(v) for n, v in set_variables.items() if n not in environment}
        return cls(
            arguments=arguments,
            original=[os.fsdecode(one) for one in (request.interpreter, *request.arguments)],
            module=module,
            code=code,
            script=script,
            first_path=first,
            environment={**request.environment, **missing},
            files=dict(zip(request.descriptors, files[:-1], strict=True)),
            folder=files[-1],
            ignored=request.ignored,
            blocked=request.blocked,
        )


def _source(script: str) -> bytes:
    """:raises OSError, ValueError: it is none that can be read here, and again by the command if it starts as ever."""
    path = os.path.realpath(script)
    if not stat.S_ISREG(os.stat(path).st_mode) or path.startswith(("/dev/", "/proc/")):
        raise ValueError(f"{script} is not a regular file")
    with open(path, "rb") as file:
        code = file.read()
    if b"\0" in code:
        raise ValueError(f"{script} is compiled, or packed")
    return code


def become(command: Command, monitor: int, connection: socket.socket) -> NoReturn:
    """Be the command, to its end.

    :param monitor: the process that watches: without it, this one ends.
    """
    try:
        _take_over(command, monitor, connection)
        known = set(sys.modules)
        _end(_run(command), known)
    except BaseException:  # noqa: BLE001 a fault of ours, or a signal's handler that raises at the very end
        with suppress(OSError):
            os.write(2, format_exc().encode(errors="backslashreplace"))
    finally:
        os._exit(1)


def _take_over(command: Command, monitor: int, connection: socket.socket) -> None:
    connection.close()
    os.close(command.folder)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != monitor:
        os._exit(1)
    _take_files(command.files)
    _renew_streams(is_dvc=command.script is not None and os.path.basename(command.script) == "dvc")
    _take_signals(command)
    os.environb.clear()
    os.environb.update(command.environment)
    _forget()
    path = [command.first_path, *search_path(dict(os.environ))]
    sys.path[:] = [*(path[1:] if sys.flags.safe_path else path), *sys.path]
    sys.argv[:] = command.arguments
    sys.orig_argv[:] = command.original
    sys.executable = command.original[0]


def _take_files(files: dict[int, int]) -> None:
    """Put the open files where the command expects them; the numbers may overlap with those they have."""
    beyond = max(HIGH, *files) + 1
    high = {number: fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, beyond) for number, file in files.items()}
    for file in files.values():
        os.close(file)
    for number, file in high.items():
        os.dup2(file, number, inheritable=True)
        os.close(file)


def _renew_streams(*, is_dvc: bool) -> None:
    """Python's streams over the files that are there now: the same objects, which modules may hold, made anew.

    Made as Python makes them when it starts.

    :param is_dvc: importing DVC puts a wrapper around the streams, as it would have for this command.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        text = getattr(sys, f"__{name}__")
        is_raw = number > 0 and bool(os.environ.get("PYTHONUNBUFFERED"))
        stream: Any = open(number, "wb" if number else "rb", 0 if is_raw else -1, closefd=False)  # noqa: SIM115
        getattr(stream, "raw", stream).name = f"<{name}>"
        text.__init__(
            stream,
            encoding=text.encoding,
            errors=text.errors,
            newline="\n",
            line_buffering=number == 2 and not is_raw,
            write_through=is_raw,
        )
        text.mode = "w" if number else "r"
        if not is_dvc:
            setattr(sys, name, text)


def _take_signals(command: Command) -> None:
    for number in command.ignored:
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, command.blocked)


def _forget() -> None:
    """What modules found out of their process, or drew by chance, when they were imported. `random` sees to itself."""
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].__dict__["tempdir"] = None
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].__dict__["seed"]()
    if "multiprocessing.process" in sys.modules:
        sys.modules["multiprocessing.process"].__dict__["ORIGINAL_DIR"] = _folder()


def _folder() -> str | None:
    """The one in which this process is; None: it has been removed."""
    with suppress(OSError):
        return os.getcwd()
    return None


def _run(command: Command) -> int:
    """:return: the exit code."""
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=sys.modules["builtins"], __annotations__={})
    for name in MAIN:
        if name in sys.modules:
            sys.modules[name] = main
    try:
        if command.module is not None:
            runpy._run_module_as_main(command.module)  # type: ignore[attr-defined]
        elif command.script is not None:
            file = os.path.join(_folder() or "", command.script)  # as Python has it, with whatever dots
            main.__dict__.update(__file__=file, __cached__=None, __loader__=SourceFileLoader("__main__", file))
            exec(compile(command.code, file, "exec", dont_inherit=True), main.__dict__)
        else:
            main.__dict__.update(__loader__=sys.modules["_frozen_importlib"].BuiltinImporter)
            if sys.version_info >= (3, 13):  # which shows the lines of such code in tracebacks
                text = os.fsdecode(command.code)
                linecache.cache["<string>"] = (len(text), None, text.splitlines(keepends=True), "<string>")
            exec(compile(command.code, "<string>", "exec", dont_inherit=True), main.__dict__)
    except SystemExit as error:
        return _exit_code(error.code)
    except BaseException as error:  # noqa: BLE001 Python's own end of a program
        return _show(error)
    return 0


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    if sys.stderr is None:
        os.write(2, f"{code}\n".encode())
    else:
        _try(partial(print, code, file=sys.stderr))
    return 1


def _show(error: BaseException) -> int:
    """Show an exception that nobody caught as Python does: without the frames of this file. :return: the exit code."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    error.__traceback__ = traceback
    try:
        sys.excepthook(type(error), error, traceback)
    except SystemExit as exit_:
        return _exit_code(exit_.code)
    except BaseException:  # noqa: BLE001 as Python does
        _try(print_exc)
        _try(partial(sys.__excepthook__, type(error), error, traceback))
    return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _end(code: int, known: set[str]) -> NoReturn:
    """End as Python does: threads, exit functions, objects, open files; but leave what the server has imported alone.

    :param known: names of the modules that were there before the command ran.
    """
    _try(threading._shutdown)  # type: ignore[attr-defined]
    _try(atexit._run_exitfuncs)
    _flush_all()  # garbage is collected in any order: a file may go before what was written to it
    if threading.active_count() == 1:  # a daemon thread may still use them
        for name in [name for name in sys.modules if name in MAIN or name not in known]:
            del sys.modules[name]
        _try(gc.collect)
        _flush_all()
    written = [_flush(stream) for stream in (sys.stdout, sys.stderr)]
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    ctypes.PyDLL(None).exit(120 if not all(written) and code == 0 else code)
    os._exit(code)


def _try(step: Callable[[], object]) -> None:
    """One step of the end; whatever is raised in it, the next one follows."""
    try:
        step()
    except BaseException:  # noqa: BLE001 a signal's handler may raise anything
        with suppress(BaseException):
            print_exc()


def _flush_all() -> None:
    for one in gc.get_objects():  # of this command: the server's own are frozen
        if issubclass(type(one), io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom):
            _flush(one)


def _flush(stream: Any) -> bool:
    """:return: whether all was written."""
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except Exception:  # noqa: BLE001 of whatever a stream is made of
        return False
    return True
