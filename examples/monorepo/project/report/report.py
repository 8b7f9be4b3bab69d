"""The customers who ordered most."""

import csv
import json
from collections import Counter
from pathlib import Path

from ruamel.yaml import YAML

total = Counter()
with open("../clean/orders.csv", newline="") as file:
    for order in csv.DictReader(file):
        total[order["customer"]] += int(order["amount"])
customers = YAML(typ="safe").load(Path("params.yaml"))["customers"]
Path("best_customers.json").write_text(json.dumps(dict(total.most_common(customers))))
