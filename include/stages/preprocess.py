"""Stage `preprocess`: check the raw data, then divide them into training and test."""

from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import DataError, exit_with_message
from include.settings import DataConfig, SplitConfig
from include.settings.config_file import load_config
from include.stages.files import read_csv, write_csv

if TYPE_CHECKING:
    import pandas as pd


def check(frame: "pd.DataFrame", data: DataConfig, where: str) -> None:
    """Make sure that a classifier can be trained on the table.

    :param frame: one row per sample; numeric features and the target column.
    :param where: the file's name, for the message.
    :raises DataError: names all that is wrong.
    """
    if data.target not in frame.columns:
        columns = ", ".join(map(str, frame.columns))
        raise DataError(f"{where}: no column {data.target!r} (data.target); the columns are: {columns}.")
    features = frame.drop(columns=data.target)
    problems = [*_feature_problems(features, data.max_missing_share), *_target_problems(frame[data.target])]
    if problems:
        raise DataError(f"{where}: {'; '.join(problems)}. Fix the data, or change the keys named here.")


def _feature_problems(features: "pd.DataFrame", max_missing_share: float) -> list[str]:
    import numpy as np

    if features.columns.empty:
        return ["there is no feature column besides the target"]
    problems = []
    for name in features.columns:
        column = features[name]
        if column.dtype.kind not in "iufb":
            shown = column.dropna().astype(str).iloc[:1].tolist()
            problems.append(f"feature {name!r} is not numeric{f' (contains {shown[0]!r})' if shown else ''}")
            continue
        if np.isinf(column.to_numpy(dtype=float)).any():
            problems.append(f"feature {name!r} contains infinite values")
        share = float(column.isna().mean())
        if share == 1:
            problems.append(f"feature {name!r} is empty")
        elif share > max_missing_share:
            problems.append(
                f"feature {name!r} lacks {share:.1%} of its values, but "
                f"data.max_missing_share allows {max_missing_share:.1%}"
            )
    return problems


def _target_problems(target: "pd.Series") -> list[str]:
    problems = []
    if missing := int(target.isna().sum()):
        problems.append(f"the target {target.name!r} is missing in {missing} rows")
    if (classes := target.nunique()) < 2:
        problems.append(f"the target {target.name!r} has {classes} class; a classifier needs at least 2")
    return problems


def split(frame: "pd.DataFrame", target: str, rule: SplitConfig) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Divide the rows, keeping the classes' shares in both parts.

    :return: training and test rows, columns as given.
    :raises DataError: a class has too few rows to be in both.
    """
    from sklearn.model_selection import train_test_split

    counts = frame[target].value_counts()
    rare = [f"{name!r} ({count})" for name, count in counts.items() if count < 2]
    if rare:
        raise DataError(
            f"too few rows for the split: each class of {target!r} needs 2 rows; too few of: {', '.join(rare)}."
        )
    try:
        train, test = train_test_split(
            frame, test_size=rule.test_size, random_state=rule.random_state, stratify=frame[target]
        )
    except ValueError as error:
        raise DataError(
            f"too few rows for the split: {len(frame)} rows, {len(counts)} classes, "
            f"split.test_size={rule.test_size}: {error} Add rows, or change split.test_size."
        ) from None
    for part, name in ((train, "training"), (test, "test")):
        if absent := sorted(set(counts.index) - set(part[target]), key=str):
            raise DataError(
                f"too few rows for the split: no row of class {absent[0]!r} in the {name} part with "
                f"split.test_size={rule.test_size}. Add rows, or change split.test_size."
            )
    return train, test


def main() -> None:
    """Read ``paths.raw_data``, write ``paths.train_data`` and ``paths.test_data``."""
    config = load_config(Path.cwd())
    frame = read_csv(config.paths.raw_data)
    check(frame, config.data, config.paths.raw_data)
    train, test = split(frame, config.data.target, config.split)
    write_csv(config.paths.train_data, train)
    write_csv(config.paths.test_data, test)
    print(f"{len(train)} training rows, {len(test)} test rows")


if __name__ == "__main__":
    with exit_with_message():
        main()
