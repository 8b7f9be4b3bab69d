"""A table of a million rows through the stages, beside the same steps in one script written by hand."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from tests.bench.bench import RUNS, STAGES, Bench
from tests.bench.report import ratios

ROWS, COLUMNS = 1_000_000, 30
ROUNDS = {"csv": min(RUNS, 2), "parquet": 1}  # each takes a minute and a half
# What the stages do, but for the tracking: read, split, keep both parts, train, score both, tables, model.
BY_HAND = """
import sys, joblib, pandas as pd
from sklearn import metrics
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
frame = pd.read_csv(sys.argv[1]) if sys.argv[1].endswith(".csv") else pd.read_parquet(sys.argv[1])
frame.to_parquet("raw.parquet")
train, test = train_test_split(frame, test_size=0.2, random_state=42, stratify=frame["target"])
train.to_parquet("train.parquet")
test.to_parquet("test.parquet")
del frame
model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=200))
model.fit(train.drop(columns="target"), train["target"])
for part in (train, test):
    features, target = part.drop(columns="target"), part["target"]
    predicted, probabilities = model.predict(features), model.predict_proba(features)
    metrics.accuracy_score(target, predicted)
    metrics.precision_recall_fscore_support(target, predicted, average="macro")
    metrics.roc_auc_score(target, probabilities, multi_class="ovr")
    metrics.log_loss(target, probabilities)
metrics.classification_report(target, predicted)
pd.DataFrame({"actual": target, "predicted": predicted}).to_csv("confusion.csv", index=False)
for number, name in enumerate(model.classes_):
    metrics.roc_curve(target == name, probabilities[:, number])
joblib.dump(model, "model.pkl")
"""


def size(bench: Bench) -> None:
    """(f): peak memory as a multiple of the table's own, and time as a multiple of the script's."""
    table = _table()
    own = int(table.memory_usage(deep=True).sum())
    bench.report.add("the table's own memory", [own / 2**20], "MiB")
    sources = {name: bench.folder / f"table.{name}" for name in ("csv", "parquet")}
    table.to_csv(sources["csv"], index=False)
    table.to_parquet(sources["parquet"], index=False)
    del table
    for name, source in sources.items():
        found: dict[str, list[float]] = {"script": [], "stages": [], "memory": [], "script memory": []}
        for _ in range(ROUNDS[name]):
            seconds, peak = _by_hand(bench, source)
            found["script"].append(seconds)
            found["script memory"].append(peak / own)
            seconds, peak = _stages(bench, source)
            found["stages"].append(seconds)
            found["memory"].append(peak / own)
        bench.report.add(f"{ROWS} rows of {COLUMNS} columns from {name}, script by hand", found["script"], "s")
        bench.report.add(f"{ROWS} rows of {COLUMNS} columns from {name}, the stages", found["stages"], "s")
        bench.report.add(f"{name}: the stages / the script", ratios(found["stages"], found["script"]), "ratio")
        bench.report.add(f"{name}: peak memory / the table's own", found["memory"], "ratio")
        bench.report.add(f"{name}: the script's peak memory / the table's own", found["script memory"], "ratio")


def _table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, ROWS)
    table = pd.DataFrame({f"x{n}": rng.normal(size=ROWS) + (n % 3) * 0.3 * group for n in range(COLUMNS - 5)})
    counts = {f"k{n}": rng.integers(0, 50, ROWS) for n in range(4)}
    return table.assign(**counts, target=np.array(["red", "green", "blue"])[group])


def _by_hand(bench: Bench, source: Path) -> tuple[float, float]:
    folder = bench.folder / "by-hand"
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(BY_HAND)
    return _measured([sys.executable, "script.py", str(source)], folder, bench.deployment.env)


def _stages(bench: Bench, source: Path) -> tuple[float, float]:
    """Each stage in a process of its own, as the tasks run it."""
    with bench.fresh() as place, bench.checkout(**place) as project:
        file = project / "config" / "config.yaml"
        file.write_text(file.read_text().replace("source: sklearn:iris", f"source: {source}"))
        env = {**bench.deployment.env, "PYTHONPATH": str(project)}
        found = [_measured([sys.executable, "-m", f"include.stages.{name}"], project, env) for name in STAGES]
    for name, (seconds, peak) in zip(STAGES, found, strict=True):
        print(f"{source.suffix} {name}: {seconds:.1f} s, {peak / 2**20:.0f} MiB")
    return sum(seconds for seconds, _ in found), max(peak for _, peak in found)


def _measured(command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, float]:
    """Seconds and peak memory (bytes) of a process, by a parent that has no other child."""
    code = (
        "import json, resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
        "print(json.dumps([done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
    )
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=folder, env=env, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    returned, kilobytes = json.loads(done.stdout.splitlines()[-1])
    assert returned == 0, done.stdout + done.stderr
    return seconds, kilobytes * 1024
