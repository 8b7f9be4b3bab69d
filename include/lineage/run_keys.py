"""Where the lineage of a run lies in the bucket, below ``lineage/``:

- ``runs/<dag>/<run>/`` holds manifest.json, dvc.lock, config/config.yaml, verdict.json and report.html of a run;
- ``by-time/<time>/<dag>/<run>`` (newest first), ``by-mlflow-run/<id>/<time>/<dag>/<run>`` and
  ``by-version/<model>/<version>/<time>/<dag>/<run>`` are objects whose keys are the index: S3 lists keys in
  order, so that no look-up grows with the number of runs. They are empty, unless a run was cleared and had other
  results then: those of its earlier results name their folder;
- ``collected/`` says what `gc` removed, see `include.lineage.collected`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from include.lineage.manifest import Manifest

FOLDER = "lineage"
MANIFEST, VERDICT, REPORT = "manifest.json", "verdict.json", "report.html"
RUNS, BY_TIME, BY_MLFLOW_RUN = (f"{FOLDER}/{name}/" for name in ("runs", "by-time", "by-mlflow-run"))
_END_OF_TIME = 10**13  # milliseconds; what is subtracted from it sorts the newest first


@dataclass(frozen=True, order=True)
class RunKey:
    """A run of a DAG. ``revision`` is the folder of its results before it was cleared; empty: its last results."""

    dag_id: str
    run_id: str
    revision: str = ""

    def __str__(self) -> str:
        return self.run_id

    @property
    def path(self) -> str:
        """As a part of a key: quoted, so that a run id with a slash is one segment."""
        return f"{quote(self.dag_id, safe='')}/{quote(self.run_id, safe='')}"

    @classmethod
    def of_path(cls, path: str) -> "RunKey":
        """The inverse of `path`, from the end of a longer key."""
        dag_id, run_id = path.split("/")[-2:]
        return cls(unquote(dag_id), unquote(run_id))


def key_of(run: RunKey, file: str) -> str:
    """Where a file of a run's lineage is in the bucket."""
    return f"{RUNS}{run.path}/{run.revision}{file}"


def keys_of_mlflow_run(mlflow_run_id: str) -> str:
    """What the keys begin with that name the runs of an MLflow run."""
    return f"{BY_MLFLOW_RUN}{quote(mlflow_run_id, safe='')}/"


def keys_of_version(name: str, version: str) -> str:
    """What the keys begin with that name the runs of a registered version."""
    return f"{FOLDER}/by-version/{quote(name, safe='')}/{quote(version, safe='')}/"


def index_keys(manifest: Manifest) -> list[str]:
    """The keys of the index that name a run."""
    run = RunKey(manifest.airflow.dag_id, manifest.airflow.run_id)
    started = int(datetime.fromisoformat(manifest.airflow.started_at).timestamp() * 1000)
    keys = [
        f"{BY_TIME}{_END_OF_TIME - started:013d}/{run.path}",
        f"{keys_of_mlflow_run(manifest.mlflow_run['run_id'])}{started:013d}/{run.path}",
    ]
    if manifest.model:
        keys.append(f"{keys_of_version(manifest.model.name, manifest.model.version)}{started:013d}/{run.path}")
    return keys


def time_of(key: str) -> datetime:
    """When the run started that a key of `BY_TIME` names."""
    milliseconds = _END_OF_TIME - int(key.split("/")[2])
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
