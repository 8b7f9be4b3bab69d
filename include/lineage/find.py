"""Find a run by its Airflow run id, an MLflow run id, a model version, or the beginning of an id."""

from include.errors import DataError
from include.lineage.lineage_store import LineageStore
from include.lineage.run_keys import RunKey

SHOWN = 10


def find_run(lineage: LineageStore, name: str, model_name: str) -> RunKey:
    """Find a run.

    :param name: an Airflow run id (``<dag>/<run>`` where two DAGs have the same), an MLflow run id, the number of a
        version of the model, or what one of these ids begins with.
    :raises DataError: no run matches, or several do.
    """
    if not name.strip("/ "):
        raise DataError("no run was given. `runs` lists the recorded runs.")
    if name.removeprefix("v").isdigit() and (runs := lineage.of_version(model_name, name.removeprefix("v"))):
        return runs[0]
    if trained := lineage.of_mlflow_run(name):
        return trained[0]
    dag_id, _, rest = name.rpartition("/")
    found = {run: str(run) for run in lineage.runs_like(name)}
    if dag_id:
        found |= {run: f"{dag_id}/{run}" for run in lineage.runs_like(rest) if run.dag_id == dag_id}
    exact = [run for run, shown in found.items() if shown == name]
    # Before other runs are taken for it whose ids begin like this.
    if not exact and (at := lineage.collected_named(name, model_name)):
        raise DataError(f"gc removed run {name}, or that of this version, on {at}: nothing is recorded of it now.")
    candidates = exact or [*found]
    for mlflow_run in [] if exact else lineage.mlflow_runs_like(name):
        candidates += lineage.of_mlflow_run(mlflow_run)[:1]
    return _only(list(dict.fromkeys(candidates)), name)


def _only(candidates: list[RunKey], name: str) -> RunKey:
    if not candidates:
        raise DataError(
            f"no run, MLflow run or model version is named {name!r} or begins with it. `runs` lists the recorded runs; "
            "a run that failed before record_lineage has no manifest."
        )
    if len(candidates) > 1:
        ids = [run.run_id for run in candidates]
        shown = [run.run_id if ids.count(run.run_id) == 1 else f"{run.dag_id}/{run.run_id}" for run in candidates]
        more = ", ..." if len(shown) > SHOWN else ""
        raise DataError(f"{name!r} is ambiguous: {', '.join(shown[:SHOWN])}{more}. Give more characters.")
    return candidates[0]
