"""What lies where in the bucket: the only keys that a collection may ever delete. Any other is not ours.

Below each DVC remote (``storage.prefix``), as DVC and `dvc_airflow` write them (neither room imports the other):

- ``files/md5/..`` objects, ``runs/..`` entries of the run-cache;
- ``airflow/code/`` the code of runs, see `include.lineage.code_pack`;
- ``airflow/runs/<dag>/<run>`` and ``airflow/last_run/<dag>`` the lock files of runs (`dvc_airflow.run_locks`), and
  ``airflow/last/<dag>/<stage>`` the last result of a stage (`dvc_airflow.history`), which are read alone;
- ``airflow/gc`` the mark of a collection that deletes (`dvc_airflow.collecting`).

Below ``lineage/`` the manifests and their index, see `include.lineage.run_keys`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from include.lineage.run_keys import FOLDER, MANIFEST

INDEXES = ("by-time", "by-mlflow-run", "by-version")


class Kind(StrEnum):
    """Kinds of what is deleted, in the order in which it is: what names something else goes before that."""

    INDEX = "index keys"
    MANIFEST = "manifests"
    DOCUMENT = "documents beside them"
    LOCK = "lock files of runs"
    ENTRY = "run-cache entries"
    CODE_LIST = "lists of code"
    CODE = "contents of code"
    FOLDER = "lists of folders"
    FILE = "objects"


@dataclass(frozen=True)
class Stored:
    """An object of the bucket. ``size`` in bytes; ``modified`` by the store's clock."""

    key: str
    size: int
    modified: datetime
    etag: str


@dataclass
class Inventory:
    """What is there, by what it is; all of it found in the listing, nothing read.

    ``objects``, ``lists`` and ``code`` by hash: two remotes in the bucket may have the same. ``manifests`` and
    ``documents`` by the folder that they are in, ``index`` by the run's folder that its key names.
    """

    objects: dict[str, list[Stored]] = field(default_factory=dict)
    entries: list[Stored] = field(default_factory=list)
    lists: dict[str, list[Stored]] = field(default_factory=dict)
    archives: dict[str, list[Stored]] = field(default_factory=dict)
    large: dict[str, list[Stored]] = field(default_factory=dict)
    locks: list[Stored] = field(default_factory=list)
    last: list[Stored] = field(default_factory=list)
    manifests: dict[str, Stored] = field(default_factory=dict)
    documents: dict[str, list[Stored]] = field(default_factory=dict)
    index: dict[str, list[Stored]] = field(default_factory=dict)

    def add_remote(self, prefix: str, found: Iterable[Stored]) -> None:
        """Sort what lies below a DVC remote."""
        for one in found:
            path = one.key.removeprefix(f"{prefix}/")
            if match := _OBJECT.fullmatch(path):
                self.objects.setdefault(match[1] + match[2], []).append(one)
            elif _ENTRY.fullmatch(path):
                self.entries.append(one)
            elif match := _CODE.fullmatch(path):
                by_kind = {"json": self.lists, "zip": self.archives}[match[2]]
                by_kind.setdefault(match[1], []).append(one)
            elif match := _LARGE.fullmatch(path):
                self.large.setdefault(match[1], []).append(one)
            elif _LOCK.fullmatch(path):
                self.locks.append(one)
            elif _LAST.fullmatch(path):
                self.last.append(one)

    def add_lineage(self, found: Iterable[Stored]) -> None:
        """Sort what lies below ``lineage/``."""
        for one in found:
            folder, *rest = one.key.removeprefix(f"{FOLDER}/").split("/")
            if folder in INDEXES and len(rest) > 2:
                self.index.setdefault("/".join(rest[-2:]), []).append(one)
            elif folder == "runs" and len(rest) > 2:
                is_earlier = rest[2] == "earlier" and len(rest) > 4 and _REVISION.match(rest[3])
                run = "/".join(rest[:4] if is_earlier else rest[:2])
                file = "/".join(rest)[len(run) + 1 :]
                if file == MANIFEST:
                    self.manifests[run] = one
                else:
                    self.documents.setdefault(run, []).append(one)


# https://dvc.org/doc/user-guide/project-structure/internal-files
_OBJECT = re.compile(r"files/md5/([0-9a-f]{2})/([0-9a-f]{30}(?:\.dir)?)")
_ENTRY = re.compile(r"runs/[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{64}")
_CODE = re.compile(r"airflow/code/([0-9a-f]{64})\.(json|zip)")
_LARGE = re.compile(r"airflow/code/large/([0-9a-f]{64})")
_LOCK = re.compile(r"airflow/runs/[^/]+/[^/]+")
_REVISION = re.compile(r"\d{4}-\d\d-\d\dT")
_LAST = re.compile(r"airflow/(last_run/[^/]+|last/[^/]+/[^/]+)")
