"""Things done at the same time."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def at_once(do: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
    """Call the function with each of these arguments, all at the same time; what it returned."""
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(do, arguments))
