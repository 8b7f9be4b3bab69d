"""What goes between cache and S3 is streamed: right, proven, and nothing is left of a push that was killed."""

import hashlib
import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dvc_airflow.command import base_environment
from dvc_airflow.dvc import remote, streams
from dvc_airflow.dvc.object import MissingObjectsError
from dvc_airflow.dvc.s3 import S3Client
from dvc_airflow.dvc.transfer import DvcTransfer
from dvc_airflow.errors import RemoteError
from tests.support.proxy import proxy_to
from tests.support.pushed import BUCKET, SMALL, Pushed, make, stored

LARGE = 'open("out", "wb").write(bytes(range(256)) * 4 * 1024 * 40)\n'  # 40 MiB, in eight parts
# A task's own process, to be killed.
PUSH = """
import json, sys
from tests.support.pushed import Pushed
pushed = Pushed(**json.loads(sys.argv[1]))
pushed.push()
"""


def uploads(s3: Any, pushed: Pushed) -> list[dict[str, Any]]:
    """Not those of other tests, some of which end a push in the middle."""
    found = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return [one for one in found if one["Key"].startswith(pushed.prefix)]


@pytest.fixture
def only_streams(monkeypatch) -> None:
    """Nothing goes by DVC's own client."""
    monkeypatch.setattr(DvcTransfer, "put", None)
    monkeypatch.setattr(DvcTransfer, "get", None)


@pytest.mark.usefixtures("only_streams")
@pytest.mark.parametrize("script", [SMALL, LARGE], ids=["small", "large"])
def test_what_is_pushed_is_what_is_fetched(s3, pushed, script, caplog):
    pushed.prefix += "/odd %20 ü+&=:@[x]"
    make(pushed, script)
    caplog.set_level(logging.INFO)

    result = pushed.push()
    pushed.fetch()

    assert pushed.cached("empty") == pushed.cached()
    assert set(stored(s3, pushed)) == set(pushed.cached())
    assert result.objects == result.pushed == len(pushed.cached())
    for oid, key in stored(s3, pushed).items():
        content = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert hashlib.md5(content).hexdigest() == oid.removesuffix(".dir")
    assert "Everything is up to date." in caplog.messages  # said by `dvc push`
    assert not uploads(s3, pushed)


@pytest.mark.usefixtures("only_streams")
def test_what_is_there_already_is_not_pushed_again(s3, pushed, caplog):
    pushed.push()
    (one, *_) = (oid for oid, content in pushed.cached().items() if content == b"one")
    s3.delete_object(Bucket=BUCKET, Key=stored(s3, pushed)[one])
    times = {key: s3.head_object(Bucket=BUCKET, Key=key)["LastModified"] for key in stored(s3, pushed).values()}
    time.sleep(1.1)

    assert pushed.push().pushed == 1

    assert one in stored(s3, pushed)
    assert {key: s3.head_object(Bucket=BUCKET, Key=key)["LastModified"] for key in times} == times
    caplog.set_level(logging.INFO)
    caplog.clear()
    assert pushed.push().pushed == 0
    assert "Running: dvc push" not in caplog.messages


@pytest.mark.usefixtures("only_streams")
@pytest.mark.parametrize("script", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "damaged", [lambda content: content[:-1], lambda content: b"x" + content[1:]], ids=["truncated", "changed"]
)
def test_a_damaged_object_is_refused(s3, pushed, script, damaged):
    make(pushed, script)
    pushed.push()
    (oid, content) = max(pushed.cached().items(), key=lambda one: (not one[0].endswith(".dir"), len(one[1])))
    s3.put_object(Bucket=BUCKET, Key=stored(s3, pushed)[oid], Body=damaged(content))

    with pytest.raises(MissingObjectsError, match="missing from the cache and the store, or corrupted there"):
        pushed.fetch()

    assert oid not in pushed.cached("empty")
    assert pushed.push().pushed == 1  # over what lies there
    pushed.fetch()


