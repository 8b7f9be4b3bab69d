"""``gc``: delete what no run that is kept, no champion and no commit needs, after a confirmation."""

import shlex
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any

import typer

from include.cli.app import FIRST_RUN, AsJson, Session
from include.cli.confirmation import confirm
from include.cli.output import print_json, print_table, progress, shown_size
from include.collection.decide import Rules
from include.collection.layout import Kind
from include.collection.plan import Plan, Planner
from include.errors import DataError, PipelineError
from include.lineage.run_keys import RunKey
from include.settings import PROJECT_DIR

MOST_DAYS = 36500


def _keep_days(value: int) -> int:
    if not 1 <= value <= MOST_DAYS:
        raise typer.BadParameter(
            f"{value} is not between 1 and {MOST_DAYS}. Runs of the last day always stay, for they may not have ended: "
            "give --keep-days 1 to keep no others for their age. Nothing was deleted."
        )
    return value


KeepDays = Annotated[
    int,
    typer.Option(callback=_keep_days, help="Keep runs that started in the last so many days; at least 1."),
]
KeepChampions = Annotated[
    bool,
    typer.Option(
        "--keep-champions/--no-keep-champions",
        help="Keep the runs of model versions with an alias, and of the champions before.",
    ),
]
GraceHours = Annotated[
    float, typer.Option(min=0, max=876000, help="Keep whatever was written in the last so many hours.")
]
MlflowArtifacts = Annotated[
    bool, typer.Option("--mlflow-artifacts", help="Delete the MLflow runs too of which no kept run has the model.")
]
NO_GIT = "This is not a git checkout: no commit keeps anything."


