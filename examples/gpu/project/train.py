"""Gradient descent: put your own training here, on the GPU that the task's pod has."""

import json
import os

from ruamel.yaml import YAML

with open("params.yaml") as file:
    params = YAML(typ="safe").load(file)["train"]
with open("points.json") as file:
    points = json.load(file)
print("devices of this task:", os.environ.get("NVIDIA_VISIBLE_DEVICES", "no GPU"))
slope = intercept = 0.0
for _ in range(params["steps"]):
    errors = [slope * x + intercept - y for x, y in points]
    slope -= params["rate"] * sum(error * x for error, (x, _) in zip(errors, points, strict=True)) / len(points)
    intercept -= params["rate"] * sum(errors) / len(points)
with open("loss.json", "w") as file:
    json.dump({"loss": round(sum(error**2 for error in errors) / len(points), 6)}, file)
