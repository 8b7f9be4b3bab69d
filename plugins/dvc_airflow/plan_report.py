"""A plan for people, as Markdown and as JSON."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dvc_airflow.dvc_config import WHY_IT_LACKS, folder_lacks, remote_address
from dvc_airflow.errors import TaskError
from dvc_airflow.plan import RunPlan
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import Outcome
from dvc_airflow.stage_plan import StagePlan

DEPENDS = "depends"
WHY = 120  # characters, in a table of several runs
# In such a table the beginning of a hash is enough, and leaves room for what it became.
HASH = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{16,}\b")


@dataclass(frozen=True)
class Sum:
    """Seconds of executions: ``executed`` are certain, ``at_most`` has those that depend on others too; ``not_known``
    are the stages of which nothing is known.
    """

    executed: float
    at_most: float
    not_known: tuple[str, ...]

    @classmethod
    def of(cls, plans: Iterable[RunPlan]) -> "Sum":
        """Of all stages of these runs."""
        runs = list(plans)
        certain = [stage for plan in runs for stage in plan.of(Outcome.EXECUTED)]
        depends = [stage for plan in runs for stage in plan.of(None) if stage.made_in is None]
        not_known = dict.fromkeys(stage.stage for stage in (*certain, *depends) if stage.seconds is None)
        executed, more = (sum(stage.seconds or 0 for stage in stages) for stages in (certain, depends))
        return cls(round(executed, 2), round(executed + more, 2), tuple(not_known))

    def __str__(self) -> str:
        """For people."""
        if not self.executed and not self.at_most:
            return "not known" if self.not_known else "0 s"
        if self.at_most == self.executed:
            return duration(self.executed)
        least = f"{duration(self.executed)} to" if self.executed else "up to"
        return f"{least} {duration(self.at_most)}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def as_json(plans: Sequence[RunPlan], places: Mapping[str, Any]) -> str:
    """For programs.

    :param places: of which DAG the runs are, which DAGs have runs, and where earlier results are looked for.
    """
    runs = [
        {"run": plan.name or None, "stages": list(map(_fields, plan.stages)), "seconds": _sum([plan])} for plan in plans
    ]
    return json.dumps({**places, "runs": runs, "seconds": _sum(plans)}, indent=2)


def as_text(plans: Sequence[RunPlan], places: Mapping[str, Any]) -> str:
    """Tables of plain text."""
    columns, rows = _table(plans)
    widths = [max(len(row[column]) for row in (columns, *rows)) for column in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (columns, *rows)]
    return "\n".join(
        line.rstrip() for line in [_places(plans, places), "", *lines, "", *_conclusion(plans), *_refusals(plans)]
    )


def as_markdown(plans: Sequence[RunPlan], places: Mapping[str, Any]) -> str:
    """For a pull request."""
    columns, rows = _table(plans)
    table = [columns, ["---"] * len(columns), *rows]
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in table]
    title = f"### Plan of {_escaped(str(places['dag']))}" if places["dag"] else "### Plan"
    refusals = [text for one in _refusals(plans) for text in ("", _escaped(one))]
    places_below = f"<sub>{_escaped(_places(plans, places))}</sub>"
    return "\n".join([title, "", *lines, "", *_conclusion(plans), *refusals, "", places_below])


Form = Callable[[Sequence[RunPlan], Mapping[str, Any]], str]


def form_of(*, json: bool, md: bool) -> Form:
    """How a plan is shown.

    :raises ValueError: in two ways at once.
    """
    if json and md:
        raise ValueError("--json and --md: give one of them.")
    return as_json if json else as_markdown if md else as_text


def conf_of(text: str | None, example: str) -> dict[str, Any]:
    """The values of a run.

    :param example: of such values, for people.
    :raises ValueError: they are not a mapping in JSON.
    :raises TaskError: a key stands there twice.
    """
    try:
        conf = json.loads(text or "{}", object_pairs_hook=_once)
    except ValueError as error:
        raise ValueError(f"--conf is not JSON ({error}): write it like --conf '{example}'.") from None
    if not isinstance(conf, dict):
        raise ValueError(f"--conf must be a mapping like '{example}', not {text}.")
    return conf


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of keys that are the same, JSON takes the last one."""
    if twice := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise TaskError(f"--conf: the key {twice[0]!r} stands there twice. Give it once.")
    return dict(pairs)


def searched(run: ProjectRun) -> dict[str, str | None]:
    """Where a run looks for earlier results, for people; and of a remote that is a folder without anything, that."""
    remote = remote_address(run.project_dir, run.remote_url, run.remote_options)
    found = {"cache": str(run.cache_dir) if run.cache_dir else None, "remote": remote}
    return {**found, "remote_lacks": folder_lacks(remote) if remote else None}