def gc(
    keep_days: KeepDays = 90,
    keep_champions: KeepChampions = True,
    grace_hours: GraceHours = 24,
    mlflow_artifacts: MlflowArtifacts = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for a confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete from the store what no kept run, no champion and no commit of this checkout needs.

    That is objects, run-cache entries, code, lock files and manifests of earlier runs. Runs may go on meanwhile.
    """
    words = ["--keep-days", str(keep_days), "--grace-hours", f"{grace_hours:g}"]
    words += [] if keep_champions else ["--no-keep-champions"]
    words += ["--mlflow-artifacts"] if mlflow_artifacts else []
    session = Session()
    try:
        planner, is_git = _planner(session, timedelta(days=keep_days), timedelta(hours=grace_hours), keep_champions)
        with progress("Reading", 1):
            plan = planner.plan()
        if not plan.kept and not plan.expired:
            where = f"s3://{session.lineage.bucket}"
            raise DataError(f"no run is recorded in {where}, so it is not known what is needed. {FIRST_RUN}")
        mlflow_runs = _mlflow_runs(session, plan) if mlflow_artifacts else []
    except PipelineError as error:
        raise type(error)(f"{error} Nothing was deleted.") from None
    document = _document(session, planner, plan, mlflow_runs, is_git)
    if dry_run:
        _show(document, as_json)
        return
    if not plan.garbage and not mlflow_runs:
        _show({**document, "dry_run": False, "deleted": _table({}, {})}, as_json)
        return
    if not yes:
        _confirm(document, shlex.join(["python", "-m", "include", "gc", *words, "--yes"]))
    _carry_out(session, planner, plan, mlflow_runs, document, as_json)


def _planner(session: Session, keep: timedelta, grace: timedelta, keep_champions: bool) -> tuple[Planner, bool]:
    from include.collection.champions import champions_of
    from include.collection.git_refs import named_in_git
    from include.collection.store import Bucket

    bucket = Bucket(session.lineage)
    rules = Rules(bucket.now(), keep, grace)
    in_git = named_in_git(PROJECT_DIR)
    own = session.config.registry.model_name
    champions = None
    if keep_champions:
        runtime = session.runtime

        def champions(models: Iterable[str]) -> Any:
            return champions_of(runtime, [own, *models], bucket.extend)

    return Planner(bucket, session.config.storage.prefix, rules, in_git or (), champions), in_git is not None


def _mlflow_runs(session: Session, plan: Plan) -> list[str]:
    from include.collection.mlflow_runs import deletable

    return deletable(session.runtime, plan.mlflow_runs)


def _carry_out(
    session: Session, planner: Planner, plan: Plan, mlflow_runs: list[str], document: dict[str, Any], as_json: bool
) -> None:
    from include.collection import mlflow_runs as in_mlflow
    from include.collection.sweep import collecting, sweep

    with collecting(planner.bucket, plan.prefixes) as lease:
        if mlflow_runs:  # first: no manifest leads to them afterwards
            with planner.bucket.keeping([lease]):
                mlflow_runs = _still_deletable(session, planner, mlflow_runs)
                in_mlflow.delete(session.runtime, mlflow_runs, planner.bucket.extend)
            document |= {"mlflow_runs": mlflow_runs}
        with progress("Deleting", sum(map(len, plan.garbage.values()))) as on_progress:
            swept = sweep(planner, plan, lease, lambda key: on_progress(""))
    deleted = _table(swept.counts, swept.sizes)
    document |= {"waiting": list(swept.waiting)}
    if as_json:
        print_json({**document, "dry_run": False, "deleted": deleted})
        return
    _print_table("deleted", deleted)
    for line in _after(document):
        print(line)


def _still_deletable(session: Session, planner: Planner, shown: list[str]) -> list[str]:
    """Those that were shown and that may go now: a run may have used one since, or an alias been set."""
    from include.collection.mlflow_runs import deletable

    now = set(planner.plan().mlflow_runs)
    return deletable(session.runtime, [run for run in shown if run in now], planner.bucket.extend)


def _table(counts: dict[Kind, int], sizes: dict[Kind, int]) -> dict[str, dict[str, int]]:
    return {str(kind): {"count": counts[kind], "bytes": sizes[kind]} for kind in Kind if kind in counts}


def _document(session: Session, planner: Planner, plan: Plan, mlflow_runs: list[str], is_git: bool) -> dict[str, Any]:
    counts = {kind: len(some) for kind, some in plan.garbage.items()}
    sizes = {kind: sum(one.size for one in some) for kind, some in plan.garbage.items()}
    kept = {RunKey(one.dag_id, one.run_id) for one in plan.kept.values()}  # one that was cleared has several results
    expired = {
        RunKey(one.dag_id, one.run_id): one for one in sorted(plan.expired.values(), key=lambda run: run.started)
    }
    going = [one for run, one in expired.items() if run not in kept]
    return {
        "bucket": session.lineage.bucket,
        "before": (planner.rules.now - planner.rules.keep).isoformat(timespec="seconds"),
        "garbage": _table(counts, sizes),
        "runs": [{"dag": one.dag_id, "run": one.run_id, "started": one.started.isoformat()} for one in going],
        "kept_runs": len(kept),
        "mlflow_runs": mlflow_runs,
        "waiting": list(plan.waiting),
        "git": is_git,
        "dry_run": True,
    }


def _lines(document: dict[str, Any]) -> list[str]:
    runs, kept = document["runs"], document["kept_runs"]
    go, are = "goes" if len(runs) == 1 else "go", "is" if kept == 1 else "are"
    lines = [f"s3://{document['bucket']}: {len(runs)} of {_several(len(runs) + kept, 'run')} {go}, {kept} {are} kept."]
    if runs:
        oldest, newest = runs[0], runs[-1]
        lines.append(
            f"The oldest that goes: {oldest['run']} of {oldest['started'][:10]}; the newest: {newest['run']} of "
            f"{newest['started'][:10]}."
        )
    if document["mlflow_runs"]:
        go = "goes" if len(document["mlflow_runs"]) == 1 else "go"
        lines.append(f"{_several(len(document['mlflow_runs']), 'MLflow run')} {go} into MLflow's bin.")
    if not document["git"]:
        lines.append(NO_GIT)
    if document["waiting"]:
        lines.append(
            f"No object goes now: a push is at work, or failed lately ({', '.join(document['waiting'][:3])}). Call gc "
            "again when it has ended."
        )
    return lines


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _after(document: dict[str, Any]) -> list[str]:
    lines = []
    if document["mlflow_runs"]:
        are = "is" if len(document["mlflow_runs"]) == 1 else "are"
        lines.append(
            f"{_several(len(document['mlflow_runs']), 'MLflow run')} {are} in MLflow's bin: `mlflow gc` removes what "
            "is there with its artifacts, `mlflow runs restore` brings a run back."
        )
    return lines + _lines({**document, "runs": [], "mlflow_runs": []})[1:]


def _show(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    print("\n".join(_lines(document)))
    if document["garbage"]:
        _print_table("would go", document["garbage"])
    else:
        print("There is nothing to delete.")


def _print_table(title: str, table: dict[str, dict[str, int]]) -> None:
    rows = [[kind, one["count"], shown_size(one["bytes"])] for kind, one in table.items()]
    total = [sum(one[name] for one in table.values()) for name in ("count", "bytes")]
    print_table([title, "count", "size"], [*rows, ["all", total[0], shown_size(total[1])]])


def _confirm(document: dict[str, Any], command: str) -> None:
    table = document["garbage"].values()
    count, size = (sum(one[name] for one in table) for name in ("count", "bytes"))
    lines = [*_lines(document), f"To be deleted: {_several(count, 'object')} of the bucket ({shown_size(size)})."]
    confirm(lines, "Delete them for good?", "Nothing was deleted.", f"To delete them, run: {command}")
