"""What a task does for its command to be warm: a folder of small programs, first on the command's PATH."""

import fcntl
import hashlib
import logging
import marshal
import os
import re
import shlex
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dvc_airflow.warm.imports import WITHHELD, matters
from dvc_airflow.warm.request import FAILED_SECONDS, bounds

log = logging.getLogger(__name__)

# Without its server, a command starts as it always did: the server may go when it is of no use for some time.
IDLE_SECONDS = 300.0
SWITCH = "DVC_AIRFLOW_WARM"  # of the worker: "off" for no warm start, whatever DAGs say
UNUSED_SECONDS = 24 * 3600.0
# What `dvc repro` and `dvc push` import while they work, in this or that version.
DVC_MODULES = [
    "dvc.cli.parser",
    "dvc.data_cloud",
    "dvc.lock",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.metrics",
    "dvc.repo.open_repo",
    "dvc.repo.params",
    "dvc.repo.plots",
    "dvc.repo.stage",
    "dvc.rwlock",
    "dvc.utils.strictyaml",
    "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.status",
    "dvc_s3",
    "fsspec.implementations.memory",
    "psutil",
    "s3fs",
    "scmrepo.git",
]
# The folders of programs, with what each tells the launcher.
PLACES = {"bin": "", "functions": ", in_function=True"}
LONGEST_SOCKET = 100  # bytes; Linux takes 107
NAME_IN_BASH = re.compile(r"[\w@%+=:,./-]+")  # of a function
LONGEST_FIRST_LINE = 250  # of a program; Linux reads 255


def warm_environment(
    modules: Sequence[str], environment: Mapping[str, str], kept: Collection[str] = ()
) -> dict[str, str]:
    """The environment of a command whose Python processes are to be forks of one that has imported modules.

    :param modules: names; none: the environment as it is.
    :param environment: of the command.
    :param kept: names of variables that the server has too, beside those that matter to imports: no secrets.
    :return: the same, with a folder of ours first on PATH, and BASH_ENV for the interpreter's full path; as it was
        where there can be no server.
    """
    if not modules or not _is_possible():
        return dict(environment)
    try:
        folder = _folder(modules, _of_the_server(environment, kept))
        programs = [*(folder / "bin").iterdir(), *(folder / "functions").iterdir()]
        if not all(os.access(program, os.X_OK) for program in programs):
            raise PermissionError(f"no program can be run from {folder} (mounted with noexec?)")
        if (failed := folder / "failed").exists() and time.time() - failed.stat().st_mtime < FAILED_SECONDS:
            log.warning("No warm start: %s", failed.read_text(errors="replace"))
            return dict(environment)
    except (OSError, ValueError) as error:
        log.warning("No warm start: %s", error)
        return dict(environment)
    path = os.pathsep.join([str(folder / "bin"), environment.get("PATH", os.defpath)])
    functions = {} if "BASH_ENV" in environment else {"BASH_ENV": str(folder / "functions.bash")}
    return {**environment, "PATH": path, **functions}


def _is_possible() -> bool:
    """Whether a server would be of use: on Linux, not in a pod, which has one task and then goes, and not unwanted."""
    is_pod = os.environ.get("AIRFLOW_IS_K8S_EXECUTOR_POD")
    return sys.platform == "linux" and not is_pod and os.environ.get(SWITCH, "on").lower() != "off"


def _of_the_server(environment: Mapping[str, str], kept: Collection[str]) -> dict[str, str]:
    """What imports may depend on, and no secret."""
    names = {name for name in environment if name in {"PATH", *kept} or (matters(name) and not WITHHELD.search(name))}
    return {name: environment[name] for name in sorted(names)}


