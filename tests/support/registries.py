"""Registered models of tests, and MLflow runs that trained them."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
import pytest
from sklearn.linear_model import LogisticRegression

from include.registry.champion import Actor
from include.registry.registry import Registry, Scores
from include.settings import RegistryConfig, RuntimeSettings
from include.settings.config_file import load_config
from include.stages.get_data import load_builtin


class Registries:
    """A model of its own per test, and MLflow runs that trained it."""

    def __init__(self, deployment) -> None:
        self.deployment = deployment
        self.runtime = RuntimeSettings.model_validate({name.lower(): value for name, value in deployment.env.items()})
        self.mlflow = mlflow.MlflowClient()
        self.base = load_config(deployment.project)
        iris = load_builtin("iris", "target").sample(frac=1, random_state=0)
        self._features, self._target = iris.drop(columns="target"), iris["target"]
        self._trained: dict[int, dict[str, str]] = {}
        mlflow.set_experiment("registry")

    def trained(self, number: int) -> dict[str, str]:
        """An MLflow run, made when it is first asked for; the higher the number, the more rows its model has seen."""
        if number not in self._trained:
            features, target = self._features, self._target
            model = LogisticRegression(max_iter=300).fit(features[: 8 + 10 * number], target[: 8 + 10 * number])
            signature = mlflow.models.infer_signature(features, target)
            with mlflow.start_run() as run:
                logged = mlflow.sklearn.log_model(model, name="model", signature=signature, pip_requirements=["pandas"])
            self._trained[number] = {"run_id": run.info.run_id, "model_uri": logged.model_uri}
        return self._trained[number]

    def registry(self, name: str) -> Registry:
        config = self.base.model_copy(update={"registry": self.base.registry.model_copy(update={"model_name": name})})
        return Registry(config, self.runtime, self.mlflow)

    def versions(self, name: str) -> dict[str, str]:
        return {one.version: one.run_id for one in self.mlflow.search_model_versions(f"name = '{name}'")}

    @property
    def by_value(self) -> RegistryConfig:
        """A rule that compares one metric as it is."""
        return self.base.registry.model_copy(update={"minimum": 0.5, "tolerances": {}, "confidence": None})

    def promote(self, registry: Registry, version: str, accuracy: dict[str, float], task: str | None = None):
        rule = self.by_value
        scores = {one: {"test_accuracy": value} for one, value in accuracy.items()}
        return registry.promote(
            version,
            scores[version],
            rule,
            lambda champion: Scores(scores[champion.version], "scored on the same test rows"),
            Actor("a test", task or f"task-{version}"),
        )


@contextmanager
def registries_of(deployment) -> Iterator[Registries]:
    """The registries of a deployment; MLflow's own functions use its server until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", deployment.env["MLFLOW_TRACKING_URI"])
        mlflow.set_tracking_uri(deployment.env["MLFLOW_TRACKING_URI"])
        yield Registries(deployment)
