"""What the tab `DVC` in Airflow says of this project's runs, beside their stages: model, verdict, values, links.

It is made from what the tasks returned, whichever version of the code wrote it: only the fields that are shown are
read. MLflow is asked one thing, which version is champion now: a roll-back by the command line leaves no trace in
Airflow.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dvc_airflow.run_page.details import Described, Details, Link, Mark, Project
from dvc_airflow.run_page.runs import Run
from include.errors import ConfigError, PipelineError
from include.lineage.differences import flat
from include.mlflow_client import run_url, version_url
from include.mlflow_requests import champion_version
from include.registry.gate import why_not_champion
from include.settings import RuntimeSettings, load_runtime_settings
from include.settings.config_file import is_fixed
from include.store.stored_objects import object_path
from ml_operators.links import object_url, report_url

# Whose results are read; `dvc_airflow` finds them by the names of their operators.
OPERATORS = (
    "ResolveConfigOperator",
    "RegisterModelOperator",
    "RecordLineageOperator",
    "EvaluateModelOperator",
    "PromoteModelOperator",
)
SECONDS = 3  # that MLflow has to answer, for all models together: somebody waits for the page
AT_ONCE = 8  # requests to MLflow
UNKNOWN = "Which version {}is champion now is not known: {}"


class _Resolved(BaseModel):
    config: dict[str, Any]
    remote_url: str
    code: dict[str, Any]


class _Registered(BaseModel):
    name: str
    version: str
    metrics: dict[str, float]


class _Recorded(BaseModel):
    mlflow_run: dict[str, str]


class _Evaluated(BaseModel):
    passed: bool
    alias: str
    note: str
    table: str
    is_new_champion: bool = False
    mlflow_run: dict[str, str]
    report: str


T = TypeVar("T", bound=BaseModel)


def describe(runs: Sequence[Run], shown: int) -> Described:
    """What there is to say of these runs.

    :param shown: how many, from the first on, are shown; the champions of their models are asked for.
    """
    try:
        runtime = load_runtime_settings()
    except ConfigError as error:
        return Described([Details() for _ in runs], [f"Of models and verdicts nothing is known: {error}"])
    found = [model.name for run in runs[:shown] if (model := _read(run, _Registered, "RegisterModelOperator"))]
    models = list(dict.fromkeys(found))
    champions, notes = _champions(runtime, models)
    return Described([_details(runtime, run, champions, named=len(models) > 1) for run in runs], notes)


def _champions(runtime: RuntimeSettings, names: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
    """The champions of now by model, and what to say of them."""
    if not names:
        return {}, []
    if not runtime.mlflow_tracking_uri.startswith(("http://", "https://")):
        return {}, [UNKNOWN.format("", "MLFLOW_TRACKING_URI of Airflow's API server names no server.")]
    hurried = runtime.model_copy(update={"mlflow_http_request_timeout": SECONDS})
    pool = ThreadPoolExecutor(AT_ONCE)
    asked = {name: pool.submit(champion_version, hurried, name) for name in names}
    wait(asked.values(), timeout=SECONDS)
    pool.shutdown(wait=False, cancel_futures=True)
    champions: dict[str, str | None] = {}
    notes = []
    for name, answer in asked.items():
        try:
            champions[name] = answer.result(timeout=0)
        except (PipelineError, TimeoutError, CancelledError) as error:
            late = f"MLflow did not answer within {SECONDS} s."
            notes.append(UNKNOWN.format(f"of {name} ", error if isinstance(error, PipelineError) else late))
        else:
            notes.append(f"Champion of {name} now: {f'version {champions[name]}' if champions[name] else 'none'}.")
    return champions, notes


def _details(runtime: RuntimeSettings, run: Run, champions: Mapping[str, str | None], *, named: bool) -> Details:
    """:param named: whether a version needs the name of its model."""
    resolved = _read(run, _Resolved, "ResolveConfigOperator")
    model = _read(run, _Registered, "RegisterModelOperator")
    recorded = _read(run, _Recorded, "RecordLineageOperator")
    # Where a person approves, the task that promotes has no result if she did not.
    verdict = _read(run, _Evaluated, "PromoteModelOperator", "EvaluateModelOperator")
    is_champion = model is not None and champions.get(model.name) == model.version
    return Details(
        compared=_compared(resolved) if resolved else {},
        metrics=model.metrics if model else {},
        metric=resolved.config.get("registry", {}).get("metric") if resolved else None,
        series=model.name if model else "",
        marks=_marks(model, verdict, champions, named=named),
        highlighted=is_champion,
        # A person may make a version champion that the gate refused.
        remark=(_why(run) or "") if verdict and not is_champion else "",
        verdict=f"{verdict.table}\n\n{verdict.note}" if verdict else "",
        links=_links(runtime, model, recorded, verdict),
        stored=_stored(runtime, run, resolved) if resolved else {},
    )


def _read(run: Run, kind: type[T], *operators: str) -> T | None:
    for operator in operators:
        try:
            return kind.model_validate(run.returned[operator])
        except (KeyError, ValidationError):
            continue
    return None


def _compared(resolved: _Resolved) -> dict[str, dict[str, Any]]:
    """The run's configuration takes the place of the stages' params, which are a part of it."""
    values = {name: value for name, value in flat(resolved.config).items() if not is_fixed(name)}
    commit = f"{resolved.code.get('git_sha')}{' with changes' if resolved.code.get('dirty') else ''}"
    return {"parameters": values, "code": {"git": commit}}


def _marks(
    model: _Registered | None, verdict: _Evaluated | None, champions: Mapping[str, str | None], *, named: bool
) -> list[Mark]:
    marks = []
    if model:
        version = f"version {model.version}"
        marks.append(Mark(f"{model.name} {version}" if named else version, title=f"of {model.name}"))
    if model and champions.get(model.name) == model.version:
        marks.append(Mark("champion", "good", "It has the alias champion in MLflow now."))
    elif model and verdict and verdict.is_new_champion:
        known = model.name in champions
        now = "Another version is champion now, or none." if known else "Whether it still is one is not known."
        marks.append(Mark("was made champion", title=f"This run made it champion. {now}"))
    if verdict:
        marks.append(Mark("gate passed", "good") if verdict.passed else Mark("gate not passed", "bad"))
    return marks


def _why(run: Run) -> str | None:
    for operator in ("PromoteModelOperator", "EvaluateModelOperator"):
        if verdict := run.returned.get(operator):
            try:
                return why_not_champion(verdict)
            except (KeyError, TypeError):  # of another version of the code
                return None
    return None


def _links(
    runtime: RuntimeSettings, model: _Registered | None, recorded: _Recorded | None, verdict: _Evaluated | None
) -> list[Link]:
    links = []
    if recorded and {"experiment_id", "run_id"} <= recorded.mlflow_run.keys():
        mlflow_run = recorded.mlflow_run
        links.append(Link("MLflow run", run_url(runtime, mlflow_run["experiment_id"], mlflow_run["run_id"])))
    if model:
        links.append(Link(f"{model.name} version {model.version}", version_url(runtime, model.name, model.version)))
    if verdict and {"experiment_id", "run_id"} <= verdict.mlflow_run.keys():
        links.append(Link("report", report_url(runtime, verdict.mlflow_run, verdict.report)))
    return links


def _stored(runtime: RuntimeSettings, run: Run, resolved: _Resolved) -> dict[str, Link]:
    """The objects that hold the outputs, by path."""
    bucket, _, prefix = resolved.remote_url.removeprefix("s3://").partition("/")
    page = partial(object_url, runtime, bucket)
    outs = [
        out
        for stage in run.stages
        if stage.ended
        for entries in stage.ended.lock.values()
        for entry in entries.values()
        for out in entry.get("outs") or ()
        if out.get("md5")
    ]
    keys = {out["path"]: f"{prefix}/{object_path(out['md5'])}" for out in outs}
    return {path: Link(f"s3://{bucket}/{key}", page(key)) for path, key in keys.items()}


PROJECT = Project(OPERATORS, describe)
