"""``python -m include``: the runs of the pipeline, listed, compared, restored, verified and rolled back."""

import atexit
import gc

# Python walks through all that was imported, again and again while it is imported and once more at its end: 0.5 s of
# the 1.3 s that `runs` took. Here nothing lives long enough to be worth it.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

from include.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main()
