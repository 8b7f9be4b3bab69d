"""``make run``: the whole job once, on embedded services, and its results in a few lines."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from include.checkout import behind, materialise
from include.cli.output import shown_size
from include.errors import ConfigError, PipelineError
from include.lineage.differences import flat
from include.lineage.lineage_store import LineageStore
from include.lineage.manifest import Manifest, ModelVersion
from include.lineage.run_keys import RunKey
from include.mlflow_client import CHAMPION
from include.mlflow_requests import aliases_of_version
from include.registry.gate import why_not_champion
from include.services.embedded import served_run
from include.services.embedded.dag_run import DagRun, brief, dag_process
from include.services.embedded.deployment import starting
from include.services.embedded.environment import process_environment
from include.services.embedded.guard import Interrupted, ask_descendants_to_end
from include.services.embedded.state import State
from include.settings import CONFIG_FILE, PROJECT_DIR, PipelineConfig, RuntimeSettings, load_runtime_settings
from include.settings.config_file import load_config, load_config_with
from include.store.client import client, translated_errors
from include.tables.words import some

DAG_ID = "ml_pipeline"


def run(state: State) -> int:
    """Run the DAG, bring its results into the checkout, print the summary.

    The environment variable CONF (JSON) overrides values of config/config.yaml for this run.

    :return: 0 if the run succeeded.
    """
    # First of all: nothing need be started to see that this is wrong.
    conf = os.environ.get("CONF") or None
    config = load_config_with(_overrides(conf), "CONF")
    there = state.running()
    if there is None:
        print("Starting PostgreSQL, the object store and MLflow ...", flush=True)
    with state.run_is_going(), _beside() as beside:
        with starting(state, "run") as (addresses, wait):
            environment = process_environment(state, addresses)
            os.environ.update(environment)
            if there and there["mode"] == "serve":
                print(f"Running the DAG {DAG_ID} in the Airflow of `make serve`:", flush=True)
                result = served_run.run_dag(DAG_ID, conf, state, addresses)
            else:
                with dag_process(DAG_ID, environment, state.log(DAG_ID)) as process:
                    wait()
                    process.require_dag()
                    print(f"Running the DAG {DAG_ID}:", flush=True)
                    result = process.run(conf)
            if not result.succeeded or not result.run_id:
                _explain_failure(result)
                return 1
            lineage, key = LineageStore(config, load_runtime_settings()), RunKey(DAG_ID, result.run_id)
            manifest = lineage.read(key)
            # DVC needs no service: they end meanwhile.
            changed = beside.submit(materialise, PROJECT_DIR, manifest.lock, environment)
            lines = _summary(config, load_runtime_settings(), manifest, lineage.verdict(key))
        failure: PipelineError | None = None
        try:
            lines["dvc status"] = _status(manifest, changed.result())
        except PipelineError as error:
            failure = error
    print("\n" + "\n".join(f"{name:>12}  {text}" for name, text in lines.items()))
    if failure:
        raise PipelineError(f"{failure} The run itself succeeded: `python -m include restore {result.run_id}` does it.")
    return 0


@contextmanager
def _beside() -> Iterator[Executor]:
    """A thread, whose work is done when the block ends. If we are interrupted, the commands that it waits for end."""
    with ThreadPoolExecutor(1) as beside:
        try:
            yield beside
        except Interrupted:
            ask_descendants_to_end()  # of a checkout: `materialise` sees that, and undoes what was done
            raise


def _overrides(conf: str | None) -> dict[str, Any]:
    """The values that the run's conf overrides. ``force`` is the DAG's own, and no key of the configuration."""
    values = _parse(conf) if conf else {}
    if not isinstance(values.pop("force", False), bool):
        raise ConfigError("CONF, force: must be true or false.")
    return values


def _parse(conf: str) -> dict[str, Any]:
    try:
        document = json.loads(conf, object_pairs_hook=_once)
    except ValueError as error:
        raise ConfigError(f'CONF is not JSON ({error}). Write it like CONF=\'{{"model": {{"C": 2}}}}\'.') from None
    if not isinstance(document, dict):
        raise ConfigError('CONF must be a JSON object like \'{"model": {"C": 2}}\'.')
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of keys that are the same, JSON takes the last one."""
    if twice := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise ConfigError(f"CONF: the key {twice[0]!r} stands there twice. Give it once.")
    return dict(pairs)


