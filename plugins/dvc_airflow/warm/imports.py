"""The imports of a server, and what they depended on: in doubt, a command does without them."""

import importlib
import os
import re
import signal
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from dvc_airflow.warm.request import machine

# Beginnings of the names of variables that matter when modules are imported, also where no Python code reads them, or
# code that looks through all variables, or that runs before all else.
MATTER = (
    *(
        "PYTHON",
        "LD_",
        "LC_",
        "MALLOC_",
        "GLIBC_",
        "OPENSSL_",
        "OMP_",
        "KMP_",
        "MKL_",
        "OPENBLAS_",
        "NUMEXPR_",
        "ARROW_",
    ),
    *("CUDA_VISIBLE", "DO_NOT_TRACK", "JOBLIB_", "LOKY_", "MLFLOW_DISABLE_", "MPL", "PANDAS_", "SKLEARN_", "TF_CPP_"),
    *("TOKENIZERS_", "TQDM_", "FSSPEC_", "GRPC_", "COVERAGE_", "SETUPTOOLS_"),
)
MATTER_EXACTLY = frozenset({"HOME", "LANG", "LANGUAGE", "TZ"})
# A server has none of these, which may be secret, or would change what it does: a command that has one is not warm.
WITHHELD = re.compile("ACCESS|AUTH|CRED|FSSPEC|KEY|PASS|SECRET|TOKEN|COVERAGE", re.IGNORECASE)
NOT_THESE = frozenset({"PYTHONPATH"})  # a command's own comes before what is installed, see `monitor`
MAIN = ("__main__", "__mp_main__")  # `multiprocessing` knows it under both names
FORK_SAFE = frozenset({"jemalloc_bg_thd"})  # Arrow's allocator; it makes ready for forks by itself
SHOWN = 200  # characters of what an import printed


def matters(name: str) -> bool:
    """Whether a variable may change what an import does."""
    return (name in MATTER_EXACTLY or name.startswith(MATTER)) and name not in NOT_THESE


class NotWarmError(BaseException):
    """Why there can be no server. No Exception: a module that catches those does not catch that it takes too long."""


