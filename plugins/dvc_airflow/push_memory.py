"""What an earlier push proved of the same results; a later one proves it again by asking the store alone.

To open the project with DVC, only to hear what to ask the remote for, takes half a second: more than anything else in
a run that has nothing to do.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dvc_airflow.collecting import say_beside_collections
from dvc_airflow.dvc.remote import address_of, translated_errors
from dvc_airflow.dvc.s3 import S3Client, s3_client_by_options
from dvc_airflow.dvc.s3_folder import S3Folder
from dvc_airflow.dvc.streams import Streams
from dvc_airflow.dvc.transfer import REQUESTS_AT_ONCE, Found
from dvc_airflow.errors import RemoteError, RemoteRefusedError
from dvc_airflow.lockfile import Lock, digest
from dvc_airflow.memo import Fingerprint, Memo
from dvc_airflow.run_locks import announce_lock, keep_last

if TYPE_CHECKING:
    from dvc_airflow.project_run import ProjectRun

log = logging.getLogger(__name__)

MOST = 256  # objects; with more of them, what opening DVC takes is no matter


@dataclass(frozen=True)
class Proven:
    """What the remote has of a run; ``where`` is its address, for people."""

    objects: int
    bytes: int
    where: str


class PushMemory:
    """The memory of pushes of one lock, in the cache that tasks share.

    It only saves time: where anything is not as it was, or the remote is not known by its options alone, the push is
    left to DVC.

    :param stages, lock: what is to be pushed.
    :param definitions: the project's files from which DVC works out the stages; none: nothing is remembered.
    """

    def __init__(self, run: "ProjectRun", stages: Sequence[str], lock: Lock, definitions: Iterable[str]) -> None:
        self._run, self._stages, self._lock = run, stages, lock
        self._definitions = sorted(definitions)
        self._memo = Memo(run.cache_dir)
        self._config = run.dvc_config()

    def prove_again(self) -> Proven | None:
        """Leave the run's lock in the remote, and ask it for each file that the earlier push found.

        :return: None if the remote has not all of them just as they were, or nothing is remembered.
        :raises RemoteError: the remote does not answer.
        """
        if not self._definitions or (known := self._memo.pushed(self._key())) is None:
            return None
        options = {**self._config.of_remote(), **self._run.credentials()}
        where = address_of(options)
        try:
            with translated_errors(where):
                client = s3_client_by_options(options)
                if client is None:
                    return None
                folder = S3Folder(client, options["url"])
                announce = partial(announce_lock, folder, self._run.dag_id, self._run.run_id, self._lock)
                announced = say_beside_collections(announce, folder)
                if not _has(client, known["found"]):
                    return None
                keep_last(folder, self._run.dag_id, announced)
                return Proven(known["objects"], known["bytes"], where)
        except RemoteError as error:
            if not isinstance(error, RemoteRefusedError):
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, DVC has the last word
            log.info("Leaving it to DVC: %s", error)
        return None

    def keep(self, sizes: Mapping[str, int], found: Mapping[str, Found] | None) -> None:
        """Remember what a push proved.

        :param sizes: of the objects in bytes, by hash.
        :param found: all files that the remote has of it, by path; None: it could not be asked for them again.
        """
        if self._definitions and found and len(found) <= MOST:
            content = {"objects": len(sizes), "bytes": sum(sizes.values()), "found": found}
            self._memo.keep_pushed(self._key(), content)

    def _key(self) -> str:
        """Of all that says what a push has to push, and where to."""
        run = self._run
        pack = run.code.listed if run.code else None
        project = Fingerprint(run.project_dir, "", self._definitions, run.files, self._lock, list, pack)
        config = self._config.text(run.project_dir, run.cache_dir)
        return digest([project.definition, sorted(self._stages), self._lock, config])


def _has(client: S3Client, found: Mapping[str, Sequence[object]]) -> bool:
    remote = Streams(client)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        return list(pool.map(remote.info, found)) == [Found(*one) for one in found.values()]  # type: ignore[arg-type]