def _explain_failure(result: DagRun) -> None:
    print("\nThe run failed. The results of the last successful run are unchanged.")
    for task, cause in result.failures.items():
        if cause != brief(cause):  # else it has been printed already
            print(f"\n{task}: {cause}")
    if not result.failures:
        print("\n".join(result.last_lines) or "No task failed: the run was ended by hand, or by its time-out.")
    print(f"\nFull log: {result.log}")


def _summary(
    config: PipelineConfig,
    runtime: RuntimeSettings,
    manifest: Manifest,
    verdict: Mapping[str, Any] | None,
) -> dict[str, str]:
    mlflow_run, metrics, warnings = manifest.mlflow_run, manifest.metrics, (verdict or {}).get("warnings")
    executed = [record.stage for record in manifest.stages if record.outcome == "executed"]
    rest = [record.stage for record in manifest.stages if record.outcome != "executed"]
    return {
        "run": manifest.airflow.run_id,
        "stages": "; ".join(
            ([f"executed: {', '.join(executed)}"] if executed else [])
            + ([f"skipped, because their inputs have been seen before: {', '.join(rest)}"] if rest else [])
        ),
        "metrics": ", ".join(
            f"{name} {metrics[name]:.4f}" for name in ("test_accuracy", "test_f1_macro", "train_accuracy")
        ),
        "model": _model(runtime, manifest.model, verdict),
        **({"gate": _warned(warnings)} if warnings else {}),
        "MLflow run": f"{mlflow_run['run_id']} in experiment {mlflow_run['experiment']} (to see it: make serve)",
        "bucket": _bucket(config, runtime),
        "files": f"{config.paths.model}, {config.paths.metrics}, dvc.lock",
    }


def _status(manifest: Manifest, changed: Mapping[str, Any]) -> str:
    """What `dvc status` says of the checkout, and why it may name something that nobody has edited."""
    # As the file is: without the values of CONF, which it does not have.
    here, there = flat(load_config().model_dump(mode="json")), flat(manifest.config)
    pinned = "data.version" if there["data.version"] and not here["data.version"] else ""
    if not changed:
        return f"clean, but for {pinned}, which the run has pinned" if pinned else "clean"
    own = behind(changed, (name for name in there if name != pinned and there[name] != here.get(name)))
    why = f" (the run has other values than {CONFIG_FILE}: {some(own)})" if own else ""
    return f"changed: {', '.join(changed)}{why}"


def _model(runtime: RuntimeSettings, model: ModelVersion | None, verdict: Mapping[str, Any] | None) -> str:
    """The version, its alias, and why that is not `champion`."""
    if model is None:
        raise PipelineError("the run registered no model, though it succeeded.")
    aliases = aliases_of_version(runtime, model.name, model.version)
    shown = f"{model.name} version {model.version}, " + (
        f"alias {', '.join(aliases)}" if aliases else f"not {CHAMPION}"
    )
    why = why_not_champion(verdict) if verdict and CHAMPION not in aliases else None
    return f"{shown}: {why}" if why else shown


def _warned(warnings: Sequence[str]) -> str:
    """What the verdict warns of, in a line."""
    if len(warnings) == 1:
        return f"a warning: {warnings[0]}"
    return f"{len(warnings)} warnings (all of them: python -m include show), such as: {warnings[0]}"


def _bucket(config: PipelineConfig, runtime: RuntimeSettings) -> str:
    count = size = 0
    with translated_errors(runtime, f"storage.bucket: {config.storage.bucket}"):
        pages = client(runtime).get_paginator("list_objects_v2").paginate(Bucket=config.storage.bucket)
        for page in pages:
            count += page["KeyCount"]
            size += sum(item["Size"] for item in page.get("Contents", []))
    return f"s3://{config.storage.bucket}: {count} objects, {shown_size(size)}"
