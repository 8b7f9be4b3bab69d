"""What is known of runs, as HTML. Every value is escaped: run ids, reasons and parameters are texts of users."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from dvc_airflow.run_page.changes import compared, hash_of
from dvc_airflow.run_page.details import Described, Details
from dvc_airflow.run_page.plot import HEIGHT, LEFT, WIDTH, Value, plot
from dvc_airflow.run_page.runs import NOT_RUN, PAGE, Run

FEW = 8  # stages, whose names have a place in the list of runs


def dag_page(dag_id: str, found: Sequence[Run], described: Described, page: int, metric: str | None) -> str:
    """The runs of a DAG.

    :param found: those of the page and some older ones, the newest first.
    :param metric: to plot; None: the one that the newest run names.
    """
    before = compared(found, described.runs)
    rows = [_row(*both) for both in zip(found[:PAGE], described.runs, before, strict=False)]
    metrics = list(dict.fromkeys(name for row in rows for name in row["said"].metrics))
    usual = next((row["said"].metric for row in rows if row["said"].metric in metrics), next(iter(metrics), None))
    chosen = metric or usual
    return _render(
        "dag",
        dag_id=dag_id,
        rows=rows,
        any_stage=any(run.stages for run in found),
        notes=described.notes,
        metrics=metrics,
        metric=chosen,
        plot=plot(_values(rows, chosen)),
        page=page,
        more=len(found) > PAGE,
        chosen=f"&{urlencode({'metric': metric})}" if metric else "",
    )


def run_page(dag_id: str, found: Sequence[Run], described: Described) -> str:
    """A run.

    :param found: the run, and older ones.
    """
    run = found[0]
    before, changes = compared(found, described.runs)[0] or (None, [])
    return _render(
        "run",
        dag_id=dag_id,
        run=run,
        not_run=NOT_RUN,
        said=described.runs[0],
        notes=described.notes,
        before=before,
        changes=changes,
        outputs=_outputs(run),
        executors=_executors(found),
        # Relative, whatever is in a run id; of one with slashes, the browser takes them for folders.
        up="./" + "../" * run.run_id.count("/"),
    )


def message_page(text: str) -> str:
    """A sentence."""
    return _render("message", text=text)


def own_text(name: str) -> str:
    """The script or style that each page has within it."""
    return _environment().get_template(name).render()


def _row(run: Run, said: Details, before: Any) -> dict[str, Any]:
    changes = before[1] if before else []
    stages = {stage.task_id for stage in run.stages}
    return {
        "run": run,
        "said": said,
        "few": len(run.stages) <= FEW,
        "outcomes": Counter(stage.outcome for stage in run.stages),
        # The page of the run has those too that were not run for that.
        "wrong": {task: said for task, said in run.wrong.items() if task not in stages and said != NOT_RUN},
        "explained": [stage for stage in run.stages if stage.reason],
        "before": before,
        "causes": [change for change in changes if change.is_cause],
    }


def _values(rows: Sequence[dict[str, Any]], metric: str | None) -> list[Value]:
    """What is to be plotted, the oldest run first."""
    marked: set[str] = set()  # later runs that restored the same are not marked again
    values = []
    for run, said in ((row["run"], row["said"]) for row in reversed(rows)):
        is_first = said.highlighted and said.series not in marked
        marked |= {said.series} if is_first else set()
        values.append(Value(run.run_id, said.metrics.get(metric), is_first, said.series))
    return values


def _executors(found: Sequence[Run]) -> set[str]:
    """The tasks of the first run whose result one of the others executed.

    Two DAGs that share a cache may have runs of the same id, so the id alone does not say which run it was.
    """
    executed = {(run.run_id, stage.name) for run in found[1:] for stage in run.stages if stage.outcome == "executed"}
    return {
        stage.task_id for stage in found[0].stages if stage.ended and (stage.ended.executed_in, stage.name) in executed
    }


def _outputs(run: Run) -> list[dict[str, Any]]:
    return [
        {"stage": stage.name, "path": out["path"], "size": out.get("size"), "hash": hash_of(out)}
        for stage in run.stages
        if stage.ended
        for entries in stage.ended.lock.values()
        for entry in entries.values()
        for out in entry.get("outs") or ()
    ]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["time"] = _time
    environment.globals.update(width=WIDTH, height=HEIGHT, left=LEFT)
    return environment


def _render(name: str, **values: Any) -> str:
    return str(_environment().get_template(f"{name}.html.jinja").render(values))


def _time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at else "not started"
