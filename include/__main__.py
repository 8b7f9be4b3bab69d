"""``python -m include``: the runs of the pipeline, listed, compared, restored, verified and rolled back."""

from include.cli.app import main

if __name__ == "__main__":
    main()
