"""Keep the houses that have a price and are not too large."""

import csv

from ruamel.yaml import YAML

with open("params.yaml") as file:
    largest = YAML(typ="safe").load(file)["prepare"]["largest"]
with open("data/houses.csv", newline="") as source, open("prepared.csv", "w", newline="") as target:
    writer = csv.writer(target)
    for house in csv.DictReader(source):
        if house["price"] and float(house["size"]) <= largest:
            writer.writerow([house["size"], house["price"]])