def _table(plans: Sequence[RunPlan]) -> tuple[list[str], list[list[str]]]:
    if len(plans) == 1:
        return ["stage", "outcome", "usually", "why"], [_row(stage) for stage in plans[0].stages]
    names = [stage.stage for stage in plans[0].stages]
    rows = [[plan.name, *map(_outcome, plan.stages), str(Sum.of([plan])), _why(plan)] for plan in plans]
    return ["run", *names, "seconds", "why"], rows


def _row(stage: StagePlan) -> list[str]:
    usually = duration(stage.seconds) if stage.seconds is not None else "-"
    again = f"; {' and '.join(stage.again)} again, whose output is missing" if stage.again and stage.outcome else ""
    return [stage.stage, _outcome(stage), usually, f"{stage.reason}{again}"]


def _outcome(stage: StagePlan) -> str:
    return str(stage.outcome or DEPENDS)


def _why(plan: RunPlan) -> str:
    """Why the first stages of a run are executed, without what follows from them; else why none is."""
    told = next(filter(None, map(plan.of, (Outcome.EXECUTED, Outcome.RESTORED, None, Outcome.UNCHANGED))), [])
    stages: dict[str, list[str]] = {}
    for stage in told:
        stages.setdefault(stage.reason, []).append(stage.stage)
    said = HASH.sub(r"\1", "; ".join(f"{', '.join(names)}: {reason}" for reason, names in stages.items()))
    return said if len(said) <= WHY else f"{said[: WHY - 3]}..."


def _conclusion(plans: Sequence[RunPlan]) -> list[str]:
    executed, depends = (sum(len(plan.of(outcome)) for plan in plans) for outcome in (Outcome.EXECUTED, None))
    every, whole = sum(len(plan.stages) for plan in plans), Sum.of(plans)
    runs = f" in {len(plans)} runs" if len(plans) > 1 else ""
    lines = [
        f"Executed: {executed} of {every} stages{runs}"
        + (f"; {depends} {'depends' if depends == 1 else 'depend'} on what others make" if depends else "")
        + f". Usual time, one after another: {whole}."
    ]
    if whole.not_known and (whole.executed or whole.at_most):
        lines.append(f"Not in that time, because no execution is recorded: {', '.join(whole.not_known)}.")
    return lines


def _refusals(plans: Sequence[RunPlan]) -> list[str]:
    """Why a run would end at a stage of which it is not known whether it is executed."""
    said = {stage.stage: stage.refusal for plan in plans for stage in plan.of(None) if stage.refusal}
    return [f"If {stage} is executed, the run refuses it: {refusal}" for stage, refusal in said.items()]


def _places(plans: Sequence[RunPlan], places: Mapping[str, Any]) -> str:
    said = [_dag(places["dag"], places.get("dags_with_runs"))]
    said += [f"run {plans[0].name}"] if len(plans) == 1 and plans[0].name else []
    said += [f"{name} {places[name]}" if places[name] else f"no {name}" for name in ("cache", "remote")]
    if lacks := places.get("remote_lacks"):  # a run fills it, so that this is no refusal
        said[-1] += f" (which {lacks}: {WHY_IT_LACKS})"
    return ", ".join(said)


def _dag(dag_id: str, with_runs: Sequence[str] | None) -> str:
    """:param with_runs: the DAGs that have run the project; None: not known."""
    if not dag_id:
        return "no DAG has run this project yet"
    if with_runs is None or dag_id in with_runs:
        return f"DAG {dag_id}"
    others = f" ({', '.join(with_runs)} {'has' if len(with_runs) == 1 else 'have'})" if with_runs else ""
    return f"DAG {dag_id}, which has not run this project yet{others}"


def _fields(stage: StagePlan) -> dict[str, Any]:
    return {
        "stage": stage.stage,
        "outcome": _outcome(stage),
        "reason": stage.reason,
        "usual_seconds": stage.seconds,
        "executed_again": list(stage.again),
        "refused_if_executed": stage.refusal,
    }


def _sum(plans: Sequence[RunPlan]) -> dict[str, Any]:
    whole = Sum.of(plans)
    return {"executed": whole.executed, "at_most": whole.at_most, "not_known": list(whole.not_known)}


def _escaped(text: str) -> str:
    """A text as Markdown shows it: no markup, no mention of a user."""
    text = re.sub(r"([\\|`*_\[\]~])", r"\\\1", text.replace("\n", " "))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("@", "@\u200b")
