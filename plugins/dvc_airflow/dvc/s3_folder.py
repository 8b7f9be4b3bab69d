"""Small files in an S3 remote that is known by its options alone; `remote.RemoteFolder` needs an opened repo."""

from dvc_airflow.dvc.s3 import S3Client
from dvc_airflow.history import FOLDER, file_name


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
        self._client.writer.put(self._key(names), content)

    def _key(self, names: tuple[str, ...]) -> str:
        return "/".join(filter(None, [self._root, FOLDER, *map(file_name, names)]))
