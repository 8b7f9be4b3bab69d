"""Add up a range of the numbers."""

import sys
from pathlib import Path

name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
total = sum(int((Path("numbers") / f"{number:04}.txt").read_text()) for number in range(first, first + count))
Path("sums").mkdir(exist_ok=True)
(Path("sums") / f"{name}.txt").write_text(f"{total}\n")
