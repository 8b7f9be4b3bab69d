"""Stage `get_data`: fetch the data set and keep it as Parquet, each value with the type that the source gives it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import ConfigError, exit_with_message
from include.settings import DataConfig, RuntimeSettings, load_runtime_settings
from include.settings.config_file import load_config
from include.store.sources import kind, local_file, require_resolved
from include.tables.parquet_file import write_parquet
from include.tables.read import Origin, keep_as_parquet

if TYPE_CHECKING:
    import pandas as pd


def fetch(data: DataConfig, runtime: RuntimeSettings, base_dir: Path, target: str) -> tuple[int, int]:
    """Read the configured source, and write it as Parquet.

    :param base_dir: what a relative path in ``data.source`` is relative to.
    :param target: the path to write.
    :return: its rows and columns.
    :raises DataError: absent, empty, changed since it was pinned, or no table.
    """
    require_resolved(data.source)
    if kind(data.source) == "sklearn":
        frame = load_builtin(data.source.removeprefix("sklearn:"), data.target)
        write_parquet(target, frame)
        return frame.shape
    with local_file(data.source, data.version, runtime, base_dir) as file:
        categories = list(data.categorical or ()) if data.categorical != "auto" else []
        return keep_as_parquet(file.path, Origin(data.source, data.format, data.csv), data.target, categories, target)


def load_builtin(name: str, target: str) -> "pd.DataFrame":
    """Load one of scikit-learn's bundled data sets.

    :return: its features, and its classes by name in the column ``target``.
    :raises ConfigError: a feature has that name already.
    """
    from sklearn import datasets

    loader = getattr(datasets, f"load_{name}")
    bunch = loader(as_frame=True)
    frame: pd.DataFrame = bunch.data.copy()
    frame.columns = [column.replace(" (cm)", "_cm").replace(" ", "_") for column in frame.columns]
    if target in frame.columns:
        raise ConfigError(f"data.target: sklearn:{name} already has a feature named {target!r}; choose another name.")
    frame[target] = [str(bunch.target_names[number]) for number in bunch.target]
    return frame


def main() -> None:
    """Read config/config.yaml of the working directory, write ``paths.raw_data``."""
    here = Path.cwd()
    config = load_config(here)
    # A task of the DAG runs in a workspace of its own; relative sources mean the project.
    base_dir = Path(os.environ.get("PIPELINE_PROJECT_DIR", here))
    rows, columns = fetch(config.data, load_runtime_settings(base_dir), base_dir, config.paths.raw_data)
    print(f"{rows} rows, {columns} columns from {config.data.source} -> {config.paths.raw_data}")


if __name__ == "__main__":
    with exit_with_message():
        main()
