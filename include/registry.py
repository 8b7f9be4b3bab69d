"""The model registry (MLflow): register the model of a run, and let it through the gate."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from include.mlflow_client import require_run
from include.settings import RegistryConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a version. ``champion`` is the version that holds the alias afterwards, if any."""

    version: str
    metric: str
    value: float
    rule: str
    passed: bool
    alias: str
    champion: str | None

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return asdict(self)


def register(client: "MlflowClient", name: str, mlflow_run: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """Register the run's model, unless that was done before.

    :param mlflow_run: ``run_id`` and ``model_uri``, as the stage `train_and_evaluate` writes them.
    :param tags: set on a version that is new.
    :return: the version.
    :raises DataError: the MLflow run is gone.
    """
    import mlflow

    known = client.search_model_versions(f"name = '{_quoted(name)}' and run_id = '{mlflow_run['run_id']}'")
    if known:
        return str(min(known, key=lambda version: int(version.version)).version)
    require_run(client, mlflow_run["run_id"])
    registered = mlflow.register_model(mlflow_run["model_uri"], name, tags=dict(tags))
    return str(registered.version)


def promote(client: "MlflowClient", version: str, metrics: Mapping[str, float], rule: RegistryConfig) -> Verdict:
    """Apply the gate, and move the alias: `champion` if the minimum is met, else `challenger`.

    :param metrics: the test metrics by name, such as ``test_accuracy``.
    """
    value = metrics[rule.metric]
    passed = value >= rule.minimum
    alias = CHAMPION if passed else CHALLENGER
    if alias_version(client, rule.model_name, alias) != version:
        client.set_registered_model_alias(rule.model_name, alias, version)
    return Verdict(
        version=version,
        metric=rule.metric,
        value=value,
        rule=f"{rule.metric} >= {rule.minimum}",
        passed=passed,
        alias=alias,
        champion=alias_version(client, rule.model_name, CHAMPION),
    )


def alias_version(client: "MlflowClient", name: str, alias: str) -> str | None:
    """The version that holds the alias, if one does."""
    holder = client.get_registered_model(name).aliases.get(alias)
    return str(holder) if holder is not None else None


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
