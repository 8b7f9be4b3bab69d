"""What a stage's task says to OpenLineage when it ends, executed or not: its datasets with their MD5s, and the outcome.

Needs ``apache-airflow-providers-openlineage``, which asks the operator; nothing else imports this module.
"""

import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.openlineage.extractors.base import OperatorLineage
from attrs import define
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import DatasetFacet, RunFacet
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

from dvc_airflow.dvc_config import remote_address
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import StageResult

HASHES = ("md5", "etag", "checksum")  # what a lock entry has of a file, of an S3 object, and of others


@define
class DvcRunFacet(RunFacet):
    """How a stage ended: fields of `dvc_airflow.result.StageResult`; and the code of the run, if it is packed."""

    stage: str
    outcome: str
    reason: str
    executed_in: str | None
    seconds: float
    commit: str | None
    code_pack: str | None


def nothing_known() -> OperatorLineage[Any, Any]:
    """Of a task that failed."""
    return OperatorLineage()


def stage_lineage(run: ProjectRun, result: StageResult, folder: str | None) -> OperatorLineage[Any, Any]:
    """The datasets that a stage read and made, whether it was executed in this run or before.

    :param folder: where the stage's command runs, relative to the project; None: the folder of its lock file.
    """
    where = posixpath.dirname(result.lock_file) if folder is None else folder
    datasets = _Datasets(run.project_dir, remote_address(run.project_dir, run.remote_url, run.remote_options), where)
    return OperatorLineage(
        inputs=datasets.of(result.entry.get("deps", [])),
        outputs=datasets.of(result.entry.get("outs", [])),
        run_facets={
            "dvc": DvcRunFacet(
                stage=result.stage,
                outcome=str(result.outcome),
                reason=result.reason,
                executed_in=result.executed_in,
                seconds=result.seconds,
                commit=run.code.commit if run.code else None,
                code_pack=run.code.pack if run.code else None,
            )
        },
    )


class _Datasets:
    """Files of a stage as datasets: of the remote, where it has an address, else of the project."""

    def __init__(self, project_dir: Path, remote: str | None, folder: str) -> None:
        self._project_dir, self._remote, self._folder = project_dir, remote, folder

    def of(self, items: Iterable[Mapping[str, Any]]) -> list[Dataset]:
        """The dependencies or outputs of a lock entry."""
        return [self._dataset(item) for item in items]

    def _dataset(self, item: Mapping[str, Any]) -> Dataset:
        namespace, name = self._identity(item["path"])
        versions = [str(item[name]) for name in HASHES if name in item]
        facets: dict[str, DatasetFacet] = {}
        if versions:
            facets["version"] = DatasetVersionDatasetFacet(datasetVersion=versions[0])
        return Dataset(namespace=namespace, name=name, facets=facets)

    def _identity(self, path: str) -> tuple[str, str]:
        """Namespace and name, in OpenLineage's own form."""
        if "://" in path:
            parts = urlsplit(path)
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.lstrip("/")
        full = posixpath.normpath(posixpath.join(self._folder, path))
        if full.startswith("/"):  # outside the project
            return "file", full
        if self._remote is None:
            return "file", f"{self._project_dir}/{full}"
        return (self._remote if "://" in self._remote else f"file://{self._remote}"), full
