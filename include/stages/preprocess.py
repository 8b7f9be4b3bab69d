"""Stage `preprocess`: decide what each column is used as, then divide the rows into training and test."""

from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import DataError, exit_with_message, sentence
from include.settings import PipelineConfig, SplitConfig
from include.settings.config_file import load_config
from include.stages.files import write_json
from include.tables.parquet_file import columns_of, read_parquet, write_parquet
from include.tables.prepare import Prepared, prepare, require_columns
from include.tables.read import Origin
from include.tables.words import quoted, some

if TYPE_CHECKING:
    import pandas as pd


def split(frame: "pd.DataFrame", target: str, rule: SplitConfig) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Divide the rows, keeping the classes' shares in both parts.

    :return: training and test rows, columns as given.
    :raises DataError: a class has too few rows to be in both. The message lacks the source's name.
    """
    from sklearn.model_selection import train_test_split

    counts = frame[target].value_counts()
    rare = [f"{name} ({count})" for name, count in counts.items() if count < 2]
    if rare:
        raise DataError(
            f"has too few rows for the split: each class of {quoted(target)} needs 2 rows; too few of: {some(rare)}"
        )
    sizes = f"{len(frame)} rows, {len(counts)} classes, split.test_size: {rule.test_size}"
    try:
        train, test = train_test_split(
            frame, test_size=rule.test_size, random_state=rule.random_state, stratify=frame[target]
        )
    except ValueError as error:
        raise DataError(
            f"has too few rows for the split ({sizes}): {sentence(str(error))} Add rows, or change split.test_size"
        ) from None
    for part, name in ((train, "training"), (test, "test")):
        if absent := sorted(set(counts.index) - set(part[target]), key=str):
            raise DataError(
                f"has too few rows for the split ({sizes}): no row of class {quoted(absent[0])} in the {name} part. "
                "Add rows, or change split.test_size"
            )
    return train, test


def prepare_parts(raw: str, config: PipelineConfig) -> tuple[Prepared, "pd.DataFrame", "pd.DataFrame"]:
    """Read the raw table, and make of it what is trained on, the training rows and the test rows.

    :param raw: the path of the table, as `get_data` writes it.
    :raises DataError: names all that is wrong, and what to set.
    """
    data = config.data
    with Origin(data.source, data.format, data.csv).named():
        require_columns(columns_of(raw), data)
        prepared = prepare(read_parquet(raw, leave_out=data.drop or ()), data)
        return prepared, *split(prepared.table, data.target, config.split)


def main() -> None:
    """Read ``paths.raw_data``, write ``paths.train_data``, ``paths.test_data`` and ``paths.columns``."""
    config = load_config(Path.cwd())
    paths = config.paths
    prepared, train, test = prepare_parts(paths.raw_data, config)
    write_parquet(paths.train_data, train)
    write_parquet(paths.test_data, test)
    write_json(paths.columns, prepared.summary)
    for warning in prepared.summary["warnings"]:
        print(f"warning: {warning}")
    print(f"{len(train)} training rows, {len(test)} test rows")


if __name__ == "__main__":
    with exit_with_message():
        main()
