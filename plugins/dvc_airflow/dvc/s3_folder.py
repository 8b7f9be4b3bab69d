"""Small files in an S3 remote, by the client that moves the objects: it gives up on a silent store in seconds.

DVC's own, behind `remote.RemoteFolder`, takes minutes: s3fs and botocore try again, each for itself.
"""

from typing import TYPE_CHECKING

from dvc_airflow.dvc.remote import RemoteFolder, remote_odb
from dvc_airflow.dvc.s3 import S3Client, s3_client
from dvc_airflow.history import FOLDER, file_name

if TYPE_CHECKING:
    from dvc.repo import Repo


class S3Folder:
    """The folder ``airflow`` of a remote.

    :param url: of the remote, ``s3://bucket/prefix``.
    """

    def __init__(self, client: S3Client, url: str) -> None:
        self._client = client
        self._root = url.removeprefix("s3://").removeprefix(client.bucket).strip("/")

    def read(self, *names: str) -> bytes:
        """See `dvc_airflow.history.Folder`."""
        return bytes(self._client.reader.get(self._key(names)).bytes())

    def write(self, content: bytes, *names: str) -> None:
        """See `dvc_airflow.history.Folder`."""
        # Not by the client's `writer`: that has minutes for large objects, and these are small.
        self._client.reader.put(self._key(names), content)

    def _key(self, names: tuple[str, ...]) -> str:
        return "/".join(filter(None, [self._root, FOLDER, *map(file_name, names)]))


def folder_of(repo: "Repo") -> "S3Folder | RemoteFolder":
    """The folder ``airflow`` of the remote of an opened repo. To be made and used within `remote.translated_errors`."""
    odb = remote_odb(repo, algorithm="md5-dos2unix")
    client = s3_client(odb.fs, odb.path)
    return S3Folder(client, odb.path) if client else RemoteFolder(repo)
