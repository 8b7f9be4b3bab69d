"""`ResolveConfigOperator`: the configuration of this run, resolved and checked."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dvc_airflow.code_store import CodeStore
from dvc_airflow.errors import TaskError
from dvc_airflow.prepare import bundle_version
from dvc_airflow.project import default_graph_cache_dir
from dvc_airflow.project_run import ProjectRun
from include.lineage.code_state import Code, code_state
from include.run_config import config_with, files_of, pinned
from include.settings import PROJECT_DIR, PipelineConfig
from include.store.client import client, ensure_bucket, translated_errors
from ml_operators.base import cache_dir, runtime_settings, store_credentials, store_timeouts
from ml_operators.results import ResolvedRun
from ml_operators.run_date import run_date

if TYPE_CHECKING:
    from airflow.sdk import Context


class ResolveConfigOperator(BaseOperator):
    """Lay the run's conf over config/config.yaml, fill in the run's date, pin the version of the source.

    The code of the run is packed: all its tasks have the project as it is now, whatever is cleared later. Returns a
    `ResolvedRun`.
    """

    ui_color = "#e8f3d6"

    def execute(self, context: "Context") -> dict[str, Any]:
        """Resolve and check.

        :raises ConfigError: a key or value is wrong.
        :raises DataError: there is nothing at ``data.source``.
        """
        config, force = config_of(context["dag_run"])
        config = pinned(config, runtime_settings())
        self.log.info("Source %s, version %s", config.data.source, config.data.version or "built-in")
        return ResolvedRun(
            config=config.model_dump(mode="json"),
            files=files_of(config),
            remote_url=config.remote_url,
            code=_packed_code(config, context),
            force=force,
        ).to_xcom()


def _packed_code(config: PipelineConfig, context: "Context") -> Code:
    """Pack the project into cache and store, whose bucket is made if there is none.

    :raises AirflowFailException: it cannot be packed.
    :raises AirflowException: it cannot be packed now; a retry may succeed.
    :raises AccessError: the store refuses the credentials.
    :raises ServiceError: the store does not answer.
    """
    runtime, bucket, ti = runtime_settings(), config.storage.bucket, context["ti"]
    with translated_errors(runtime, f"storage.bucket: {bucket}"):
        ensure_bucket(client(runtime), bucket, runtime)
    run = ProjectRun(
        PROJECT_DIR,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        cache_dir=cache_dir(),
        remote_url=config.remote_url,
        remote_options=store_timeouts(),
        credentials=store_credentials,
    )
    try:
        packed = CodeStore(run).pack(default_graph_cache_dir())
    except TaskError as error:
        raise (AirflowFailException if error.is_final else AirflowException)(str(error)) from None
    # Where there is no git, the environment may know.
    state = Code(git_sha=packed.commit.sha, dirty=packed.commit.dirty) if packed.commit.sha else code_state(PROJECT_DIR)
    return state.model_copy(update={"pack": packed.id, "bundle_version": bundle_version(context)})


def config_of(run: Any) -> tuple[PipelineConfig, bool]:
    """The configuration of a run, its date filled in; and whether the run executes every stage.

    :param run: the DagRun of the task's context.
    :raises ConfigError: a key or value is wrong.
    """
    return config_with(run.conf or {}, lambda schedule: run_date(schedule, run), "the run's conf")