class Imports:
    """Imports modules, and remembers what that depended on.

    :param names: of the modules.
    :param optional: names of those that need not be there.
    :param printed: the file to which this process prints.
    :raises NotWarmError: forks of this process would not be what a new process is.
    """

    def __init__(self, names: list[str], optional: list[str], printed: str) -> None:
        self.before = dict(os.environ)
        state, hooks = _state(), _hooks()
        with _Watch() as watch:
            for name in names:
                _import(name)
            _require_unchanged({**state, **hooks}, {**_state(), **_hooks()})
            for name in optional:
                _import(name, is_optional=True)
        self.read = watch.read - NOT_THESE
        self.after = dict(os.environ)
        self._refuse_side_effects(state, printed)
        self.descriptors = _descriptors()
        self.machine = machine()
        self.top_level = {name.partition(".")[0] for name in sys.modules} | {"sitecustomize", "usercustomize"}
        self._files = self._loaded_files()
        self._stats = self._stat()

    def are_outdated(self) -> bool:
        """Whether a file that was imported, or what is installed, has changed since."""
        return self._stat() != self._stats

    def differing(self, environment: Mapping[str, str]) -> str | None:
        """:return: a variable on which the imports depended and that a command has otherwise; None if there is none."""
        names = {name for name in {*environment, *self.before} if matters(name)}
        for name in sorted(names | self.read):
            if environment.get(name) not in (self.before.get(name), self.after.get(name)):
                return name
        return None

    def set_variables(self) -> dict[str, str]:
        """The variables that the imports have set."""
        return {name: value for name, value in self.after.items() if self.before.get(name) != value}

    def _loaded_files(self) -> list[str]:
        """The files of all modules, and where others would appear if something were installed.

        :raises NotWarmError: one is of no installed package, so it may be part of a project.
        """
        known = tuple(os.path.join(path, "") for path in (*_library(), *_site_packages()))
        files = set()
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or name in MAIN or name.startswith("dvc_airflow"):
                continue
            if not file.startswith(known):
                raise NotWarmError(f"{name} is not of an installed package: {file}")
            files.add(file)
        return [*sorted(files), *_site_packages(), os.path.join(sys.prefix, "pyvenv.cfg"), *_configuration()]

    def _stat(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for file in self._files:
            try:
                stat = os.stat(file)
            except OSError:
                found.append(None)
            else:
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return found

    def _refuse_side_effects(self, state: dict[str, object], printed: str) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if os.path.getsize(printed):
            with open(printed, errors="replace") as file:
                raise NotWarmError(f"the imports print: {file.read(SHOWN)}")
        _require_unchanged(state, _state())
        # The threads of OpenBLAS end at the first fork, and start again where they are needed.
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        others = [thread for thread in _threads() if thread not in FORK_SAFE]
        if len(others) > 1 or threading.active_count() > 1:
            raise NotWarmError(f"the imports leave threads: {', '.join(sorted(others))}")


def _import(name: str, *, is_optional: bool = False) -> None:
    """:raises NotWarmError: it fails, or takes too long."""
    try:
        importlib.import_module(name)
    except NotWarmError:
        raise
    except BaseException as error:  # noqa: BLE001 whatever a module raises; also SystemExit
        if is_optional and isinstance(error, ImportError):
            return
        raise NotWarmError(f"importing {name} fails: {type(error).__name__}: {error}") from None


def _require_unchanged(before: dict[str, object], after: dict[str, object]) -> None:
    """:raises NotWarmError: the imports have changed something."""
    for what, value in after.items():
        if value != before[what]:
            raise NotWarmError(f"the imports change the {what} of the process")


def _configuration() -> list[str]:
    """Files of the user that modules read when they are imported."""
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [os.path.join(folder, *names) for names in (["fsspec"], ["matplotlib"], ["matplotlib", "matplotlibrc"])]


def _hooks() -> dict[str, object]:
    """What a module should leave alone too, and what importing DVC replaces (for Windows)."""
    return {"streams": (sys.stdin, sys.stdout, sys.stderr), "hooks": (sys.excepthook, sys.displayhook)}


def _descriptors() -> set[int]:
    """The numbers of this process's open files."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


def _site_packages() -> list[str]:
    return [*site.getsitepackages(), site.getusersitepackages()]


def _library() -> list[str]:
    return [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]


def _threads() -> list[str]:
    names = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/comm") as file:
            names.append(file.read().strip())
    return names


def _state() -> dict[str, object]:
    """What a module should leave alone when it is imported."""
    umask = os.umask(0o077)
    os.umask(umask)
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    return {"folder": os.getcwd(), "umask": umask, "signal handlers": handlers}


class _Watch:
    """Notes which variables of the environment are read."""

    def __init__(self) -> None:
        self.read: set[str] = set()

    def __enter__(self) -> "_Watch":
        kind, read = type(os.environ), self.read
        self._get = kind.__getitem__

        def get(environment: Any, name: Any) -> Any:
            read.add(os.fsdecode(name))
            return self._get(environment, name)

        kind.__getitem__ = get  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        type(os.environ).__getitem__ = self._get  # type: ignore[method-assign]


def variables(environment: Mapping[bytes, bytes]) -> Iterator[tuple[str, str]]:
    """An environment as Python shows it."""
    for name, value in environment.items():
        yield os.fsdecode(name), os.fsdecode(value)


def search_path(environment: dict[str, str]) -> list[str]:
    """The folders of PYTHONPATH, as Python takes them; the process is in the command's folder."""
    text = environment.get("PYTHONPATH", "")
    return [os.path.abspath(one) for one in text.split(os.pathsep)] if text else []
