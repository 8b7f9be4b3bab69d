"""All commands, and what they have in common: configuration, connections, errors as one line with exit code 1."""

import sys
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, NoReturn

import typer

from include.errors import DataError, PipelineError
from include.lineage.find import find_run
from include.lineage.lineage_store import LineageStore
from include.lineage.manifest import Manifest
from include.lineage.run_keys import RunKey
from include.settings import CONFIG_FILE, PipelineConfig, RuntimeSettings, load_runtime_settings
from include.settings.config_file import load_config
from include.store.stored_objects import StoredObjects

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NAMES_OF_A_RUN = "Airflow run id, MLflow run id or model version; the beginning of an id suffices"
Run = Annotated[str, typer.Argument(metavar="RUN", help=f"{NAMES_OF_A_RUN}.")]
RunOrNewest = Annotated[
    str | None, typer.Argument(metavar="RUN", help=f"{NAMES_OF_A_RUN}. Default: the newest recorded run.")
]
FIRST_RUN = f"Run the pipeline first, or check storage.bucket in {CONFIG_FILE}."


class Session:
    """The configuration, and the store by it. Nothing is read or opened before it is needed."""

    @cached_property
    def config(self) -> PipelineConfig:
        """Of config/config.yaml."""
        return load_config()

    @cached_property
    def runtime(self) -> RuntimeSettings:
        """Of the environment and config/.env."""
        return load_runtime_settings()

    @cached_property
    def lineage(self) -> LineageStore:
        """The manifests."""
        return LineageStore(self.config, self.runtime)

    def find(self, name: str) -> tuple[RunKey, Manifest]:
        """Find a run by what a person calls it.

        :raises DataError: there is none, or several, or it cannot be read.
        """
        run = find_run(self.lineage, name, self.config.registry.model_name)
        return run, self.lineage.read(run)

    def newest(self) -> tuple[RunKey, Manifest]:
        """The newest recorded run.

        :raises DataError: there is none, or it cannot be read.
        """
        runs = self.lineage.newest(1)
        if not runs:
            raise DataError(f"no run is recorded in s3://{self.lineage.bucket}. {FIRST_RUN}")
        return runs[0], self.lineage.read(runs[0])

    def objects(self, manifest: Manifest) -> StoredObjects:
        """The bytes of a run."""
        return self.lineage.objects_of(manifest)


def main() -> NoReturn:
    """Run the command that the arguments name.

    Exit codes: 0, 1 for what went wrong (a line on stderr says what), 2 for wrong usage.
    """
    try:
        application()()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"error: {error.filename or 'this machine'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def application() -> typer.Typer:
    """Put the commands together."""
    from include.cli import champion, collect, diagnosis, past_runs, plan, restoration

    app = typer.Typer(
        name="python -m include",
        help="List, compare, verify and restore the runs of the pipeline.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    commands: dict[str, Callable[..., None]] = {
        "plan": plan.plan,
        "runs": past_runs.runs,
        "show": past_runs.show,
        "diff": past_runs.diff,
        "restore": restoration.restore,
        "verify": restoration.verify,
        "rollback": champion.rollback,
        "promote": champion.promote,
        "gc": collect.gc,
        "doctor": diagnosis.doctor,
    }
    for name, command in commands.items():
        app.command(name)(command)
    return app
