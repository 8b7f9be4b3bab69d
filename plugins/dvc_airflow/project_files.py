"""Which files of a project a task's workspace gets: those that a clone holds, and what the stage declares."""

import os
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from dvc_airflow.files import replacing
from dvc_airflow.git_checkout import GitCheckout, git_checkout_of

IGNORE_FILE = ".gitignore"
NEVER_COPIED = frozenset({".git", ".dvc", "__pycache__", "dvc.lock"})
# Kept in a folder only so that git keeps the folder.
PLACEHOLDERS = frozenset({".gitkeep", ".keep", ".gitignore"})
#: What git tracks, for copies of a project without git: see `write_list`.
LIST = ".dvc/files.txt"


class Content(NamedTuple):
    """What a workspace gets: POSIX paths relative to the project, sorted.

    ``files`` may be links, also to folders; ``folders`` are those that are empty but for what is left out.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]


def project_content(project_dir: Path, sources: Sequence[str] = (), outputs: Collection[str] = ()) -> Content:
    """What a clone of the project would hold, what is new in it, and the sources of a stage.

    What git tracks counts whatever an ignore rule says; of the rest, what no rule ignores. ``.dvcignore`` hides files
    from DVC, not from a command. Where there is no git, `LIST` says what git tracked.

    :param sources: declared dependencies of a stage that no stage makes; they count even if git ignores them.
    :param outputs: what the stages of the project make. It is left out, even if git tracks it: a stage that reads it
        without declaring it would get what another run made.
    """
    checkout = git_checkout_of(project_dir)
    files: set[str] = set()
    folders: list[str] = []
    _walk(project_dir, "", _rules_above(project_dir, checkout), files, folders)
    tracked = checkout.tracked if checkout else _listed(project_dir)
    linked = _Linked(project_dir)
    files.update(
        path
        for path in tracked - files
        if _is_own(path) and not linked.is_behind(path) and _is_copied(project_dir / path)
    )
    for source in (*sources, *_variable_files(project_dir, files)):
        inside = _below(project_dir, source, set())
        files.update(path for path in inside if _is_own(path))
    files = {path for path in files if not is_in(path, outputs)}
    return Content(tuple(sorted(files)), tuple(sorted(folders)))


def project_files(project_dir: Path) -> tuple[str, ...]:
    """All files that belong to the code, see `project_content`."""
    return project_content(project_dir).files


def declared_files(project_dir: Path, source: str) -> tuple[str, ...]:
    """The files that a declared dependency of a stage means, whatever git says of them."""
    return tuple(sorted(path for path in _below(project_dir, source, set()) if _is_own(path)))


def tracked_files(project_dir: Path) -> frozenset[str]:
    """What git tracks of the project, or tracked where `LIST` was made."""
    checkout = git_checkout_of(project_dir)
    return checkout.tracked if checkout else _listed(project_dir)


def write_list(project_dir: Path) -> Path:
    """Write `LIST`, for a copy of the project without git, such as an image.

    :return: its path.
    :raises ValueError: the project is no git checkout.
    """
    checkout = git_checkout_of(project_dir)
    if checkout is None:
        raise ValueError(f"{project_dir} is not in a git checkout. Make the list where the project is one.")
    with replacing(project_dir / LIST) as part:
        part.write_bytes("".join(f"{path}\n" for path in sorted(checkout.tracked)).encode(errors="surrogateescape"))
    return project_dir / LIST


def ignored_by(project_dir: Path, path: str, ignore_file: str = IGNORE_FILE) -> str | None:
    """The rule by which git ignores a path of the project, such as ``.gitignore:3``; None if none does.

    :param ignore_file: another name for the files with the rules, such as ``.dvcignore``.
    """
    rules = list(_rules_above(project_dir, git_checkout_of(project_dir))) if ignore_file == IGNORE_FILE else []
    steps = path.split("/")
    for depth in range(1, len(steps) + 1):
        rules += _rules_in(project_dir, "".join(f"{step}/" for step in steps[: depth - 1]), ignore_file)
        whole = "/".join(steps[:depth])
        if found := _ignoring(rules, f"{whole}/" if (project_dir / whole).is_dir() else whole):
            return found
    return None


def is_in(path: str, folders: Collection[str]) -> bool:
    """Whether a path is one of these, or below one."""
    steps = path.split("/")
    return any("/".join(steps[:depth]) in folders for depth in range(1, len(steps) + 1))


class _Rules(NamedTuple):
    """The rules of one ignore file.

    ``name`` is how people find it; a path of the project that begins with ``folder`` has ``prefix`` instead for it.
    ``lines`` are the numbers of the rules' lines.
    """

    name: str
    folder: str
    prefix: str
    spec: GitIgnoreSpec
    lines: tuple[int, ...]


def _walk(project_dir: Path, folder: str, rules: tuple[_Rules, ...], files: set[str], folders: list[str]) -> None:
    """Collect what no rule ignores.

    :param folder: where to look, ``""`` or a path that ends in a slash.
    """
    entries = _entries(project_dir / folder)
    if any(entry.name == IGNORE_FILE for entry in entries):
        rules = (*rules, *_rules_in(project_dir, folder))
    found = len(files) + len(folders)
    for entry in entries:
        path = f"{folder}{entry.name}"
        is_folder = entry.is_dir(follow_symlinks=False)  # a link to a folder is copied as a link
        if entry.name in NEVER_COPIED:
            continue
        if _ignoring(rules, f"{path}/" if is_folder else path):
            if is_folder and any(os.path.lexists(f"{entry.path}/{name}") for name in PLACEHOLDERS):
                folders.append(path)
        elif is_folder:
            if os.path.lexists(f"{entry.path}/.dvc"):  # a project of its own, whose stages are not ours
                folders.append(f"{path}/.dvc")
            _walk(project_dir, f"{path}/", rules, files, folders)
        elif _is_copied(entry):
            files.add(path)
    if folder and len(files) + len(folders) == found:
        folders.append(folder.rstrip("/"))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        return list(os.scandir(folder))
    except PermissionError:  # another user's: what needs it says so
        return []


class _Linked:
    """Which folders of a project are links."""

    def __init__(self, project_dir: Path) -> None:
        self._project_dir = project_dir
        self._known: dict[str, bool] = {"": False}

    def is_behind(self, path: str) -> bool:
        """Whether a path leads through a link: what is there belongs to where the link leads."""
        folder = path.rpartition("/")[0]
        if folder not in self._known:
            self._known[folder] = self.is_behind(folder) or (self._project_dir / folder).is_symlink()
        return self._known[folder]


def _below(project_dir: Path, source: str, seen: set[str]) -> Iterator[str]:
    """A file, or all files of a folder, whatever git says of them; links, and what they lead to in the project.

    :param seen: what has been looked at; added to.
    """
    if source in seen:
        return
    seen.add(source)
    steps = source.split("/")
    for depth in range(1, len(steps) + 1):
        link = project_dir / "/".join(steps[:depth])
        if link.is_symlink() and link.is_dir():
            yield "/".join(steps[:depth])
            leads_to, root = link.resolve(), project_dir.resolve()
            if leads_to.is_relative_to(root) and leads_to != root:
                yield from _below(project_dir, "/".join([*leads_to.relative_to(root).parts, *steps[depth:]]), seen)
            return
    path = project_dir / source
    if _is_copied(path):
        yield source
    elif path.is_dir():
        for entry in _entries(path):
            if entry.name not in NEVER_COPIED:
                yield from _below(project_dir, f"{source}/{entry.name}", seen)


def _variable_files(project_dir: Path, files: Collection[str]) -> Iterator[str]:
    """What the templating of each dvc.yaml reads, by ``vars`` of the file and of its stages."""
    for file in files:
        if file.endswith("dvc.yaml") and b"vars" in (text := (project_dir / file).read_bytes()):
            folder = file.removesuffix("dvc.yaml")
            for name in _named_in(text):
                path = os.path.normpath(f"{folder}{name.partition(':')[0]}")
                if not path.startswith(("/", "..")):
                    yield path


@lru_cache(maxsize=64)  # a task asks twice, and the process that it was forked from may have asked before
def _named_in(dvc_yaml: bytes) -> tuple[str, ...]:
    """The files in all lists of ``vars``, with their keys (``file:key,key``)."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        waiting = [YAML(typ="safe", pure=True).load(dvc_yaml)]
    except (YAMLError, ValueError):
        return ()  # DVC says what is wrong
    found: list[str] = []
    seen: set[int] = set()  # an anchor may hold itself
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict) and id(node) not in seen:
            seen.add(id(node))
            named = node.get("vars")
            found += (one for one in (named if isinstance(named, list) else []) if isinstance(one, str))
            waiting += node.values()
    return tuple(found)


