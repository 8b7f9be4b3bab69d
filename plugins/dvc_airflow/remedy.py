"""What to do about a stage that failed, where its output and the project together tell.

A file that the stage does not declare or that git ignores, a variable that it does not get, git where there is none, a
module or a command that is not installed.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from dvc_airflow.dvc.outputs import Maker, StageFolder
from dvc_airflow.dvc.repo import DvcWorkspace
from dvc_airflow.failure import MISSING_COMMAND, MISSING_FILE, UNSET_VARIABLE, Failure
from dvc_airflow.missing_file import dvc_yaml_of, left_out, nowhere
from dvc_airflow.project_files import ignored_by
from dvc_airflow.stage_settings import StageSettings
from dvc_airflow.undeclared import shown

log = logging.getLogger(__name__)

QUOTED = re.compile(r"['\"‘“`]([^'\"‘’“”`]+)['\"’”`]")
# Where it is plain which word is the path.
NAMED = re.compile(
    r"No such file or directory: b?['\"]([^'\"]+)['\"]|([^\s:'\"‘’]+)['’]?: No such file or directory"
    r"|cannot open ([^\s:'\"]+)|can't open file ['\"]([^'\"]+)"
)
MODULE = re.compile(r"No module named ['\"]?([\w.]+)")
NO_GIT = re.compile(r"not a git repository|InvalidGitRepositoryError|NotGitRepository", re.IGNORECASE)
LAST_LINES = 3  # in which a command that is no Python says why it fails, before DVC does
LONGEST_PATH, LONGEST_NAME = 4096, 255  # bytes; no file has a longer one
NOT_WRITTEN = re.compile(r"failed to reproduce '.*': output '.*' does not exist")  # DVC's words
KEY_ERROR = re.compile(r"^KeyError: '([A-Za-z_]\w*)'$")
ENVIRON = re.compile(r'File "<frozen os>"|[/\\]os\.py"|\benviron\b')


def find_remedy(
    workspace: DvcWorkspace,
    settings: StageSettings,
    environment: Mapping[str, str],
    failure: Failure,
    left: list[str],
) -> str | None:
    """What to do about a failed stage; None where that cannot be told.

    :param environment: what the stage's process got.
    :param left: the files that it made and dvc.yaml does not declare.
    """
    try:
        return _Remedies(workspace, settings, environment, failure, left).find()
    except Exception as error:  # noqa: BLE001 - it must not hide why the stage failed
        log.warning("No remedy could be looked for: %s", error)
        return None


class _Remedies:
    """Only the cause counts: a line before it may speak of something else that was missing."""

    def __init__(
        self,
        workspace: DvcWorkspace,
        settings: StageSettings,
        environment: Mapping[str, str],
        failure: Failure,
        left: list[str],
    ) -> None:
        self._workspace, self._settings, self._environment, self._left = workspace, settings, environment, left
        self._dvc_yaml = dvc_yaml_of(settings)
        self._failure, self._cause = failure, failure.cause or ""

    def find(self) -> str | None:
        finders = (self._variables, self._files, self._modules, self._git, self._commands)
        return next((remedy for finder in finders for remedy in finder()), None)

    def _files(self) -> Iterator[str]:
        if not MISSING_FILE.search(self._cause):
            return
        with self._workspace.repo() as repo:
            folder = StageFolder(repo, self._settings.name)
            for word in _words(self._cause):
                for path in self._inside(word, folder.path):
                    yield from self._file(word, path, folder.maker_of(path))
        for word in (next(filter(None, found)) for found in NAMED.findall(self._cause)):
            for path in self._inside(word, folder.path)[:1]:
                if not self._has(path):
                    yield nowhere(self._workspace, self._settings, word, path)

    def _file(self, word: str, path: str, maker: Maker | None) -> Iterator[str]:
        """:param word: the path as the stage said it."""
        if self._has(path):
            return
        add = f"add it to the deps of stage {self._settings.name} in {self._dvc_yaml}"
        if maker is not None:
            if maker.is_stage and maker.name == self._settings.name and NOT_WRITTEN.search(self._cause):
                wrote = f" It wrote {shown(self._left)}, which is declared nowhere." if self._left else ""
                yield (
                    f"the command ended well, but did not write {path}, an output of the stage: correct its path in "
                    f"the command or in {self._dvc_yaml}.{wrote}"
                )
            elif maker.is_stage and maker.name == self._settings.name:
                yield (
                    f"{path} is an output of the stage itself, which DVC removes before the command runs: with "
                    f"`persist: true` in {self._dvc_yaml} it stays"
                )
            elif maker.is_stage:
                yield f"{path} is made by stage {maker.name}: {add}"
            else:
                yield f"{path} is tracked by {maker.name}: {add}"
        elif os.path.lexists(self._workspace.project_dir / path):
            yield left_out(self._workspace, self._settings, word, path)

    def _modules(self) -> Iterator[str]:
        for name in MODULE.findall(self._cause):
            first = name.split(".")[0]
            scripts = {str(Path(word).parent) for word in str(self._settings.command).split() if word.endswith(".py")}
            for folder in sorted({".", "src", "lib", *scripts}):
                for path in (f"{folder}/{first}.py", f"{folder}/{first}"):
                    path = os.path.normpath(path)
                    if (self._workspace.project_dir / path).exists() and not self._has(path):
                        yield left_out(self._workspace, self._settings, path, path)
            if not self._has(f"{first}.py") and not self._has(first):
                yield f"the Python of the task ({sys.executable}) has no module {first}: install it in its environment"

    def _variables(self) -> Iterator[str]:
        names = [name for found in UNSET_VARIABLE.findall(self._cause) for name in found if name]
        if any(ENVIRON.search(line) for line in self._failure.last_traceback[:-1]):
            names += KEY_ERROR.findall(self._cause)
        for name in names:
            if name in self._environment:
                continue
            if name in self._settings.passed_on:
                yield f"env= names {name}, but this worker does not have it: set it there"
            elif rule := self._is_in_env_file(name):
                yield (
                    f"the project's .env has {name}, and {rule}: declare .env as a dep of stage {self._settings.name}, "
                    f'or set {name} for the worker and name it in the task group: env=["{name}"]'
                )
            else:
                there = "the worker has it" if name in os.environ else "the worker does not have it either"
                yield (
                    f"a stage gets no variable that is not named for it, and {there}: "
                    + ("" if name in os.environ else f"set {name} for the worker, and ")
                    + f'name it in the task group: env=["{name}"]'
                )

    def _is_in_env_file(self, name: str) -> str | None:
        """By which rule the task's copy of the project lacks a file .env that sets this variable."""
        file = self._workspace.project_dir / ".env"
        rule = ignored_by(self._workspace.project_dir, ".env")
        if not rule or self._has(".env") or not file.is_file():
            return None
        is_set = re.search(rf"^\s*(?:export\s+)?{name}\s*=", file.read_text(errors="replace"), re.MULTILINE)
        return f"git ignores it ({rule})" if is_set else None

    def _git(self) -> Iterator[str]:
        if any(NO_GIT.search(line) for line in (self._cause, *self._failure.lines[-LAST_LINES:])):
            yield (
                f"the stage reads git, but {self._workspace.project_dir} is not in a git checkout on this worker, or "
                "that lacks the commit of the run: deploy it as one, or let the stage read what it needs from a params "
                "file or a variable (env=)"
            )

    def _commands(self) -> Iterator[str]:
        if found := MISSING_COMMAND.search(self._cause):
            yield f"the worker has no command {found[1]} on its PATH: install it there"

    def _has(self, path: str) -> bool:
        return (self._workspace.path / path).exists()

    def _inside(self, word: str, folder: str) -> list[str]:
        """The paths in the project that a word may mean: from the stage's folder, or from the project's root."""
        root = os.path.realpath(self._workspace.path)
        found = []
        for start in dict.fromkeys((folder, ".")):
            if len(word) > LONGEST_PATH or max(map(len, word.split("/"))) > LONGEST_NAME:
                continue
            path = os.path.normpath(os.path.join(root, start, word))
            for base in (root, str(self._workspace.path)):
                if path.startswith(f"{base}/") and (inside := path[len(base) + 1 :]) not in found:
                    found.append(inside)
        return found


def unpassed_variables(command: str, environment: Mapping[str, str]) -> list[str]:
    """Variables that a command uses, that this process has, and that the command's process does not get.

    Not those that the command sets itself. A shell takes one that is not set for empty text, without a word.
    """
    used = set(re.findall(r"\$\{?([A-Za-z_]\w*)", command))
    own = {
        name
        for found in re.findall(r"\b([A-Za-z_]\w*)=|\b(?:for|read|export)\s+([A-Za-z_]\w*)", command)
        for name in found
    }
    return sorted(name for name in used - own if name in os.environ and name not in environment)


def _words(line: str) -> Iterator[str]:
    """Whatever in a line may be a path, as it stands there."""
    yield from QUOTED.findall(line)
    for word in re.split(r"[\s:]+", line):
        if stripped := word.strip("'\"‘’“”`(),;[]"):
            yield stripped
