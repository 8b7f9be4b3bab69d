"""Drop the orders without an amount."""

import csv

with open("../shared/orders.csv", newline="") as source, open("orders.csv", "w", newline="") as target:
    csv.writer(target).writerows(row for row in csv.reader(source) if row[1])
