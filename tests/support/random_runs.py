"""A store of random runs: they share results, code and folders, as runs that restore do; by a seed."""

import hashlib
import json
import random
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from dvc_airflow.code_pack import CodePack, PackedFile, pack_id
from dvc_airflow.history import file_name
from dvc_airflow.run_locks import announce_lock, keep_last
from include.collection.decide import Champions, Rules
from include.collection.plan import Planner
from include.collection.store import Bucket
from include.lineage.code_state import Code
from include.lineage.manifest import AirflowRun, Manifest, ModelVersion, build
from include.lineage.recorder import LineageRecorder
from include.lineage.run_keys import RunKey
from include.lineage.verify import verify
from include.settings import RuntimeSettings
from include.settings.config_file import dump_yaml, load_config

DAYS = 200
DAG = "ml_pipeline"
LARGE = 1024 * 1024


class RandomRuns:
    """Runs of the last `DAYS` days before ``now``, and all that they leave in the store.

    The store's clock says that all was written today: ``now`` is later, so that nothing is young because of that.
    """

    def __init__(self, deployment: Any, now: datetime, seed: int) -> None:
        self.deployment, self.now, self.random = deployment, now, random.Random(seed)
        self.config = load_config(deployment.project)
        known = {name.lower(): value for name, value in deployment.env.items()}
        self.runtime = RuntimeSettings.model_validate(known)
        self.lineage = LineageRecorder(self.config, self.runtime)
        self.s3, self.bucket = deployment.s3, deployment.bucket
        self.model, self.trained = "m", list[str]()
        self._results: list[tuple[dict[str, Any], dict[str, str]]] = []
        self._packs: list[str] = []
        self._made = 0

    def make(self, count: int) -> None:
        """Make runs at random times."""
        ages = sorted((self.random.uniform(0, DAYS) for _ in range(count)), reverse=True)
        for number, age in enumerate(ages):
            self.run(f"run-{number:03}", age, version=str(number + 1))

    def forget(self) -> None:
        """The store was emptied: nothing is made of earlier results."""
        self._results.clear()
        self._packs.clear()

    def run(
        self, run_id: str, age: float, version: str, mlflow_run: str | None = None, *, is_new: bool = False
    ) -> Manifest:
        """Make a run that started so many days ago, of new or of earlier results, and of new or of earlier code."""
        if is_new:
            self._results.clear()
        if not self._results or self.random.random() < 0.6:
            self._results.append(self._result(mlflow_run))
        entry, published = self.random.choice(self._results[-12:])
        if not self._packs or self.random.random() < 0.3:
            self._packs.append(self._pack())
        lock = {"dvc.lock": {"all": entry}}
        announced = announce_lock(self, DAG, run_id, lock)
        keep_last(self, DAG, announced)
        result = SimpleNamespace(
            stage="all", outcome="executed", reason="-", seconds=1.0, executed_in=None, started_at=None,
            lock=lock, published=published,
        )  # fmt: skip
        started = (self.now - timedelta(days=age)).isoformat()
        manifest = build(
            self.config,
            AirflowRun(dag_id=DAG, run_id=run_id, logical_date=None, try_number=1, started_at=started),
            [result],
            Code(git_sha="a" * 40, dirty=False, pack=self.random.choice(self._packs[-5:])),
        ).model_copy(update={"model": ModelVersion(name=self.model, version=version), "recorded_at": started})
        self.lineage.record(manifest)
        return manifest

    def write(self, content: bytes, *names: str) -> None:
        """See `dvc_airflow.run_locks.WritableFolder`."""
        self.put("/".join(["airflow", *map(file_name, names)]), content)

    def put(self, path: str, content: bytes) -> str:
        """Put something into the remote; gives its key."""
        key = f"{self.config.storage.prefix}/{path}"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)
        return key

    def object(self, content: bytes, ending: str = "") -> str:
        """Put an object into the remote; gives its md5."""
        md5 = hashlib.md5(content).hexdigest() + ending
        self.put(f"files/md5/{md5[:2]}/{md5[2:]}", content)
        return md5

    def folder(self, files: dict[str, bytes]) -> str:
        """Put a folder into the remote; gives the md5 of its list."""
        listed = [{"md5": self.object(content), "relpath": name} for name, content in files.items()]
        return self.object(json.dumps(listed).encode(), ".dir")

    def planner(
        self,
        keep_days: float = 90,
        champions: Champions | None = None,
        named: set[str] | None = None,
        grace: timedelta = timedelta(hours=24),
    ) -> Planner:
        """Of a collection at ``now``."""
        rules = Rules(self.now, timedelta(days=keep_days), grace)
        find = (lambda models: champions) if champions else None
        return Planner(Bucket(self.lineage), self.config.storage.prefix, rules, named or set(), find)

    def listed(self) -> dict[str, Manifest]:
        """The runs that are listed, all of which can be read."""
        return {run.run_id: self.lineage.read(run) for run in self.lineage.newest(1000)}

    def damages(self, manifest: Manifest) -> list[str]:
        """What `verify` finds wrong with a run, and with its code."""
        _, found = verify(manifest, self.lineage.objects_of(manifest))
        names = [f"{manifest.code.pack}.json", f"{manifest.code.pack}.zip"]
        text = self.lineage.get(f"{self.config.storage.prefix}/airflow/code/{names[0]}")
        listed = json.loads(text or b'{"files": {}}')["files"].values()
        names += [f"large/{one['sha256']}" for one in listed if one["size"] >= LARGE]
        lost = [n for n in names if self.lineage.get(f"{self.config.storage.prefix}/airflow/code/{n}") is None]
        run = RunKey(manifest.airflow.dag_id, manifest.airflow.run_id)
        return [*map(str, found), *lost, *self.lineage.changed_documents(run, manifest)]

    def _bytes(self) -> bytes:
        return self.random.randbytes(self.random.randint(1, 200))

    def _result(self, mlflow_run: str | None = None) -> tuple[dict[str, Any], dict[str, str]]:
        """A result of the stage, its objects and its run-cache entry; some have files of earlier ones."""
        paths = self.config.paths
        shared = [b"a file that most folders have", self.random.choice([b"one", b"two", b"three"])]
        self._made += 1
        number = self._made
        identity = {"run_id": mlflow_run or f"{number:032x}", "experiment_id": "1", "model_uri": "models:/m"}
        published = {
            paths.columns: json.dumps({"warnings": []}),
            paths.metrics: json.dumps({"train": {"accuracy": 1.0}, "test": {"accuracy": number / 1000}}),
            paths.mlflow_run: json.dumps(identity),
        }
        outs = [
            {"path": path, "hash": "md5", "md5": self.object(content), "size": len(content)}
            for path, content in {
                paths.raw_data: self.random.choice([b"data of today", b"data of yesterday", self._bytes()]),
                paths.train_data: self._bytes(),
                paths.test_data: self._bytes(),
                paths.model: self._bytes(),
                **{path: text.encode() for path, text in published.items()},
            }.items()
        ]
        files = {f"{one}.csv": content for one, content in enumerate([*shared, self._bytes()])}
        outs.append({"path": paths.plots, "hash": "md5", "md5": self.folder(files), "size": 1, "nfiles": len(files)})
        # An input: no push puts its list into the remote.
        sources = {"path": "src", "hash": "md5", "md5": "5" * 32 + ".dir", "size": 1, "nfiles": 1}
        entry = {"cmd": "make", "deps": [sources], "outs": outs}
        key, value = (hashlib.sha256(f"{number}{what}".encode()).hexdigest() for what in ("key", "value"))
        self.put(f"runs/{key[:2]}/{key}/{value}", dump_yaml(entry).encode())
        return entry, published

    def _pack(self) -> str:
        """Code with a small and a large file; the large one is that of other packs too."""
        files, prefix = {}, "airflow/code"
        large = self.random.choice([b"x", b"y", b"z"]) * LARGE
        for name, content in {"small.py": self._bytes(), "large.bin": large}.items():
            files[name] = PackedFile(hashlib.sha256(content).hexdigest(), len(content))
        self.put(f"{prefix}/large/{files['large.bin'].sha256}", large)
        text = CodePack(files, [], {}, {}, [*files], "", {}, [], [], {}, []).text()
        self.put(f"{prefix}/{pack_id(text)}.zip", b"an archive")
        self.put(f"{prefix}/{pack_id(text)}.json", text)
        return pack_id(text)
