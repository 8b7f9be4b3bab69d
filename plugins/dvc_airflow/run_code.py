"""The code of a run, for its workspaces: from its pack, whatever the project's folder holds by now."""

import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dvc_airflow.code_pack import LARGE, CodePack, PackedFile
from dvc_airflow.errors import CodeError
from dvc_airflow.git_checkout import git_checkout_of
from dvc_airflow.git_state import head_of
from dvc_airflow.inputs import Inputs
from dvc_airflow.local_code import DamagedError, LocalCode, archive_name, large_name
from dvc_airflow.project_code import Put
from dvc_airflow.project_files import Content, declared_files, is_in

log = logging.getLogger(__name__)


class RunCode:
    """The code of a run; a `dvc_airflow.project_code.ProjectCode`.

    :param pack: its id; ``listed``: what it says.
    :param fetch: fetches a file of the pack, by its name, from the remote into the local folder.
    :param project_dir: the project's folder on this worker: what the pack only names is taken from there.
    :param commit: which the project had, if it had any.
    """

    def __init__(
        self,
        pack: str,
        listed: CodePack,
        *,
        local: LocalCode,
        fetch: Callable[[str], None],
        project_dir: Path,
        commit: str | None,
    ) -> None:
        self.pack, self.listed, self.commit = pack, listed, commit
        self._local, self._fetch, self._dir = local, fetch, project_dir

    @property
    def dvc_config(self) -> str:
        """See `ProjectCode`."""
        return self.listed.dvc_config

    @property
    def tracked(self) -> frozenset[str]:
        """See `ProjectCode`."""
        return frozenset(self.listed.tracked)

    def content(self, sources: Sequence[str], outputs: Collection[str]) -> Content:
        """See `ProjectCode`.

        :raises CodeError: a source is on this worker, and was not where the run was prepared.
        """
        for source in sources:
            here = () if self.listed.has(source) else declared_files(self._dir, source)
            if any(not is_in(path, self.listed.outputs) for path in here):
                raise CodeError(
                    f"{source}, on which the stage depends, is on this worker, but not in the code of this run: the "
                    "project did not have it when, or where, the run was prepared. Put it there too, and start a new "
                    "run."
                )
        return self.listed.content(sources, outputs)

    def leads_to(self, path: str) -> str | None:
        """See `ProjectCode`."""
        file = self.listed.file(path)
        return file.leads_to if file else None

    @contextmanager
    def putting(self, inputs: Inputs, workspace: Path) -> Iterator[Put]:
        """See `ProjectCode`.

        :raises CodeError: a content is damaged, or a file that the pack only names is another one here.
        """
        with _Archive(self.pack, self._local, self._fetch) as archive:

            def put(path: str, target: Path) -> None:
                file = self.listed.files.get(path) or self.listed.inputs[path]
                if not file.is_kept:
                    inputs.put(self._own(path, file), target, workspace)
                elif file.size < LARGE:
                    _write(target, archive.read(str(file.sha256)), file.is_executable)
                elif file.is_executable:  # what tasks share has one mode
                    shutil.copyfile(self._large(str(file.sha256)), target)
                    target.chmod(0o755)
                else:
                    inputs.put(self._large(str(file.sha256)), target, workspace)

            yield put

    def put_into(self, folder: Path, paths: Collection[str]) -> None:
        """Write files of the pack into an empty folder; what the pack lacks is left out."""
        with self.putting(Inputs(None), folder) as put:
            for path in paths:
                if self.listed.file(path):
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    put(path, folder / path)

    def locked(self, lock_file: str, stage: str) -> Mapping[str, Any] | None:
        """See `ProjectCode`."""
        return self.listed.locks.get(lock_file, {}).get(stage)

    def lend_git(self, workspace: Path) -> None:
        """See `ProjectCode`. With the commit of the run checked out: there is none where the checkout lacks that."""
        checkout = git_checkout_of(self._dir)
        if checkout is None or self.commit is None:
            return
        if head_of(checkout) == self.commit:
            checkout.lend(workspace, self._dir)
        elif checkout.has_commit(self.commit):
            checkout.lend(workspace, self._dir, self.commit)
        else:
            log.info("The checkout on this worker lacks commit %s: the stage has no git", self.commit)

    def _own(self, path: str, file: PackedFile) -> Path:
        """The file on this worker that the pack only names."""
        own = self._dir / path
        try:
            if self._local.hashes.of(own) == file.sha256:
                return own
            found = "has other content now"
        except FileNotFoundError:
            found = "is not there"
        why = "it is too large" if path in self.listed.files else "git ignores it"
        raise CodeError(
            f"{own} {found}. The code of this run has only its hash (SHA-256 {file.sha256}), because {why}. Put the "
            "file back; or start a new run; or track it by DVC (`dvc add`), which keeps all versions."
        )

    def _large(self, sha256: str) -> Path:
        try:
            return self._local.large(sha256)
        except DamagedError:
            self._fetch(large_name(sha256))
        try:
            return self._local.large(sha256)
        except DamagedError:
            raise damaged(self.pack) from None


class _Archive:
    """The archive of a pack; fetched anew where it is missing or damaged."""

    def __init__(self, pack: str, local: LocalCode, fetch: Callable[[str], None]) -> None:
        self._pack, self._local, self._fetch = pack, local, fetch
        self._opened = ExitStack()
        self._read: Callable[[str], bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def read(self, sha256: str) -> bytes:
        """A content, which is right.

        :raises CodeError: it is damaged everywhere.
        """
        try:
            return self._once(sha256)
        except DamagedError:
            log.warning("The code of this run is missing or damaged here. It is fetched from the remote.")
        self._opened.close()
        self._read = None
        self._fetch(archive_name(self._pack))
        try:
            return self._once(sha256)
        except DamagedError:
            raise damaged(self._pack) from None

    def _once(self, sha256: str) -> bytes:
        if self._read is None:
            self._read = self._opened.enter_context(self._local.archive(self._pack))
        return self._read(sha256)


def damaged(pack: str) -> CodeError:
    """What to say of a pack that is damaged, or missing, everywhere."""
    return CodeError(
        f"the code of this run (pack {pack[:12]}) is damaged or missing, in the cache and in the remote. Start a new "
        "run; or clear the task that prepared this one, with all that follow: it then gets the project as it is now."
    )


def _write(target: Path, content: bytes, is_executable: bool) -> None:
    mode = 0o777 if is_executable else 0o666  # less the umask, as for git
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as stream:
        stream.write(content)
