"""Fit the growth of a region's sales per week."""

import json
import sys
from pathlib import Path
from statistics import linear_regression

region = sys.argv[1]
sales = [float(line) for line in Path("sales", f"{region}.csv").read_text().split()]
growth = linear_regression(range(len(sales)), sales).slope
Path("models").mkdir(exist_ok=True)
Path("models", f"{region}.json").write_text(json.dumps({"growth": round(growth, 3)}))
