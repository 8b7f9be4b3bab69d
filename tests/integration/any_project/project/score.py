"""Score the sums: a metric and a plot that dvc.yaml does not cache."""

import json
from pathlib import Path

sums = {path.stem: int(path.read_text()) for path in sorted(Path("sums").glob("*.txt"))}
Path("score.json").write_text(json.dumps({"total": sum(sums.values())}))
Path("curve.csv").write_text("name,sum\n" + "".join(f"{name},{total}\n" for name, total in sums.items()))
