"""Reproduce what is missing: the stage that makes it runs once more, in the same run."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from dvc_airflow.dvc.object import MissingObjectsError, Object
from dvc_airflow.errors import TaskError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Producer(NamedTuple):
    """A task that runs a stage, and what runs that stage once more."""

    task_id: str
    reproduce: Callable[[Sequence[Object]], None]


# By the name of a stage; raises a TaskError where no task runs it.
FindProducer = Callable[[str], Producer]


def no_producer(stage: str) -> Producer:
    """For a stage that is run by itself.

    :raises TaskError: always.
    """
    raise TaskError(f"Run stage {stage}, which produces it, again.")


class NoProducerError(TaskError):
    """Objects are missing, and no stage makes them: those of a .dvc file."""


def no_stage_produces(error: MissingObjectsError) -> NoProducerError:
    """What to say of such objects."""
    return NoProducerError(
        f"{error}. No stage produces it: run `dvc push` in a checkout that has it, or, if the project has no remote, "
        "let cache_dir= name the cache that has it."
    )


def left_out_lacks(stage: str, needed_by: str) -> TaskError:
    """What to say where the result of a stage without a task is missing."""
    return TaskError(
        f"stage {needed_by} needs what stage {stage} makes, which this DAG leaves out (select, exclude), and its "
        f"result by dvc.lock is neither in the cache nor in the remote. Run `dvc push {stage}` where it was made, or "
        f"select {stage} too."
    )


def reproducing_missing(do: Callable[[], T], producer_of: FindProducer) -> T:
    """Do something with the outputs of earlier stages; a stage whose output is missing or corrupted runs once more.

    :raises TaskError: no stage makes what is missing, or it makes something else now.
    """
    reproduced: dict[str, str] = {}
    while True:
        try:
            return do()
        except MissingObjectsError as error:
            stage = error.producer
            if stage is None:
                raise no_stage_produces(error) from None
            if stage in reproduced:
                raise TaskError(
                    f"{error}. Stage {stage} was executed again with a different result. Clear task "
                    f"{reproduced[stage]} and all tasks after it."
                ) from None
            log.warning("%s. Stage %s, which produces it, is run again.", error, stage)
            producer = producer_of(stage)
            producer.reproduce(error.objects)
            reproduced[stage] = producer.task_id
