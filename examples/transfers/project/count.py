"""How often each item was ordered."""

import csv
import json
from collections import Counter

with open("orders.csv", newline="") as file:
    items = Counter(order["item"] for order in csv.DictReader(file))
with open("report.json", "w") as file:
    json.dump(items, file, sort_keys=True)
