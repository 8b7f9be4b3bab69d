"""The lock in the object store, with a real store."""

import threading
import time

import pytest

from include.errors import ServiceError
from include.settings import RuntimeSettings
from include.store.client import client
from include.store.lock import LEASE, HeldError, leased
from tests.support.concurrency import at_once


@pytest.fixture(scope="module")
def deployment(make_deployment):
    return make_deployment("lock")


@pytest.fixture(scope="module")
def s3(deployment):
    return client(RuntimeSettings.model_validate({name.lower(): value for name, value in deployment.env.items()}))


def test_a_lock_is_held_by_one_and_let_go(deployment, s3):
    bucket = deployment.bucket
    inside, most = [], []

    def work(number: int) -> None:
        with leased(s3, bucket, "test/one"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(number)

    at_once(work, range(8))

    assert most == [1] * 8
    assert "locks/test/one" not in deployment.objects()


def test_a_lock_that_a_killed_process_left_is_taken_over_after_its_lease(deployment, s3, monkeypatch):
    bucket = deployment.bucket
    s3.put_object(Bucket=bucket, Key="locks/test/left", Body=b"someone who is gone")
    monkeypatch.setattr("include.store.lock.LEASE", 2.0)
    began = time.monotonic()

    with leased(s3, bucket, "test/left") as lease:
        waited = time.monotonic() - began
        lease.extend()

    assert waited > 1  # it was left alone for the whole lease
    assert "locks/test/left" not in deployment.objects()


def test_a_lock_that_is_kept_is_held_for_longer_than_its_lease(deployment, s3, monkeypatch):
    monkeypatch.setattr("include.store.lock.LEASE", 2.0)

    with leased(s3, deployment.bucket, "test/kept") as lease:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            lease.keep()
            with pytest.raises(HeldError), leased(s3, deployment.bucket, "test/kept", patience=0):
                pass


def test_who_lost_a_lock_to_another_does_not_go_on(deployment, s3, monkeypatch):
    bucket = deployment.bucket
    monkeypatch.setattr("include.store.lock.LEASE", 1.0)
    other_has_it, other_is_done = threading.Event(), threading.Event()

    def other() -> None:
        with leased(s3, bucket, "test/slow"):
            other_has_it.set()
            other_is_done.wait(60)

    with leased(s3, bucket, "test/slow") as lease:
        thread = threading.Thread(target=other)
        thread.start()
        assert other_has_it.wait(60)
        with pytest.raises(ServiceError, match=r"lock locks/test/slow was taken over by another process"):
            lease.extend()
    # its lock is the other's now, and is not taken away from it
    assert "locks/test/slow" in deployment.objects()
    other_is_done.set()
    thread.join()
    assert "locks/test/slow" not in deployment.objects()
    assert LEASE >= 30
