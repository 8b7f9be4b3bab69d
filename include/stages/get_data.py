"""Stage `get_data`: fetch the data set and keep it as CSV."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import ConfigError, DataError, exit_with_message
from include.settings import DataConfig, RuntimeSettings, load_runtime_settings
from include.settings.config_file import load_config
from include.stages.files import write_csv
from include.store.sources import kind, read_bytes, require_resolved

if TYPE_CHECKING:
    import pandas as pd


def fetch(data: DataConfig, runtime: RuntimeSettings, base_dir: Path) -> "pd.DataFrame":
    """Read the configured source.

    :param base_dir: what a relative path in ``data.source`` is relative to.
    :return: one row per sample; columns as in the source.
    :raises DataError: absent, empty, changed since it was pinned, or no table.
    """
    require_resolved(data.source)
    if kind(data.source) == "sklearn":
        return load_builtin(data.source.removeprefix("sklearn:"), data.target)
    return parse(read_bytes(data.source, data.version, runtime, base_dir), data)


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


def parse(content: bytes, data: DataConfig) -> "pd.DataFrame":
    """Turn the bytes of a CSV or Parquet file into a table.

    :raises DataError: they are not such a file, or it has no rows.
    """
    import pandas as pd

    file_format = data.format if data.format != "auto" else format_of(data.source)
    try:
        if file_format == "parquet":
            frame = pd.read_parquet(io.BytesIO(content))
        else:
            frame = pd.read_csv(io.BytesIO(content))
    except (ValueError, OSError) as error:  # of pandas and of pyarrow
        raise DataError(f"data.source: {data.source} is not a {file_format} table: {error}. See data.format.") from None
    if frame.empty:
        raise DataError(f"data.source: {data.source} has no rows.")
    return frame


def format_of(source: str) -> str:
    """``csv`` or ``parquet``, by the ending of the path.

    :raises ConfigError: neither.
    """
    path = source.partition("?")[0].lower()
    if path.endswith((".parquet", ".pq")):
        return "parquet"
    if path.endswith((".csv", ".txt", ".data")):
        return "csv"
    raise ConfigError(f"data.format: cannot tell the format of {source!r} from its ending; set it to csv or parquet.")


def main() -> None:
    """Read config/config.yaml of the working directory, write ``paths.raw_data``."""
    here = Path.cwd()
    config = load_config(here)
    # A task of the DAG runs in a workspace of its own; relative sources mean the project.
    base_dir = Path(os.environ.get("PIPELINE_PROJECT_DIR", here))
    frame = fetch(config.data, load_runtime_settings(base_dir), base_dir)
    write_csv(config.paths.raw_data, frame)
    print(f"{len(frame)} rows, {len(frame.columns)} columns from {config.data.source} -> {config.paths.raw_data}")


if __name__ == "__main__":
    with exit_with_message():
        main()
