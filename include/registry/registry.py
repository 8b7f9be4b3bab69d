"""The model registry (MLflow): register a run's model, evaluate it by the gate, set and roll back the champion.

MLflow cannot compare and set an alias in one step. So a process that changes one holds a lock in the object store
meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from include.errors import DataError
from include.mlflow_client import CHAMPION, require_run, version_of_alias, versions_of_model, versions_of_run
from include.registry.gate import Verdict, evaluate
from include.registry.history import ChampionChange, champion_changes, promotion_chain, rolled_back
from include.settings import PipelineConfig, RegistryConfig, RuntimeSettings
from include.store.client import client as store_client
from include.store.client import ensure_bucket, translated_errors
from include.store.lock import Lease, leased

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"
PREVIOUS = "previous"
SHOWN = 20  # versions that a message lists, the newest ones

# Values of a version by metric (None: it does not fit the test rows), and how they were obtained
Scores = tuple[Mapping[str, float] | None, str]


@dataclass(frozen=True)
class Actor:
    """Who changes the champion: a person or a run, and the task, whose retry has the same ``token``."""

    name: str
    token: str


class Registry:
    """The versions and aliases of one registered model.

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

    def register(self, mlflow_run: Mapping[str, str], tags: Mapping[str, str], description: str) -> tuple[str, bool]:
        """Register the run's model, unless that was done before: one version per MLflow run.

        :param mlflow_run: ``run_id`` and ``model_uri``, as the stage `train_and_evaluate` writes them.
        :param tags, description: of a version that is new (Markdown).
        :return: the version, and whether it is new.
        :raises DataError: the MLflow run was deleted.
        """
        with self._locked() as lease:
            if known := self._versions_of(mlflow_run["run_id"]):
                return known[0], False
            require_run(self.mlflow, mlflow_run["run_id"])
            self._make_model()
            lease.extend()
            self.mlflow.create_model_version(
                self.name,
                mlflow_run["model_uri"],
                run_id=mlflow_run["run_id"],
                tags=dict(tags),
                description=description,
                model_id=mlflow_run["model_uri"].removeprefix("models:/"),
            )
            # Where an answer is lost, MLflow's client asks again, and so makes another one.
            version, *others = self._versions_of(mlflow_run["run_id"])
            for other in others:
                self.mlflow.delete_model_version(self.name, other)
            return version, True

    def promote(
        self,
        version: str,
        metrics: Mapping[str, float],
        rule: RegistryConfig,
        scores_of: Callable[["ModelVersion"], Scores],
        actor: Actor,
    ) -> Verdict:
        """Apply the gate, and move the alias: `champion` to a version that passes, else `challenger`.

        :param metrics: the version's test metrics by name, such as ``test_accuracy``.
        :param scores_of: gives the champion's on the same test rows.
        :raises DataError: the champion cannot be scored; the aliases are as they were.
        """
        with self._locked() as lease:
            champion = self.version_of(CHAMPION)
            begun = [change for change in self.history() if change.token == actor.token and change.version == version]
            # An earlier try of the same task got as far as that: it returns the same verdict.
            before = begun[-1].before if begun and champion == version else champion
            verdict = self._evaluate(version, metrics, rule, scores_of, before)
            lease.extend()
            if verdict.alias == CHAMPION and champion != version:
                reason = f"gate: {rule.metric} {metrics[rule.metric]:.4f}"
                change = ChampionChange.now("promotion", version, champion, reason, actor.name, actor.token)
                self._set_champion(change.after(self.history()), lease)
            elif verdict.alias == CHALLENGER:
                self._set_alias(CHALLENGER, version)
            # By the history: an earlier try of the same task may have got as far as that.
            is_new = verdict.alias == CHAMPION and actor.token in [change.token for change in self.history()[-1:]]
        return replace(verdict, is_new_champion=is_new)

    def propose(
        self,
        version: str,
        metrics: Mapping[str, float],
        rule: RegistryConfig,
        scores_of: Callable[["ModelVersion"], Scores],
    ) -> Verdict:
        """Apply the gate, but leave the champion: a version that is not it is challenger until it is promoted."""
        with self._locked() as lease:
            verdict = self._evaluate(version, metrics, rule, scores_of, self.version_of(CHAMPION))
            lease.extend()
            if verdict.compared_with == version:
                return verdict
            self._set_alias(CHALLENGER, version)
        return replace(verdict, alias=CHALLENGER, champion=verdict.compared_with)

    def _evaluate(
        self,
        version: str,
        metrics: Mapping[str, float],
        rule: RegistryConfig,
        scores_of: Callable[["ModelVersion"], Scores],
        champion: str | None,
    ) -> Verdict:
        scores, newer = None, True
        if champion == version:
            note = "it is already the champion"
        elif champion is None:
            note = "there is no champion to compare with: only the minimum applies"
        else:
            scores, note = scores_of(self._version(champion))
            newer = int(version) > int(champion)
        checks = evaluate(rule, metrics, scores, newer=newer)
        comparable = scores is not None or champion in (None, version)
        passed = comparable and all(check.passed for check in checks)
        if back := rolled_back(self.history(), self.version_of(CHAMPION)).get(version):
            passed, note = False, f"{note}; {_why_not(version, back)}"
        keeps = passed or champion == version
        return Verdict(
            version=version,
            passed=passed,
            alias=CHAMPION if keeps else CHALLENGER,
            compared_with=champion,
            champion=version if keeps else champion,
            note=note,
            checks=checks,
        )

    def roll_back(self, target: str, reason: str, actor: Actor) -> ChampionChange:
        """Give the alias `champion` back to an earlier version. The one that loses it is not promoted again
        automatically.

        :param target: a version, or `PREVIOUS`: the one that was champion before.
        :return: what was changed; the same as before when a task is tried again.
        :raises DataError: there is no such version, or it is the champion; the aliases are as they were.
        """
        with self._locked() as lease:
            champion, history = self.version_of(CHAMPION), self.history()
            change = self._begun(actor, champion, history)
            if change is None:
                version = self._previous(champion, history) if target == PREVIOUS else target.removeprefix("v")
                self._require(version, champion)
                change = ChampionChange.now("roll-back", version, champion, reason, actor.name, actor.token).after(
                    history
                )
            if champion != change.version:
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
        """Every change of the champion, oldest first."""
        return champion_changes(self.mlflow.get_registered_model(self.name).tags)

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
            raise DataError(
                f"model {self.name}: no version is recorded as champion before {champion or 'now'}. "
                f"Name one: {self._known()}."
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
                f"{self._known()}."
            ) from None
        if version == champion:
            raise DataError(f"version {version} of model {self.name} is already the champion. Nothing was changed.")

    def _known(self) -> str:
        return ", ".join(versions_of_model(self.mlflow, self.name)[-SHOWN:]) or "none"

    def _version(self, version: str) -> "ModelVersion":
        return self.mlflow.get_model_version(self.name, version)

    def _versions_of(self, mlflow_run_id: str) -> list[str]:
        """Those of an MLflow run, the first one first."""
        return versions_of_run(self.mlflow, self.name, mlflow_run_id)

    def _set_alias(self, alias: str, version: str) -> None:
        if self.version_of(alias) != version:
            self.mlflow.set_registered_model_alias(self.name, alias, version)

    def _make_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.mlflow.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @contextmanager
    def _locked(self) -> Iterator[Lease]:
        s3 = store_client(self._runtime)
        with translated_errors(self._runtime, f"lock of model {self.name} in storage.bucket: {self._bucket}"):
            ensure_bucket(s3, self._bucket, self._runtime)
            with leased(s3, self._bucket, f"registry/{quote(self.name, safe='')}") as lease:
                yield lease


def _why_not(version: str, back: ChampionChange) -> str:
    return (
        f"version {version} was rolled back on {back.at[:10]} by {back.by} ({back.reason}): only "
        f"`rollback {version}` makes it champion again"
    )