@pytest.mark.usefixtures("only_streams")
def test_a_push_that_was_killed_in_the_middle_of_an_object_leaves_nothing_behind(s3, pushed):
    make(pushed, LARGE)
    pushed.made()
    with proxy_to(pushed.endpoint) as store:
        store.silent = lambda line: b"partNumber=6" in line
        task = start_push(pushed, store.url)
        wait_for(lambda: store.swallowed or task.poll() is not None)
        task.send_signal(signal.SIGKILL)
        task.wait()
    assert len(uploads(s3, pushed)) == 1

    assert pushed.push().pushed == 1

    assert not uploads(s3, pushed)
    pushed.fetch()
    assert pushed.cached("empty") == pushed.cached()


@pytest.mark.usefixtures("only_streams")
def test_credentials_may_come_from_the_environment(s3, pushed, monkeypatch):
    for name, value in pushed.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(Pushed, "credentials", lambda self: {"endpointurl": self.endpoint})

    assert pushed.push().pushed == len(stored(s3, pushed)) == len(pushed.cached())
    pushed.fetch()


def start_push(pushed: Pushed, endpoint: str) -> "subprocess.Popen[bytes]":
    place = {"folder": str(pushed.folder), "endpoint": endpoint, "keys": pushed.keys, "prefix": pushed.prefix}
    env = {**base_environment(), "PYTHONPATH": ".:plugins"}
    return subprocess.Popen(
        [sys.executable, "-c", PUSH, json.dumps(place)], cwd=Path(__file__).parents[2], env=env, start_new_session=True
    )


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.usefixtures("only_streams")
@pytest.mark.parametrize("silent", [b"partNumber=6", b"PUT /streams/"])
def test_a_remote_that_falls_silent_ends_the_push(pushed, monkeypatch, silent):
    monkeypatch.setattr(remote, "WATCH_SECONDS", 0.2)
    make(pushed, LARGE if b"part" in silent else SMALL)
    pushed.made()
    with proxy_to(pushed.endpoint) as store:
        store.silent = lambda line: bool(store.swallowed) or silent in line
        pushed.endpoint = store.url
        with pytest.raises(
            RemoteError, match=f"s3://{BUCKET}/{pushed.prefix} at {store.url} does not answer"
        ) as caught:
            pushed.push(read_timeout=1, connect_timeout=1)

    assert pushed.keys[1] not in str(caught.value)


@pytest.mark.usefixtures("only_streams")
def test_a_remote_that_is_gone_or_refuses_is_named(pushed):
    pushed.push()
    with proxy_to(pushed.endpoint) as store:
        pushed.endpoint = store.url
        store.refused = lambda line: line.startswith(b"GET") and b"/files/md5/" in line
        with pytest.raises(RemoteError, match=f"{store.url} refuses the credentials"):
            pushed.fetch()
    with pytest.raises(RemoteError, match=f"{store.url} does not answer"):
        pushed.fetch()


def test_an_upload_that_another_task_ended_by_the_same_object_is_no_error(tmp_path):
    from obstore.store import MemoryStore

    class Aborted:
        async def put_async(self, *arguments: Any, **options: Any) -> None:
            raise FileNotFoundError("NoSuchUpload")

    there: Any = MemoryStore()
    there.put("there", b"one")
    (tmp_path / "file").write_bytes(b"one")
    transfer = streams.Streams(S3Client("bucket", there, Aborted()))

    transfer.put([(str(tmp_path / "file"), "bucket/there")])
    with pytest.raises(FileNotFoundError, match="NoSuchUpload"):
        transfer.put([(str(tmp_path / "file"), "bucket/elsewhere")])


@pytest.mark.parametrize("options", [{"sse": "AES256"}, {"acl": "private"}])
def test_a_remote_with_options_that_only_dvc_knows_is_left_to_dvc(s3, pushed, monkeypatch, options):
    monkeypatch.setattr(streams.Streams, "put", None)

    assert pushed.push(**options).pushed == len(stored(s3, pushed)) == len(pushed.cached())
    pushed.fetch()

    assert pushed.cached("empty") == pushed.cached()
