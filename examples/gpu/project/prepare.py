"""Points near a line."""

import json
import random

rng = random.Random(7)
with open("points.json", "w") as file:
    json.dump([(x / 50, 3 * x / 50 + 1 + rng.gauss(0, 0.05)) for x in range(50)], file)
