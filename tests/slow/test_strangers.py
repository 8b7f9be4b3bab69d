"""Projects with the habits of strangers run on Airflow as under plain DVC: the same hashes, the same stages again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dvc_airflow.lockfile import read_stages
from dvc_airflow.pull import pull
from tests.support.deployment import Deployment
from tests.support.strangers import Stranger, dvc, md5s, run_git

HERE = Path(__file__).with_name("strangers")
CONFIG = "[core]\n    analytics = false\n    remote = r\n['remote \"r\"']\n    url = ../../remote\n"
#: how often each stage of a project runs the second time is DVC's to say; the commands note their names in $RAN
PROJECTS = {
    # Downloads and uploads, a look-up table that git tracks although a rule matches it, foreach, a test stage.
    "corpus": {
        ".gitignore": "*.csv\n/corpus\n/index\n",
        "codes.csv": "north,1\nsouth,2\n",
        "dvc.yaml": """
stages:
  download: {cmd: mkdir -p corpus && seq 9 > corpus/a && seq 5 > corpus/b && echo download >> $RAN, outs: [corpus]}
  index:
    foreach: [a, b]
    do:
      cmd: mkdir -p index && wc -l < corpus/${item} > index/${item} && echo index@${item} >> $RAN
      deps: [corpus]
      outs: ["index/${item}"]
  check: {cmd: test -s index/a && echo check >> $RAN, deps: [index/a]}
  label: {cmd: cat codes.csv index/b > labels.txt && echo label >> $RAN, deps: [index/b], outs: [labels.txt]}
  upload: {cmd: cat labels.txt && echo upload >> $RAN, deps: [labels.txt]}
  greet: {cmd: echo greet >> $RAN}
""",
    },
    # What grows, params, a metric that DVC does not cache, a stage that always runs, a variable.
    "growing": {
        ".gitignore": "/all.txt\n/count.json\n/stamp.txt\n",
        "params.yaml": "times: 2\n",
        "new.txt": "new\n",
        "dvc.yaml": """
stages:
  collect: {cmd: cat new.txt >> all.txt && echo collect >> $RAN, deps: [new.txt], outs: [all.txt: {persist: true}]}
  count:
    cmd: "wc -l < all.txt > count.json && echo count >> $RAN"
    deps: [all.txt]
    params: [times]
    metrics: [count.json: {cache: false}]
  stamp:
    always_changed: true
    cmd: echo $SITE > stamp.txt && echo stamp >> $RAN
    deps: [count.json]
    outs: [stamp.txt]
  after: {cmd: cp stamp.txt after.txt && echo after >> $RAN, deps: [stamp.txt], outs: [after.txt]}
""",
    },
    # Nested files, wdir, code below a folder that a rule is meant for elsewhere, folders that git keeps empty, git.
    "nested": {
        ".gitignore": "data/\nmodels/\n",
        "models/.gitkeep": "",
        "src/data/make.py": "import os\nos.makedirs('data', exist_ok=True)\nopen('data/x', 'w').write('x\\n')\n",
        "dvc.yaml": """
stages:
  make: {cmd: python src/data/make.py && echo make >> $RAN, deps: [src/data/make.py], outs: [data/x]}
  fit: {cmd: cp data/x models/m && echo fit >> $RAN, deps: [data/x], outs: [models/m]}
""",
        "reports/dvc.yaml": """
stages:
  report:
    wdir: text
    cmd: "{ cat ../../models/m intro.txt; git log -1 --format=%s; } > report.txt && echo report >> $RAN"
    deps: [../../models/m, intro.txt]
    outs: [report.txt]
""",
        "reports/text/intro.txt": "intro\n",
    },
    # A tracked input of its own, an ignored one that is declared, a matrix, the words of bash.
    "inputs": {
        ".gitignore": "*.env\n/raw.csv\n/made\n",
        "raw.csv": "1\n2\n",
        "site.env": "LEVEL=high\n",
        "dvc.yaml": """
stages:
  load:
    cmd: source ./site.env && [[ -n $LEVEL ]] && paste <(echo $LEVEL) raw.csv > loaded.txt && echo load >> $RAN
    deps: [site.env, raw.csv]
    outs: [loaded.txt]
  grid:
    matrix: {size: [1, 2], colour: [red]}
    cmd: mkdir -p made && cat loaded.txt > made/${item.size}-${item.colour} && echo grid@${key} >> $RAN
    deps: [loaded.txt]
    outs: ["made/${item.size}-${item.colour}"]
