"""What runs of a project would execute, why, and for how long. It reads; it writes into a private folder alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from dvc_airflow.dvc.remote import RemoteFolder, has_remote
from dvc_airflow.errors import TaskError
from dvc_airflow.explain import SAME_INPUTS
from dvc_airflow.file_hashes import FileHashes
from dvc_airflow.history import LAST, CacheFolder, History, ReadOnlyFolder
from dvc_airflow.local_code import LocalCode
from dvc_airflow.lockfile import Lock, LockEntry, digest, merge_locks
from dvc_airflow.packing import pack_project
from dvc_airflow.project import DvcProjectError, ProjectParam, StageSpec, load_project
from dvc_airflow.project_code import NoCode
from dvc_airflow.project_run import ProjectRun
from dvc_airflow.result import Outcome
from dvc_airflow.run_code import RunCode, damaged
from dvc_airflow.run_locks import ListedFolder
from dvc_airflow.run_values import values_of
from dvc_airflow.select import selected
from dvc_airflow.stage_meta import check_meta
from dvc_airflow.stage_plan import PlannedRun, StagePlan, depends_on, plan_after_unknown, stage_plan
from dvc_airflow.stage_settings import StageSettings
from dvc_airflow.workspace import private_folder


@dataclass(frozen=True)
class RunPlan:
    """What a run would do. ``name`` distinguishes it from others that are planned with it."""

    name: str
    stages: tuple[StagePlan, ...]

    def of(self, outcome: Outcome | None) -> list[StagePlan]:
        """The stages with this outcome."""
        return [stage for stage in self.stages if stage.outcome is outcome]


class Planner:
    """Plans runs of a project: each as if those that it planned before had come to their ends.

    :param run: where cache, remote and history are; with the code of the runs.
    :param stages: in an order in which they can run.
    :param settings: what the DAG says of each, by its name.
    :param seconds_of: how long executions of a stage took of which the history knows none.
    """

    def __init__(
        self,
        run: PlannedRun,
        stages: Iterable[StageSpec],
        settings: Mapping[str, StageSettings],
        seconds_of: Callable[[str], Sequence[float]] = lambda stage: (),
    ) -> None:
        self._run, self._settings, self._seconds_of = run, settings, seconds_of
        self._stages = {stage.name: stage for stage in stages}
        self._before: dict[str, LockEntry] = {}  # by the stages' names in the history
        self._made_in: dict[str, str] = {}  # by run-cache key, the planned run that makes the result
        self._to_be: dict[str, tuple[str, LockEntry]] = {}  # by stage, the last planned run that executes it
        self._twins: dict[str, tuple[str, Mapping[str, StagePlan]]] = {}  # the planned runs by what they have
        self._unsure: set[str] = set()  # stages of which the last planned run makes something unknown
        # by stage, whether it is forced, and what is known of the stages before
        self._partly_known: dict[tuple[str, bool, str], StagePlan] = {}
        self._usual: dict[str, float | None] = {}

    def dags(self) -> list[str]:
        """The DAGs that have run one of the stages, by the history.

        :raises RemoteError: it is in a remote that cannot be asked.
        """
        names = {settings.history_name for settings in self._settings.values()}
        with self._history() as folder:
            known = folder.names(LAST) if folder else []
            return [dag_id for dag_id in known if folder and not names.isdisjoint(folder.names(LAST, dag_id))]

    def of_dag(self, dag_id: str) -> "Planner":
        """The same for runs of this DAG."""
        return Planner(replace(self._run, dag_id=dag_id), self._stages.values(), self._settings, self._seconds_of)

    def files_with(self, given: Mapping[str, Any], where: str) -> dict[str, str]:
        """The texts of the project's files with the values of a run.

        :param given, where: see `dvc_airflow.run_values.values_of`.
        :raises TaskError: the project has no such value, or one of another type.
        """
        from dvc_airflow.dvc.values import texts_with

        code = self._run.code
        if code is None or not given:
            return {}
        return texts_with(code, values_of(given, map(ProjectParam.of, code.listed.params), where))

    def plan(self, name: str = "", files: Mapping[str, str] | None = None, *, force: bool = False) -> RunPlan:
        """Plan a run.

        :param files: texts that take the place of the project's files.
        :param force: whether every stage is executed.
        :raises TaskError: the run would be refused; or the remote cannot be asked.
        """
        run = replace(self._run, files=files or {}, before=dict(self._before))
        plans: dict[str, StagePlan] = {}
        for stage in self._stages.values():
            plans[stage.name] = self._twin(run, stage, plans, force=force) or self._of_stage(
                run, stage, plans, force=force
            )
        self._remember(name, plans.values())
        self._twins.setdefault(digest(dict(run.files)), (name, plans))
        return RunPlan(name, tuple(replace(plan, seconds=self._usual_of(plan)) for plan in plans.values()))

    def _twin(
        self, run: PlannedRun, stage: StageSpec, plans: Mapping[str, StagePlan], *, force: bool
    ) -> StagePlan | None:
        """The plan of a stage that an earlier planned run of the same files executes; None if there is none."""
        name, earlier = self._twins.get(digest(dict(run.files)), ("", {}))
        known = earlier.get(stage.name)
        if force or known is None or known.lock or (known.outcome and not known.key):
            return None
        others = [plans[other] for other in stage.upstream if other in plans]
        return _made_in(known.made_in or name, stage.name) if all(one.lock or one.made_in for one in others) else None

    def _of_stage(self, run: PlannedRun, stage: StageSpec, plans: Mapping[str, StagePlan], *, force: bool) -> StagePlan:
        settings = run.as_packed(self._settings[stage.name], stage.upstream)
        upstream = self._upstream(run, stage, plans)
        unknown = [name for name in stage.upstream if name in plans and plans[name].lock is None]
        left_out = [name for name in stage.upstream if name not in self._stages]
        if unknown and not settings.is_frozen:
            return self._after_unknown(run, settings, upstream, unknown, left_out, force=force)
        plan = stage_plan(run, settings, upstream, left_out, force=force)
        return plan if force else self._after_others(plan)

    def _upstream(self, run: PlannedRun, stage: StageSpec, plans: Mapping[str, StagePlan]) -> Lock:
        """The lock entries of the stages before, as far as they are known."""
        known = [plans[name].lock for name in stage.upstream if name in plans]
        left_out = [run.locked_result(name, stage.name) for name in stage.upstream if name not in plans]
        return merge_locks([*(lock for lock in known if lock), *left_out])

    def _after_unknown(
        self, run: PlannedRun, settings: StageSettings, known: Lock, *others: Sequence[str], force: bool
    ) -> StagePlan:
        of = settings.name, force, digest(known)  # no run's values change a command, or which dependencies there are
        if of not in self._partly_known:
            self._partly_known[of] = plan_after_unknown(run, settings, known, *others, force=force)
        return self._partly_known[of]

    def _after_others(self, plan: StagePlan) -> StagePlan:
        """A result that an earlier one of the planned runs makes is not made again."""
        made_in = self._made_in.get(plan.key or "")
        entry = _entry(plan.lock) if plan.lock else None
        if entry and entry == self._to_be.get(plan.stage, ("", None))[1]:  # the run-cache does not hold results of it
            made_in = self._to_be[plan.stage][0]
        if made_in is not None:
            return _made_in(made_in, plan.stage)
        if plan.outcome is Outcome.UNCHANGED and plan.stage in self._unsure:  # the last result may be another by then
            return replace(plan, outcome=Outcome.RESTORED, reason=plan.reason.removeprefix(SAME_INPUTS))
        return plan

    def _remember(self, name: str, plans: Iterable[StagePlan]) -> None:
        for plan in plans:
            if not plan.lock and not plan.inputs:
                self._unsure.add(plan.stage)
                continue
            self._unsure.discard(plan.stage)
            history_name = self._settings[plan.stage].history_name
            if plan.lock:
                self._before[history_name] = _entry(plan.lock)
            elif plan.inputs:
                self._before[history_name] = plan.inputs
                self._to_be[plan.stage] = name, plan.inputs
                if plan.key:
                    self._made_in.setdefault(plan.key, name)

    def _usual_of(self, plan: StagePlan) -> float | None:
        """The median of what the last executions of a stage took, where it may be executed."""
        if plan.outcome not in (Outcome.EXECUTED, None) or plan.made_in is not None:
            return None
        if not self._usual:
            self._usual = dict(self._medians())
        return self._usual[plan.stage]

    def _medians(self) -> Iterator[tuple[str, float | None]]:
        with self._history() as folder:
            for name, settings in self._settings.items():
                known = History(folder).seconds(self._run.dag_id, settings.history_name) if folder else []
                seconds = known or self._seconds_of(name)
                yield name, round(median(seconds), 2) if seconds else None

    @contextmanager
    def _history(self) -> Iterator[ListedFolder | None]:
        """The folder of the history, if there is any."""
        run = self._run
        if run.cache_dir:
            yield CacheFolder(run.cache_dir)
            return
        with run.workspace({}, code=NoCode(run.project_dir)) as workspace, workspace.repo() as repo:
            yield RemoteFolder(repo) if has_remote(repo) else None


def _entry(lock: Lock) -> LockEntry:
    """The only entry."""
    ((entry,),) = (stages.values() for stages in lock.values())
    return entry


def _made_in(run: str, stage: str) -> StagePlan:
    return StagePlan(stage, None, f"{depends_on([stage])} for {run}, whose inputs are the same", made_in=run)


@contextmanager
def planner_of(
    run: ProjectRun,
    graph_cache_dir: Path,
    *,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seconds_of: Callable[[str], Sequence[float]] = lambda stage: (),
) -> Iterator[Planner]:
    """A planner for a project as it is now.

    :param run: where its cache and its remote are, and of which DAG the runs are.
    :param graph_cache_dir: see `dvc_airflow.project.load_project`; only read.
    :param select, exclude: the stages of the DAG, see `dvc_airflow.select`.
    :param options: further arguments of `StageSettings`, by the stage's name.
    :param seconds_of: see `Planner`.
    :raises TaskError: the project cannot be read, or no DAG can be made of it.
    """
    with private_folder() as scratch:
        try:
            project = load_project(run.project_dir, graph_cache_dir, keep_in=scratch)
            stages = selected(project.stages, select, exclude)
            check_meta(stages)
        except DvcProjectError as error:
            raise TaskError(str(error)) from None
        left_out = {name for stage in stages for name in stage.upstream} - {stage.name for stage in stages}
        settings = {
            stage.name: StageSettings(
                stage.name, repro="", command=stage.command, **(options or {}).get(stage.name, {})
            )
            for stage in stages
        }
        own = {one.name: getattr(run, one.name) for one in fields(ProjectRun)}
        planned = PlannedRun(**own | {"code": _packed(run, graph_cache_dir, left_out, scratch)}, scratch=scratch)
        yield Planner(planned, stages, settings, seconds_of)


def _packed(run: ProjectRun, graph_cache_dir: Path, left_out: Iterable[str], scratch: Path) -> RunCode:
    """The code that a run would pack, in a private folder."""
    hashes = FileHashes(ReadOnlyFolder(CacheFolder(run.cache_dir or scratch)))
    packed = pack_project(run.project_dir, graph_cache_dir, hashes, frozenset(left_out), keep_graph_in=scratch)
    local = LocalCode(scratch)
    local.write(packed.pack, packed.text, run.project_dir)

    def fetch(name: str) -> None:
        raise damaged(packed.id)

    return RunCode(
        packed.id, packed.pack, local=local, fetch=fetch, project_dir=run.project_dir, commit=packed.commit.sha
    )
