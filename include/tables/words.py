"""Lists and values in messages, with a bound: a table may have any number of columns, and cells of any length."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from include.errors import DataError

MOST = 8  # names in a list
LONGEST = 60  # characters of a value
MOST_COLUMNS = 5000  # of a table


def some(names: Iterable[Any]) -> str:
    """``'a', 'b' and 12 more``."""
    shown = list(names)
    rest = f" and {len(shown) - MOST} more" if len(shown) > MOST else ""
    return ", ".join(quoted(name) for name in shown[:MOST]) + rest


def require_names(names: Sequence[str]) -> None:
    """Make sure that no name stands there twice, and that there are not too many.

    :raises DataError: one does, or there are.
    """
    if len(names) > MOST_COLUMNS:
        raise DataError(f"has {len(names)} columns, more than {MOST_COLUMNS}. Choose some in the source")
    if unusable := [name for name in names if not name.strip() or not name.isprintable()]:
        raise DataError(f"has blank or unprintable names of columns: {some(unusable)}. Rename them in the source")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f"has two columns of the same name: {some(twice)}. Rename one of them in the source")


def quoted(value: Any) -> str:
    """A value in quotes, cut after some length."""
    text = str(value)
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def yaml_list(names: Iterable[str]) -> str:
    """Names as one writes them into config/config.yaml: ``[Name, "Unnamed: 0"]``."""
    return "[" + ", ".join(_scalar(name) for name in names) + "]"


def _scalar(name: str) -> str:
    from include.settings.config_file import parse_yaml

    try:
        plain = parse_yaml(f"[{name}]", "") == [name]
    except Exception:  # noqa: BLE001 - whatever YAML thinks of it, it needs quotes
        plain = False
    if plain:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
