"""The browser pictures of the README: what `make test-stack` saw last, made small.

`tests/slow/test_run_page.py` makes those of the tab DVC too, with more runs.

python -m tests.stack.pictures
"""

from PIL import Image

from tests.stack.images import KEPT

PICTURES = KEPT.parents[1] / "docs" / "pictures"


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for file in sorted(KEPT.glob("*.png")):
        Image.open(file).convert("RGB").quantize(64).save(PICTURES / file.name, optimize=True)
        print(f"{PICTURES / file.name}: {(PICTURES / file.name).stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
