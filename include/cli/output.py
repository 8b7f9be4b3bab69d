"""What commands print: tables for people, plain aligned text in a pipe, or JSON; progress goes to stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

WIDE = 4096  # columns: in a pipe nothing is wrapped or cut
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(document: Any) -> None:
    """Print a document."""
    print(json.dumps(document, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    at_terminal = sys.stdout.isatty()
    console = Console(width=None if at_terminal else WIDE, no_color=not at_terminal, highlight=False)
    table = Table(box=box.SIMPLE_HEAD if at_terminal else None, pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))  # Text: what users wrote is not markup
    if at_terminal:
        console.print(table)
    else:
        with console.capture() as captured:
            console.print(table)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values, one per line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"{name:>{width}}  {shown(value)}")


def shown(value: Any) -> str:
    """A value for people."""
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def shown_size(size: int) -> str:
    """A number of bytes for people: ``812 B``, ``143 KiB``, ``2.4 MiB``."""
    number, power = float(size), 0
    while number >= 1023.5 and power < len(UNITS) - 1:  # more would be shown as 1024
        number, power = number / 1024, power + 1
    return f"{number:.1f} {UNITS[power]}" if power and number < 9.95 else f"{number:.0f} {UNITS[power]}"


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show on stderr how far a long piece of work is, if a person looks at it.

    :return: to be called with the name of each thing that is done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda name: bar.update(task, advance=1, description=f"{what} {name}")