def _folder(modules: Sequence[str], environment: dict[str, str]) -> Path:
    """The folder of the server for these modules, with all that it needs.

    :param environment: the server's. Added to.

    :raises OSError: it cannot be written, or is another user's.
    :raises ValueError: a path in it would be too long.
    """
    base = Path(tempfile.gettempdir()) / f"dvc_airflow-{os.getuid()}"
    settings = {
        "python": sys.executable,
        "modules": list(modules),
        "optional": DVC_MODULES,
        "idle_seconds": IDLE_SECONDS,
        "environment": environment,
        "bounds": bounds(),
    }
    programs = Path(__file__).parent
    state = [settings, [(one.name, one.stat().st_mtime_ns) for one in sorted(programs.glob("*.py"))]]
    folder = base / hashlib.sha256(repr(state).encode()).hexdigest()[:16]
    if len(os.fsencode(folder / "socket")) > LONGEST_SOCKET:
        raise ValueError(f"the path of the folder for temporary files is too long: {base.parent}")
    private_folder(base)
    path = environment.get("PATH", os.defpath)
    environment["PATH"] = os.pathsep.join([str(folder / "bin"), path])
    if not (folder / "settings").exists():
        _remove_unused(base)
        _fill(folder, settings, path)
    os.utime(folder / "settings")
    return private_folder(folder)


def _remove_unused(base: Path) -> None:
    """Remove the folders that no task has needed for a day and that have no server."""
    for folder in base.iterdir():
        with suppress(OSError), (folder / "lock").open("w") as lock:
            if time.time() - (folder / "settings").stat().st_mtime > UNUSED_SECONDS:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


def private_folder(folder: Path) -> Path:
    """Make a folder of this user alone, if it is not there.

    :return: the folder.
    :raises PermissionError: others could write into it, or lead us elsewhere.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone")
    return folder


def _fill(folder: Path, settings: Mapping[str, object], search_path: str) -> None:
    """Write the programs, then the settings: where these are, all is there. Several tasks may do it at once.

    :param search_path: PATH of the command: a program of ours stands for what is found there, and for nothing else.
    """
    private_folder(folder)
    interpreters = _interpreters()
    for place, keyword in PLACES.items():
        (folder / place).mkdir(exist_ok=True)
        for path in interpreters:
            if keyword or shutil.which(path.name, path=search_path) == str(path):
                _write_program(folder / place / path.name, [str(path)], keyword)
    dvc = shutil.which("dvc", path=search_path)
    if dvc and _runs_on(Path(dvc), interpreters):
        _write_program(folder / "bin" / "dvc", [sys.executable, dvc], "")
    functions = [_function(path, folder / "functions" / path.name) for path in interpreters]
    _write(folder / "functions.bash", "shopt -s checkhash\n" + "".join(functions))
    _write(folder / "settings", marshal.dumps(dict(settings)))


def _interpreters() -> list[Path]:
    """The paths under which this very interpreter can be called."""
    own = Path(sys.executable)
    names = ("python", f"python{sys.version_info[0]}", "python{}.{}".format(*sys.version_info), own.name)
    paths = {own.with_name(name) for name in names}
    return sorted(path for path in paths if path.exists() and path.samefile(own))


def _runs_on(script: Path, interpreters: Sequence[Path]) -> bool:
    """Whether a script is one of this interpreter's."""
    with suppress(OSError), script.open("rb") as file:
        first = file.readline(LONGEST_FIRST_LINE).strip()
        return first in [b"#!" + os.fsencode(path) for path in interpreters]
    return False


def _write_program(path: Path, program: list[str], keyword: str) -> None:
    first = f"#!{sys.executable} -IS"
    if len(os.fsencode(first)) > LONGEST_FIRST_LINE or len(first.split()) > 2:
        raise ValueError(f"the path of the interpreter is too long, or has spaces: {sys.executable}")
    plugins, folder = str(Path(__file__).parents[2]), str(path.parents[1])
    text = (
        f"{first}\nimport sys\nsys.path.append({plugins!r})\n"
        f"from dvc_airflow.warm.launch import main\nmain({folder!r}, {program!r}{keyword})\n"
    )
    _write(path, text, 0o700)


def _function(interpreter: Path, program: Path) -> str:
    """A function of the shell that is called like the interpreter. Where the program has gone: the interpreter.

    None for a path that would have to be quoted: bash takes no such name.
    """
    if not NAME_IN_BASH.fullmatch(str(interpreter)):
        return ""
    ours = shlex.quote(str(program))
    return f'function {interpreter} {{ if [ -x {ours} ]; then {ours} "$@"; else command {interpreter} "$@"; fi; }}\n'


def _write(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    data = content.encode() if isinstance(content, str) else content
    new = path.parents[path.parent.name in PLACES] / f"{path.parent.name}-{path.name}.{os.getpid()}"
    try:
        new.write_bytes(data)
        new.chmod(mode)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