def _is_copied(path: "Path | os.DirEntry[str]") -> bool:
    """Whether it is a file, or a link to a folder, which stays one."""
    try:
        return path.is_file() or (path.is_symlink() and path.is_dir())
    except OSError:  # behind a folder that this user may not read
        return False


def _is_own(path: str) -> bool:
    return NEVER_COPIED.isdisjoint(path.split("/"))


def _listed(project_dir: Path) -> frozenset[str]:
    try:
        return frozenset((project_dir / LIST).read_bytes().decode(errors="surrogateescape").split("\n")) - {""}
    except OSError:
        return frozenset()


def _ignoring(rules: Sequence[_Rules], path: str) -> str | None:
    """The rule by which a path is ignored: the deepest ignore file that says anything of it decides."""
    for own in reversed(rules):
        found = own.spec.check_file(own.prefix + path.removeprefix(own.folder))
        if found.include is not None:
            return f"{own.name}:{own.lines[found.index or 0]}" if found.include else None
    return None


def _rules_in(project_dir: Path, folder: str, ignore_file: str = IGNORE_FILE) -> list[_Rules]:
    name = f"{folder}{ignore_file}"
    return _rules(name, project_dir / name, folder, "")


def _rules_above(project_dir: Path, checkout: GitCheckout | None) -> tuple[_Rules, ...]:
    """The rules of the folders above a project that is a part of a checkout, and those of this checkout alone."""
    if checkout is None:
        return ()
    steps = project_dir.resolve().relative_to(checkout.root).parts
    files = [(".git/info/exclude", checkout.common_dir / "info" / "exclude", steps)]
    for depth in range(len(steps)):
        name = "../" * (len(steps) - depth) + IGNORE_FILE
        files.append((name, checkout.root.joinpath(*steps[:depth], IGNORE_FILE), steps[depth:]))
    return tuple(
        rules for name, file, steps in files for rules in _rules(name, file, "", "".join(f"{step}/" for step in steps))
    )


def _rules(name: str, file: Path, folder: str, prefix: str) -> list[_Rules]:
    """The rules of an ignore file; none if the file does not exist."""
    try:
        lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError:
        return []
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    spec = GitIgnoreSpec.from_lines(line for _, line in numbered)
    return [_Rules(name, folder, prefix, spec, tuple(number for number, _ in numbered))]
