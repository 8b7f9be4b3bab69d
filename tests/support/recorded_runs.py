"""Runs on record, made without Airflow."""

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import joblib

from include.lineage.code_state import Code
from include.lineage.find import find_run
from include.lineage.manifest import AirflowRun, Manifest, ModelVersion, build
from include.lineage.recorder import LineageRecorder
from include.lineage.run_keys import RunKey
from include.models.pipeline import fit
from include.settings import RuntimeSettings
from include.settings.config_file import load_config
from include.stages.get_data import load_builtin
from include.stages.preprocess import split
from include.stages.score import score
from include.store.stored_objects import StoredObjects
from tests.support.tables import parquet

MODEL = "m"


class RecordedRuns:
    """Many runs, made by the stages' own functions, with different data and models; and their true bytes."""

    def __init__(self, deployment) -> None:
        self.deployment = deployment
        self.config = load_config(deployment.project)
        known = {name.lower(): value for name, value in deployment.env.items()}
        self.runtime = RuntimeSettings.model_validate(known)
        self.lineage = LineageRecorder(self.config, self.runtime)
        self.iris = load_builtin("iris", self.config.data.target)
        self.bytes: dict[str, dict[str, bytes]] = {}

    def make(self, number: int, *, run_id: str, mlflow_run: str, version: str) -> Manifest:
        config = self.config.model_copy(
            update={
                "split": self.config.split.model_copy(update={"random_state": number}),
                "model": self.config.model.model_copy(
                    update={"logistic_regression": self.config.model.settings.model_copy(update={"C": 1.0 + number})}
                ),
            }
        )
        train, test = split(self.iris, config.data.target, config.split)
        target = config.data.target
        parts = [(part.drop(columns=target), part[target]) for part in (train, test)]
        pipeline = fit(*parts[0], config.model)
        model = io.BytesIO()
        joblib.dump(pipeline, model)
        scores = {name: score(pipeline, *part) for name, part in zip(("train", "test"), parts, strict=True)}
        paths = config.paths
        identity = {"run_id": mlflow_run, "experiment_id": "1", "model_uri": f"models:/m-{number}"}
        files = {
            paths.raw_data: parquet(self.iris),
            paths.train_data: parquet(train),
            paths.test_data: parquet(test),
            paths.model: model.getvalue(),
            paths.columns: json.dumps({"warnings": []}).encode(),
            paths.metrics: json.dumps(scores).encode(),
            paths.mlflow_run: json.dumps(identity).encode(),
        }
        self.bytes[run_id] = files
        started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
        manifest = build(
            config,
            AirflowRun(
                dag_id="ml_pipeline", run_id=run_id, logical_date=None, try_number=1, started_at=started.isoformat()
            ),
            [self._result(files)],
            Code(git_sha="a" * 40, dirty=False),
        ).model_copy(update={"model": ModelVersion(name=MODEL, version=version)})
        self.lineage.record(manifest)
        return manifest

    def _result(self, files: dict[str, bytes]) -> SimpleNamespace:
        outs = []
        for path, content in files.items():
            md5 = hashlib.md5(content).hexdigest()
            self.deployment.s3.put_object(Bucket=self.deployment.bucket, Key=self.key(md5), Body=content)
            outs.append({"path": path, "hash": "md5", "md5": md5, "size": len(content)})
        paths = self.config.paths
        return SimpleNamespace(
            stage="all",
            outcome="executed",
            reason="-",
            seconds=1.0,
            executed_in=None,
            started_at=None,
            lock={"dvc.lock": {"all": {"cmd": "x", "outs": outs}}},
            published={path: files[path].decode() for path in (paths.columns, paths.mlflow_run, paths.metrics)},
        )

    def key(self, md5: str) -> str:
        return f"{self.config.storage.prefix}/files/md5/{md5[:2]}/{md5[2:]}"

    def find(self, name: str) -> RunKey:
        return find_run(self.lineage, name, MODEL)

    def objects(self, manifest: Manifest) -> StoredObjects:
        return self.lineage.objects_of(manifest)
