"""The values of a run in place of those of the project's params and variable files, as DVC writes them."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc.utils.serialize import LOADERS, MODIFIERS

from dvc_airflow.errors import TaskError
from dvc_airflow.param_types import as_given
from dvc_airflow.project import ProjectParam
from dvc_airflow.run_code import RunCode


def texts_with(code: RunCode, values: Sequence[tuple[ProjectParam, Any]]) -> dict[str, str]:
    """The texts of the files in the code of a run that hold other values than these, as they are with them.

    :raises TaskError: see `replaced_values`.
    """
    with tempfile.TemporaryDirectory() as folder:
        code.put_into(Path(folder), {param.file for param, _ in values})
        return replaced_values(Path(folder), values)


def replaced_values(project_dir: Path, values: Sequence[tuple[ProjectParam, Any]]) -> dict[str, str]:
    """The texts of the files in which a value differs from the one that is given.

    Comments and order stay where the file's format has them.

    :param values: what each is to be; of the same type.
    :return: by path; no file whose values are these already.
    :raises TaskError: a file is gone, or cannot hold a value.
    """
    texts: dict[str, str] = {}
    for file in dict.fromkeys(param.file for param, _ in values):
        text = _text(project_dir / file, {param.steps: value for param, value in values if param.file == file})
        if text is not None:
            texts[file] = text
    return texts


def _text(file: Path, values: Mapping[tuple[str, ...], Any]) -> str | None:
    if not file.is_file():
        raise TaskError(f"{file} is gone, and this run gives a value for it. Run without that value, or restore it.")
    suffix = file.suffix.lower()
    before = LOADERS[suffix](str(file))
    written = {steps: _like(value, _at(before, steps)) for steps, value in values.items()}
    changed = {steps: value for steps, value in written.items() if _at(before, steps) != value}
    if not changed:
        return None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        shutil.copyfile(file, copy)
        with MODIFIERS[suffix](str(copy)) as document:
            for steps, value in changed.items():
                _put(document, steps, value)
        after = LOADERS[suffix](str(copy))
        for steps, value in changed.items():
            if _at(after, steps) != value:
                raise TaskError(f"{file}: {'.'.join(steps)} cannot be {as_given(value)} in a file of this format.")
        return copy.read_text(encoding="utf-8")


def _at(document: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        document = document.get(step) if isinstance(document, Mapping) else None
    return document


def _put(document: Any, steps: Sequence[str], value: Any) -> None:
    *above, last = steps
    for step in above:
        document = document[step]
    document[last] = value


def _like(value: Any, before: Any) -> Any:
    """A whole number as the file has it: 1 for 1.0 where it holds floats, and the other way round."""
    if isinstance(before, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(before, int) and not isinstance(before, bool) and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
