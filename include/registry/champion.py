"""The alias `champion` of a registered model: which version holds it, and changes of it, one at a time.

MLflow cannot compare and set an alias in one step. So a process that changes one holds a lock in the object store
meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from include.errors import DataError
from include.mlflow_client import CHAMPION, version_of_alias, versions_of_model
from include.registry.history import (
    PREVIOUS,
    ChampionChange,
    Kind,
    champion_changes,
    completed,
    promotion_chain,
    rolled_back,
)
from include.settings import CONFIG_FILE, PipelineConfig, RuntimeSettings
from include.store.client import client as store_client
from include.store.client import ensure_bucket, translated_errors
from include.store.lock import Lease, leased

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"
SHOWN = 20  # versions that a message lists, the newest ones


@dataclass(frozen=True)
class Actor:
    """Who changes the champion: a person or a run, and the task, whose retry has the same ``token``."""

    name: str
    token: str


class Champion:
    """The champion of one registered model, and its aliases.

    :param config: of a run, for its ``registry.model_name``.
    :param mlflow: an MlflowClient.
    :param lock_bucket: where the lock is, the same for all that change this model, whatever bucket a run uses;
        default: that of ``config``.
    """

    def __init__(
        self,
        config: PipelineConfig,
        runtime: RuntimeSettings,
        mlflow: "MlflowClient",
        lock_bucket: str | None = None,
    ) -> None:
        self.config, self.name, self.mlflow = config, config.registry.model_name, mlflow
        self._runtime, self._bucket = runtime, lock_bucket or config.storage.bucket

    def roll_back(self, target: str, reason: str, actor: Actor) -> ChampionChange:
        """Give the alias `champion` back to an earlier version. The one that loses it is not promoted again
        automatically.

        :param target: a version, or `PREVIOUS`: the one that was champion before.
        :return: what was changed; the same as before when a task is tried again.
        :raises DataError: the version does not exist, or is the champion already; no alias is changed.
        """
        with self._locked() as lease:
            champion = self.version_of(CHAMPION)
            change = self._begun(actor, champion, self.history()) or self.plan("roll-back", target, reason, actor)
            if champion != change.version:
                lease.extend()
                self._set_champion(change, lease)
        return change

    def plan(self, kind: Kind, target: str, reason: str, actor: Actor) -> ChampionChange:
        """The change of the champion that would be made now; nothing is changed.

        :param target: see `roll_back`.
        :raises DataError: the version does not exist, or is the champion already.
        """
        champion, history = self.version_of(CHAMPION), self.history()
        version = self._previous(champion, history) if target == PREVIOUS else str(int(target.removeprefix("v")))
        self._require(version, champion)
        return ChampionChange.now(kind, version, champion, reason, actor.name, actor.token).after(history)

    def carry_out(self, plan: ChampionChange) -> ChampionChange:
        """Make a planned change.

        :return: the change as it is recorded.
        :raises DataError: the champion has changed since it was planned, or the version was deleted.
        """
        with self._locked() as lease:
            if (champion := self.version_of(CHAMPION)) != plan.before:
                raise DataError(
                    f"the champion of model {self.name} is version {champion or 'none'} now: it was changed meanwhile. "
                    "Nothing was changed by this command; run it again."
                )
            change = self.plan(plan.kind, plan.version, plan.reason, Actor(plan.by, plan.token))
            lease.extend()
            self._set_champion(change, lease)
        return change

    def _begun(self, actor: Actor, champion: str | None, history: list[ChampionChange]) -> ChampionChange | None:
        """What an earlier try of the same task wrote down."""
        begun = [change for change in history if change.token == actor.token]
        if not begun:
            return None
        if champion != begun[-1].version and (champion != begun[-1].before or begun[-1] != history[-1]):
            raise DataError(
                f"this rollback, to version {begun[-1].version}, was made at {begun[-1].at}; since then version "
                f"{champion} became champion. Trigger ml_rollback again to roll that one back. Nothing was changed."
            )
        return begun[-1]

    def version_of(self, alias: str) -> str | None:
        """The version that holds an alias, if one does."""
        return version_of_alias(self.mlflow, self.name, alias)

    def history(self) -> list[ChampionChange]:
        """Every change of the champion, oldest first.

        :raises DataError: no version of the model was ever registered.
        """
        from mlflow.exceptions import MlflowException

        try:
            return champion_changes(self.mlflow.get_registered_model(self.name).tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise DataError(
                f"MLflow has no model {self.name}: no version of it is registered yet. Run the pipeline first, or "
                f"check registry.model_name in {CONFIG_FILE}. Nothing was changed."
            ) from None

    def last_change(self) -> ChampionChange | None:
        """The last change of the champion that took place, if one is recorded."""
        return next(reversed(completed(self.history(), self.version_of(CHAMPION))), None)

    def rolled_back(self) -> dict[str, ChampionChange]:
        """See `include.registry.history.rolled_back`."""
        return rolled_back(self.history(), self.version_of(CHAMPION))

    def _set_champion(self, change: ChampionChange, lease: Lease) -> None:
        """Write the change down, then make it: a process may be killed in between, and its retry goes on."""
        from mlflow.exceptions import MlflowException

        self.mlflow.set_registered_model_tag(self.name, *change.tag())
        lease.extend()
        self._set_alias(CHAMPION, change.version)
        with suppress(MlflowException):  # it is champion: a left-over alias does no harm
            if self.version_of(CHALLENGER) == change.version:
                self.mlflow.delete_registered_model_alias(self.name, CHALLENGER)

    def _previous(self, champion: str | None, history: list[ChampionChange]) -> str:
        versions = promotion_chain(history, champion)
        if champion is None or len(versions) < 2:
            others = self._versions(without=champion)
            raise DataError(
                f"model {self.name}: no version is recorded as champion before {champion or 'now'}. "
                + (f"Name one: {others}." if others else "It has no other version.")
            )
        return versions[-2]

    def _require(self, version: str, champion: str | None) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._version(version)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise DataError(
                f"model {self.name} has no version {version}: it was deleted or never existed. Available: "
                f"{self._versions() or 'none'}."
            ) from None
        if version == champion:
            raise DataError(f"version {version} of model {self.name} is already the champion. Nothing was changed.")

    def _versions(self, without: str | None = None) -> str:
        return ", ".join([one for one in versions_of_model(self.mlflow, self.name) if one != without][-SHOWN:])

    def _version(self, version: str) -> "ModelVersion":
        return self.mlflow.get_model_version(self.name, version)

    def _set_alias(self, alias: str, version: str) -> None:
        if self.version_of(alias) != version:
            self.mlflow.set_registered_model_alias(self.name, alias, version)

    @contextmanager
    def _locked(self) -> Iterator[Lease]:
        s3 = store_client(self._runtime)
        with translated_errors(self._runtime, f"lock of model {self.name} in storage.bucket: {self._bucket}"):
            ensure_bucket(s3, self._bucket, self._runtime)
            with leased(s3, self._bucket, f"registry/{quote(self.name, safe='')}") as lease:
                yield lease
