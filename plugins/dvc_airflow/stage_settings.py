"""What a DAG says of a stage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dvc_airflow.command import Environment, base_environment


@dataclass(frozen=True)
class StageSettings:
    """What a DAG says of a stage.

    :param name: as ``dvc repro`` takes it.
    :param repro: the bash command that runs it, to which options of ``dvc repro`` can be added.
    :param command: what the stage runs by the project's own files. A run whose values would make it run something else
        is refused: a command is code, and values from users never reach a shell.
    :param definitions: the project's files from which DVC works out the stages, see `dvc_airflow.project.Project`.
    :param sources: files and folders of the project that it depends on and that no stage makes.
    :param outputs: all that the project's stages make.
    :param is_frozen: its result is the one in the project's dvc.lock.
    :param publish: small text outputs whose content goes into the result.
    :param check_restored: called with the published outputs of an earlier result; returns why that may not be used any
        more, or None.
    :param passed_on: names of variables that it is to get from this process.
    :param history: under which name the history of its DAG knows it; default: its own.
    :param environment: gives all that the command's process gets.
    """

    name: str
    repro: str
    command: str | list[str]
    definitions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    is_frozen: bool = False
    publish: tuple[str, ...] = ()
    check_restored: Callable[[Mapping[str, str]], str | None] | None = None
    passed_on: tuple[str, ...] = ()
    history: str | None = None
    environment: Environment = base_environment

    @property
    def short_name(self) -> str:
        """Without the path of its dvc.yaml, as the lock file has it."""
        return self.name.rpartition(":")[2]

    @property
    def history_name(self) -> str:
        """Under which the history of its DAG knows it."""
        return self.history or self.name

    def unusable(self, published: Mapping[str, str]) -> str | None:
        """Why an earlier result may not be used any more, by what it published; None if it may."""
        return self.check_restored(published) if self.check_restored else None
