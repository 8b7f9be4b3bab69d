"""A project of one stage and its part of a bucket: what is pushed, and what is there then."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3

from dvc_airflow.command import base_environment
from dvc_airflow.dvc.objects import Objects
from dvc_airflow.dvc.outputs import objects_of, outputs_to_push
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.push_run import PushRun
from dvc_airflow.result import PushResult, StageResult
from dvc_airflow.stage_run import StageRun
from dvc_airflow.stage_settings import StageSettings

BUCKET = "streams"
MAKE = "python make.py"
DEFINITIONS = ("dvc.yaml",)
SMALL = 'import os\nos.makedirs("out")\n' + "".join(
    f'open("out/{name}", "w").write({text!r})\n'
    for name, text in {"empty": "", "ü %20#?+&[x] 'y'": "one", "b": "two"}.items()
)


class Pushed:
    """A project whose stage has run, and a part of the bucket."""

    def __init__(self, folder: str, endpoint: str, keys: Sequence[str], prefix: str = "plain") -> None:
        self.folder, self.endpoint, self.keys, self.prefix = Path(folder), endpoint, keys, prefix

    def run(self, cache: str = "cache", **options: Any) -> ProjectRun:
        return ProjectRun(
            self.folder / "project",
            dag_id="dag",
            run_id=uuid4().hex,
            cache_dir=self.folder / cache,
            remote_url=f"s3://{BUCKET}/{self.prefix}",
            remote_options=options,
            credentials=self.credentials,
        )

    def credentials(self) -> dict[str, str]:
        return {"access_key_id": self.keys[0], "secret_access_key": self.keys[1], "endpointurl": self.endpoint}

    def made(self) -> StageResult:
        settings = StageSettings("make", "dvc repro --single-item make", MAKE, DEFINITIONS, ("make.py",))
        return StageRun(self.run(), settings, {}).run()

    def push(self, **options: Any) -> PushResult:
        run, made = self.run(**options), [self.made()]
        return PushRun(run, made, definitions=DEFINITIONS, environment=self.environment).run()

    def environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": self.keys[0], "AWS_SECRET_ACCESS_KEY": self.keys[1]}
        return {**base_environment(), **keys, "AWS_ENDPOINT_URL": self.endpoint}

    def fetch(self) -> None:
        """Into a cache that has nothing."""
        with self.run("empty").workspace(self.made().lock) as workspace, workspace.repo() as repo:
            objects = Objects(repo)
            objects.fetch(objects_of(objects, outputs_to_push(repo, ["make"])))

    def cached(self, cache: str = "cache") -> dict[str, bytes]:
        files = (self.folder / cache / "files" / "md5").rglob("*")
        return {file.parent.name + file.name: file.read_bytes() for file in files if file.is_file()}

    def cached_of(self, made: StageResult) -> list[str]:
        """The hashes of all that a result consists of."""
        with self.run().workspace(made.lock) as workspace, workspace.repo() as repo:
            return [one.oid for one in objects_of(Objects(repo), outputs_to_push(repo, ["make"]))]


def new_pushed(services: dict[str, Any], folder: Path) -> Pushed:
    env = services["env"]
    keys = [env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]]
    pushed = Pushed(str(folder), env["AWS_ENDPOINT_URL"], keys, prefix=uuid4().hex)
    (pushed.folder / "project").mkdir()
    (pushed.folder / "project" / "dvc.yaml").write_text(
        f"stages: {{make: {{cmd: {MAKE}, deps: [make.py], outs: [out]}}}}\n"
    )
    make(pushed, SMALL)
    return pushed


def make(pushed: Pushed, script: str) -> None:
    (pushed.folder / "project" / "make.py").write_text(script)


def client_with_bucket(services: dict[str, Any], bucket: str = BUCKET) -> Any:
    env = services["env"]
    client = boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=bucket)
    return client


def stored(s3: Any, pushed: Pushed, folder: str = "files/md5") -> dict[str, str]:
    """Key of each object below a folder of the remote, by its hash."""
    start = f"{pushed.prefix}/{folder}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=start)
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    return {key.removeprefix(start).replace("/", ""): key for key in keys}
