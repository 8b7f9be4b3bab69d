"""``python -m include``: the runs of the pipeline, listed, compared, restored, verified and rolled back."""

import atexit
import gc
import sys

# Python walks through all that was imported, again and again while it is imported and once more at its end: 0.5 s of
# the 1.3 s that `runs` took. Here nothing lives long enough to be worth it.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

try:
    from include.cli.app import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] == "include":
        raise
    sys.exit(
        f"error: {sys.executable} has no module {error.name}: it is not the Python of this project's environment. In "
        'this shell: eval "$(make -s env-vars)"; or call .venv/bin/python -m include.'
    )

if __name__ == "__main__":
    main()
