"""A plan says what the run then does and says, wherever it is definite; and nothing is written for it."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from dvc_airflow.__main__ import main
from dvc_airflow.errors import RemoteError, TaskError
from dvc_airflow.lockfile import lock_text
from dvc_airflow.plan import RunPlan, planner_of
from dvc_airflow.project_run import ProjectRun
from tests.support.plans import differences, nothing_written
from tests.support.proxy import proxy_to
from tests.support.strangers import Stranger

RAW = "a\nb\n"
RAW_MD5 = hashlib.md5(RAW.encode()).hexdigest()
# All kinds of stages that DVC has.
ZOO = {
    "dvc.yaml": """
stages:
  load:
    foreach: [a, b]
    do:
      cmd: mkdir -p loaded && cp seeds/${item}.txt loaded/${item}.txt
      deps: ["seeds/${item}.txt"]
      outs: ["loaded/${item}.txt"]
  join: {cmd: cat loaded/*.txt > joined.txt, deps: [loaded], outs: [joined.txt]}
  fit:
    matrix: {depth: [1, 2]}
    cmd: mkdir -p fits/${item.depth} && cat joined.txt params.yaml > fits/${item.depth}/model
    deps: [joined.txt]
    params: [rate]
    outs: ["fits/${item.depth}"]
  pick: {cmd: cp fits/1/model picked.txt, deps: [fits/1/model], outs: [picked.txt]}
  elsewhere: {wdir: work, cmd: cp ../joined.txt out.txt, deps: [../joined.txt], outs: [out.txt]}
  download: {cmd: date +%N > page.html, outs: [page.html]}
  upload: {cmd: cat page.html, deps: [page.html]}
  remind: {cmd: echo remind}
  collect: {cmd: cat seeds/a.txt >> all.txt, deps: [seeds/a.txt], outs: [all.txt: {persist: true}]}
  tick: {cmd: date +%N > tick.txt, deps: [joined.txt], outs: [tick.txt], always_changed: true}
  after: {cmd: cp tick.txt after.txt, deps: [tick.txt], outs: [after.txt]}
  raw: {cmd: wc -l < raw.csv > raw.txt, deps: [raw.csv], outs: [raw.txt]}
""",
    "sub/dvc.yaml": """
stages:
  part: {cmd: bash part.sh > part.json, deps: [../joined.txt, part.sh], metrics: [part.json: {cache: false}]}
""",
    "sub/part.sh": "echo 1\n",
    "seeds/a.txt": "a\n",
    "seeds/b.txt": "b\n",
    "work/README": "here\n",
    "params.yaml": "rate: 1\n",
    "raw.csv.dvc": f"outs:\n- md5: {RAW_MD5}\n  size: {len(RAW)}\n  hash: md5\n  path: raw.csv\n",
}
CHAIN = {
    "dvc.yaml": """
stages:
  load: {cmd: mkdir -p out && cp seed.txt out/one && echo 2 > out/two, deps: [seed.txt], outs: [out]}
  train: {cmd: bash train.sh > model.txt, deps: [out, train.sh], params: [rate, depth], outs: [model.txt]}
  report: {cmd: cp model.txt report.txt, deps: [model.txt], outs: [report.txt]}
""",
    "seed.txt": "seed\n",
    "train.sh": "cat out/*; grep rate params.yaml\n",
    "params.yaml": "rate: 0.5\ndepth: 3\n",
}


class Place:
    """A project whose runs are planned first."""

    def __init__(self, folder: Path, files: dict[str, str], *, cache: bool = True) -> None:
        self.stranger, self.cache = Stranger(folder, files), cache

    def run_of(self, dag_id: str = "dag") -> ProjectRun:
        return self.stranger.project_run(dag_id, cache=self.cache)

    def planner(self, dag_id: str = "dag", **options):
        return planner_of(self.run_of(dag_id), self.stranger.path.parent / "graphs", **options)

    def plan(self, dag_id: str = "dag", *, force: bool = False, **options) -> RunPlan:
        own = self.stranger
        with nothing_written(own.path, own.cache, own.remote), self.planner(dag_id, **options) as planner:
            return planner.plan(force=force)

    def run(self, dag_id: str = "dag", *, force: bool = False) -> dict[str, str]:
        """Plan a run and run it; the plan may not be wrong. :return: what was planned, for each stage."""
        plan = self.plan(dag_id, force=force)
        results = self.stranger.run(cache=self.cache, push=True, force=force, dag_id=dag_id)
        assert differences(plan, results) == []
        self.results = results
        return {stage.stage: str(stage.outcome or "depends") for stage in plan.stages}

    def remove(self, stage: str, *, where: tuple[Path, ...]) -> None:
        """The first output of a stage, from cache and remote."""
        for path in self.objects(stage, where):
            path.unlink()

    def objects(self, stage: str, where: tuple[Path, ...]) -> list[Path]:
        md5 = self.results[stage].entry["outs"][0]["md5"]
        found = [folder / "files" / "md5" / md5[:2] / md5[2:] for folder in where]
        return [path for path in found if path.exists()]


def stages_with(outcome: str, planned: dict[str, str]) -> set[str]:
    return {stage for stage, found in planned.items() if found == outcome}


def test_all_kinds_of_stages_do_what_is_planned(tmp_path):
    place = Place(tmp_path, ZOO)
    stranger = place.stranger
    kept = stranger.cache / "files" / "md5" / RAW_MD5[:2] / RAW_MD5[2:]
    kept.parent.mkdir(parents=True)
    kept.write_text(RAW)

    first = place.run()
    assert stages_with("depends", first) == {
        "join", "fit@1", "fit@2", "pick", "elsewhere", "upload", "after", "sub/dvc.yaml:part"
    }  # fmt: skip
    assert stages_with("executed", first) == first.keys() - stages_with("depends", first)

    again = place.run()
    assert stages_with("executed", again) == {"tick", "remind"}
    assert stages_with("depends", again) == {"after"}

    stranger.write({"params.yaml": "rate: 2\n", "sub/part.sh": "echo 2\n"})
    changed = place.run()
    assert stages_with("executed", changed) == {"fit@1", "fit@2", "sub/dvc.yaml:part", "tick", "remind"}
    assert stages_with("depends", changed) == {"pick", "after"}

    stranger.write({"params.yaml": "rate: 1\n", "sub/part.sh": "echo 1\n", "seeds/a.txt": "other\n"})
    back = place.run()
    assert stages_with("executed", back) == {"load@a", "collect", "tick", "remind"}
    assert stages_with("depends", back) >= {"join", "fit@1", "pick"}

    # frozen: whatever comes before it, and what comes after it is certain
    entry = place.results["join"].entry
    stranger.write({
        "dvc.lock": lock_text({"join": entry}),
        "dvc.yaml": ZOO["dvc.yaml"].replace("outs: [joined.txt]}", "outs: [joined.txt], frozen: true}"),
        "seeds/a.txt": "third\n",
    })  # fmt: skip
    frozen = place.run()
    assert stages_with("depends", frozen) == {"after"}
    assert frozen["join"] == "unchanged"

    # without the cache: all from the remote, but for what is in no history
    shutil.rmtree(stranger.cache)
    elsewhere = place.run()
    assert elsewhere["fit@1"] == "restored"
    assert elsewhere["collect"] == elsewhere["download"] == "executed"


@pytest.mark.parametrize("cache", [True, False], ids=["shared cache", "no shared cache"])
def test_a_chain_does_what_is_planned_whatever_happened_to_its_results(tmp_path, cache):
    place = Place(tmp_path, CHAIN, cache=cache)
    stranger = place.stranger
    both = (stranger.cache, stranger.remote)
    certain = lambda *outcomes: dict(zip(("load", "train", "report"), outcomes, strict=True))  # noqa: E731

    assert place.run() == certain("executed", "depends", "depends")
    assert place.run() == certain("unchanged", "unchanged", "unchanged")
    stranger.write({"params.yaml": "rate: 2.5\ndepth: 3\n", "train.sh": "cat out/*; grep rate params.yaml; #\n"})
    assert place.run() == certain("unchanged", "executed", "depends")
    stranger.write({name: CHAIN[name] for name in ("params.yaml", "train.sh")})
    assert place.run() == certain("unchanged", "restored", "restored")
    assert place.run("another") == certain("restored", "restored", "restored")
    assert place.run(force=True) == certain("executed", "executed", "executed")

    place.remove("train", where=both)
    assert place.run() == certain("unchanged", "executed", "depends")
    place.remove("load", where=both)  # the list of a folder
    assert place.run() == certain("executed", "depends", "depends")
    for damaged in place.objects("train", both):
        damaged.chmod(0o644)
        damaged.write_text("damaged, and longer than it was")
    assert place.run() == certain("unchanged", "executed", "depends")
    for folder in both:
        shutil.rmtree(folder / "runs", ignore_errors=True)
    shutil.rmtree(stranger.cache / "airflow" / "results", ignore_errors=True)
    assert place.run() == certain("executed", "depends", "depends")

    stranger.write({"dvc.yaml": CHAIN["dvc.yaml"].replace("  report:", "  summary:")})
    assert place.run() == {"load": "unchanged", "train": "unchanged", "summary": "restored"}  # by another name


def test_what_is_damaged_in_the_cache_is_restored_from_the_remote_and_stays_where_it_is(tmp_path):
    place = Place(tmp_path, CHAIN)
    place.run()
    (damaged,) = place.objects("train", (place.stranger.cache,))
    damaged.chmod(0o644)
    damaged.write_text("damaged")

    assert [str(stage.outcome) for stage in place.plan().stages] == ["unchanged"] * 3
    assert damaged.read_text() == "damaged"
    assert place.run()["train"] == "unchanged"


def test_values_of_a_run_are_those_of_its_form_and_a_backfill_makes_no_result_twice(tmp_path):
    place = Place(tmp_path, CHAIN)
    place.run()

    with place.planner() as planner:
        plans = [
            planner.plan(f"run {name}", planner.files_with(values, "--conf"))
            for name, values in enumerate(({"rate": 2}, {"rate": 2.0, "depth": 3}, {"rate": 0.5}, {"rate": 2}))
        ]
        with pytest.raises(TaskError, match=r"have no value rat\. Did you mean rate"):
            planner.files_with({"rat": 1}, "--conf")

    outcomes = [[str(stage.outcome) for stage in plan.stages] for plan in plans]
    assert outcomes[0] == ["unchanged", "executed", "None"]
    assert outcomes[1] == ["unchanged", "None", "None"]
    assert outcomes[2] == ["unchanged", "restored", "restored"]
    assert outcomes[3] == outcomes[1]
    assert [stage.made_in for stage in plans[3].stages] == [None, "run 0", "run 0"]
    assert [stage.seconds is None for stage in plans[0].stages] == [True, False, False]
    assert [stage.seconds for stage in plans[3].stages] == [None] * 3
    assert plans[0].stages[1].reason == "rate 0.5 -> 2.0"
    assert plans[1].stages[1].reason == "depends on what train makes for run 0, whose inputs are the same"
    assert plans[2].stages[1].reason.startswith("rate 2.0 -> 0.5; executed by ")


def test_the_usual_time_is_the_median_of_the_executions_of_the_dag(tmp_path):
    place = Place(tmp_path, CHAIN)
    place.run()
    taken = [place.results["train"].seconds]
    for rate in (2.5, 3.5):
        place.stranger.write({"params.yaml": f"rate: {rate}\ndepth: 3\n"})
        taken.append(place.stranger.run()["train"].seconds)
    place.stranger.write({"params.yaml": "rate: 4.5\ndepth: 3\n"})

    load, train, report = place.plan().stages

    assert (load.seconds, train.seconds) == (None, round(sorted(taken)[1], 2))
    assert report.outcome is None
    assert report.seconds is not None
    assert [stage.seconds for stage in place.plan("another").stages] == [None] * 3


def test_stages_that_the_dag_leaves_out_are_as_in_the_projects_lock(tmp_path):
    place = Place(tmp_path, CHAIN)
    place.run()

    with pytest.raises(TaskError, match=r"stage train needs what stage load makes, which this DAG leaves out"):
        place.plan(select=["train+"])

    place.stranger.write({"dvc.lock": lock_text({"load": place.results["load"].entry})})
    assert [stage.stage for stage in place.plan(select=["train+"]).stages] == ["train", "report"]
    place.stranger.write({"params.yaml": "rate: 8.5\ndepth: 3\n"})
    shutil.rmtree(place.stranger.cache / "files")
    shutil.rmtree(place.stranger.remote / "files")
    with pytest.raises(TaskError, match=r"out(/one)?: missing|neither in the cache nor in the remote"):
        place.plan(select=["train+"])


def test_a_remote_that_is_silent_is_named_soon(tmp_path, services):
    place = Place(tmp_path, CHAIN, cache=False)
    with proxy_to(services["env"]["AWS_ENDPOINT_URL"]) as store:
        store.silent = lambda line: True
        run = ProjectRun(
            place.stranger.path,
            dag_id="dag",
            run_id="plan",
            remote_url="s3://plans/one",
            remote_options={"connect_timeout": 2, "read_timeout": 2},
            credentials=lambda: {"endpointurl": store.url, "access_key_id": "a", "secret_access_key": "b"},
        )

        with planner_of(run, tmp_path / "graphs") as planner, pytest.raises(RemoteError, match=f"{store.url} does not"):
            planner.plan()


CONFIG = "[core]\n    analytics = false\n    remote = store\n['remote \"store\"']\n    url = ../../remote\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch, capsys):
    """A checkout with a remote, in which a DAG has run; and what the command line says of it."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    place = Place(tmp_path, CHAIN | {".dvc/config": CONFIG}, cache=False)

    def command(*arguments: str, code: int = 0) -> str:
        own = place.stranger
        with nothing_written(own.path, own.remote):
            assert main(["plan", str(own.path), *arguments]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    command.place = place
    return command


def test_the_command_plans_a_checkout_by_its_remote_and_by_what_its_dag_did(checkout):
    place = checkout.place
    assert checkout().startswith("no DAG has run this project yet, no cache, remote ")
    place.run("own")

    text = checkout("--conf", '{"depth": 4}')
    document = json.loads(checkout("--json", "--params", '{"run_every_stage": true}'))

    assert text.startswith("DAG own, no cache, remote ")
    assert "depth 3 -> 4" in text
    assert "Executed: 1 of 3 stages; 1 depends on what others make." in text
    assert {stage["outcome"] for stage in document["runs"][0]["stages"]} == {"executed"}
    assert document["seconds"]["executed"] == document["seconds"]["at_most"] > 0
    assert "| train | executed | " in checkout("--md", "--conf", '{"rate": 1}')
    assert "no earlier" not in checkout("--dag", "other")

    place.run("second")
    assert "several DAGs have run stages of this project: own, second. Name one with --dag" in checkout(code=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conf", "{"], "--conf is not JSON"),
        (["--conf", "[1]"], "--conf must be a mapping"),
        (["--conf", '{"dept": 1}'], "have no value dept. Did you mean depth?"),
        (["--conf", '{"depth": "x"}'], "depth must be of the type that it has in params.yaml"),
        (["--conf", '{"run_every_stage": 1}'], "run_every_stage must be true or false"),
        (["--json", "--md"], "--json and --md: give one of them"),
        (["--remote", "other"], "has no DVC remote other. It has store."),
        (["--select", "trian"], "matches no stage. Did you mean train?"),
    ],
)
def test_what_is_wrong_is_one_line(checkout, arguments, message):
    said = checkout(*arguments, code=1)

    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_project_that_does_not_parse_is_shown_with_the_line(checkout):
    checkout.place.stranger.write({"dvc.yaml": "stages:\n  load:\n    cmd: true\n    outputs: [x]\n"})

    said = checkout(code=1)

    assert said.startswith("error: ")
    assert "dvc.yaml" in said
    assert "outputs" in said
