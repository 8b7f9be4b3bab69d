"""Fit a line: the price of a house by its size."""

import csv
import json
from statistics import correlation, linear_regression

from ruamel.yaml import YAML

with open("params.yaml") as file:
    digits = YAML(typ="safe").load(file)["train"]["round_to"]
with open("prepared.csv", newline="") as file:
    sizes, prices = zip(*(map(float, row) for row in csv.reader(file)), strict=True)
line = linear_regression(sizes, prices)
with open("model.json", "w") as file:
    json.dump({"slope": round(line.slope, digits), "intercept": round(line.intercept, digits)}, file)
with open("metrics.json", "w") as file:
    json.dump({"houses": len(sizes), "r2": round(correlation(sizes, prices) ** 2, digits)}, file)
print(f"{len(sizes)} houses: price = {line.slope:.2f} * size + {line.intercept:.2f}")
