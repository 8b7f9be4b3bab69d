"""Which model versions are kept: those with an alias, and the champions before, to which a roll-back may go."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from include.collection.decide import Champions
from include.errors import PipelineError
from include.mlflow_client import CHAMPION, connect, find_model, run_of_version, translated_errors
from include.registry.history import champion_changes, promotion_chain
from include.settings import RuntimeSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient


def champions_of(runtime: RuntimeSettings, models: Iterable[str], before_each: Callable[[], None]) -> Champions:
    """The versions of these registered models that are kept.

    :param before_each: called before each version is asked for.
    :raises PipelineError: MLflow cannot be asked.
    """
    versions: dict[str, set[str]] = {}
    mlflow_runs: set[str] = set()
    try:
        mlflow = connect(runtime)
        with translated_errors(runtime):
            for name in sorted(set(models)):
                versions[name] = _kept_versions(mlflow, name)
                for one in versions[name]:
                    before_each()
                    if run := run_of_version(mlflow, name, one):
                        mlflow_runs.add(run)
    except PipelineError as error:
        raise type(error)(
            f"which versions are champions is not known: {error} Without them: --no-keep-champions."
        ) from None
    return Champions(versions, mlflow_runs)


def _kept_versions(mlflow: "MlflowClient", name: str) -> set[str]:
    model = find_model(mlflow, name)
    if model is None:
        return set()
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    chain = promotion_chain(champion_changes(model.tags), aliases.get(CHAMPION))
    return {*aliases.values(), *chain}
