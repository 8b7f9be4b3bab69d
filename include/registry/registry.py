"""The model registry (MLflow): register a run's model, and evaluate it by the gate before it becomes champion."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from include.mlflow_client import CHAMPION, require_run, versions_of_run
from include.registry.champion import CHALLENGER, Actor, Champion
from include.registry.evidence import Evidence
from include.registry.gate import Verdict, evaluate
from include.registry.history import ChampionChange, champion_changes, rolled_back
from include.registry.warnings import warnings_of
from include.settings import RegistryConfig
from include.store.lock import Lease

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

# What to do if the champion is a model for other columns
OTHER_TABLE = (
    "For a model of its own, set another registry.model_name; to replace the champion, run "
    "`python -m include promote {}`"
)


class Scores(NamedTuple):
    """Values of a champion by metric (None: it does not fit the test rows), how they were obtained, and the evidence.

    Without a champion there may still be evidence, on the challenger alone.
    """

    values: Mapping[str, float] | None
    note: str
    evidence: Evidence | None = None


NO_CHAMPION = "there is no champion to compare with: only the minimum applies"


class Registry(Champion):
    """The versions of one registered model, as runs make them. See `Champion` for the parameters."""

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
        scores_of: Callable[["ModelVersion | None"], Scores],
        actor: Actor,
    ) -> Verdict:
        """Apply the gate, and move the alias: `champion` to a version that passes, else `challenger`.

        :param metrics: the version's test metrics by name, such as ``test_accuracy``.
        :param scores_of: gives the champion's on the same test rows. Called with None if `registry.slices` names groups
            and there is no champion to compare with, or the version is it.
        :raises DataError: the champion cannot be scored, or the test rows have no such groups; no alias is changed.
        """
        with self._locked() as lease:
            champion, history = self._state()
            begun = [change for change in history if change.token == actor.token and change.version == version]
            # An earlier try of the same task got as far as that: it returns the same verdict.
            before = begun[-1].before if begun and champion == version else champion
            back = rolled_back(history, champion).get(version)
            verdict = self._evaluate(version, metrics, rule, scores_of, before, back, lease)
            lease.extend()
            if verdict.alias == CHAMPION and champion != version:
                reason = f"gate: {rule.metric} {metrics[rule.metric]:.4f}"
                change = ChampionChange.now("promotion", version, champion, reason, actor.name, actor.token)
                self._set_champion(change.after(history), lease)
                history = self.history()
            elif verdict.alias == CHALLENGER:
                self._set_alias(CHALLENGER, version)
            # By the history: an earlier try of the same task may have got as far as that.
            is_new = verdict.alias == CHAMPION and actor.token in [change.token for change in history[-1:]]
        return replace(verdict, is_new_champion=is_new)

    def propose(
        self,
        version: str,
        metrics: Mapping[str, float],
        rule: RegistryConfig,
        scores_of: Callable[["ModelVersion | None"], Scores],
    ) -> Verdict:
        """Apply the gate, but leave the champion: a version that is not it is challenger until it is promoted."""
        with self._locked() as lease:
            champion, history = self._state()
            back = rolled_back(history, champion).get(version)
            verdict = self._evaluate(version, metrics, rule, scores_of, champion, back, lease)
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
        scores_of: Callable[["ModelVersion | None"], Scores],
        champion: str | None,
        back: ChampionChange | None,
        lease: Lease,
    ) -> Verdict:
        scores, newer = Scores(None, NO_CHAMPION), True
        if champion not in (None, version):
            scores = scores_of(self._version(champion))
            newer = int(version) > int(champion)
        elif rule.slices:  # their minimums apply, and a column that is not there is a mistake all the same
            scores = scores_of(None)
        note = "it is already the champion" if champion == version else scores.note
        if scores.values is None and champion not in (None, version):
            note = f"{note}. {OTHER_TABLE.format(version)}"
        # Hundreds of groups take longer than a lease.
        checks = evaluate(rule, metrics, scores.values, newer=newer, evidence=scores.evidence, between=lease.keep)
        comparable = scores.values is not None or champion in (None, version)
        passed = comparable and all(check.passed for check in checks)
        if back:
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
            warnings=warnings_of(rule, checks, scores.evidence),
        )

    def _state(self) -> tuple[str | None, list[ChampionChange]]:
        """The champion, and every change of it, oldest first: by one request."""
        model = self.mlflow.get_registered_model(self.name)
        champion = model.aliases.get(CHAMPION)
        return None if champion is None else str(champion), champion_changes(model.tags)

    def _versions_of(self, mlflow_run_id: str) -> list[str]:
        """Those of an MLflow run, the first one first."""
        return versions_of_run(self.mlflow, self.name, mlflow_run_id)

    def _make_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.mlflow.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _why_not(version: str, back: ChampionChange) -> str:
    return (
        f"version {version} was rolled back on {back.at[:10]} by {back.by} ({back.reason}): only "
        f"`python -m include promote {version}` makes it champion again"
    )
