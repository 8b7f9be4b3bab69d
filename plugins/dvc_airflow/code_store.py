"""Where the code of runs is kept: in the cache that tasks share, and in the DVC remote, in the folder airflow/code."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dvc_airflow.code_pack import PACK_ID, CodePack
from dvc_airflow.collecting import MarkedFolder, say_beside_collections
from dvc_airflow.dvc.remote import address_of, has_remote, remote_odb, translated_errors
from dvc_airflow.dvc.s3 import s3_client, s3_client_by_options
from dvc_airflow.dvc.s3_folder import S3Folder, folder_of
from dvc_airflow.dvc.streams import Streams
from dvc_airflow.dvc.transfer import DvcTransfer, Transfer
from dvc_airflow.errors import CodeError
from dvc_airflow.history import FOLDER
from dvc_airflow.local_code import CODE, LocalCode, archive_name, large_contents, large_name, listing_name
from dvc_airflow.packing import Packed, pack_project
from dvc_airflow.project_code import NoCode
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.run_code import RunCode, damaged

log = logging.getLogger(__name__)


class CodeStore:
    """The packs that a run of a project can reach.

    :param run: says where cache and remote are.
    """

    def __init__(self, run: ProjectRun) -> None:
        self._run, self._local = run, LocalCode(run.cache_dir)

    def pack(self, graph_cache_dir: Path, left_out: Collection[str] = ()) -> Packed:
        """Pack the project as it is now. Nothing is written where the same code was packed before.

        :param left_out: see `dvc_airflow.packing.pack_project`.
        :raises CodeError: it cannot be packed, or nothing can keep it.
        :raises WorkspaceError: there is no room for it.
        :raises RemoteError: the remote does not answer.
        """
        packed = pack_project(self._run.project_dir, graph_cache_dir, self._local.hashes, left_out)
        if self._local.listing(packed.id) is None or not self._local.is_whole(packed.id, packed.pack):
            log.info("Packing the code of this run: %s files", len(packed.pack.files))
            self._local.write(packed.pack, packed.text, self._run.project_dir)
        with _remote(self._run) as remote:
            if remote is None and self._run.cache_dir is None:
                raise CodeError(self._run.nowhere)
            if remote is not None:
                remote.keep(packed.id, packed.pack, self._local)
        return packed

    def load(self, pack: str, commit: str | None) -> RunCode:
        """The code of a run.

        :param pack: its id.
        :param commit: which the project had.
        :raises CodeError: it is neither in the cache nor in the remote, or of another version.
        :raises RemoteError: the remote does not answer.
        """
        if not PACK_ID.fullmatch(pack):
            raise CodeError(f"{pack!r} is not the id of a pack. Clear the task that prepared the run.")
        text = self._local.listing(pack)
        if text is None:
            self._fetch(pack, listing_name(pack))
            text = self._local.listing(pack)
        if text is None:
            raise damaged(pack)
        return RunCode(
            pack,
            CodePack.parse(text),
            local=self._local,
            fetch=partial(self._fetch, pack),
            project_dir=self._run.project_dir,
            commit=commit,
        )

    def _fetch(self, pack: str, name: str) -> None:
        """Get a file of a pack from the remote.

        :raises CodeError: it is not there.
        """
        with _remote(self._run) as remote:
            try:
                if remote is not None:
                    self._local.add(name, partial(remote.get, name))
                    return
            except FileNotFoundError:
                pass
        raise damaged(pack)


class _Remote:
    """The folder of the code in a remote.

    :param folder: what a garbage collection leaves its mark in.
    """

    def __init__(self, transfer: Transfer, root: str, folder: MarkedFolder) -> None:
        self._transfer, self._root, self._folder = transfer, f"{root.rstrip('/')}/{FOLDER}/{CODE}", folder

    def get(self, name: str, file: Path) -> None:
        """Write a file of the remote into one here.

        :raises FileNotFoundError: there is none.
        """
        self._transfer.get(f"{self._root}/{name}", file)

    def keep(self, pack: str, listed: CodePack, local: LocalCode) -> None:
        """Put there what it lacks of a pack; and the list in any case, which says that the pack is in use.

        The list comes first, see `dvc_airflow.collecting`: whether the contents are there is asked after that.
        """
        listing = listing_name(pack)
        text = (local.path / listing).read_bytes()
        say_beside_collections(lambda: self._folder.write(text, CODE, listing), self._folder)
        contents = [*(large_name(sha256) for sha256 in large_contents(listed)), archive_name(pack)]
        self._put(self._missing(contents), local)

    def _missing(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if not self._transfer.info(f"{self._root}/{name}")]

    def _put(self, names: Sequence[str], local: LocalCode) -> None:
        if names:
            self._transfer.put([(str(local.path / name), f"{self._root}/{name}") for name in names])


@contextmanager
def _remote(run: ProjectRun) -> Iterator[_Remote | None]:
    """The remote; without DVC, if its options say all of it. None: there is none."""
    config = run.dvc_config()
    if config.remote:
        options = {**config.of_remote(), **run.credentials()}
        with translated_errors(address_of(options)):
            if client := s3_client_by_options(options):
                yield _Remote(Streams(client), options["url"].removeprefix("s3://"), S3Folder(client, options["url"]))
                return
    with run.workspace({}, code=NoCode(run.project_dir)) as workspace, workspace.repo() as repo:
        if not has_remote(repo):
            yield None
            return
        with translated_errors(repo):
            odb = remote_odb(repo, algorithm="md5-dos2unix")
            client = s3_client(odb.fs, odb.path)
            yield _Remote(Streams(client) if client else DvcTransfer(odb.fs), odb.path, folder_of(repo))