""",
    },
}


class Runs(NamedTuple):
    """Where a project ran twice: the hashes of all outputs after each run, and which stages ran in each."""

    path: Path
    md5s: list[dict[str, str]]
    ran: list[list[str]]


def projects_in(folder: Path) -> dict[str, Stranger]:
    """Checkouts of all projects, each with a remote of its own; what DVC tracks is pushed."""
    made = {}
    for name, files in PROJECTS.items():
        (folder / name).mkdir(parents=True)
        made[name] = Stranger(folder / name, {".dvc/config": CONFIG, **files})
        if "raw.csv" in files:
            run_git(made[name].path, "rm", "--quiet", "--cached", "raw.csv")
            dvc(made[name].path, "add", "raw.csv")
            dvc(made[name].path, "push")
            made[name].commit()
            run_git(made[name].path, "rm", "--quiet", "--cached", "raw.csv", "site.env")
            run_git(made[name].path, "commit", "--quiet", "--message", "As it is")
    return made


def noted(file: Path) -> list[str]:
    names = sorted(file.read_text().split()) if file.exists() else []
    file.unlink(missing_ok=True)
    return names


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, Runs]:
    folder = tmp_path_factory.mktemp("plain")
    found = {}
    for name, stranger in projects_in(folder).items():
        found[name] = Runs(stranger.path, [], [])
        for _ in range(2):
            dvc(stranger.path, "repro", "--all-pipelines", RAN=str(folder / "ran"), SITE="here", SHELL="/bin/bash")
            locks = {str(file): read_stages(file) for file in stranger.path.rglob("dvc.lock")}
            found[name].md5s.append(md5s(locks))
            found[name].ran.append(noted(folder / "ran"))
    return found


class OnAirflow(NamedTuple):
    runs: dict[str, Runs]
    projects: dict[str, Stranger]


@pytest.fixture(scope="module", params=["shared cache", "no shared cache"])
def on_airflow(request, make_deployment: Callable[..., Deployment], tmp_path_factory) -> OnAirflow:
    folder = tmp_path_factory.mktemp("airflow")
    projects = projects_in(folder)
    deployment = make_deployment(f"strangers-{len(request.param)}")
    env = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE),
        "STRANGERS": str(folder),
        "RAN": str(folder / "ran"),
        "SITE": "here",
        "SHELL": "/bin/bash",
    }
    if request.param == "shared cache":
        env["STRANGERS_CACHE"] = str(folder / "cache")
    found = {name: Runs(stranger.path, [], []) for name, stranger in projects.items()}
    for _ in range(2):
        (result,) = deployment.dag({}, dag_id="strangers", **env)
        assert result["state"] == "success", result
        ran = noted(folder / "ran")
        for name, runs in found.items():
            locks = of_project(result["returned"], name)
            runs.md5s.append(md5s(locks))
            names = {stage.rpartition(":")[2] for stages in locks.values() for stage in stages}
            runs.ran.append([stage for stage in ran if stage in names])
    return OnAirflow(found, projects)


def of_project(returned: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """The lock entries of a project's stages."""
    found: dict[str, dict[str, Any]] = {}
    for task_id, value in returned.items():
        if task_id.startswith(f"{name}.stages.") and not task_id.endswith(".prepare_run"):
            for file, stages in value["lock"].items():
                found.setdefault(file, {}).update(stages)
    return found


@pytest.mark.parametrize("name", PROJECTS)
def test_hashes_and_stages_that_run_are_those_of_plain_dvc(name, plain, on_airflow):
    runs = on_airflow.runs[name]

    assert runs.md5s == plain[name].md5s
    assert runs.ran == plain[name].ran
    assert len(runs.ran[0]) > len(runs.ran[1])


@pytest.mark.parametrize("name", PROJECTS)
def test_a_clone_gets_the_same_files(name, plain, on_airflow):
    project = on_airflow.projects[name].path
    clone = project.with_name("clone")  # its remote is found from there too
    run_git(project.parent, "clone", "--quiet", str(project), str(clone))

    pull(clone)

    files = outputs_of(plain[name].path)
    assert files
    assert {path: (clone / path).read_bytes() for path in files} == files
    assert outputs_of(clone) == files


def outputs_of(project: Path) -> dict[str, bytes]:
    """All files that the lock files of a checkout name, as they are."""
    found = {}
    for lock in project.rglob("dvc.lock"):
        for entry in read_stages(lock).values():
            for out in entry.get("outs", []):
                wdir = lock.parent / ("text" if (lock.parent / "text").is_dir() else ".")
                whole = wdir / out["path"]
                for path in [whole, *whole.rglob("*")] if whole.is_dir() else [whole]:
                    if path.is_file():
                        found[str(path.relative_to(project))] = path.read_bytes()
    return found
